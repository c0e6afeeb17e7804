//! Readers, writers and semaphores on every store, and locks taken away by an operator, against a naive model and real servers.
//!
//! Without a server a test says so and skips itself; `cargo xtask test` provides them.

#![cfg(all(unix, feature = "file", feature = "postgres", feature = "redis"))]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use trimtab_lock::{AcquireError, ForceError, Lease, LeaseMode, Locks, Loss, ReleaseError};

use common::{PATIENCE as LONG, fresh, settings, until};

const LEASE: Duration = Duration::from_secs(60);

async fn groups(url: &str) -> (Locks, Locks) {
    let one = Locks::with_settings("one", settings(url, LEASE)).await.unwrap();
    let two = Locks::with_settings("two", settings(url, LEASE)).await.unwrap();
    (one, two)
}

/// Readers go together, writers alone, in two groups; a writer's token is above that of every reader before it.
async fn readers_go_together_and_writers_alone(url: &str) {
    let (one, two) = groups(url).await;
    let name = fresh("shared");
    let (a, b) = (one.read(&name, LONG).await.unwrap(), two.read(&name, LONG).await.unwrap());
    assert_eq!((a.mode(), one.stats().held, two.stats().held), (LeaseMode::Shared, 1, 1));
    assert!(one.try_acquire(&name).await.unwrap().is_none() && two.try_acquire(&name).await.unwrap().is_none());
    assert!(two.acquire(&name, Duration::from_millis(30)).await.unwrap_err().is_timeout());
    a.release().await.unwrap();
    assert!(one.try_acquire(&name).await.unwrap().is_none(), "one reader is left");
    let read = b.token();
    b.release().await.unwrap();
    let writer = one.acquire(&name, LONG).await.unwrap();
    assert!(writer.token() > read && writer.mode() == LeaseMode::Exclusive);
    assert!(two.try_read(&name).await.unwrap().is_none() && one.try_read(&name).await.unwrap().is_none());
    let reads = tokio::spawn({
        let (two, name) = (two.clone(), name.clone());
        async move { two.read(&name, LONG).await.unwrap() }
    });
    until("a reader waits", || two.stats().waiting == 1).await;
    let (written, listing) = (writer.token(), two.listing());
    assert_eq!((listing[0].waiters.len(), listing[0].waiters[0].mode), (1, LeaseMode::Shared));
    writer.release().await.unwrap();
    let reader = reads.await.unwrap();
    assert!(reader.token() >= written);
    reader.release().await.unwrap();
    // Many at once: never a writer with anybody, and everybody is served.
    let inside = Arc::new((AtomicI64::new(0), AtomicU64::new(0)));
    let tasks: Vec<_> = (0..12)
        .map(|task: usize| {
            let (locks, inside, name) =
                (if task.is_multiple_of(2) { &one } else { &two }.clone(), inside.clone(), name.clone());
            tokio::spawn(async move {
                for _ in 0..8 {
                    if task.is_multiple_of(3) {
                        let lease = locks.acquire(&name, LONG).await.unwrap();
                        assert_eq!(inside.0.swap(-1000, Ordering::SeqCst), 0, "a writer is alone");
                        assert!(inside.1.swap(lease.token(), Ordering::SeqCst) < lease.token());
                        tokio::task::yield_now().await;
                        inside.0.store(0, Ordering::SeqCst);
                        lease.release().await.unwrap();
                    } else {
                        let lease = locks.read(&name, LONG).await.unwrap();
                        assert!(inside.0.fetch_add(1, Ordering::SeqCst) >= 0, "no writer is inside");
                        assert!(lease.token() >= inside.1.load(Ordering::SeqCst));
                        tokio::task::yield_now().await;
                        inside.0.fetch_sub(1, Ordering::SeqCst);
                        lease.release().await.unwrap();
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    // One who leaves takes nothing along.
    let lease = one.read(&name, LONG).await.unwrap();
    let waits = tokio::spawn({
        let (two, name) = (two.clone(), name.clone());
        async move { two.acquire(&name, LONG).await }
    });
    until("a writer waits", || two.stats().waiting == 1).await;
    waits.abort();
    until("its leaving", || two.stats().waiting == 0).await;
    drop(lease);
    one.acquire(&name, LONG).await.unwrap().release().await.unwrap();
    until("nothing in use", || one.listing().is_empty() && two.listing().is_empty()).await;
    assert_eq!((one.stats().lost, two.stats().lost), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_go_together_and_writers_alone_over_files() {
    let folder = tempfile::tempdir().unwrap();
    readers_go_together_and_writers_alone(&format!("file:{}", folder.path().display())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_go_together_and_writers_alone_over_postgres() {
    let Some(url) = common::variable("readers_go_together_and_writers_alone_over_postgres", "XTASK_POSTGRES_URL")
    else {
        return;
    };
    readers_go_together_and_writers_alone(&url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_go_together_and_writers_alone_over_redis() {
    let Some(url) = common::variable("readers_go_together_and_writers_alone_over_redis", "XTASK_REDIS_URL") else {
        return;
    };
    readers_go_together_and_writers_alone(&url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_semaphore_over_redis_never_has_more_holders_than_permits() {
    let test = "a_semaphore_over_redis_never_has_more_holders_than_permits";
    let Some(url) = common::variable(test, "XTASK_REDIS_URL") else { return };
    let (one, two) = groups(&url).await;
    let name = fresh("permits");
    let (inside, most) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicI64::new(0)));
    let tasks: Vec<_> = (0..10)
        .map(|task| {
            let permits = if task % 2 == 0 { &one } else { &two }.semaphore(&name, 3).unwrap();
            let (inside, most) = (inside.clone(), most.clone());
            tokio::spawn(async move {
                for _ in 0..10 {
                    let lease = permits.acquire(LONG).await.unwrap();
                    most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    inside.fetch_sub(1, Ordering::SeqCst);
                    lease.release().await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert!(most.load(Ordering::SeqCst) <= 3);
    let permits = one.semaphore(&name, 3).unwrap();
    let mut held = Vec::new();
    while let Some(lease) = permits.try_acquire().await.unwrap() {
        held.push(lease);
    }
    assert_eq!(held.len(), 3, "none was lost on the way");
    assert!(two.try_acquire(&name).await.unwrap().is_some(), "a lock of the same name is something else");
    let elsewhere = two.semaphore(&name, 3).unwrap();
    assert!(!elsewhere.force_release("nobody here holds one"));
    assert_eq!(elsewhere.force_release_everywhere("stuck").await.unwrap(), 3);
    assert!(elsewhere.try_acquire().await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_store_cannot_do_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let locks = Locks::connect("files", &format!("file:{}", folder.path().display())).await.unwrap();
    let error = locks.semaphore("a", 3).unwrap_err();
    assert!(matches!(error, AcquireError::Unsupported { store: "file", .. }), "{error}");
    assert!(Locks::memory("jobs").unwrap().semaphore("a", 0).unwrap_err().to_string().contains("at least 1"));
    let error = locks.force_release_everywhere("a", "test").await.unwrap_err();
    assert!(
        matches!(error, ForceError::Unsupported { .. }) && error.to_string().contains("end that process"),
        "{error}"
    );
}

/// Somebody else's lock is taken away: the next one has it under a higher token, and the holder is told.
async fn taken_away(url: &str, expected: Loss) {
    let short = Duration::from_secs(3);
    let one = Locks::with_settings("one", settings(url, short)).await.unwrap();
    let two = Locks::with_settings("two", settings(url, LEASE)).await.unwrap();
    let name = fresh("forced");
    assert_eq!(two.force_release_everywhere(&name, "nobody holds it").await.unwrap(), 0);
    let lease = one.acquire(&name, LONG).await.unwrap();
    let waits = tokio::spawn({
        let (two, name) = (two.clone(), name.clone());
        async move { two.acquire(&name, LONG).await.unwrap() }
    });
    until("a waiter", || two.stats().waiting == 1).await;
    assert_eq!(two.force_release_everywhere(&name, "stuck").await.unwrap(), 1);
    let next = waits.await.unwrap();
    assert!(next.token() > lease.token());
    let loss = lease.lost().await;
    // A machine that stood still may have ended the lease first.
    assert!([expected, Loss::Expired].contains(&loss), "{loss:?}");
    assert!(matches!(lease.release().await, Err(ReleaseError::Lost { .. })));
    assert_eq!(two.stats().forced, 1);
    next.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_takes_a_lock_from_another_process_and_its_holder_is_told() {
    let test = "an_operator_takes_a_lock_from_another_process_and_its_holder_is_told";
    for (variable, loss) in [("XTASK_POSTGRES_URL", Loss::Disconnected), ("XTASK_REDIS_URL", Loss::Forced)] {
        let Some(url) = common::variable(test, variable) else { return };
        taken_away(&url, loss).await;
    }
}

#[derive(Debug, Clone)]
enum Step {
    Try(LeaseMode),
    Release(usize),
    Force,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => Just(Step::Try(LeaseMode::Exclusive)),
        4 => Just(Step::Try(LeaseMode::Shared)),
        5 => (0_usize..6).prop_map(Step::Release),
        1 => Just(Step::Force),
    ];
    proptest::collection::vec(step, 0..60)
}

proptest! {
    /// In memory, against two numbers: writers alone, readers together, and a forced lease is told.
    #[test]
    fn readers_and_writers_in_memory_behave_like_two_counts(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let locks = Locks::memory("model").unwrap();
            let mut held: Vec<Lease> = Vec::new();
            for step in steps {
                let alone = held.iter().any(|lease| lease.mode() == LeaseMode::Exclusive);
                match step {
                    Step::Try(LeaseMode::Exclusive) => {
                        let lease = locks.try_acquire("a").await.unwrap();
                        prop_assert_eq!(lease.is_some(), held.is_empty());
                        held.extend(lease);
                    }
                    Step::Try(_) => {
                        let lease = locks.try_read("a").await.unwrap();
                        prop_assert_eq!(lease.is_some(), !alone);
                        held.extend(lease);
                    }
                    Step::Release(at) if at < held.len() => held.remove(at).release().await.unwrap(),
                    Step::Release(_) => {}
                    Step::Force => {
                        prop_assert_eq!(locks.force_release("a", "model"), !held.is_empty());
                        for lease in held.drain(..) {
                            prop_assert_eq!(lease.lost().await, Loss::Forced);
                        }
                    }
                }
                prop_assert!(held.iter().all(|lease| !lease.is_lost()));
                let listed: usize = locks.listing().iter().map(|listing| listing.holders.len()).sum();
                prop_assert_eq!(listed, held.len());
                prop_assert_eq!(locks.stats().held, held.len());
            }
            Ok(())
        })?;
    }
}

#[tokio::test(start_paused = true)]
async fn in_memory_a_writer_in_the_queue_keeps_later_readers_behind_it_until_it_leaves() {
    let locks = Locks::memory("jobs").unwrap();
    let reader = locks.read("a", LONG).await.unwrap();
    let writes = tokio::spawn({
        let locks = locks.clone();
        async move { locks.acquire("a", LONG).await.unwrap() }
    });
    until("a writer waits", || locks.stats().waiting == 1).await;
    assert!(locks.try_read("a").await.unwrap().is_none());
    let reads = tokio::spawn({
        let locks = locks.clone();
        async move { locks.read("a", LONG).await.unwrap() }
    });
    until("a reader waits", || locks.stats().waiting == 2).await;
    writes.abort();
    let second = reads.await.unwrap();
    assert_eq!(locks.stats().held, 2);
    drop((reader, second));
}
