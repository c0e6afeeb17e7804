//! What threads share of lanes, under a checker that tries every interleaving: who owns a job, where jobs lie that a runner took
//! at once, and the machine's budget. The same files as in the library, over the checker's atomics and locks.
//!
//! The future of a job is played by a cell that the checker watches: two owners at the same time, or one that does not see what
//! the other wrote, fail the model. A wake-up that is lost leaves a thread waiting, which the checker calls a deadlock.

#![allow(dead_code, unreachable_pub, reason = "the included files are used in part")]
#![allow(missing_docs, missing_debug_implementations, reason = "nothing here is public")]

use std::collections::VecDeque;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use loom::sync::{Arc, Notify};
use loom::thread;

#[path = "../src/budget.rs"]
mod budget;
#[path = "../src/lane/seat.rs"]
mod seat;
#[path = "../src/job/state.rs"]
mod state;

mod sync {
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

    /// The lock as the library's: without poison.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0.lock().unwrap()
        }
    }
}

mod clock {
    pub(crate) type Nanos = u64;
}

mod job {
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct Cost(u32, u64);

    impl Cost {
        pub(crate) const fn raw(milli: u32, memory: u64) -> Self {
            Self(milli, memory)
        }

        pub(crate) const fn milli(self) -> u32 {
            self.0
        }

        pub(crate) const fn memory_bytes(self) -> u64 {
            self.1
        }
    }
}

mod lane {
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum LaneKind {
        Io,
        Cpu,
        Memory,
    }
}

use budget::Budget;
use job::Cost;
use lane::LaneKind;
use seat::Seats;
use state::{Cancel, Park, State};

struct Job {
    state: State,
    /// Touched by the owner only. Counts polls.
    stage: UnsafeCell<u32>,
    ends: AtomicUsize,
    /// Times it was put among the ready.
    queued: AtomicUsize,
}

// SAFETY: that owners take turns at the stage is what the models verify.
#[allow(unsafe_code, reason = "the checker watches every access")]
unsafe impl Sync for Job {}
// SAFETY: see above.
#[allow(unsafe_code, reason = "the checker watches every access")]
unsafe impl Send for Job {}

/// The number of preemptions is bounded, as is usual, to keep a run within seconds.
fn check(model: impl Fn() + Sync + Send + 'static) {
    bounded(3, model);
}

fn bounded(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

impl Job {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            state: State::new(),
            stage: UnsafeCell::new(0),
            ends: AtomicUsize::new(0),
            queued: AtomicUsize::new(0),
        })
    }

    #[allow(unsafe_code, reason = "the checker watches every access")]
    fn touch(&self) {
        // SAFETY: the caller owns the job; the checker verifies it.
        self.stage.with_mut(|stage| unsafe { *stage += 1 });
    }

    fn end(&self) {
        self.touch();
        self.ends.fetch_add(1, Ordering::Relaxed);
        let _ = self.state.end();
    }

    /// A poll that is not the last.
    fn poll(&self) {
        self.touch();
        match self.state.park() {
            Park::Parked => {}
            Park::Ready => drop(self.queued.fetch_add(1, Ordering::Relaxed)),
            Park::Cancel => self.end(),
        }
    }

    fn wake(&self) {
        if self.state.wake() {
            self.queued.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
fn a_wake_up_during_a_poll_is_kept_and_queues_the_job_once() {
    check(|| {
        let job = Job::new();
        assert!(job.state.start());
        let waker = thread::spawn({
            let job = Arc::clone(&job);
            move || job.wake()
        });
        job.poll();
        waker.join().unwrap();
        assert_eq!(job.queued.load(Ordering::Relaxed), 1);
        assert!(job.state.resume());
    });
}

#[test]
fn a_cancelled_job_ends_once_whoever_has_it() {
    check(|| {
        let job = Job::new();
        assert!(job.state.start());
        let threads = [
            thread::spawn({
                let job = Arc::clone(&job);
                move || {
                    if job.state.cancel() == Cancel::Claimed {
                        job.end();
                    }
                }
            }),
            thread::spawn({
                let job = Arc::clone(&job);
                move || {
                    job.wake();
                    if job.state.resume() {
                        job.poll();
                    }
                }
            }),
        ];
        job.poll();
        for thread in threads {
            thread.join().unwrap();
        }
        // A job that was ready when it was cancelled was claimed by the canceller; nobody is left who could own it.
        assert_eq!(job.ends.load(Ordering::Relaxed), 1);
        assert!(job.state.is_ended());
        assert!(!job.state.resume() && !job.state.wake());
    });
}

#[test]
fn a_job_that_rests_is_queued_again_or_cancelled_and_never_both() {
    check(|| {
        let job = Job::new();
        assert!(job.state.start());
        let threads = [
            thread::spawn({
                let job = Arc::clone(&job);
                move || {
                    // A wake-up of the try that failed.
                    job.wake();
                    match job.state.cancel() {
                        Cancel::Claimed | Cancel::Rested => job.end(),
                        // Whoever holds the lane's lock claims it.
                        Cancel::Queued => {
                            if job.state.start() {
                                job.end();
                            }
                        }
                        Cancel::Asked | Cancel::Late => {}
                    }
                }
            }),
            thread::spawn({
                let job = Arc::clone(&job);
                move || {
                    if job.state.again() && job.state.admit() && job.state.resume() {
                        job.end();
                    }
                }
            }),
        ];
        job.touch();
        if !job.state.rest() {
            job.end();
        }
        for thread in threads {
            thread.join().unwrap();
        }
        // The timer may have rung before the job rested, and the cancel may have come before: then it still rests.
        let ends = job.ends.load(Ordering::Relaxed);
        assert_eq!(ends, usize::from(job.state.is_ended()));
        assert!(ends == 1 || job.state.is_queued() || job.state.is_ready() || job.state.is_resting());
    });
}

#[test]
fn a_ready_job_is_polled_by_its_awaiter_or_by_a_runner() {
    check(|| {
        let job = Job::new();
        assert!(job.state.admit());
        let awaiter = thread::spawn({
            let job = Arc::clone(&job);
            move || job.state.resume().then(|| job.end()).is_some()
        });
        let runner = job.state.resume().then(|| job.end()).is_some();
        assert!(runner ^ awaiter.join().unwrap());
        assert_eq!(job.ends.load(Ordering::Relaxed), 1);
    });
}

// Trays.

/// A lane cut down to what trays need: a queue, a ceiling, and who ended.
struct Books {
    queue: VecDeque<Arc<Job>>,
    running: usize,
    ceiling: usize,
    lent: usize,
    ended: usize,
    idle: Vec<usize>,
}

struct Lane {
    books: sync::Mutex<Books>,
    seats: Seats<Arc<Job>>,
    wakers: Vec<Notify>,
    jobs: usize,
}

impl Lane {
    fn new(runners: usize, ceiling: usize, jobs: usize) -> Arc<Self> {
        let books = Books { queue: VecDeque::new(), running: 0, ceiling, lent: 0, ended: 0, idle: Vec::new() };
        Arc::new(Self {
            books: sync::Mutex::new(books),
            seats: Seats::new(runners),
            wakers: (0..runners).map(|_| Notify::new()).collect(),
            jobs,
        })
    }

    /// As `Inner::submit` where the ceiling is reached or others are queued: a runner looks whenever it might find a permit.
    fn submit(&self, job: &Arc<Job>) {
        let woken = {
            let mut books = self.books.lock();
            books.queue.push_back(Arc::clone(job));
            let may = books.running < books.ceiling || books.lent > 0;
            if may { books.idle.pop() } else { None }
        };
        if let Some(seat) = woken {
            self.wakers[seat].notify();
        }
    }

    fn reap(&self, books: &mut Books) -> bool {
        let before = books.ended;
        for seat in &self.seats.all {
            for job in seat.tray.lock().ended() {
                assert!(job.state.is_ended());
                books.running -= 1;
                books.ended += 1;
            }
        }
        books.ended > before
    }

    fn choose(books: &mut Books) -> Option<Arc<Job>> {
        if books.running >= books.ceiling {
            return None;
        }
        let job = books.queue.pop_front()?;
        if job.state.is_ready() {
            // It came back from a tray, with its permit.
            return Some(job);
        }
        assert!(job.state.admit());
        books.running += 1;
        assert!(books.running <= books.ceiling, "the ceiling holds");
        Some(job)
    }

    /// As `Inner::next`: the tray is taken back, a job is chosen, or stolen, and the tray filled again.
    fn next(&self, seat: usize) -> Option<Arc<Job>> {
        let mut books = self.books.lock();
        {
            let mut tray = self.seats.all[seat].tray.lock();
            books.lent -= usize::from(tray.unlend());
            let back: Vec<_> = tray.unpolled().collect();
            for job in back {
                books.queue.push_front(job);
            }
            for _ in tray.ended() {
                books.running -= 1;
                books.ended += 1;
            }
        }
        let mut chosen = Self::choose(&mut books);
        if chosen.is_none() && books.lent > 0 {
            if self.reap(&mut books) {
                chosen = Self::choose(&mut books);
            }
            if chosen.is_none()
                && let Some((first, lends)) = self.seats.steal(seat)
            {
                books.lent += usize::from(lends);
                chosen = Some(first);
            }
        }
        if chosen.is_none() {
            books.idle.push(seat);
            return None;
        }
        let more: Vec<_> = std::iter::from_fn(|| Self::choose(&mut books)).take(1).collect();
        let lends = self.seats.all[seat].tray.lock().fill(more.into_iter());
        books.lent += usize::from(lends);
        chosen
    }

    /// A runner that polls what it finds until nothing is left. True if it polled this many.
    fn run(&self, seat: usize) -> usize {
        let (mut polled, mut last) = (0, None);
        loop {
            let next = self.seats.take(seat, last.take(), |_| 2).or_else(|| self.next(seat));
            let Some(job) = next else { return polled };
            if job.state.resume() {
                job.end();
                polled += 1;
                last = Some((job, 1));
            }
        }
    }
}

#[test]
fn jobs_on_trays_are_polled_once_by_whoever_finds_them_and_the_ceiling_holds() {
    check(|| {
        let jobs: Vec<_> = (0..3).map(|_| Job::new()).collect();
        let lane = Lane::new(2, 2, jobs.len());
        for job in &jobs {
            lane.submit(job);
        }
        let runner = thread::spawn({
            let lane = Arc::clone(&lane);
            move || lane.run(1)
        });
        let polled = lane.run(0) + runner.join().unwrap();
        // One that found nothing may have left before the other gave its permits back.
        let late = lane.run(0);
        assert_eq!(polled + late, 3);
        assert!(jobs.iter().all(|job| job.ends.load(Ordering::Relaxed) == 1));
        let books = lane.books.lock();
        assert_eq!((books.running, books.ended, books.queue.len()), (0, 3, 0));
    });
}

#[test]
fn a_job_that_comes_as_the_runner_goes_to_sleep_is_not_left_behind() {
    check(|| {
        let jobs = [Job::new(), Job::new()];
        let lane = Lane::new(1, 1, 2);
        let runner = thread::spawn({
            let lane = Arc::clone(&lane);
            move || {
                let mut polled = 0;
                while polled < lane.jobs {
                    polled += lane.run(0);
                    if polled < lane.jobs {
                        lane.wakers[0].wait();
                    }
                }
            }
        });
        for job in &jobs {
            lane.submit(job);
        }
        runner.join().unwrap();
        assert!(jobs.iter().all(|job| job.ends.load(Ordering::Relaxed) == 1));
    });
}

#[test]
fn a_permit_on_the_tray_of_a_runner_whose_job_lasts_is_found_by_another() {
    check(|| {
        // The first has ended and lies on the tray of a runner whose second job waits for the third to run.
        let jobs: Vec<_> = (0..3).map(|_| Job::new()).collect();
        let lane = Lane::new(2, 2, 3);
        lane.submit(&jobs[0]);
        lane.submit(&jobs[1]);
        let first = lane.next(0).unwrap();
        assert!(first.state.resume());
        first.end();
        let second = lane.seats.take(0, Some((first, 1)), |_| 2).unwrap();
        assert!(second.state.resume());
        lane.books.lock().idle.push(1);
        let third = Arc::new(Notify::new());
        let lasting = thread::spawn({
            let (lane, third) = (Arc::clone(&lane), Arc::clone(&third));
            move || {
                third.wait();
                second.end();
                assert!(lane.seats.take(0, Some((second, 1)), |_| 2).is_none());
            }
        });
        let other = thread::spawn({
            let (lane, third) = (Arc::clone(&lane), Arc::clone(&third));
            move || {
                lane.wakers[1].wait();
                assert_eq!(lane.run(1), 1);
                third.notify();
            }
        });
        lane.submit(&jobs[2]);
        lasting.join().unwrap();
        other.join().unwrap();
        lane.run(1);
        lane.run(0);
        assert!(jobs.iter().all(|job| job.ends.load(Ordering::Relaxed) == 1));
        assert_eq!(lane.books.lock().running, 0);
    });
}

// The machine's budget.

/// What lanes do: each takes for a job, waits where it must, gives back, and tells whom it may concern.
struct Machine {
    budget: Budget,
    total: u64,
    inside: AtomicU64,
    wakers: [Notify; 3],
}

impl Machine {
    fn new(total: Cost) -> Arc<Self> {
        let wakers = std::array::from_fn(|_| Notify::new());
        let all = total.memory_bytes();
        Arc::new(Self { budget: Budget::new(total), total: all, inside: AtomicU64::new(0), wakers })
    }

    fn nudge(&self, lane: Option<LaneKind>) {
        if let Some(lane) = lane {
            self.wakers[lane as usize].notify();
        }
    }

    fn take(&self, lane: LaneKind, cost: Cost) {
        let mut blocked = false;
        while !self.budget.take(lane, cost) {
            blocked = true;
            self.wakers[lane as usize].wait();
        }
        if blocked {
            self.nudge(self.budget.leave(lane).or_else(|| self.budget.next()));
        }
        let inside = self.inside.fetch_add(cost.memory_bytes(), Ordering::Relaxed) + cost.memory_bytes();
        assert!(inside <= self.total, "{inside} of {}", self.total);
    }

    fn release(&self, cost: Cost) {
        self.inside.fetch_sub(cost.memory_bytes(), Ordering::Relaxed);
        self.nudge(self.budget.release(cost));
    }

    fn settled(&self) {
        let (total, used, peak) = self.budget.usage();
        assert_eq!(used, memory(0));
        assert!(peak.memory_bytes() <= total.memory_bytes() && peak.milli() <= total.milli());
        assert_eq!(self.budget.next(), None);
    }

    fn job(machine: &Arc<Self>, lane: LaneKind, cost: Cost) -> thread::JoinHandle<()> {
        let machine = Arc::clone(machine);
        thread::spawn(move || {
            machine.take(lane, cost);
            machine.release(cost);
        })
    }
}

fn memory(bytes: u64) -> Cost {
    Cost::raw(0, bytes)
}

#[test]
fn what_is_admitted_never_exceeds_the_budget_and_who_waits_is_told() {
    bounded(1, || {
        let machine = Machine::new(memory(2));
        machine.take(LaneKind::Io, memory(2));
        let lanes =
            [Machine::job(&machine, LaneKind::Cpu, memory(2)), Machine::job(&machine, LaneKind::Memory, memory(1))];
        machine.release(memory(2));
        for lane in lanes {
            lane.join().unwrap();
        }
        machine.settled();
    });
}

#[test]
fn jobs_of_one_resource_and_of_two_share_the_budget() {
    bounded(1, || {
        let machine = Machine::new(Cost::raw(1, 2));
        let both = Machine::job(&machine, LaneKind::Cpu, Cost::raw(1, 2));
        machine.take(LaneKind::Memory, memory(1));
        machine.release(memory(1));
        both.join().unwrap();
        machine.settled();
    });
}

#[test]
fn a_large_job_of_one_lane_is_not_overtaken_by_small_ones_of_another() {
    check(|| {
        let budget = Budget::new(memory(2));
        assert!(budget.take(LaneKind::Io, memory(1)));
        assert!(!budget.take(LaneKind::Cpu, memory(2)));
        assert!(!budget.take(LaneKind::Io, memory(1)), "there is room, but the other lane was first");
        assert_eq!(budget.release(memory(1)), Some(LaneKind::Cpu));
        assert!(budget.take(LaneKind::Cpu, memory(2)));
        assert_eq!(budget.release(memory(2)), Some(LaneKind::Io));
        assert_eq!(budget.leave(LaneKind::Io), None);
        assert_eq!(budget.usage(), (memory(2), memory(0), memory(2)));
    });
}

#[test]
fn a_lane_that_no_longer_waits_lets_the_next_one_look() {
    check(|| {
        let budget = Budget::new(memory(2));
        assert!(!budget.take(LaneKind::Io, memory(3)));
        assert!(!budget.take(LaneKind::Cpu, memory(2)));
        assert_eq!(budget.leave(LaneKind::Io), Some(LaneKind::Cpu));
        assert!(budget.take(LaneKind::Cpu, memory(2)));
    });
}
