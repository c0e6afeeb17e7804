//! The worker's side: it recognises itself, takes its limits, and calls functions one after another until the socket closes.
//!
//! A worker is recognised by a variable that names the socket which it has as standard input. A program that one of its
//! functions starts inherits the variable, but not the socket, and is no worker.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::process::{Resource, Rlimit};
use rustix::time::ClockId;
use trimtab_config::ByteSize;

use super::wire::{self, HEAD, Kind, SLACK, Terms};
use super::{Message, Uncoded, Workers};

/// Names the socket, and says how many workers stand one inside of the other. Does not begin as settings do, since what a function
/// starts inherits it, and a program refuses settings that it does not know.
pub(super) const MARK: &str = "WORKER_OF_TRIMTAB";
/// The most workers one inside of the other: a program that moves its standard input away before it serves does not know that it
/// is one, and would start workers that do not know it either.
const DEPTH_MAX: u32 = 3;
/// Terms are no message of a job.
const TERMS_MAX: usize = 16 << 20;

/// How a socket is called in the variable.
fn mark(socket: impl std::os::fd::AsFd) -> io::Result<String> {
    let stat = rustix::fs::fstat(socket)?;
    Ok(format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// What the variable says: the socket, and the depth.
fn told() -> Option<(String, u32)> {
    let variable = std::env::var(MARK).ok()?;
    let (socket, depth) = variable.split_once('/')?;
    Some((socket.to_owned(), depth.parse().ok()?))
}

/// What the variable says to a worker with this socket.
pub(super) fn variable(socket: impl std::os::fd::AsFd) -> io::Result<String> {
    let depth = told().map_or(0, |(_, depth)| depth);
    Ok(format!("{}/{}", mark(socket)?, depth + 1))
}

/// Whether this process is a worker that does not serve yet.
pub(super) fn is_worker() -> bool {
    told().is_some_and(|(socket, _)| mark(io::stdin()).is_ok_and(|mark| mark == socket))
}

/// Why this process must not start workers.
pub(super) fn check() -> Result<(), String> {
    if is_worker() {
        return Err("this process is a worker, which must not start workers; call Workers::serve first in main".into());
    }
    match told() {
        Some((_, depth)) if depth >= DEPTH_MAX => Err(format!(
            "this program was started by a worker of a worker, {depth} deep; call Workers::serve first in main, before \
             standard input is moved"
        )),
        _ => Ok(()),
    }
}

pub(super) fn serve(workers: &Workers) {
    if !is_worker() {
        return;
    }
    // The socket closes as the process ends, not before: the program takes its end for the worker's.
    let socket = take_socket();
    let served = match &socket {
        Ok(socket) => work(socket, workers),
        Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
    };
    let code = match served {
        Ok(()) => 0,
        Err(error) => {
            // Nobody else is left to tell.
            let _ = writeln!(io::stderr(), "worker {}: {error}", std::process::id());
            1
        }
    };
    std::process::exit(code);
}

/// Takes the socket away from standard input, and from whatever this process starts.
fn take_socket() -> io::Result<UnixStream> {
    let socket = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(UnixStream::from(socket))
}

fn work(socket: &UnixStream, workers: &Workers) -> io::Result<()> {
    let mut input = BufReader::with_capacity(16 << 10, socket);
    let mut output = socket;
    let Some((Kind::Terms, terms)) = read(&mut input, TERMS_MAX)? else { return Ok(()) };
    let terms: Terms = postcard::from_bytes(&terms).map_err(io::Error::other)?;
    if let Err(reason) = agree(&terms, workers) {
        let mut frame = wire::begin(Kind::Refused);
        frame.extend_from_slice(wire::shorten(&reason).as_bytes());
        return send(&mut output, frame);
    }
    send(&mut output, wire::begin(Kind::Ready))?;
    let body_max = (terms.message_max as usize).saturating_add(SLACK);
    while let Some((kind, body)) = read(&mut input, body_max)? {
        let call = wire::parse_call(&body).filter(|_| kind == Kind::Call);
        let Some((name, argument)) = call else { return Err(io::Error::other("what came is no call")) };
        send(&mut output, answer(workers, name, argument, terms.message_max))?;
    }
    Ok(())
}

/// A frame, or nothing at the end.
fn read(input: &mut impl Read, body_max: usize) -> io::Result<Option<(Kind, Vec<u8>)>> {
    let mut head = [0; HEAD];
    match input.read_exact(&mut head) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
        Err(error) => return Err(error),
    }
    let (kind, length) = wire::head(head, body_max).map_err(io::Error::other)?;
    let mut body = vec![0; length];
    input.read_exact(&mut body)?;
    Ok(Some((kind, body)))
}

fn send(output: &mut impl Write, mut frame: Vec<u8>) -> io::Result<()> {
    if !wire::finish(&mut frame) {
        return Err(io::Error::other("an answer is longer than a frame can be"));
    }
    output.write_all(&frame)
}

/// Takes the limits. An error says why this process cannot serve under them.
fn agree(terms: &Terms, workers: &Workers) -> Result<(), String> {
    let own = workers.table();
    if let Some((name, signature)) = terms.functions.iter().find(|function| !own.contains(function)) {
        return Err(format!(
            "the worker has no function \"{name}\" of type {signature}; register the same functions before serve()"
        ));
    }
    let failed = |what: &str, error: rustix::io::Errno| format!("the worker cannot {what}: {error}");
    // Closing the socket ends a worker between jobs; this one ends it inside of a job as well.
    #[cfg(target_os = "linux")]
    {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
            .map_err(|error| failed("die with the program", error))?;
        let _ = rustix::thread::set_name(c"trimtab-worker");
    }
    if terms.nice > 0 {
        rustix::process::nice(terms.nice.into()).map_err(|error| failed("step back", error))?;
    }
    limit_memory(terms.memory_limit)
        .map_err(|error| failed(&format!("be limited to {} of memory", ByteSize::b(terms.memory_limit)), error))
}

/// On Linux what the process has to write to, mapped or not yet: its address space would count what allocators and sanitizers
/// only reserve.
fn limit_memory(bytes: u64) -> rustix::io::Result<()> {
    let resource = if cfg!(target_os = "linux") { Resource::Data } else { Resource::As };
    let hard = rustix::process::getrlimit(resource).maximum;
    let bytes = hard.map_or(bytes, |hard| hard.min(bytes));
    rustix::process::setrlimit(resource, Rlimit { current: Some(bytes), maximum: Some(bytes) })
}

fn processor_time() -> u64 {
    let time = rustix::time::clock_gettime(ClockId::ProcessCPUTime);
    (time.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(time.tv_nsec as u64)
}

/// Calls a function, and makes the frame that tells what came of it.
fn answer(workers: &Workers, name: &str, argument: &[u8], message_max: u64) -> Vec<u8> {
    let before = processor_time();
    let begin = |kind| {
        let mut frame = wire::begin(kind);
        frame.extend_from_slice(&[0; 8]);
        frame
    };
    let text = |kind, text: &str| {
        let mut frame = begin(kind);
        frame.extend_from_slice(wire::shorten(text).as_bytes());
        frame
    };
    let mut frame = match workers.functions.get(name) {
        None => text(Kind::Argument, "the worker has no such function"),
        Some(function) => match catch_unwind(AssertUnwindSafe(|| (function.run)(argument, begin(Kind::Done)))) {
            Ok(Ok(frame)) => {
                let size = (frame.len() - HEAD - 8) as u64;
                if size > message_max {
                    let mut frame = begin(Kind::Oversize);
                    frame.extend_from_slice(&size.to_le_bytes());
                    frame.extend_from_slice(&message_max.to_le_bytes());
                    frame
                } else {
                    frame
                }
            }
            Ok(Err(Uncoded { message: Message::Argument, reason })) => text(Kind::Argument, &reason),
            Ok(Err(Uncoded { message: Message::Result, reason })) => text(Kind::Result, &reason),
            Err(payload) => {
                let frame = text(Kind::Panicked, &crate::error::panic_text(&*payload));
                // A payload may panic in its destructor.
                drop(catch_unwind(AssertUnwindSafe(|| drop(payload))));
                frame
            }
        },
    };
    let spent = processor_time().saturating_sub(before);
    frame[HEAD..HEAD + 8].copy_from_slice(&spent.to_le_bytes());
    frame
}
