//! The resource pool as its callers see it, on the paused clock.

mod common;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use common::{Does, Stub, ms, pool, settle};
use parking_lot::Mutex;
use trimtab_pool::{AcquireError, BuildError, Fate, Priority, ResourcePool};

#[tokio::test(start_paused = true)]
async fn a_resource_is_made_once_and_used_again() {
    let (world, pool) = pool(|_| ());
    for _ in 0..10 {
        assert_eq!(pool.acquire().await.unwrap().id, 0);
    }
    assert_eq!((world.made(), world.checks()), (1, 0), "what was just used needs no check");
    let stats = pool.stats();
    assert_eq!((stats.acquired, stats.created, stats.in_use, stats.idle), (10, 1, 0, 1));
    assert!((stats.reuse_ratio() - 0.9).abs() < 1e-9);
}

#[tokio::test(start_paused = true)]
async fn the_most_recently_used_resource_is_given_first() {
    let (_, pool) = pool(|_| ());
    let (a, b) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
    let last = b.id;
    drop(a);
    drop(b);
    assert_eq!(pool.acquire().await.unwrap().id, last);
}

#[tokio::test(start_paused = true)]
async fn waiters_are_served_in_the_order_they_came() {
    let (_, pool) = pool(|settings| settings.max = Some(1));
    let order = Arc::new(Mutex::new(Vec::new()));
    let held = pool.acquire().await.unwrap();
    let tasks: Vec<_> = (0..50)
        .map(|n| {
            let (pool, order) = (pool.clone(), order.clone());
            tokio::spawn(async move {
                let _lease = pool.acquire().await.unwrap();
                order.lock().push(n);
                tokio::task::yield_now().await;
            })
        })
        .collect();
    settle().await;
    assert_eq!(pool.stats().waiting, 50);
    // Nobody comes in between, even at the moment when the resource is free.
    drop(held);
    assert!(pool.try_acquire().is_none());
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(*order.lock(), (0..50).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn high_priority_is_served_before_those_who_came_earlier() {
    let (_, pool) = pool(|settings| settings.max = Some(1));
    let held = pool.acquire().await.unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    for (name, priority) in [("low", Priority::Low), ("normal", Priority::Normal), ("high", Priority::High)] {
        let (pool, order) = (pool.clone(), order.clone());
        tokio::spawn(async move {
            let _lease = pool.acquire().priority(priority).await.unwrap();
            order.lock().push(name);
        });
    }
    settle().await;
    drop(held);
    settle().await;
    assert_eq!(*order.lock(), ["high", "normal", "low"]);
}

#[tokio::test(start_paused = true)]
async fn a_time_out_says_who_holds_the_resources() {
    let (_, pool) = pool(|settings| settings.timeout = ms(250).into());
    let held = [pool.acquire().await.unwrap(), pool.acquire().await.unwrap()];
    tokio::time::sleep(ms(5_000)).await;
    let started = tokio::time::Instant::now();
    let error = pool.acquire().await.unwrap_err();
    assert_eq!(started.elapsed(), ms(250));
    let text = error.to_string();
    assert!(matches!(error, AcquireError::Busy(_)), "{error:?}");
    assert!(text.contains("\"things\" gave no resource within 250ms (2 of 2 leased, oldest for 5."), "{text}");
    assert!(text.contains("tests/resource.rs:") && text.contains("pool.things.max"), "{text}");
    drop(held);
    assert_eq!((pool.stats().timeouts, pool.stats().waiting), (1, 0));
    pool.acquire().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_caller_may_wait_shorter_than_those_before_it() {
    let (_, pool) = pool(|settings| settings.max = Some(1));
    let held = pool.acquire().await.unwrap();
    let patient = tokio::spawn({
        let pool = pool.clone();
        async move { pool.acquire().await.map(|lease| lease.id) }
    });
    settle().await;
    let started = tokio::time::Instant::now();
    assert!(pool.acquire().timeout(ms(10)).await.unwrap_err().is_timeout());
    assert_eq!(started.elapsed(), ms(10));
    drop(held);
    assert_eq!(patient.await.unwrap().unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn too_many_waiters_are_refused() {
    let (_, pool) = pool(|settings| (settings.max, settings.max_waiters) = (Some(1), 3));
    let _held = pool.acquire().await.unwrap();
    let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(pool.acquire())).collect();
    let mut cx = Context::from_waker(Waker::noop());
    for acquire in &mut waiting {
        assert!(acquire.as_mut().poll(&mut cx).is_pending());
    }
    assert!(matches!(pool.acquire().await, Err(AcquireError::Crowded { waiting: 3, limit: 3, .. })));
    drop(waiting);
    assert_eq!((pool.stats().waiting, pool.stats().cancelled), (0, 3));
}

#[tokio::test(start_paused = true)]
async fn an_idle_resource_is_checked_before_it_is_given_again() {
    let (world, pool) = pool(|settings| settings.check_interval = None);
    let first = pool.acquire().await.unwrap().id;
    tokio::time::sleep(ms(499)).await;
    assert_eq!(pool.acquire().await.unwrap().id, first);
    assert_eq!(world.checks(), 0);
    tokio::time::sleep(ms(501)).await;
    assert_eq!(pool.acquire().await.unwrap().id, first);
    assert_eq!(world.checks(), 1);
    // One that fails is replaced, and the caller does not notice.
    tokio::time::sleep(ms(501)).await;
    *world.check.lock() = Does::Fails;
    assert_ne!(pool.acquire().await.unwrap().id, first);
    assert_eq!((pool.stats().check_failures, pool.stats().discarded, world.made()), (1, 1, 2));
    settle().await;
    assert_eq!(world.alive(), 1);
}

#[tokio::test(start_paused = true)]
async fn cancelled_in_the_check_a_hundred_times_nothing_is_lost() {
    let (world, pool) = pool(|settings| settings.check_interval = None);
    drop(pool.acquire().await.unwrap());
    *world.check.lock() = Does::Takes(20);
    for _ in 0..100 {
        tokio::time::sleep(ms(600)).await;
        assert!(tokio::time::timeout(ms(5), pool.acquire()).await.is_err());
        tokio::time::sleep(ms(30)).await;
    }
    assert_eq!((world.made(), world.alive(), pool.stats().idle), (1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_connect_outlives_the_caller_who_asked_for_it() {
    let (world, pool) = pool(|settings| settings.max = Some(1));
    *world.create.lock() = Does::Takes(20);
    let mut served = 0;
    for _ in 0..20 {
        if let Ok(Ok(lease)) = tokio::time::timeout(ms(10), pool.acquire()).await {
            served += 1;
            tokio::time::sleep(ms(1)).await;
            drop(lease);
        }
    }
    assert_eq!((served, world.made()), (18, 1), "the second caller still waits for the first one's connect");
}

/// Drops an acquire after every possible number of polls, in every situation that it can be in.
#[tokio::test(start_paused = true)]
async fn dropped_after_any_number_of_polls_nothing_is_lost() {
    for (create, check, idle) in [
        (Does::Well, Does::Well, false),
        (Does::Well, Does::Well, true),
        (Does::Takes(3), Does::Well, false),
        (Does::Takes(3), Does::Takes(3), true),
        (Does::Well, Does::Fails, true),
    ] {
        for polls in 0..8 {
            let (world, pool) = pool(|settings| (settings.max, settings.check_interval) = (Some(1), None));
            if idle {
                drop(pool.acquire().await.unwrap());
                tokio::time::sleep(ms(600)).await;
            }
            (*world.create.lock(), *world.check.lock()) = (create, check);
            let mut acquire = Box::pin(pool.acquire());
            let mut cx = Context::from_waker(Waker::noop());
            let mut answered = false;
            for _ in 0..polls {
                if let Poll::Ready(lease) = acquire.as_mut().poll(&mut cx) {
                    drop(lease.unwrap());
                    answered = true;
                    break;
                }
                settle().await;
            }
            drop(acquire);
            tokio::time::sleep(ms(10)).await;
            let stats = pool.stats();
            assert_eq!(
                (stats.in_use, stats.waiting, stats.creating, stats.checking),
                (0, 0, 0, 0),
                "{polls} {answered}"
            );
            assert_eq!(stats.total as i64, world.alive(), "{polls} polls");
            assert!(world.most() <= 1);
            *world.check.lock() = Does::Well;
            pool.acquire().await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_resource_on_its_way_to_a_caller_who_left_goes_to_the_next() {
    let (world, pool) = pool(|settings| settings.max = Some(1));
    let held = pool.acquire().await.unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let (mut first, mut second) = (Box::pin(pool.acquire()), Box::pin(pool.acquire()));
    assert!(first.as_mut().poll(&mut cx).is_pending() && second.as_mut().poll(&mut cx).is_pending());
    drop(held); // goes to the first, which never looks
    assert_eq!((pool.stats().in_use, pool.stats().waiting), (1, 1));
    drop(first);
    assert!(matches!(second.as_mut().poll(&mut cx), Poll::Ready(Ok(_))));
    drop(second);
    assert_eq!((pool.stats().in_use, pool.stats().idle, world.made()), (0, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_manager_that_misbehaves_in_any_step_never_loses_a_slot() {
    for bad in [Does::Fails, Does::Hangs, Does::Panics] {
        for step in ["create", "check", "recycle", "close", "returned"] {
            let (world, pool) = pool(|settings| {
                settings.check_interval = None;
                settings.create_timeout = ms(50).into();
                settings.check_timeout = ms(50).into();
                settings.close_timeout = ms(50).into();
                settings.timeout = ms(200).into();
                settings.retry_max = ms(100).into();
            });
            if step != "create" {
                drop((pool.acquire().await.unwrap(), pool.acquire().await.unwrap()));
            }
            match step {
                "create" => *world.create.lock() = bad,
                "check" => *world.check.lock() = bad,
                "recycle" => (*world.recycle.lock(), *world.fate.lock()) = (bad, Fate::Recycle),
                "close" => (*world.close.lock(), *world.fate.lock()) = (bad, Fate::Discard),
                _ => *world.returned_panics.lock() = true,
            }
            for _ in 0..6 {
                tokio::time::sleep(ms(600)).await;
                let lease = pool.acquire().await;
                assert_eq!(lease.is_err(), step == "create", "{step} {bad:?} {lease:?}");
                drop(lease);
            }
            for does in [&world.create, &world.check, &world.recycle, &world.close] {
                *does.lock() = Does::Well;
            }
            (*world.fate.lock(), *world.returned_panics.lock()) = (Fate::Keep, false);
            tokio::time::sleep(ms(1_000)).await;
            // All slots are there again.
            let both = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
            assert!(pool.try_acquire().is_none());
            drop(both);
            settle().await;
            let stats = pool.stats();
            assert_eq!((stats.total, stats.idle, world.alive()), (2, 2, 2), "{step} {bad:?}");
            assert!(world.most() <= 2, "{step} {bad:?}: {} at once", world.most());
        }
    }
}

#[tokio::test]
async fn two_thousand_borrowers_lose_nothing_keep_their_order_and_never_pass_the_limit() {
    let (world, pool) = pool(|settings| {
        settings.max = Some(10);
        settings.timeout = Duration::from_secs(60).into();
        settings.retry_min = ms(1).into();
        settings.retry_max = ms(2).into();
    });
    let (served, cancelled, failed) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let counts = Arc::new((served, cancelled, failed));
    let order = Arc::new(Mutex::new(Vec::new()));
    let tasks: Vec<_> = (0..2_000_u32)
        .map(|n| {
            let (pool, counts, order) = (pool.clone(), counts.clone(), order.clone());
            tokio::spawn(async move {
                let mut acquire = Box::pin(pool.acquire());
                if n % 5 == 0 {
                    // Polled n times at most, then dropped.
                    for _ in 0..n % 7 {
                        let mut polled = false;
                        let once = std::future::poll_fn(|cx| {
                            polled = true;
                            Poll::Ready(acquire.as_mut().poll(cx).is_ready())
                        });
                        if once.await {
                            break;
                        }
                        tokio::task::yield_now().await;
                    }
                    counts.1.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                let lease = acquire.await.unwrap();
                order.lock().push(n);
                tokio::task::yield_now().await;
                if n % 20 == 1 {
                    counts.2.fetch_add(1, Ordering::Relaxed);
                    lease.discard();
                } else {
                    counts.0.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(counts.0.load(Ordering::Relaxed), 1_500);
    assert_eq!((counts.1.load(Ordering::Relaxed), counts.2.load(Ordering::Relaxed)), (400, 100));
    assert!(order.lock().is_sorted(), "served in another order than they came");
    let stats = pool.stats();
    assert_eq!((stats.in_use, stats.waiting), (0, 0));
    assert!(world.most() <= 10, "{} at once", world.most());
    pool.close(Duration::from_secs(5)).await.unwrap();
    assert_eq!((world.alive(), pool.stats().total), (0, 0));
}

#[test]
fn a_pool_without_a_runtime_says_so() {
    let error = ResourcePool::builder("things", Stub::default()).build().unwrap_err();
    assert!(matches!(&error, BuildError::NoRuntime { name } if name == "things"), "{error}");
}

#[test]
fn the_end_of_the_runtime_loses_no_slot_and_ends_no_thread() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (world, pool) = runtime.block_on(async { pool(|_| ()) });
    let lease = runtime.block_on(async { pool.acquire().await.unwrap() });
    let held = runtime.block_on(async { pool.acquire().await.unwrap() });
    drop(runtime);
    drop(lease);
    held.discard();
    assert_eq!((pool.stats().total, pool.stats().idle, world.alive()), (1, 1, 1));
    drop(pool);
    assert_eq!(world.alive(), 0);
}

#[tokio::test]
async fn dropping_the_pool_ends_its_tasks_and_resources() {
    let (world, pool) = pool(|settings| settings.min = 2);
    pool.warm_up().await.unwrap();
    let metrics = tokio::runtime::Handle::current().metrics();
    assert_eq!(metrics.num_alive_tasks(), 1, "the keeper");
    drop(pool);
    assert_eq!(world.alive(), 0);
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert_eq!(metrics.num_alive_tasks(), 0);
}
