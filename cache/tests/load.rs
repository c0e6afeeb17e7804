//! Single flight: one load per key, whoever fails, panics, is cancelled or interferes.

use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Waker};
use std::thread;

use tokio::sync::{Notify, oneshot};
use trimtab_cache::{Cache, LoadError};

/// Lets other tasks run until they wait.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn ten_thousand_waiters_cause_one_load() {
    let (cache, loads, open) = (Cache::new(10), Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let tasks: Vec<_> = (0..10_000)
        .map(|_| {
            let (cache, loads, open) = (cache.clone(), loads.clone(), open.clone());
            tokio::spawn(async move {
                let load = || async {
                    loads.fetch_add(1, Ordering::Relaxed);
                    open.notified().await;
                    7
                };
                cache.get_with("key", load).await
            })
        })
        .collect();
    settle().await;
    open.notify_one();
    for task in tasks {
        assert_eq!(task.await.unwrap(), 7);
    }
    assert_eq!(loads.load(Ordering::Relaxed), 1);
    let stats = cache.stats();
    assert_eq!((stats.loads, stats.load_joins, stats.misses, stats.hits), (1, 9_999, 10_000, 0));
}

#[tokio::test]
async fn an_aborted_leader_is_followed_by_exactly_one_other() {
    let (cache, loads, open) = (Cache::new(10), Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let task = || {
        let (cache, loads, open) = (cache.clone(), loads.clone(), open.clone());
        tokio::spawn(async move {
            let load = || async {
                loads.fetch_add(1, Ordering::Relaxed);
                open.notified().await;
                7
            };
            cache.get_with("key", load).await
        })
    };
    let leader = task();
    settle().await;
    let waiters: Vec<_> = (0..10_000).map(|_| task()).collect();
    settle().await;
    leader.abort();
    settle().await;
    open.notify_one();
    for waiter in waiters {
        assert_eq!(waiter.await.unwrap(), 7);
    }
    assert_eq!(loads.load(Ordering::Relaxed), 2);
    assert_eq!(cache.stats().load_aborts, 1);
    cache.validate();
}

#[tokio::test]
async fn a_panicking_leader_fails_alone_and_hands_over() {
    let cache = Cache::new(10);
    let (send, receive) = oneshot::channel::<()>();
    let leader = tokio::spawn({
        let cache = cache.clone();
        async move {
            cache
                .get_with(1, || async {
                    let _ = receive.await;
                    panic!("loader")
                })
                .await
        }
    });
    settle().await;
    let waiter = tokio::spawn({
        let cache = cache.clone();
        async move { cache.get_with(1, || async { 5 }).await }
    });
    settle().await;
    send.send(()).unwrap();
    assert!(leader.await.unwrap_err().is_panic());
    assert_eq!(waiter.await.unwrap(), 5);
    cache.validate();
}

#[tokio::test]
async fn an_error_is_shared_by_all_who_waited_and_not_kept() {
    let cache = Cache::<u8, u8>::new(10);
    let open = Arc::new(Notify::new());
    let tasks: Vec<_> = (0..5)
        .map(|_| {
            let (cache, open) = (cache.clone(), open.clone());
            tokio::spawn(async move {
                let load = || async {
                    open.notified().await;
                    Err("down")
                };
                cache.try_get_with(1, load).await
            })
        })
        .collect();
    settle().await;
    open.notify_one();
    let mut causes = Vec::new();
    for task in tasks {
        causes.push(task.await.unwrap().unwrap_err().cause().unwrap().clone());
    }
    assert!(causes.iter().all(|cause| Arc::ptr_eq(cause, &causes[0])));
    assert_eq!(cache.stats().load_failures, 1);
    assert_eq!(cache.try_get_with(1, || async { Ok::<_, Infallible>(3) }).await.unwrap(), 3);
}

#[tokio::test]
async fn a_waiter_with_another_error_type_loads_for_itself() {
    let cache = Cache::<u8, u8>::new(10);
    let mut leader = pin!(cache.try_get_with(1, || async {
        tokio::task::yield_now().await;
        Err::<u8, _>("text")
    }));
    assert!(poll_once(leader.as_mut()).is_pending());
    let mut waiter = pin!(cache.try_get_with(1, || async { Err::<u8, _>(404_u16) }));
    assert!(poll_once(waiter.as_mut()).is_pending());
    assert_eq!(**leader.await.unwrap_err().cause().unwrap(), "text");
    assert_eq!(**waiter.await.unwrap_err().cause().unwrap(), 404);
}

#[tokio::test]
async fn a_load_dropped_at_any_await_point_leaves_nothing_behind() {
    async fn slow(steps: usize) -> u8 {
        for _ in 0..steps {
            tokio::task::yield_now().await;
        }
        9
    }
    for polls in 0..=6 {
        for waiter_polls in 0..=3 {
            let cache = Cache::new(10);
            {
                let mut leader = pin!(cache.get_with(1, || slow(5)));
                let mut waiter = pin!(cache.get_with(1, || slow(2)));
                for _ in 0..polls {
                    if poll_once(leader.as_mut()).is_ready() {
                        break;
                    }
                }
                for _ in 0..waiter_polls {
                    if poll_once(waiter.as_mut()).is_ready() {
                        break;
                    }
                }
            }
            cache.validate();
            assert_eq!(cache.get_with(1, || slow(1)).await, 9, "after {polls} and {waiter_polls} polls");
            let stats = cache.stats();
            assert!(stats.loads <= 1 + u64::from(polls == 6), "{stats:?}");
        }
    }
}

#[tokio::test]
async fn a_cancelled_waiter_does_not_take_the_wake_up_with_it() {
    let cache = Cache::new(10);
    let leader = tokio::spawn({
        let cache = cache.clone();
        async move { cache.get_with(1, std::future::pending::<u8>).await }
    });
    settle().await;
    let waiters: Vec<_> = (0..4)
        .map(|_| {
            let cache = cache.clone();
            tokio::spawn(async move { cache.get_with(1, || async { 2 }).await })
        })
        .collect();
    settle().await;
    leader.abort();
    waiters[0].abort();
    waiters[1].abort();
    for waiter in waiters.into_iter().skip(2) {
        assert_eq!(waiter.await.unwrap(), 2);
    }
}

#[tokio::test]
async fn what_happens_to_the_key_during_a_load_wins() {
    type Act = fn(&Cache<u8, u8>);
    let acts: [(Act, Option<u8>); 4] = [
        (|cache| cache.insert(1, 50), Some(50)),
        (|cache| assert_eq!(cache.remove(&1), None), None),
        (|cache| assert!(!cache.invalidate(&1)), None),
        (Cache::clear, None),
    ];
    for (act, kept) in acts {
        let cache = Cache::new(10);
        let open = Notify::new();
        let mut leader = pin!(cache.get_with(1, || async {
            open.notified().await;
            9
        }));
        assert!(poll_once(leader.as_mut()).is_pending());
        let mut waiter = pin!(cache.get_with(1, || async { 10 }));
        assert!(poll_once(waiter.as_mut()).is_pending());
        act(&cache);
        // Who comes after it does not get the old load.
        let later = cache.peek(&1);
        assert_eq!(later, kept);
        open.notify_one();
        assert_eq!((leader.await, waiter.await), (9, 9));
        assert_eq!(cache.peek(&1), kept);
        cache.validate();
    }
}

#[tokio::test]
async fn after_an_invalidation_a_new_load_starts_beside_the_old_one() {
    let cache = Cache::new(10);
    let open = Notify::new();
    let mut old = pin!(cache.get_with(1, || async {
        open.notified().await;
        "old"
    }));
    assert!(poll_once(old.as_mut()).is_pending());
    cache.invalidate(&1);
    assert_eq!(cache.get_with(1, || async { "new" }).await, "new");
    open.notify_one();
    assert_eq!(old.await, "old");
    assert_eq!(cache.get(&1), Some("new"));
}

#[tokio::test]
async fn a_future_that_asks_for_its_own_key_gets_an_error() {
    let cache = Cache::<u8, u8>::new(10);
    let inner = cache.clone();
    let result = cache
        .try_get_with(1, || async move {
            // Through another key, and from a later poll.
            tokio::task::yield_now().await;
            let again = inner.clone();
            inner
                .try_get_with(2, || async move {
                    again.try_get_with(1, || async { Ok::<_, ()>(0) }).await.map_err(|e| e.to_string())
                })
                .await
                .map_err(|e| e.to_string())
        })
        .await;
    let Err(LoadError::Failed { error, .. }) = result else { panic!("{result:?}") };
    assert!(error.contains("load failed"), "{error}");
    assert_eq!(cache.stats().load_failures, 2);
    assert_eq!(cache.get_with(1, || async { 4 }).await, 4);
}

#[test]
fn a_thread_that_asks_for_its_own_key_gets_an_error() {
    let cache = Cache::<u8, u8>::new(10);
    let inner = cache.try_get_or_insert_with(1, || cache.try_get_or_insert_with(1, || Ok::<_, Infallible>(1)));
    let Err(LoadError::Failed { error, .. }) = inner else { panic!("{inner:?}") };
    assert!(matches!(&*error, LoadError::Recursive { .. }));
    let panic = catch_unwind(AssertUnwindSafe(|| cache.get_or_insert_with(1, || cache.get_or_insert_with(1, || 1))));
    assert!(panic.is_err());
    assert_eq!(cache.get_or_insert_with(1, || cache.get_or_insert_with(2, || 5)), 5);
    cache.validate();
}

#[test]
fn threads_share_one_load_and_survive_a_panicking_leader() {
    for panics in [false, true] {
        let (cache, loads, barrier) = (Cache::new(10), AtomicUsize::new(0), Barrier::new(8));
        thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        barrier.wait();
                        cache.get_or_insert_with(1, || {
                            let first = loads.fetch_add(1, Ordering::Relaxed) == 0;
                            // The others arrive while this one loads.
                            while cache.stats().load_joins < 7 {
                                thread::yield_now();
                            }
                            assert!(!(panics && first), "leader");
                            8
                        })
                    })
                })
                .collect();
            let failed = threads.into_iter().filter_map(|thread| thread.join().err()).count();
            assert_eq!(failed, usize::from(panics));
        });
        assert_eq!(loads.load(Ordering::Relaxed), 1 + usize::from(panics));
        assert_eq!(cache.get(&1), Some(8));
    }
}

#[test]
fn a_thread_waits_for_a_future_and_a_future_for_a_thread() {
    let cache = Cache::new(10);
    let mut leader = Box::pin(cache.get_with(1, || async {
        tokio::task::yield_now().await;
        5
    }));
    assert!(poll_once(leader.as_mut()).is_pending());
    thread::scope(|scope| {
        let thread = scope.spawn(|| cache.get_or_insert_with(1, || 6));
        while cache.stats().load_joins == 0 {
            thread::yield_now();
        }
        while poll_once(leader.as_mut()).is_pending() {}
        assert_eq!(thread.join().unwrap(), 5);
    });

    let (entered, is_in) = mpsc::channel();
    let (go, may_go) = mpsc::channel();
    thread::scope(|scope| {
        let cache = &cache;
        let thread = scope.spawn(move || {
            cache.get_or_insert_with(2, move || {
                entered.send(()).unwrap();
                may_go.recv().unwrap();
                7
            })
        });
        is_in.recv().unwrap();
        let mut waiter = pin!(cache.get_with(2, || async { 8 }));
        assert!(poll_once(waiter.as_mut()).is_pending());
        go.send(()).unwrap();
        assert_eq!(thread.join().unwrap(), 7);
        assert_eq!(poll_once(waiter.as_mut()), Poll::Ready(7));
    });
}

#[tokio::test]
async fn a_value_too_heavy_to_keep_is_still_returned() {
    let cache = Cache::builder()
        .max_bytes(trimtab_config::ByteSize::kib(1))
        .weigher(trimtab_cache::weigher::heap)
        .build()
        .unwrap();
    assert_eq!(cache.get_with(1_u8, || async { vec![0_u8; 5000] }).await.len(), 5000);
    assert_eq!((cache.len(), cache.stats().rejected), (0, 1));
}
