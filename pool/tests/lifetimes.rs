//! What a resource pool does by itself and for its owner, on the paused clock: back off, grow, shrink, check, find leaks,
//! resize, drain, close.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Does, Stub, ms, pool, settle};
use parking_lot::Mutex;
use trimtab_config::Share;
use trimtab_pool::{AcquireError, BuildError, ResourcePool};

#[tokio::test(start_paused = true)]
async fn repeated_failures_open_the_breaker_and_it_closes_by_itself() {
    let (world, pool) = pool(|settings| {
        settings.min = 1;
        settings.breaker_failures = 3;
        settings.timeout = ms(10_000).into();
    });
    *world.create.lock() = Does::Fails;
    pool.drain();
    let started = tokio::time::Instant::now();
    let error = pool.acquire().await.unwrap_err();
    assert!(matches!(&error, AcquireError::Unavailable { failures: 3, .. }), "{error:?}");
    assert!(started.elapsed() < ms(1_000), "told long before its time-out");
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("told to fail"));
    // The next one is told at once.
    let started = tokio::time::Instant::now();
    let error = pool.acquire().await.unwrap_err();
    assert!(error.retry_after().unwrap() > Duration::ZERO);
    assert_eq!(started.elapsed(), Duration::ZERO);
    *world.create.lock() = Does::Well;
    tokio::time::sleep(ms(5_000)).await;
    assert_eq!(pool.stats().idle, 1, "the pool tried again without a caller");
    pool.acquire().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn failures_below_the_breaker_are_hidden_from_callers_with_time() {
    let (world, pool) = pool(|_| ());
    *world.create.lock() = Does::Fails;
    let acquire = tokio::spawn({
        let pool = pool.clone();
        async move { pool.acquire().await.map(|lease| lease.id) }
    });
    tokio::time::sleep(ms(150)).await;
    *world.create.lock() = Does::Well;
    acquire.await.unwrap().unwrap();
    assert!(pool.stats().create_failures >= 1);
}

#[tokio::test(start_paused = true)]
async fn the_least_is_kept_warm_and_growth_follows_the_factor() {
    let (world, pool) = pool(|settings| {
        (settings.min, settings.max, settings.growth_factor) = (4, Some(20), 1.5);
        settings.creating_max = 20;
    });
    pool.warm_up().await.unwrap();
    assert_eq!(world.made(), 4);
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(pool.acquire().await.unwrap());
    }
    settle().await;
    assert_eq!(world.made(), 6, "a half more, not one");
    held.clear();
    pool.stats();
}

#[tokio::test(start_paused = true)]
async fn the_least_is_made_even_if_it_is_more_than_is_made_at_once() {
    let (world, pool) = pool(|settings| (settings.min, settings.max, settings.creating_max) = (9, Some(9), 2));
    *world.create.lock() = Does::Takes(10);
    pool.warm_up().await.unwrap();
    assert_eq!(world.made(), 9);
    pool.drain();
    tokio::time::sleep(ms(100)).await;
    assert_eq!((world.made(), world.alive(), pool.stats().idle), (18, 9, 9), "warm again after a drain");
}

#[tokio::test(start_paused = true)]
async fn ready_resources_are_kept_beyond_those_in_use() {
    let (_, pool) = pool(|settings| (settings.max, settings.min_idle) = (Some(10), 2));
    settle().await;
    let held = [pool.acquire().await.unwrap(), pool.acquire().await.unwrap()];
    // The keeper looks at least as often as resources are checked.
    tokio::time::sleep(ms(121_000)).await;
    assert_eq!((pool.stats().idle, pool.stats().in_use), (2, 2));
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn idle_and_old_resources_leave_and_the_least_stays() {
    let (world, pool) = pool(|settings| {
        (settings.min, settings.max) = (1, Some(4));
        settings.idle_timeout = Some(ms(10_000).into());
        settings.max_lifetime = Some(ms(60_000).into());
        settings.check_interval = None;
    });
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(pool.acquire().await.unwrap());
    }
    held.clear();
    tokio::time::sleep(ms(16_000)).await;
    assert_eq!(
        (pool.stats().total, pool.stats().expired),
        (1, 3),
        "unused for longer than the limit, but not the last"
    );
    tokio::time::sleep(ms(120_000)).await;
    assert!(world.made() > 4, "the last one was replaced at the end of its life");
    assert_eq!(world.alive(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_broken_idle_resource_is_found_in_the_background() {
    let (world, pool) = pool(|settings| settings.check_interval = Some(ms(1_000).into()));
    drop(pool.acquire().await.unwrap());
    *world.check.lock() = Does::Fails;
    tokio::time::sleep(ms(2_500)).await;
    assert_eq!((pool.stats().check_failures, world.alive()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn size_follows_the_demand_of_the_last_periods() {
    let (world, pool) = pool(|settings| {
        (settings.min, settings.max) = (1, Some(20));
        settings.cleanup_interval = ms(1_000).into();
        settings.idle_timeout = None;
        settings.check_interval = None;
        settings.leak_after = None;
    });
    let mut held = Vec::new();
    for _ in 0..16 {
        held.push(pool.acquire().await.unwrap());
    }
    held.clear();
    tokio::time::sleep(ms(5_000)).await;
    assert_eq!(pool.stats().total, 16, "the rush is not forgotten yet");
    for _ in 0..60 {
        let pair = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
        tokio::time::sleep(ms(500)).await;
        drop(pair);
    }
    assert_eq!((pool.stats().wanted, pool.stats().total, world.alive()), (2, 2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_leak_is_told_once_with_its_line() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let pool = ResourcePool::builder("things", Stub::default())
        .configure(|settings| (settings.max, settings.min, settings.leak_after) = (Some(5), 0, Some(ms(1_000).into())))
        .on_leak({
            let told = told.clone();
            move |leak| {
                told.lock().push((leak.location.file().to_owned(), leak.location.line(), leak.age));
                panic!("a handler that panics costs only itself");
            }
        })
        .build()
        .unwrap();
    let line = line!() + 1;
    std::mem::forget(pool.acquire().await.unwrap());
    let kept = pool.acquire().await.unwrap();
    drop(pool.acquire().await.unwrap());
    tokio::time::sleep(ms(10_000)).await;
    let told = told.lock().clone();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].0.ends_with("tests/lifetimes.rs") && told[0].1 == line, "{told:?}");
    assert!(told.iter().all(|(.., age)| (ms(1_000)..=ms(1_500)).contains(age)), "{told:?}");
    let report = pool.report();
    assert_eq!((report.open(), report.leaked(), report.locations.len(), pool.stats().leaked), (2, 2, 2, 2));
    drop(kept);
    assert_eq!(pool.report().open(), 1);
}

#[tokio::test(start_paused = true)]
async fn resize_closes_what_is_too_much_and_lets_waiters_have_more() {
    let (world, pool) = pool(|_| ());
    let held = [pool.acquire().await.unwrap(), pool.acquire().await.unwrap()];
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.acquire().await.map(|lease| lease.id) }
    });
    settle().await;
    pool.resize(0, 3).unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), 2);
    pool.resize(0, 1).unwrap();
    drop(held);
    settle().await;
    assert_eq!((pool.stats().total, world.alive()), (1, 1));
    assert!(matches!(pool.resize(3, 2), Err(BuildError::Settings { .. })));
    assert!(matches!(pool.resize(0, 0), Err(BuildError::Settings { .. })));
    assert_eq!(pool.settings().max, Some(1));
}

#[tokio::test(start_paused = true)]
async fn trim_answers_what_it_freed_and_keeps_the_least() {
    let (world, pool) = pool(|settings| (settings.min, settings.max) = (2, Some(10)));
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(pool.acquire().await.unwrap());
    }
    held.truncate(2);
    assert_eq!(pool.trim_idle(Share::percent(50)).objects, 4);
    assert_eq!(pool.trim_idle(Share::ALL).objects, 4, "two are leased, and they are the least");
    held.clear();
    settle().await;
    assert_eq!(pool.trim_idle(Share::ALL).objects, 0);
    assert_eq!((world.alive(), pool.stats().trimmed), (2, 8));
}

#[tokio::test(start_paused = true)]
async fn drain_replaces_everything() {
    let (world, pool) = pool(|_| ());
    let held = pool.acquire().await.unwrap();
    drop(pool.acquire().await.unwrap());
    pool.drain();
    let old = held.id;
    drop(held);
    settle().await;
    assert_eq!(world.alive(), 0);
    assert!(pool.acquire().await.unwrap().id > old + 1);
}

#[tokio::test(start_paused = true)]
async fn close_waits_for_leases_and_names_those_that_stay() {
    let (world, pool) = pool(|_| ());
    let lease = pool.acquire().await.unwrap();
    let other = pool.acquire().await.unwrap();
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.acquire().await.map(|lease| lease.id) }
    });
    settle().await;
    let error = pool.close(ms(100)).await.unwrap_err();
    assert_eq!(error.left, 2);
    assert!(error.to_string().contains("tests/lifetimes.rs:"), "{error}");
    assert!(matches!(waiting.await.unwrap(), Err(AcquireError::Closed { .. })));
    assert!(matches!(pool.acquire().await, Err(AcquireError::Closed { .. })));
    tokio::spawn(async move {
        tokio::time::sleep(ms(50)).await;
        drop(lease);
    });
    drop(other.take());
    pool.close(ms(100)).await.unwrap();
    assert_eq!((world.alive(), pool.stats().total), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_resource_whose_user_panicked_is_recycled_first() {
    let (world, pool) = pool(|settings| settings.max = Some(1));
    let task = tokio::spawn({
        let pool = pool.clone();
        async move {
            let _lease = pool.acquire().await.unwrap();
            panic!("in the middle of something");
        }
    });
    *world.recycle.lock() = Does::Fails;
    assert!(task.await.is_err());
    assert_eq!(pool.acquire().await.unwrap().id, 1);
    assert_eq!(pool.stats().check_failures, 1);
}
