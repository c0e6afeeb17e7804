//! Runners: tasks of tokio, or threads, that poll the jobs of a lane.
//!
//! A task gives way to other tasks after [`SLICE`] jobs, after [`SLICE_TIME`], or when tokio's own budget for the task is spent;
//! so a busy lane is one neighbour among many. A job is polled to its next await and never moved between runners within a
//! poll. A panic is the job's result; a runner does not end by it.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use tokio::runtime;

use super::inner::Next;
use super::{Executor, Lane, Refusal};
use crate::clock::{self, Nanos};
use crate::error::Cancellation;
use crate::estimate::Taken;
use crate::job::Outcome;
use crate::job::cell::Task;
use crate::job::head::Head;
use crate::job::state::Park;

/// Jobs that a runner polls before it gives way.
const SLICE: u32 = 32;
/// Time after which it gives way.
const SLICE_TIME: Nanos = 100_000;

/// Starts the runners of these seats.
pub(super) fn spawn(lane: &Arc<Lane>, seats: std::ops::Range<usize>) {
    match &lane.executor {
        Executor::Tasks(runtime) => {
            for seat in seats {
                drop(runtime.spawn(Runner::new(lane, seat)));
            }
        }
        Executor::Threads { .. } => {
            for seat in seats {
                spawn_thread(lane, seat);
            }
        }
    }
}

enum Turn {
    Ran,
    Idle,
    Exit,
}

/// One runner. As a future, it is a task.
struct Runner {
    lane: Arc<Lane>,
    seat: usize,
    /// The job that ended in the turn before, and how long the poll took.
    last: Option<(Arc<dyn Task>, Nanos)>,
    /// Off the books, and to be dropped.
    gone: Vec<Arc<dyn Task>>,
    now: Nanos,
    exited: bool,
}

/// Lets go of jobs; if that frees their results, foreign code runs, and may panic.
pub(super) fn forget(gone: &mut Vec<Arc<dyn Task>>) {
    for task in gone.drain(..) {
        // What a destructor says in its panic is nobody's result any more.
        drop(catch_unwind(AssertUnwindSafe(|| drop(task))));
    }
}

impl Runner {
    fn new(lane: &Arc<Lane>, seat: usize) -> Self {
        Self { lane: Arc::clone(lane), seat, last: None, gone: Vec::new(), now: 0, exited: false }
    }

    /// Polls one job.
    fn turn(&mut self) -> Turn {
        let next = match self.take_from_tray() {
            Some(task) => Next::Run(task),
            None => self.lane.next(self.seat, self.now, &mut self.gone),
        };
        forget(&mut self.gone);
        match next {
            Next::Run(task) => {
                self.run(task);
                Turn::Ran
            }
            Next::Idle => Turn::Idle,
            Next::Exit => Turn::Exit,
        }
    }

    /// Lays down what has ended, and takes what is next, if nothing more important waits in the lane.
    fn take_from_tray(&mut self) -> Option<Arc<dyn Task>> {
        self.lane.seats.take(self.seat, self.last.take(), |task| task.head().priority as u8)
    }

    fn run(&mut self, task: Arc<dyn Task>) {
        let head = task.head();
        if !head.state().resume() {
            // Its awaiter was faster, or somebody cancelled it.
            self.gone.push(task);
            return;
        }
        let before = self.now;
        if head.started.load(Relaxed) == 0 {
            // A clock that was read before the submission must not start a job before it came.
            head.started.store(before.max(head.submitted.load(Relaxed)), Relaxed);
        }
        if self.lane.poll(&task, &mut self.now) {
            self.last = Some((task, self.now.saturating_sub(before)));
        }
    }

    /// Leaves the books in order before others run.
    fn give_way(&mut self) {
        {
            let mut tray = self.lane.seats.all[self.seat].tray.lock();
            if let Some((last, busy)) = self.last.take() {
                tray.lay(last, busy);
            }
            if tray.is_empty() {
                return;
            }
        }
        self.lane.clear_tray(self.seat, &mut self.gone);
        forget(&mut self.gone);
    }
}

impl Lane {
    /// Polls a job that the caller owns. True if it has ended, and is still on the books.
    fn poll(self: &Arc<Self>, task: &Arc<dyn Task>, now: &mut Nanos) -> bool {
        let head = task.head();
        if head.state().is_cancelled() {
            // Somebody asked for it as it came off the queue.
            head.note_end(*now);
            Refusal::Cancelled(self.cause().unwrap_or(Cancellation::Asked)).tell(&**task);
            return true;
        }
        let before = *now;
        // A closure may wait; a future gives way when it does, and the time of its polls is good enough.
        let counts = head.kind.is_some() && matches!(self.executor, Executor::Threads { .. });
        let on_processor = if counts { clock::on_processor() } else { None };
        let polled = Arc::clone(task).step();
        let Poll::Ready(outcome) = polled else {
            *now = self.clock.now();
            head.busy.fetch_add(now.saturating_sub(before), Relaxed);
            return match head.extra.as_ref().and_then(|extra| extra.take_rest()) {
                None => self.pend(task, *now),
                Some(rest) => self.pause(task, rest, *now),
            };
        };
        *now = head.ended();
        // What was refused by the workers took nothing, and teaches nothing.
        if let Some(kind) = &head.kind
            && outcome != Outcome::Rejected
        {
            let spent = match (on_processor, counts.then(clock::on_processor).flatten()) {
                (Some(before), Some(now)) => now.saturating_sub(before),
                _ => now.saturating_sub(before),
            };
            let busy = head.busy.load(Relaxed) + spent;
            #[cfg(feature = "process")]
            let busy = busy + head.spent_elsewhere();
            let run = now.saturating_sub(head.started.load(Relaxed));
            let failed = matches!(outcome, Outcome::Failed | Outcome::Panicked);
            kind.learn(Taken { run, busy, memory: None, failed });
        }
        true
    }

    /// A job waits. It is on the books before it can be woken, so that an abort finds it. True if it has ended instead.
    fn pend(self: &Arc<Self>, task: &Arc<dyn Task>, now: Nanos) -> bool {
        let head = task.head();
        let by = match self.keep(task) {
            Err(by) => by,
            Ok(()) => match head.state().park() {
                Park::Parked => return false,
                Park::Ready => {
                    self.ready(Arc::clone(task));
                    return false;
                }
                Park::Cancel => self.cause().unwrap_or(Cancellation::Asked),
            },
        };
        head.note_end(now);
        Refusal::Cancelled(by).tell(&**task);
        true
    }

    /// A try has failed, and another follows. True if the job has ended instead.
    #[cold]
    fn pause(self: &Arc<Self>, task: &Arc<dyn Task>, rest: Duration, now: Nanos) -> bool {
        let head = task.head();
        if let Some(kind) = &head.kind {
            let run = now.saturating_sub(head.started.load(Relaxed));
            kind.learn(Taken { run, busy: head.busy.load(Relaxed), memory: None, failed: true });
        }
        let Err(by) = self.rest(task, rest, now) else { return false };
        let by = self.cause().unwrap_or(by);
        head.note_end(now);
        Refusal::Cancelled(by).tell(&**task);
        true
    }

    /// Lets the task that awaits a job poll it, if the job is ready, may run here, and the stack is shallow: two changes of
    /// tasks are saved where nobody else has taken the job yet.
    #[inline]
    pub(crate) fn help(self: &Arc<Self>, head: &Head, task: impl FnOnce() -> Arc<dyn Task>) {
        let Executor::Tasks(runtime) = &self.executor else { return };
        if !head.state().is_ready() {
            return;
        }
        let here = runtime::Handle::try_current();
        let depth = DEPTH.get();
        if depth >= DEPTH_MAX || !here.is_ok_and(|here| here.id() == runtime.id()) || !head.state().resume() {
            return;
        }
        DEPTH.set(depth + 1);
        let task = task();
        // Only what learns needs the time of the start.
        let mut now = if head.kind.is_some() { self.clock.now() } else { head.started.load(Relaxed) };
        let before = now;
        if self.poll(&task, &mut now) {
            self.retire_helped(head);
            if CREDIT.get() == 0 && now.saturating_sub(before) < SHORT {
                CREDIT.set(CREDIT_MAX);
            }
        }
        DEPTH.set(depth);
    }
}

thread_local! {
    /// Jobs being polled by those who await them, one inside the other.
    static DEPTH: Cell<u8> = const { Cell::new(0) };
    static CREDIT: Cell<u8> = const { Cell::new(0) };
}

/// Whether the jobs that this thread polled for those who await them were short, so that the next counts as part of the same
/// turn.
pub(crate) fn is_short() -> bool {
    let credit = CREDIT.get();
    CREDIT.set(credit.saturating_sub(1));
    credit > 0
}

/// A job that takes less than this is short.
const SHORT: Nanos = 1_000;
/// So many jobs are counted with a short one.
const CREDIT_MAX: u8 = 3;

/// So many: a job that awaits jobs that await jobs must not exhaust the stack.
const DEPTH_MAX: u8 = 4;

impl Drop for Runner {
    fn drop(&mut self) {
        self.give_way();
        if !self.exited {
            // The runtime ends, and with it every task: nobody polls this lane any more.
            self.lane.runtime_ended();
        }
    }
}

impl Future for Runner {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let seat = self.seat;
        self.lane.seats.all[seat].waker.get_or_init(|| context.waker().clone());
        self.now = self.lane.clock.now();
        let until = self.now + SLICE_TIME;
        for _ in 0..SLICE {
            match self.turn() {
                Turn::Ran => {}
                Turn::Idle => return Poll::Pending,
                Turn::Exit => {
                    self.exited = true;
                    return Poll::Ready(());
                }
            }
            if self.now >= until || !tokio::task::coop::has_budget_remaining() {
                break;
            }
        }
        self.give_way();
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Wakes a thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

fn spawn_thread(lane: &Arc<Lane>, seat: usize) {
    let Executor::Threads { scheduler, .. } = &lane.executor else { return };
    let mut runner = Runner::new(lane, seat);
    // The runner ends in order whether its thread could be started or not.
    runner.exited = true;
    let name = format!("{scheduler}-cpu-{seat}");
    let spawned = thread::Builder::new().name(name).spawn(move || run_thread(runner));
    if let Err(error) = spawned {
        tracing::error!(%error, seat, "a thread of the cpu lane could not be started");
        if seat == 0 {
            // There is no other thread on which its jobs could wait.
            lane.runtime_ended();
        }
    }
}

fn run_thread(mut runner: Runner) {
    let lane = Arc::clone(&runner.lane);
    let Executor::Threads { runtime, nice, .. } = &lane.executor else { return };
    step_back(*nice);
    let _inside = runtime.enter();
    lane.seats.all[runner.seat].waker.get_or_init(|| Waker::from(Arc::new(Unpark(thread::current()))));
    runner.now = lane.clock.now();
    loop {
        match runner.turn() {
            Turn::Ran => {}
            Turn::Idle => {
                thread::park();
                runner.now = lane.clock.now();
            }
            Turn::Exit => return,
        }
    }
}

/// Lets the processor prefer others, where the system can say so for one thread.
#[cfg(target_os = "linux")]
fn step_back(nice: u8) {
    if nice > 0
        && let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), i32::from(nice))
    {
        tracing::warn!(%error, nice, "a thread of the cpu lane keeps its priority");
    }
}

#[cfg(not(target_os = "linux"))]
fn step_back(_: u8) {}
