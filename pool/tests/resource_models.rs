//! The resource pool under a checker that tries every interleaving of those who use it.
//!
//! The same files as in the library: rules, queue, ledger, lock, the caller's future and its lease. Only the pool's tasks are
//! played, by a thread of the checker for each job, since the checker knows no runtime; what real tasks do is in
//! `resource.rs`. Each model ends with the books: every resource in one place, nobody waiting, no more alive than counted.

#![allow(dead_code, unused_imports, unreachable_pub, reason = "the included files are used in part")]
#![allow(
    clippy::unnecessary_wraps,
    clippy::unused_self,
    clippy::reversed_empty_ranges,
    reason = "the checker's lock is simpler"
)]
#![allow(missing_docs, missing_debug_implementations, reason = "nothing here is public")]

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use tokio::runtime::Runtime;
use tokio::time::Instant;
pub use trimtab_pool::PoolSettings;

#[path = "../src/demand.rs"]
mod demand;
#[path = "../src/error.rs"]
mod error;
#[path = "../src/histogram.rs"]
mod histogram;
#[path = "../src/leak.rs"]
mod leak;
#[path = "../src/manager.rs"]
mod manager;
#[path = "../src/random.rs"]
mod random;

#[path = "../src/resource"]
mod resource {
    mod acquire;
    pub(crate) mod breaker;
    pub(crate) mod core;
    mod lease;
    pub(crate) mod shared;
    pub(crate) mod waiters;

    pub(crate) use acquire::Acquire;
    pub(crate) use lease::Lease;

    /// The pool's tasks, as threads of the checker.
    pub(crate) mod jobs {
        use super::super::*;
        use super::core::{Core, Entry, Job};
        use super::shared::Shared;

        pub(crate) fn start<M: Manager>(shared: &Arc<Shared<M>>, job: Job<M::Resource>) {
            let shared = shared.clone();
            spawn(move || match job {
                Job::Create => {
                    let generation = shared.core().generation();
                    match now(shared.manager.create()) {
                        Ok(resource) => shared.event(|core| core.created(resource, generation, Instant::now())),
                        Err(error) => shared.event(|core| core.create_failed(Arc::new(error), Instant::now())),
                    }
                }
                Job::Check(entry) => check(&shared, entry),
                Job::Close(entry) => {
                    now(shared.manager.close(entry.resource));
                    shared.event(|core| core.closed(Instant::now()));
                }
            });
        }

        pub(crate) fn recycle<M: Manager>(shared: &Arc<Shared<M>>, entry: Box<Entry<M::Resource>>) {
            let shared = shared.clone();
            spawn(move || check(&shared, entry));
        }

        fn check<M: Manager>(shared: &Arc<Shared<M>>, mut entry: Box<Entry<M::Resource>>) {
            match now(shared.manager.check(&mut entry.resource)) {
                Ok(()) => shared.event(|core| core.checked(entry, Instant::now())),
                Err(_) => shared.event(|core| core.check_failed(entry, Instant::now())),
            }
        }
    }
}

mod clock {
    pub(crate) fn tick() -> Option<i64> {
        None
    }
}

mod config {
    pub(crate) use trimtab_pool::PoolSettings;

    pub(crate) const FOREVER: std::time::Duration = super::FOREVER;
}

mod metrics {
    #[derive(Default)]
    pub(crate) struct Meters(());
}

mod sync {
    pub(crate) use loom::sync::MutexGuard;

    pub(crate) const SPINS: u32 = 0;

    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap()
        }

        /// One way to the lock is enough for the checker.
        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            Some(self.lock())
        }

        pub(crate) fn is_locked(&self) -> bool {
            true
        }
    }
}

use error::AcquireError;
use manager::{Fate, Manager};
use resource::breaker::Rule;
use resource::core::{Core, Limits};
use resource::shared::{Parts, Shared, StepLimits};
use resource::{Acquire, Lease};

/// Longer than any run of the checker, so that no reading of the clock decides anything.
const FOREVER: Duration = Duration::from_secs(60 * 60 * 24 * 365);

thread_local! {
    /// The jobs of the model that runs on this thread.
    static JOBS: RefCell<Vec<thread::JoinHandle<()>>> = const { RefCell::new(Vec::new()) };
    /// While a pool is prepared its jobs are done at once: the checker has five threads for each run.
    static PREPARING: Cell<bool> = const { Cell::new(false) };
}

fn spawn(job: impl FnOnce() + 'static) {
    if PREPARING.get() {
        return job();
    }
    let job = thread::spawn(job);
    JOBS.with_borrow_mut(|jobs| jobs.push(job));
}

/// Waits for all jobs, and those that they started.
fn finish() {
    while let Some(job) = JOBS.with_borrow_mut(Vec::pop) {
        job.join().unwrap();
    }
}

/// What a future of a step answers, which never waits here.
fn now<T>(step: impl Future<Output = T>) -> T {
    match pin!(step).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("a step of this manager never waits"),
    }
}

/// What exists, and how the steps go.
struct World {
    alive: AtomicUsize,
    most: usize,
    creates: bool,
    /// How many checks will fail.
    failing: AtomicUsize,
    fate: Fate,
}

struct Thing(Arc<World>);

impl Drop for Thing {
    fn drop(&mut self) {
        self.0.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Things(Arc<World>);

impl Manager for Things {
    type Resource = Thing;
    type Error = fmt::Error;

    async fn create(&self) -> Result<Thing, fmt::Error> {
        if !self.0.creates {
            return Err(fmt::Error);
        }
        assert!(self.0.alive.fetch_add(1, Ordering::Relaxed) < self.0.most, "more than the limit");
        Ok(Thing(self.0.clone()))
    }

    async fn check(&self, _: &mut Thing) -> Result<(), fmt::Error> {
        let less = |failing: usize| failing.checked_sub(1);
        match self.0.failing.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) {
            Ok(_) => Err(fmt::Error),
            Err(_) => Ok(()),
        }
    }

    fn returned(&self, _: &mut Thing) -> Fate {
        self.0.fate
    }
}

type Pool = Arc<Shared<Things>>;

/// How a model's pool differs from one whose steps all go well.
#[derive(Clone, Copy)]
struct Plan {
    min: usize,
    max: usize,
    /// How many may live at the same time.
    most: usize,
    check_after: Duration,
    creates: bool,
    failing: usize,
    fate: Fate,
}

const PLAN: Plan = Plan { min: 0, max: 1, most: 1, check_after: FOREVER, creates: true, failing: 0, fate: Fate::Keep };

fn limits(plan: Plan) -> Limits {
    Limits {
        min: plan.min,
        max: plan.max,
        min_idle: 0,
        growth: 1.0,
        max_waiters: 8,
        creating_max: 8,
        timeout: FOREVER,
        check_after: plan.check_after,
        check_interval: None,
        idle_timeout: None,
        max_lifetime: None,
        leak_after: None,
        period: FOREVER,
        breaker: Rule { failures: 1, retry_min: FOREVER, retry_max: FOREVER },
    }
}

/// A pool with its `min` resources.
fn pool(plan: Plan, runtime: &Runtime) -> Pool {
    let Plan { most, creates, fate, .. } = plan;
    let failing = AtomicUsize::new(plan.failing);
    let world = Arc::new(World { alive: AtomicUsize::new(0), most, creates, failing, fate });
    let core = Core::new("things".into(), limits(plan), Instant::now());
    let steps = StepLimits { create: FOREVER, check: FOREVER, close: FOREVER };
    let parts = Parts {
        name: "things".into(),
        manager: Things(world),
        runtime: runtime.handle().clone(),
        steps,
        settings: PoolSettings::default(),
        leak_handler: None,
    };
    let pool = Arc::new(Shared::new(parts, core));
    PREPARING.set(true);
    pool.event(|core| core.set_limits(limits(plan), Instant::now()));
    PREPARING.set(false);
    pool
}

fn acquire(pool: &Pool) -> Acquire<'_, Things> {
    Acquire::new(pool, Location::caller())
}

fn wait(pool: &Pool) -> Result<Lease<Things>, AcquireError> {
    loom::future::block_on(acquire(pool))
}

fn look(acquire: &mut Acquire<'_, Things>) -> Poll<Result<Lease<Things>, AcquireError>> {
    std::pin::Pin::new(acquire).poll(&mut Context::from_waker(Waker::noop()))
}

/// A caller in a thread of its own, who gives back what it gets; answers whether it got one.
fn caller(pool: &Pool) -> thread::JoinHandle<bool> {
    let pool = pool.clone();
    thread::spawn(move || wait(&pool).is_ok())
}

/// Closes the books: `idle` resources are idle, all others gone.
fn audit(pool: &Pool, idle: usize) {
    finish();
    let core = pool.core();
    let books = (core.idle(), core.ledger.leased(), core.creating(), core.checking(), core.waiting(), core.total());
    assert_eq!(books, (idle, 0, 0, 0, 0, idle), "idle, leased, creating, checking, waiting, total");
    assert_eq!(pool.manager.0.alive.load(Ordering::Relaxed), idle, "as many live as are counted");
}

/// The number of preemptions is bounded, as is usual, to keep a run within seconds.
fn check(plan: Plan, model: impl Fn(&Pool) + Sync + Send + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(move || model(&pool(plan, &runtime)));
}

#[test]
fn nobody_sleeps_through_a_lease_that_comes_back() {
    check(Plan { min: 1, ..PLAN }, |pool| {
        let others = [caller(pool), caller(pool)];
        assert!(wait(pool).is_ok());
        assert!(others.into_iter().all(|other| other.join().unwrap()));
        audit(pool, 1);
    });
}

#[test]
fn a_caller_who_leaves_after_any_number_of_looks_passes_the_resource_on() {
    for looks in 0..4 {
        check(Plan { min: 1, ..PLAN }, move |pool| {
            let held = wait(pool).unwrap();
            let other = caller(pool);
            let giver = thread::spawn(move || drop(held));
            let mut leaver = acquire(pool);
            for _ in 0..looks {
                if look(&mut leaver).is_ready() {
                    break;
                }
            }
            drop(leaver);
            assert!(other.join().unwrap());
            giver.join().unwrap();
            audit(pool, 1);
        });
    }
}

#[test]
fn what_is_made_for_a_caller_who_leaves_serves_the_next() {
    for looks in 1..3 {
        check(PLAN, move |pool| {
            let other = caller(pool);
            let mut leaver = acquire(pool);
            for _ in 0..looks {
                if look(&mut leaver).is_ready() {
                    break;
                }
            }
            drop(leaver);
            assert!(other.join().unwrap());
            audit(pool, 1);
        });
    }
}

#[test]
fn a_check_outlives_the_caller_who_asked_for_it() {
    for failing in 0..2 {
        check(Plan { min: 1, check_after: Duration::ZERO, failing, ..PLAN }, |pool| {
            let (mut leaver, mut stayer) = (acquire(pool), acquire(pool));
            assert!(look(&mut leaver).is_pending());
            assert!(look(&mut stayer).is_pending());
            drop(leaver);
            assert!(loom::future::block_on(stayer).is_ok());
            audit(pool, 1);
        });
    }
}

#[test]
fn a_resource_that_is_recycled_goes_to_whoever_waits_meanwhile() {
    for failing in 0..2 {
        check(Plan { min: 1, failing, fate: Fate::Recycle, ..PLAN }, |pool| {
            let held = wait(pool).unwrap();
            let mut other = acquire(pool);
            assert!(look(&mut other).is_pending());
            drop(held);
            assert!(loom::future::block_on(other).is_ok());
            audit(pool, 1);
        });
    }
}

#[test]
fn a_broken_or_taken_resource_is_replaced_for_who_waits() {
    for take in [true, false] {
        // What was taken is its owner's, and lives beside the one that replaces it.
        check(Plan { min: 1, most: 1 + usize::from(take), ..PLAN }, move |pool| {
            let held = wait(pool).unwrap();
            let other = caller(pool);
            if take {
                drop(held.take());
            } else {
                held.discard();
            }
            assert!(other.join().unwrap());
            audit(pool, 1);
        });
    }
}

#[test]
fn who_waits_is_told_when_none_can_be_made() {
    check(Plan { creates: false, ..PLAN }, |pool| {
        let other = caller(pool);
        assert!(matches!(wait(pool), Err(AcquireError::Unavailable { .. })));
        assert!(!other.join().unwrap());
        audit(pool, 0);
    });
}

#[test]
fn a_caller_whose_time_is_over_is_served_or_refused_and_never_both() {
    check(Plan { min: 1, ..PLAN }, |pool| {
        let held = wait(pool).unwrap();
        let mut late = acquire(pool).timeout(Duration::ZERO);
        assert!(look(&mut late).is_pending());
        let giver = thread::spawn(move || drop(held));
        let keeper = {
            let pool = pool.clone();
            thread::spawn(move || pool.look().is_some())
        };
        match loom::future::block_on(late) {
            Ok(lease) => drop(lease),
            Err(error) => assert!(error.is_timeout(), "{error}"),
        }
        giver.join().unwrap();
        assert!(keeper.join().unwrap());
        audit(pool, 1);
    });
}

#[test]
fn a_smaller_pool_keeps_to_its_size_whenever_leases_come_back() {
    check(Plan { min: 2, max: 2, most: 2, ..PLAN }, |pool| {
        let held = [wait(pool).unwrap(), wait(pool).unwrap()];
        let givers = held.map(|lease| thread::spawn(move || drop(lease)));
        pool.event(|core| core.set_limits(limits(PLAN), Instant::now()));
        for giver in givers {
            giver.join().unwrap();
        }
        audit(pool, 1);
    });
}

#[test]
fn a_larger_pool_serves_who_waits() {
    check(Plan { min: 1, most: 2, ..PLAN }, |pool| {
        let held = wait(pool).unwrap();
        let other = caller(pool);
        let larger = Plan { max: 2, ..PLAN };
        pool.event(|core| core.set_limits(limits(larger), Instant::now()));
        drop(held);
        assert!(other.join().unwrap());
        finish();
        let idle = pool.core().idle();
        audit(pool, idle);
    });
}

#[test]
fn a_drain_replaces_what_comes_back_and_forgets_nobody() {
    check(Plan { min: 1, ..PLAN }, |pool| {
        let held = wait(pool).unwrap();
        let other = caller(pool);
        let drainer = {
            let pool = pool.clone();
            thread::spawn(move || pool.event(|core| core.drain(Instant::now())))
        };
        drop(held);
        assert!(other.join().unwrap());
        drainer.join().unwrap();
        audit(pool, 1);
    });
}

#[test]
fn a_close_answers_everybody_and_ends_with_the_last_lease() {
    check(Plan { min: 1, ..PLAN }, |pool| {
        let held = wait(pool).unwrap();
        let other = caller(pool);
        let giver = thread::spawn(move || drop(held));
        pool.event(Core::close);
        other.join().unwrap();
        giver.join().unwrap();
        assert!(matches!(wait(pool), Err(AcquireError::Closed { .. })));
        audit(pool, 0);
    });
}
