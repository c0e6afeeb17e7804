//! The batch processor: everybody gets his own result, whoever else leaves, and a closure that panics takes nobody along.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use parking_lot::Mutex;
use proptest::prelude::*;
use tokio::time::Instant;
use trimtab_config::ByteSize;
use trimtab_scheduler::{BatchError, BatchSettings, Batcher, Loss};

use crate::{ms, paused, poll, settle};

type Batches = Arc<Mutex<Vec<Vec<u32>>>>;

/// Doubles, takes so long, and notes each batch.
fn doubling(settings: BatchSettings, takes: Duration) -> (Batcher<u32, u64>, Batches) {
    let batches: Batches = Arc::default();
    let noted = batches.clone();
    let batcher = Batcher::builder("far", move |items: Vec<u32>| {
        noted.lock().push(items.clone());
        async move {
            tokio::time::sleep(takes).await;
            items.into_iter().map(|item| u64::from(item) * 2).collect()
        }
    })
    .settings(settings)
    .weigh(|item| *item as usize)
    .build()
    .unwrap();
    (batcher, batches)
}

fn settings() -> BatchSettings {
    BatchSettings { max_items: 5, max_wait: ms(10).into(), concurrency: 1, ..BatchSettings::default() }
}

proptest! {
    #![proptest_config(crate::seeded())]

    #[test]
    fn every_item_is_in_one_batch_and_every_caller_gets_its_own_result(
        steps in prop::collection::vec((0_u8..10, any::<prop::sample::Index>(), 0_u64..8), 1..120),
        max_bytes in 1_u64..200, wait in 0_u64..20, takes in 0_u64..20, concurrency in 1_u32..3,
    ) {
        paused(async {
            let (batcher, batches) = doubling(
                BatchSettings {
                    max_bytes: ByteSize::b(max_bytes), max_wait: ms(wait).into(), concurrency, max_waiting: 12,
                    ..settings()
                },
                ms(takes),
            );
            let (mut callers, mut next, mut left, mut refused) = (Vec::new(), 0_u32, HashSet::new(), HashSet::new());
            for (step, which, time) in steps {
                match step {
                    0..=5 => {
                        let batcher = batcher.clone();
                        let item = next;
                        next += 1;
                        let mut future = Box::pin(async move { batcher.submit(item).await });
                        match poll(&mut future) {
                            Poll::Pending => callers.push((item, future)),
                            Poll::Ready(Err(BatchError::Full { item, limit: 12, .. })) => {
                                refused.insert(item);
                            }
                            Poll::Ready(other) => prop_assert!(false, "{:?}", other),
                        }
                    }
                    6 if !callers.is_empty() => {
                        left.insert(callers.swap_remove(which.index(callers.len())).0);
                    }
                    _ => tokio::time::sleep(ms(time)).await,
                }
                prop_assert!(batcher.stats().waiting <= 12);
            }
            batcher.close().await;
            for (item, mut future) in callers {
                prop_assert_eq!(poll(&mut future), Poll::Ready(Ok(u64::from(item) * 2)));
            }
            // Once each, in no batch that is too long or too heavy; none of a refused one, and those who left may be missing.
            let batches = batches.lock();
            let mut seen = HashSet::new();
            for batch in &*batches {
                prop_assert!(!batch.is_empty() && batch.len() <= 5);
                let bytes: u64 = batch.iter().map(|item| u64::from(*item)).sum();
                prop_assert!(bytes <= max_bytes || batch.iter().filter(|item| **item > 0).count() == 1
                    || bytes - u64::from(*batch.last().unwrap()) < max_bytes);
                for item in batch {
                    prop_assert!(seen.insert(*item) && !refused.contains(item));
                }
            }
            for item in 0..next {
                prop_assert!(seen.contains(&item) || left.contains(&item) || refused.contains(&item));
            }
            let stats = batcher.stats();
            prop_assert_eq!((stats.waiting, stats.in_work, stats.lost), (0, 0, 0));
            prop_assert_eq!(stats.items + stats.left + stats.refused, u64::from(next));
            prop_assert_eq!(stats.batches as usize, batches.len());
            Ok(())
        })?;
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_goes_when_it_is_full_or_its_first_item_has_waited() {
    let (batcher, batches) = doubling(settings(), Duration::ZERO);
    let start = Instant::now();
    assert_eq!(batcher.submit(1).await, Ok(2));
    assert_eq!(start.elapsed(), ms(10));
    let full: Vec<_> = (0..5)
        .map(|item| {
            tokio::spawn({
                let b = batcher.clone();
                async move { b.submit(item).await }
            })
        })
        .collect();
    settle().await;
    assert_eq!(batches.lock().len(), 2, "a full one waits for nothing");
    for caller in full {
        caller.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn while_another_is_in_work_a_batch_grows() {
    let (batcher, batches) = doubling(BatchSettings { max_wait: Duration::ZERO.into(), ..settings() }, ms(50));
    let callers: Vec<_> = [0, 30, 35, 40]
        .map(|at| {
            let batcher = batcher.clone();
            tokio::spawn(async move {
                tokio::time::sleep(ms(at)).await;
                batcher.submit(at as u32).await
            })
        })
        .into();
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    assert_eq!(*batches.lock(), [vec![0], vec![30, 35, 40]]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_whose_callers_have_all_left_is_not_worked_on() {
    let (batcher, batches) = doubling(settings(), Duration::ZERO);
    for _ in 0..1_000 {
        let mut future = Box::pin(batcher.submit(7));
        assert!(poll(&mut future).is_pending());
    }
    batcher.close().await;
    assert!(batches.lock().is_empty());
    assert_eq!((batcher.stats().left, batcher.stats().batches), (1_000, 0));
}

#[tokio::test(start_paused = true)]
async fn a_closure_that_panics_or_gives_too_little_tells_those_it_concerns() {
    let batcher = Batcher::builder("far", |items: Vec<u32>| {
        assert!(items[0] != 1, "on purpose, before the first await");
        async move {
            assert!(items[0] != 2, "on purpose, in the future");
            if items[0] == 3 { vec![3] } else { items }
        }
    })
    .settings(settings())
    .build()
    .unwrap();
    let pair = async |first| tokio::join!(batcher.submit(first), batcher.submit(9));
    for panics in [1, 2] {
        let (a, b) = pair(panics).await;
        assert!(matches!(a, Err(BatchError::Lost { loss: Loss::Panicked, .. })), "{a:?}");
        assert!(matches!(b, Err(BatchError::Lost { loss: Loss::Panicked, .. })), "{b:?}");
    }
    let (a, b) = pair(3).await;
    assert_eq!(a, Ok(3));
    let error = b.unwrap_err();
    assert_eq!(
        error.to_string(),
        "batch \"far\" gave no result: its closure gave 1 results for 2 items; it must give one for each, in order"
    );
    assert_eq!(pair(4).await, (Ok(4), Ok(9)), "and goes on");
    assert_eq!((batcher.stats().lost, batcher.stats().in_work, batcher.stats().waiting), (5, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_taken_is_given_back() {
    let (batcher, _) = doubling(BatchSettings { max_waiting: 1, ..settings() }, Duration::ZERO);
    let mut first = Box::pin(batcher.submit(1));
    assert!(poll(&mut first).is_pending());
    assert_eq!(batcher.submit(2).await.unwrap_err().into_item(), Some(2));
    batcher.close().await;
    assert_eq!(poll(&mut first), Poll::Ready(Ok(2)), "closing let it go");
    let error = batcher.submit(3).await.unwrap_err();
    assert_eq!(error.to_string(), "batch \"far\" took no more: it is closed");
    assert_eq!(error.into_item(), Some(3));
}

#[test]
fn callers_are_told_when_the_runtime_stops() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let (batcher, mut waiting) = runtime.block_on(async {
        let (batcher, _) = doubling(settings(), Duration::from_secs(60));
        let submit = |item| {
            let batcher = batcher.clone();
            Box::pin(async move { batcher.submit(item).await })
        };
        let mut waiting = vec![submit(1), submit(2)];
        assert!(poll(&mut waiting[0]).is_pending());
        tokio::time::sleep(ms(20)).await; // in work
        assert!(poll(&mut waiting[1]).is_pending()); // gathering
        settle().await;
        (batcher, waiting)
    });
    drop(runtime);
    for caller in &mut waiting {
        let Poll::Ready(Err(BatchError::Lost { loss: Loss::Stopped, .. })) = poll(caller) else { panic!("it waits") };
    }
    let mut late = Box::pin(batcher.submit(3));
    let Poll::Ready(Err(BatchError::Lost { .. })) = poll(&mut late) else { panic!("it waits") };
    assert_eq!((batcher.stats().waiting, batcher.stats().in_work, batcher.stats().lost), (0, 0, 3));
}

/// An item whose destructor panics, and one that counts.
struct Nasty(Arc<AtomicUsize>, bool);

impl Drop for Nasty {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
        assert!(!self.1 || std::thread::panicking(), "on purpose");
    }
}

#[tokio::test(start_paused = true)]
async fn destructors_that_panic_hurt_only_their_own_caller() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let batcher = Batcher::builder("far", |items: Vec<Nasty>| async move { vec![(); items.len()] })
        .settings(settings())
        .build()
        .unwrap();
    // A caller who leaves drops his item himself.
    let item = Nasty(dropped.clone(), true);
    let other = batcher.clone();
    let leaver = tokio::spawn(async move {
        let mut future = Box::pin(other.submit(item));
        assert!(poll(&mut future).is_pending());
        drop(future);
    });
    assert!(leaver.await.unwrap_err().is_panic());
    // One whose item panics in the closure loses his batch, and the next is sound.
    let lost = batcher.submit(Nasty(dropped.clone(), true)).await;
    assert!(matches!(lost, Err(BatchError::Lost { loss: Loss::Panicked, .. })));
    assert!(batcher.submit(Nasty(dropped.clone(), false)).await.is_ok());
    assert_eq!(dropped.load(Relaxed), 3);
    batcher.close().await;
    assert_eq!((batcher.stats().waiting, batcher.stats().in_work), (0, 0));
}

#[test]
fn without_a_runtime_there_is_no_batcher() {
    let error = Batcher::builder("far", |items: Vec<u8>| async { items }).build().unwrap_err();
    assert!(error.to_string().contains("make it inside of one"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tasks_on_several_threads_all_get_their_results() {
    let batcher = Batcher::builder("far", |items: Vec<u64>| async { items.into_iter().map(|n| n + 1).collect() })
        .configure(|settings| settings.max_wait = Duration::ZERO.into())
        .build()
        .unwrap();
    let tasks: Vec<_> = (0..64_u64)
        .map(|task| {
            let batcher = batcher.clone();
            tokio::spawn(async move {
                for n in 0..200 {
                    assert_eq!(batcher.submit(task * 1_000 + n).await, Ok(task * 1_000 + n + 1));
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    batcher.close().await;
    let stats = batcher.stats();
    assert_eq!((stats.items, stats.waiting, stats.in_work), (64 * 200, 0, 0));
}
