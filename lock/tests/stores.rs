//! The same promises on every store, against real files and servers.
//!
//! Without a server a test says so and skips itself; `cargo xtask test` provides them.

#![cfg(all(unix, feature = "file", feature = "postgres", feature = "redis"))]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use trimtab_lock::{Locks, Loss, ReleaseError};

use common::{fresh, settings, until};

const LONG: Duration = Duration::from_secs(60);
const LEASE: Duration = Duration::from_secs(60);

/// Two groups in one process keep each other out as two processes would: each has its own connections or open files.
async fn groups(url: &str) -> (Locks, Locks) {
    let one = Locks::with_settings("one", settings(url, LEASE)).await.unwrap();
    let two = Locks::with_settings("two", settings(url, LEASE)).await.unwrap();
    (one, two)
}

/// Sixteen tasks in two groups; a gate refuses lower tokens, and nobody is ever inside with another.
async fn excludes_hands_over_and_grows(url: &str) {
    let (one, two) = groups(url).await;
    let name = fresh("work");
    let (inside, highest, done) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let shared = Arc::new((inside, highest, done));
    let tasks: Vec<_> = (0..16)
        .map(|task| {
            let (locks, shared, name) =
                (if task % 2 == 0 { one.clone() } else { two.clone() }, shared.clone(), name.clone());
            tokio::spawn(async move {
                for _ in 0..25 {
                    let lease = locks.acquire(&name, LONG).await.unwrap();
                    assert!(!shared.0.swap(true, Ordering::SeqCst), "two inside");
                    let before = shared.1.swap(lease.token(), Ordering::SeqCst);
                    assert!(lease.token() > before, "token {} after {before}", lease.token());
                    tokio::task::yield_now().await;
                    shared.2.fetch_add(1, Ordering::SeqCst);
                    shared.0.store(false, Ordering::SeqCst);
                    lease.release().await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(shared.2.load(Ordering::SeqCst), 400);
    for locks in [&one, &two] {
        let stats = locks.stats();
        assert_eq!((stats.acquired, stats.released, stats.lost, stats.waiting), (200, 200, 0, 0), "{stats:?}");
        assert!(stats.hand_overs > 0, "{stats:?}");
    }
}

async fn gives_up_and_frees(url: &str) {
    let (one, two) = groups(url).await;
    let name = fresh("free");
    let lease = one.acquire(&name, LONG).await.unwrap();
    assert!(one.try_acquire(&name).await.unwrap().is_none());
    assert!(two.try_acquire(&name).await.unwrap().is_none());
    let error = two.acquire(&name, Duration::from_millis(50)).await.unwrap_err();
    assert!(error.is_timeout() && error.to_string().contains("another process"), "{error}");
    // One who leaves while it waits takes nothing along.
    let waits = tokio::spawn({
        let (two, name) = (two.clone(), name.clone());
        async move { two.acquire(&name, LONG).await }
    });
    until("a waiter", || two.stats().waiting == 1).await;
    waits.abort();
    until("its leaving", || two.stats().waiting == 0).await;
    // One who leaves in the very moment of being served does neither.
    let mut lease = Some(lease);
    for _ in 0..40 {
        let waits = tokio::spawn({
            let (two, name) = (two.clone(), name.clone());
            async move { two.acquire(&name, LONG).await }
        });
        until("a waiter", || two.stats().waiting == 1).await;
        waits.abort();
        drop(lease.take());
        lease = Some(one.acquire(&name, LONG).await.unwrap());
    }
    // Names of any text are locks of their own.
    let odd = two.acquire(&format!("{name}}}:held ä\n"), LONG).await.unwrap();
    // A dropped lease is given back in the background.
    drop(lease);
    let next = two.acquire(&name, LONG).await.unwrap();
    next.release().await.unwrap();
    odd.release().await.unwrap();
    let back = one.acquire(&name, LONG).await.unwrap();
    back.release().await.unwrap();
    until("no name in use", || one.report().is_empty() && two.report().is_empty()).await;
}

/// A waiter of the same process follows its holder at once, whoever ends the lease: under a token that was drawn meanwhile, and
/// the store is asked for nothing more.
async fn follows_at_once(url: &str) {
    let (locks, _) = groups(url).await;
    let name = fresh("follow");
    for forced in [false, true] {
        let first = locks.acquire(&name, LONG).await.unwrap();
        let asked = locks.stats().round_trips;
        let waits = tokio::spawn({
            let (locks, name) = (locks.clone(), name.clone());
            async move { locks.acquire(&name, LONG).await }
        });
        until("a waiter", || locks.stats().waiting == 1).await;
        let trips = u64::from(!url.starts_with("file:"));
        until("the question for its token", || locks.stats().round_trips == asked + trips).await;
        let (token, watch) = (first.token(), first.watch());
        if forced {
            assert!(locks.force_release(&name, "a test"));
            assert_eq!(watch.lost().await, Loss::Forced);
            assert!(matches!(first.release().await, Err(ReleaseError::Lost { loss: Loss::Forced, .. })));
        } else {
            first.release().await.unwrap();
        }
        let second = waits.await.unwrap().unwrap();
        assert!(second.token() > token && !second.is_lost());
        assert_eq!(locks.stats().round_trips, asked + trips);
        second.release().await.unwrap();
    }
    let stats = locks.stats();
    assert_eq!((stats.acquired, stats.hand_overs, stats.lost, stats.held), (4, 2, 1, 0), "{stats:?}");
}

/// Callers that leave at every moment of an acquire.
async fn loses_nothing_to_callers_who_leave(url: &str) {
    let (one, two) = groups(url).await;
    let name = fresh("leave");
    for round in 0..60_u64 {
        let locks = if round % 2 == 0 { &one } else { &two };
        let lease = (round % 3 == 0).then(|| locks.acquire(&name, LONG));
        let lease = match lease {
            Some(lease) => Some(lease.await.unwrap()),
            None => None,
        };
        let mut left = Box::pin(locks.acquire(&name, LONG));
        // Polled now and then, and dropped wherever it is.
        for _ in 0..round % 7 {
            if let Ok(lease) = tokio::time::timeout(Duration::from_micros(round * 13), &mut left).await {
                lease.unwrap().release().await.unwrap();
                break;
            }
        }
        drop(left);
        drop(lease);
    }
    for locks in [&one, &two] {
        locks.acquire(&name, LONG).await.unwrap().release().await.unwrap();
        assert_eq!(locks.stats().lost, 0);
    }
}

async fn promises(url: &str) {
    excludes_hands_over_and_grows(url).await;
    gives_up_and_frees(url).await;
    follows_at_once(url).await;
    loses_nothing_to_callers_who_leave(url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_keep_the_promises() {
    let folder = tempfile::tempdir().unwrap();
    promises(&format!("file:{}", folder.path().display())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_keeps_the_promises() {
    let Some(url) = common::variable("postgres_keeps_the_promises", "XTASK_POSTGRES_URL") else { return };
    promises(&url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_keeps_the_promises() {
    let Some(url) = common::variable("redis_keeps_the_promises", "XTASK_REDIS_URL") else { return };
    promises(&url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_uncontended_lock_costs_two_round_trips() {
    let test = "an_uncontended_lock_costs_two_round_trips";
    for variable in ["XTASK_POSTGRES_URL", "XTASK_REDIS_URL"] {
        let Some(url) = common::variable(test, variable) else { return };
        let locks = Locks::with_settings("trips", settings(&url, LEASE)).await.unwrap();
        let name = fresh("trips");
        let before = locks.stats().round_trips;
        for _ in 0..20 {
            locks.acquire(&name, LONG).await.unwrap().release().await.unwrap();
        }
        assert_eq!(locks.stats().round_trips - before, 40);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiters_beyond_the_connections_still_get_their_locks() {
    let test = "waiters_beyond_the_connections_still_get_their_locks";
    let folder = tempfile::tempdir().unwrap();
    let mut urls = vec![format!("file:{}", folder.path().display())];
    for variable in ["XTASK_POSTGRES_URL", "XTASK_REDIS_URL"] {
        let Some(url) = common::variable(test, variable) else { return };
        urls.push(url);
    }
    for url in urls {
        let holder = Locks::with_settings("one", settings(&url, LEASE)).await.unwrap();
        let mut few = settings(&url, LEASE);
        few.sessions_max = 1;
        let waiters = Locks::with_settings("two", few).await.unwrap();
        let names: Vec<_> = (0..3).map(|_| fresh("few")).collect();
        let mut leases = Vec::new();
        for name in &names {
            leases.push(holder.acquire(name, LONG).await.unwrap());
        }
        let tasks: Vec<_> = names
            .into_iter()
            .map(|name| {
                let waiters = waiters.clone();
                tokio::spawn(async move { waiters.acquire(&name, LONG).await.unwrap().release().await.unwrap() })
            })
            .collect();
        until("all wait", || waiters.stats().waiting == 3).await;
        for lease in leases {
            lease.release().await.unwrap();
        }
        for task in tasks {
            task.await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_outlives_its_length_while_it_is_renewed() {
    let test = "a_lease_outlives_its_length_while_it_is_renewed";
    for variable in ["XTASK_POSTGRES_URL", "XTASK_REDIS_URL"] {
        let Some(url) = common::variable(test, variable) else { return };
        // Where the machine stood still for longer than a lease, a longer one has to show it.
        let mut lengths = [400, 3_000, 30_000].map(Duration::from_millis).into_iter();
        while !outlives(&url, lengths.next().expect("a lease outlived its length")).await {}
    }
}

/// The second lease comes by a hand-over of the server, and so do its renewals. False when one ended by its time.
async fn outlives(url: &str, length: Duration) -> bool {
    let one = Locks::with_settings("one", settings(url, length)).await.unwrap();
    let two = Locks::with_settings("two", settings(url, length)).await.unwrap();
    let name = fresh("renewed");
    let lease = one.acquire(&name, LONG).await.unwrap();
    let token = lease.token();
    let waits = tokio::spawn(async move { two.acquire(&name, LONG).await.unwrap() });
    common::renewed(&lease, 4).await;
    let early = waits.is_finished();
    if lease.is_lost() || lease.release().await.is_err() {
        return false;
    }
    assert!(!early, "two hold");
    let next = waits.await.unwrap();
    assert!(next.token() > token);
    common::renewed(&next, 4).await;
    !next.is_lost() && next.release().await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_the_server_ends_is_told_and_never_taken_again_under_its_token() {
    let test = "a_session_that_the_server_ends_is_told_and_never_taken_again_under_its_token";
    let Some(url) = common::variable(test, "XTASK_POSTGRES_URL") else { return };
    let (one, two) = groups(&url).await;
    let name = fresh("ended");
    let lease = one.acquire(&name, LONG).await.unwrap();
    let waits = tokio::spawn({
        let (two, name) = (two.clone(), name.clone());
        async move { two.acquire(&name, LONG).await.unwrap() }
    });
    until("a waiter", || two.stats().waiting == 1).await;
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    // Ends whoever holds the lock of this name, and no session of another test.
    let key = {
        use sha2::Digest;
        i64::from_be_bytes(sha2::Sha256::digest(name.as_bytes())[..8].try_into().unwrap())
    };
    let ended = client
        .query(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted \
             AND ((classid::int8 << 32) | objid::int8) = $1",
            &[&key],
        )
        .await
        .unwrap();
    assert_eq!(ended.len(), 1);
    let loss = lease.lost().await;
    assert_eq!(loss, trimtab_lock::Loss::Disconnected);
    let next = waits.await.unwrap();
    assert!(next.token() > lease.token());
    assert!(matches!(lease.release().await, Err(ReleaseError::Lost { .. })));
    let again = tokio::spawn({
        let (one, name) = (one.clone(), name.clone());
        async move { one.acquire(&name, LONG).await.unwrap().token() }
    });
    let token = next.token();
    next.release().await.unwrap();
    assert!(again.await.unwrap() > token);
}
