//! Ctrl-C, SIGTERM and SIGHUP: passed on to the command that runs, so that the end of this program is always the
//! ordinary one, with the services stopped and the folders removed.
//!
//! The first signal is forwarded as it came; a second one kills. What not even a handler survives (SIGKILL) is the
//! business of the guard in `services/session.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::error::{Context, Failure, Result};

/// Listens for signals from [`Interrupt::listen`] on, as long as the program lives.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt {
    /// The first signal that came; 0 before.
    received: Arc<AtomicI32>,
    /// Whom to pass it on to: a process, or with a minus sign a process group; 0 for nobody.
    command: Arc<AtomicI32>,
}

impl Interrupt {
    /// Takes over the signals.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn listen() -> Result<Self> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).while_trying(|| "listen for signals".into())?;
        let interrupt = Self { received: Arc::default(), command: Arc::default() };
        let listener = interrupt.clone();
        std::thread::spawn(move || {
            for signal in signals.forever() {
                let first = listener.received.swap(signal, Ordering::SeqCst) == 0;
                listener.pass_on(if first { signal } else { Signal::KILL.as_raw() });
            }
        });
        Ok(interrupt)
    }

    /// From now on signals go to this process group.
    pub(crate) fn forward_to_group(&self, leader: u32) {
        self.command.store(-i32::try_from(leader).unwrap_or(0), Ordering::SeqCst);
        self.catch_up();
    }

    /// From now on signals go to this process, except those that the terminal has sent to it anyway.
    pub(crate) fn forward_to_process(&self, pid: u32) {
        self.command.store(i32::try_from(pid).unwrap_or(0), Ordering::SeqCst);
        self.catch_up();
    }

    /// The command has ended.
    pub(crate) fn forward_to_nobody(&self) {
        self.command.store(0, Ordering::SeqCst);
    }

    /// A signal that came before there was a command to pass it on to.
    fn catch_up(&self) {
        let signal = self.received.load(Ordering::SeqCst);
        if signal != 0 {
            self.pass_on(signal);
        }
    }

    fn pass_on(&self, signal: i32) {
        let command = self.command.load(Ordering::SeqCst);
        let Some(named) = Signal::from_named_raw(signal) else { return };
        // It may have ended meanwhile; then there is nobody to tell.
        match Pid::from_raw(command.abs()) {
            Some(group) if command < 0 => drop(kill_process_group(group, named)),
            // Ctrl-C reaches everything in the foreground of the terminal: not twice.
            Some(process) if signal != SIGINT => drop(kill_process(process, named)),
            _ => {}
        }
    }

    /// Fails once a signal has come; asked between two steps of work.
    ///
    /// # Errors
    /// After a signal, with the exit code that shells give to it.
    pub(crate) fn check(&self) -> Result {
        match self.received.load(Ordering::SeqCst) {
            0 => Ok(()),
            signal => {
                let code = u8::try_from(128 + signal).unwrap_or(130);
                Err(Failure::new(format!("stopped by signal {signal}")).with_code(code))
            }
        }
    }
}
