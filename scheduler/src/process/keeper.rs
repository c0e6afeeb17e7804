//! A thread that keeps one worker process: starts it, gives it jobs, and ends it.
//!
//! Only the keeper touches the process, so nobody kills a number that another process has by now, and none is left unreaped.
//! Blocking is what threads are for: no job waits on tokio's workers for a slow start, and the time limit of a job holds when
//! the runtime is busy. The kernel ends the process with the thread that started it, which is why that thread lives as long.

use std::ffi::OsString;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::process::{Pid, Signal};

use super::channel::{Broken, Channel, Woken};
use super::child::{MARK, variable};
use super::pool::{Dismissal, Gone, Order, Pool, Worker};
use super::wire::{self, HEAD, Kind, SLACK, Terms};
use super::{Death, ProcessFault, Workers};
use crate::manners::clock::FOREVER;

/// How long a worker without work may take to end by itself.
const RETIRE_MAX: Duration = Duration::from_secs(1);

fn after(time: Duration) -> Instant {
    Instant::now() + time.min(FOREVER)
}

/// Keeps a worker for this job and those that follow.
pub(super) fn keep(pool: &Arc<Pool>, worker: &Arc<Worker>, bell: &UnixStream, first: Order) {
    let mut next = Some(first);
    while let Some(order) = next.take() {
        let process = match Process::start(&pool.workers, worker, bell) {
            Ok(process) => process,
            Err(failed) => {
                let fault = match failed {
                    Failed::Stopped => ProcessFault::Closed,
                    Failed::Because(reason) => pool.start_failed(reason),
                };
                pool.gone(worker, Gone::Unborn);
                order.answer(Err(fault));
                return;
            }
        };
        pool.started();
        next = process.serve(pool, worker, order);
    }
}

/// Why there is no process.
enum Failed {
    /// Nobody wants it any more.
    Stopped,
    Because(String),
}

/// What comes after a job.
enum Next {
    Order(Order),
    Over(Gone),
}

struct Process<'a> {
    child: Child,
    channel: Channel<'a>,
    ended: Option<Death>,
}

/// This program, even where its file was replaced since.
fn program() -> io::Result<std::path::PathBuf> {
    let own = Path::new("/proc/self/exe");
    if cfg!(target_os = "linux") && own.exists() { Ok(own.into()) } else { std::env::current_exe() }
}

fn spawn(workers: &Workers) -> io::Result<(Child, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let inherited = || io::stderr().as_fd().try_clone_to_owned().map_or_else(|_| Stdio::null(), Stdio::from);
    let output = || if workers.silent { Stdio::null() } else { inherited() };
    let name = std::env::args_os().next().unwrap_or_else(|| OsString::from("worker"));
    // The command owns their end: with it, ours is the only one left in this process.
    let child = Command::new(program()?)
        .arg0(name)
        .args(&workers.arguments)
        .env(MARK, variable(&theirs)?)
        .stdin(OwnedFd::from(theirs))
        .stdout(output())
        .stderr(output())
        .process_group(0)
        .spawn()?;
    Ok((child, ours))
}

impl<'a> Process<'a> {
    /// Starts one, and waits until it serves.
    fn start(workers: &Workers, worker: &Worker, bell: &'a UnixStream) -> Result<Self, Failed> {
        let until = after(worker.settings.start_timeout.get());
        if worker.is_stopped() {
            return Err(Failed::Stopped);
        }
        let (child, socket) = spawn(workers).map_err(|error| Failed::Because(error.to_string()))?;
        let mut process = Self { child, channel: Channel { socket, bell }, ended: None };
        let settings = &worker.settings;
        let terms = Terms {
            memory_limit: settings.memory_limit.as_u64(),
            message_max: settings.message_max.as_u64(),
            nice: settings.nice,
            functions: workers.table(),
        };
        let stopped = || worker.is_stopped();
        let said = postcard::to_extend(&terms, wire::begin(Kind::Terms))
            .map_err(|error| Broken::Garbled(error.to_string()))
            .and_then(|mut frame| {
                wire::finish(&mut frame);
                process.channel.send(&frame, until, &stopped)
            })
            .and_then(|()| process.channel.receive(SLACK, until, &stopped));
        let pid = process.child.id();
        let reason = match said {
            Ok((Kind::Ready, _)) => return Ok(process),
            Ok((Kind::Refused, frame)) => String::from_utf8_lossy(&frame[HEAD..]).into_owned(),
            Ok((kind, _)) => format!("process {pid} began with {kind:?}"),
            Err(Broken::Stopped) => {
                process.kill();
                return Err(Failed::Stopped);
            }
            Err(Broken::Closed) => {
                let death = process.kill();
                let remedy = "does main come as far as Workers::serve, and is memory_limit enough to start?";
                return Err(Failed::Because(format!("process {pid} {death} before it served; {remedy}")));
            }
            Err(Broken::Late) => format!(
                "process {pid} did not serve within {}; call Workers::serve first in main, or raise \
                 scheduler.workers.start_timeout",
                settings.start_timeout
            ),
            Err(Broken::Garbled(reason)) => format!("process {pid} made no sense: {reason}"),
        };
        process.kill();
        Err(Failed::Because(reason))
    }

    /// Serves until the process is gone. If it was found dead before it had a job that has come: that job.
    fn serve(mut self, pool: &Pool, worker: &Arc<Worker>, first: Order) -> Option<Order> {
        let settings = &worker.settings;
        let mut order = first;
        let mut served = 0;
        let gone = loop {
            let stays = if worker.is_stopped() {
                // Nobody waits for a job that was cancelled before the worker had it.
                order.answer(Err(ProcessFault::Closed));
                pool.rest(worker)
            } else {
                match self.ask(&order, worker) {
                    Ok(answer) => {
                        served += 1;
                        // First among the idle, then the answer: whoever gets it may hand over the next job at once.
                        let stays = served < settings.jobs_max && pool.rest(worker);
                        order.answer(Ok(answer));
                        stays
                    }
                    Err(broken) => {
                        let (fault, gone) = self.end_after(broken, &order, worker);
                        pool.gone(worker, gone);
                        order.answer(Err(fault));
                        return None;
                    }
                }
            };
            if !stays {
                break self.part(worker);
            }
            order = match self.idle(pool, worker) {
                Next::Order(order) => order,
                Next::Over(gone) => break gone,
            };
            if self.has_died() {
                pool.died_idle();
                return Some(order);
            }
        };
        pool.gone(worker, gone);
        None
    }

    /// One job.
    fn ask(&self, order: &Order, worker: &Worker) -> Result<(Kind, Vec<u8>), Broken> {
        let until = after(order.timeout);
        let stopped = || worker.is_stopped();
        self.channel.send(&order.frame, until, &stopped)?;
        let body_max = (worker.settings.message_max.as_u64() as usize).saturating_add(SLACK);
        let (kind, frame) = self.channel.receive(body_max, until, &stopped)?;
        if kind.is_answer() && wire::parse_answer(&frame[HEAD..]).is_some() {
            Ok((kind, frame))
        } else {
            Err(Broken::Garbled(format!("a frame of kind {kind:?} in place of an answer")))
        }
    }

    /// Ends the process after a job that it did not answer, and says why it did not.
    fn end_after(&mut self, broken: Broken, order: &Order, worker: &Worker) -> (ProcessFault, Gone) {
        let pid = self.child.id();
        let death = self.kill();
        match broken {
            Broken::Stopped => (ProcessFault::Closed, Gone::Cancelled),
            Broken::Late => (ProcessFault::TimedOut { pid, timeout: order.timeout }, Gone::TimedOut),
            Broken::Garbled(reason) => (ProcessFault::Garbled { pid, reason }, Gone::Crashed),
            Broken::Closed => {
                let memory_limit = worker.settings.memory_limit;
                (ProcessFault::Died { pid, death, memory_limit }, Gone::Crashed)
            }
        }
    }

    /// Waits for the next job, or for the end.
    fn idle(&mut self, pool: &Pool, worker: &Arc<Worker>) -> Next {
        let until = after(worker.settings.idle_max.get());
        loop {
            let left = match self.channel.wait(PollFlags::IN, until) {
                Ok(Woken::Bell) => {
                    let mut desk = worker.desk.lock();
                    if let Some(order) = desk.order.take() {
                        return Next::Order(order);
                    }
                    if desk.dismissed.is_none() {
                        continue;
                    }
                    drop(desk);
                    return Next::Over(self.part(worker));
                }
                Ok(Woken::Late) => pool.leave(worker),
                // Without a job it has nothing to say: it died.
                Ok(Woken::Socket) | Err(_) => {
                    let order = pool.leave(worker);
                    self.kill();
                    if order.is_none() {
                        return Next::Over(Gone::Crashed);
                    }
                    order
                }
            };
            return left.map_or_else(|| Next::Over(self.part(worker)), Next::Order);
        }
    }

    /// Sends a worker away that has no job: it ends by itself, unless it takes too long for that.
    fn part(&mut self, worker: &Worker) -> Gone {
        // A worker that is not there any more needs no goodbye.
        let _ = self.channel.socket.shutdown(Shutdown::Write);
        let until = after(RETIRE_MAX);
        while !worker.is_stopped() && matches!(self.channel.wait(PollFlags::IN, until), Ok(Woken::Bell)) {}
        self.kill();
        if worker.desk.lock().dismissed == Some(Dismissal::Kill) { Gone::Closed } else { Gone::Retired }
    }

    fn has_died(&mut self) -> bool {
        let died = self.ended.is_some() || !matches!(self.child.try_wait(), Ok(None));
        if died {
            self.kill();
        }
        died
    }

    /// Kills the process and what it has started, and reaps it; says how it ended, which may have been before.
    fn kill(&mut self) -> Death {
        if let Some(death) = self.ended {
            return death;
        }
        // While it was not waited for, its number is its own, and that of its group.
        if let Ok(None) = self.child.try_wait() {
            let _ = rustix::process::kill_process_group(Pid::from_child(&self.child), Signal::KILL);
            let _ = self.child.kill();
        }
        let death = self.child.wait().map_or(Death::Signal(Signal::KILL.as_raw()), Death::of);
        self.ended = Some(death);
        death
    }
}

impl Drop for Process<'_> {
    fn drop(&mut self) {
        self.kill();
    }
}
