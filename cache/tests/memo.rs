//! Cached functions: keys, results that are not kept, tags, times, sync and async.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use tokio::sync::Notify;
use trimtab_cache::{Cache, Keep, ManualClock, Memo};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn errors_are_shared_by_who_waits_and_not_kept() {
    let memo = Memo::new(Cache::<u8, Result<u32, String>>::new(10)).only_ok();
    let (calls, barrier) = (AtomicU32::new(0), Barrier::new(2));
    thread::scope(|scope| {
        let leader = scope.spawn(|| {
            memo.call(1, || {
                barrier.wait();
                // The other caller must have joined before this ends.
                while memo.cache().stats().load_joins == 0 {
                    thread::yield_now();
                }
                calls.fetch_add(1, Ordering::Relaxed);
                Err("no".to_string())
            })
        });
        barrier.wait();
        let joined = memo.call(1, || unreachable!("joins"));
        assert_eq!((leader.join().unwrap(), joined), (Err("no".into()), Err("no".into())));
    });
    assert!(memo.cache().is_empty());
    assert_eq!(memo.call(1, || Ok(7)), Ok(7));
    assert_eq!(memo.call(1, || unreachable!("is kept")), Ok(7));
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    memo.cache().validate();
}

#[test]
fn errors_and_absences_may_have_a_time_of_their_own() {
    fn cache<R>(clock: &ManualClock) -> Cache<i32, R> {
        Cache::builder().max_entries(10).clock(clock.clone()).build().unwrap()
    }
    let clock = ManualClock::new();
    let errors = Memo::new(cache(&clock)).ttl(60 * SECOND).errors_for(5 * SECOND);
    let absences = Memo::new(cache(&clock)).none_for(5 * SECOND);
    let odd = Memo::new(cache(&clock)).keep(|n: &u32| if n % 2 == 1 { Keep::Yes } else { Keep::No });
    assert_eq!(errors.call(1, || Err::<u8, _>("no")), Err("no"));
    assert_eq!(errors.call(2, || Ok(2)), Ok(2));
    assert_eq!(absences.call(1, || None::<u8>), None);
    assert_eq!((odd.call(1, || 1), odd.call(2, || 2)), (1, 2));
    assert!(odd.cache().contains(&1) && !odd.cache().contains(&2));
    clock.advance(4 * SECOND);
    assert_eq!(errors.call(1, || Ok(1)), Err("no"));
    assert_eq!(absences.call(1, || Some(1)), None);
    clock.advance(SECOND);
    assert_eq!(errors.call(1, || Ok(1)), Ok(1));
    assert_eq!(absences.call(1, || Some(1)), Some(1));
    clock.advance(55 * SECOND);
    assert_eq!(errors.call(2, || Ok(3)), Ok(3), "the time to live of the memo holds for successes");
}

#[tokio::test]
async fn async_calls_share_one_run_and_hand_over_when_dropped() {
    let (memo, open) = (Memo::new(Cache::new(10)).tags(["all"]), Arc::new(Notify::new()));
    let call = |n: u32| {
        let (memo, open) = (memo.clone(), open.clone());
        tokio::spawn(async move {
            memo.call_async("k", || async {
                open.notified().await;
                n
            })
            .await
        })
    };
    let first = call(1);
    tokio::task::yield_now().await;
    let others: Vec<_> = (2..50).map(call).collect();
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    first.abort();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    open.notify_waiters();
    for other in others {
        assert_eq!(other.await.unwrap(), 2);
    }
    assert_eq!(memo.cache().stats().loads, 1);
    assert_eq!(memo.cache().invalidate_tag("all"), 1);
}

#[tokio::test]
async fn a_wrapped_function_runs_once_for_each_key() {
    let calls = AtomicU32::new(0);
    let count = || calls.fetch_add(1, Ordering::Relaxed);
    let length = Memo::new(Cache::new(10)).wrap(
        |text: &&str| text.to_lowercase(),
        |text: &str| {
            count();
            text.len()
        },
    );
    assert_eq!((length("abc"), length("ABC"), length("ab")), (3, 3, 2));
    let square = Memo::new(Cache::new(10)).wrap_async(
        |n: &u32| *n,
        |n| {
            count();
            async move { n * n }
        },
    );
    assert_eq!((square(3).await, square(3).await), (9, 9));
    assert_eq!(calls.load(Ordering::Relaxed), 3);
}

#[test]
fn recursion_through_other_keys_is_fine() {
    fn fibonacci(memo: &Memo<u64, u64>, n: u64) -> u64 {
        memo.call(n, || if n < 2 { n } else { fibonacci(memo, n - 1) + fibonacci(memo, n - 2) })
    }
    let memo = Memo::new(Cache::new(1000));
    assert_eq!(fibonacci(&memo, 90), 2_880_067_194_370_816_120);
    assert!(memo.forget(&90) && !memo.forget(&90));
}

#[test]
#[should_panic(expected = "itself loading")]
fn recursion_on_the_own_key_is_told() {
    let memo: Memo<u8, u8> = Memo::new(Cache::new(10));
    memo.call(1, || memo.call(1, || 2));
}
