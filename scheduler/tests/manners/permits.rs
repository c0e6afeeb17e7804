//! Semaphores and bulkheads: the limit, the queue, its bounds, and callers who leave.

use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;
use trimtab_scheduler::{Bulkhead, BulkheadSettings, CallError, Gate, Permit, Reason, Refusal, Semaphore};

use crate::{ms, poll};

async fn fail() -> Result<(), u8> {
    tokio::task::yield_now().await;
    panic!("on purpose")
}

type Waiting<'a> = Pin<Box<dyn Future<Output = Result<Permit<'a>, Refusal>> + Send + 'a>>;

fn bulkhead(max: u32, max_waiting: u32, max_wait: Option<Duration>) -> Bulkhead {
    Bulkhead::with_settings("far", BulkheadSettings { max, max_waiting, max_wait: max_wait.map(Into::into) }).unwrap()
}

#[derive(Debug, Clone)]
enum Step {
    Enter,
    TryEnter,
    Leave(prop::sample::Index),
    GiveBack(prop::sample::Index),
    Resize(u32),
}

proptest! {
    #![proptest_config(crate::seeded())]

    /// The model is a number and a queue.
    #[test]
    fn the_limit_holds_and_callers_are_served_in_order(
        steps in prop::collection::vec(
            prop_oneof![
                4 => Just(Step::Enter),
                2 => Just(Step::TryEnter),
                1 => any::<prop::sample::Index>().prop_map(Step::Leave),
                4 => any::<prop::sample::Index>().prop_map(Step::GiveBack),
                1 => (1_u32..6).prop_map(Step::Resize),
            ],
            1..120,
        ),
    ) {
        let gate = bulkhead(3, 4, None);
        let (mut limit, mut out) = (3_usize, Vec::new());
        let mut queue: Vec<Waiting<'_>> = Vec::new();
        for step in steps {
            match step {
                Step::Enter => {
                    let mut future: Waiting<'_> = Box::pin(gate.acquire());
                    match poll(&mut future) {
                        Poll::Ready(Ok(permit)) => {
                            prop_assert!(out.len() < limit && queue.is_empty());
                            out.push(permit);
                        }
                        Poll::Ready(Err(refusal)) => {
                            prop_assert_eq!(queue.len(), 4);
                            prop_assert_eq!(refusal.reason(), &Reason::Full { limit, waiting: 4 });
                        }
                        Poll::Pending => {
                            prop_assert!(out.len() >= limit && queue.len() < 4);
                            queue.push(future);
                        }
                    }
                }
                Step::TryEnter => match gate.try_acquire() {
                    Ok(permit) => {
                        prop_assert!(out.len() < limit && queue.is_empty());
                        out.push(permit);
                    }
                    Err(_) => prop_assert!(out.len() >= limit),
                },
                Step::Leave(which) => {
                    if !queue.is_empty() {
                        drop(queue.remove(which.index(queue.len())));
                    }
                }
                Step::GiveBack(which) => {
                    if !out.is_empty() {
                        drop(out.swap_remove(which.index(out.len())));
                    }
                }
                Step::Resize(new) => {
                    gate.set_max(new).unwrap();
                    limit = new as usize;
                }
            }
            // Whoever is first in the queue has what came free, and nobody else.
            let free = limit.saturating_sub(out.len()).min(queue.len());
            for mut served in queue.drain(..free).collect::<Vec<_>>() {
                match poll(&mut served) {
                    Poll::Ready(Ok(permit)) => out.push(permit),
                    other => prop_assert!(false, "the first in the queue got {:?}", other),
                }
            }
            for waiting in &mut queue {
                prop_assert!(poll(waiting).is_pending());
            }
            let stats = gate.stats();
            prop_assert_eq!((stats.limit, stats.in_use, stats.waiting), (limit, out.len(), queue.len()));
        }
        drop(queue);
        drop(out);
        prop_assert_eq!((gate.stats().in_use, gate.available()), (0, limit));
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_too_long_is_told_and_leaves_no_trace() {
    let gate = bulkhead(1, 8, Some(ms(50)));
    let inside = gate.acquire().await.unwrap();
    let start = Instant::now();
    let refusal = gate.acquire().await.unwrap_err();
    assert_eq!(start.elapsed(), ms(50));
    assert_eq!(*refusal.reason(), Reason::Waited { limit: ms(50), permits: 1 });
    drop(inside);
    let stats = gate.stats();
    assert_eq!((stats.waiting, stats.in_use, stats.refused, stats.left), (0, 0, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_or_panics_gives_its_place_back() {
    let gate = bulkhead(1, 0, None);
    let mut hanging = Box::pin(gate.call(std::future::pending::<Result<(), ()>>()));
    assert!(poll(&mut hanging).is_pending());
    assert_eq!(gate.stats().in_use, 1);
    drop(hanging);
    assert_eq!(gate.stats().in_use, 0);
    let other = gate.clone();
    let panicked = tokio::spawn(async move { other.call(fail()).await }).await;
    assert!(panicked.unwrap_err().is_panic());
    assert_eq!(gate.call(async { Err::<(), _>(7) }).await, Err(CallError::Failed(7)));
    assert_eq!(gate.available(), 1);
}

#[tokio::test(start_paused = true)]
async fn several_permits_are_taken_all_at_once_or_never() {
    let semaphore = Semaphore::new("bytes", 4).unwrap();
    let three = semaphore.acquire_many(3).await.unwrap();
    let mut two: Waiting<'_> = Box::pin(semaphore.acquire_many(2));
    assert!(poll(&mut two).is_pending());
    assert!(semaphore.try_acquire().is_err(), "the free one is promised to the first in the queue");
    let refusal = semaphore.acquire_many(5).await.unwrap_err();
    assert!(matches!(refusal.reason(), Reason::Full { limit: 4, .. }));
    drop(three);
    assert!(poll(&mut two).is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_closed_semaphore_refuses_who_waits_and_who_comes() {
    let semaphore = Semaphore::new("exports", 1).unwrap();
    let inside = semaphore.acquire_owned().await.unwrap();
    let mut waiting: Waiting<'_> = Box::pin(semaphore.acquire());
    assert!(poll(&mut waiting).is_pending());
    semaphore.close();
    let Poll::Ready(Err(refusal)) = poll(&mut waiting) else { panic!("it waits for nothing") };
    assert_eq!(*refusal.reason(), Reason::Closed);
    assert_eq!(*semaphore.try_enter().unwrap_err().reason(), Reason::Closed);
    drop(inside);
    assert_eq!(semaphore.stats().waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn waits_are_measured_and_quick_ones_not_counted() {
    let semaphore = Semaphore::new("exports", 1).unwrap();
    let inside = semaphore.acquire().await.unwrap();
    let (permit, ()) = tokio::join!(semaphore.acquire(), async {
        tokio::time::advance(ms(30)).await;
        drop(inside);
    });
    drop(permit);
    let stats = semaphore.stats();
    assert_eq!((stats.acquired, stats.waited, stats.wait_total), (2, 1, ms(30)));
}

#[test]
fn no_permits_are_no_semaphore() {
    assert!(Semaphore::new("exports", 0).unwrap_err().to_string().contains("semaphore.exports.max = 0"));
    assert!(Semaphore::new("Exports", 1).is_err());
    assert!(Semaphore::new("exports", 1).unwrap().set_limit(usize::MAX).is_err());
}
