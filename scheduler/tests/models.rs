//! Who owns a job, under a checker that tries every interleaving: the same file as in the library, over the checker's atomics.
//!
//! The future of a job is played by a cell that the checker watches: two owners at the same time, or one that does not see what
//! the other wrote, fail the model.

#![allow(dead_code, unreachable_pub, reason = "the included file is used in part")]
#![allow(missing_docs, missing_debug_implementations, reason = "nothing here is public")]

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

#[path = "../src/job/state.rs"]
mod state;

mod sync {
    pub(crate) use loom::sync::atomic::{AtomicU8, Ordering};
}

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
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
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
