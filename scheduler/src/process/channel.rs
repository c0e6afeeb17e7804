//! The program's end of the socket to a worker, for a thread that must not wait longer than it may, and must hear a bell.
//!
//! The socket never blocks; waiting is done in `poll`, on the socket and on the bell, up to an instant. The bell is a pair of
//! sockets of its own: whoever wants the keeper's attention leaves a byte.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::wire::{self, HEAD, Kind};

/// What ended a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Woken {
    /// The socket can go on, or is closed.
    Socket,
    /// Somebody rang.
    Bell,
    /// The time is over.
    Late,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Broken {
    /// The worker's end is closed: it has died.
    Closed,
    /// The time is over.
    Late,
    /// Whoever rang wants the worker to end.
    Stopped,
    /// What came is no answer.
    Garbled(String),
}

/// Wakes a keeper.
#[derive(Debug)]
pub(super) struct Bell(UnixStream);

impl Bell {
    /// The bell, and the end at which the keeper hears it.
    pub(super) fn new() -> io::Result<(Self, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        theirs.set_nonblocking(true)?;
        Ok((Self(ours), theirs))
    }

    pub(super) fn ring(&self) {
        // Where the byte does not fit, others are there; where the end is closed, the keeper is gone.
        let _ = (&self.0).write(&[1]);
    }
}

/// The socket and the bell.
#[derive(Debug)]
pub(super) struct Channel<'a> {
    pub(super) socket: UnixStream,
    pub(super) bell: &'a UnixStream,
}

impl Channel<'_> {
    /// Waits for the socket, the bell or an instant, whichever is first. The bell is silent after.
    pub(super) fn wait(&self, events: PollFlags, until: Instant) -> io::Result<Woken> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Woken::Late);
            }
            let timeout = Timespec { tv_sec: left.as_secs().min(1 << 30) as _, tv_nsec: left.subsec_nanos().into() };
            let mut fds = [PollFd::new(&self.socket, events), PollFd::new(self.bell, PollFlags::IN)];
            match poll(&mut fds, Some(&timeout)) {
                Ok(0) | Err(Errno::INTR) => continue,
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
            let [socket, bell] = fds.map(|fd| !fd.revents().is_empty());
            // Before the socket: who rings may want the worker to end, whatever it says.
            if bell {
                let mut bytes = [0; 64];
                while matches!((&mut &*self.bell).read(&mut bytes), Ok(64)) {}
                return Ok(Woken::Bell);
            }
            if socket {
                return Ok(Woken::Socket);
            }
        }
    }

    /// The same in the midst of a message: the bell matters if it means an end.
    fn go_on(&self, events: PollFlags, until: Instant, stopped: &dyn Fn() -> bool) -> Result<(), Broken> {
        match self.wait(events, until) {
            Ok(Woken::Socket) => Ok(()),
            Ok(Woken::Bell) => {
                if stopped() {
                    Err(Broken::Stopped)
                } else {
                    Ok(())
                }
            }
            Ok(Woken::Late) => Err(Broken::Late),
            Err(error) => Err(Broken::Garbled(error.to_string())),
        }
    }

    pub(super) fn send(&self, frame: &[u8], until: Instant, stopped: &dyn Fn() -> bool) -> Result<(), Broken> {
        let mut rest = frame;
        while !rest.is_empty() {
            match (&self.socket).write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.go_on(PollFlags::OUT, until, stopped)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(Broken::Closed),
            }
        }
        Ok(())
    }

    /// A frame: its kind, and its body behind [`HEAD`] bytes.
    pub(super) fn receive(
        &self,
        body_max: usize,
        until: Instant,
        stopped: &dyn Fn() -> bool,
    ) -> Result<(Kind, Vec<u8>), Broken> {
        // Most answers are small: one read brings them whole.
        let mut frame = vec![0; 1 << 10];
        let mut filled = 0;
        let mut known = None;
        loop {
            if known.is_none()
                && let Some(first) = frame[..filled].first_chunk::<HEAD>()
            {
                let (kind, body) = wire::head(*first, body_max).map_err(Broken::Garbled)?;
                known = Some((kind, HEAD + body));
                frame.resize((HEAD + body).max(filled), 0);
            }
            if let Some((kind, length)) = known
                && filled >= length
            {
                if filled > length {
                    return Err(Broken::Garbled("more than one answer".into()));
                }
                return Ok((kind, frame));
            }
            match (&self.socket).read(&mut frame[filled..]) {
                Ok(0) => return Err(Broken::Closed),
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.go_on(PollFlags::IN, until, stopped)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(Broken::Closed),
            }
        }
    }
}
