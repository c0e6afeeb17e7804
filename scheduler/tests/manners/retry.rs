//! Retries and hedges: when, how often, of what, and within which budget.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;
use trimtab_config::{Backoff, Share};
use trimtab_scheduler::{
    Budget, BudgetSettings, CallError, Hedge, HedgeSettings, Manner, Reason, Refusal, Retry, RetrySettings, Verdict,
};

use crate::{ms, paused, poll};

fn settings(retries: u32) -> RetrySettings {
    RetrySettings {
        backoff: Backoff { jitter: Share::NONE, max_retries: retries, ..Backoff::default() },
        ..RetrySettings::default()
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    Final,
    Again(Option<u64>),
    NotBegun(Option<u64>),
}

fn classify(error: &CallError<Fault>) -> Verdict {
    match error {
        CallError::Failed(Fault::Again(after)) => Verdict::Again(after.map(ms)),
        CallError::Failed(Fault::NotBegun(after)) => Verdict::NotBegun(after.map(ms)),
        _ => Verdict::Final,
    }
}

fn fault() -> impl Strategy<Value = Option<Fault>> {
    prop_oneof![
        1 => Just(None),
        1 => Just(Some(Fault::Final)),
        4 => prop::option::of(0_u64..300).prop_map(|after| Some(Fault::Again(after))),
        4 => prop::option::of(0_u64..300).prop_map(|after| Some(Fault::NotBegun(after))),
    ]
}

proptest! {
    #![proptest_config(crate::seeded())]

    #[test]
    fn tries_their_times_and_the_answer_are_as_a_plain_loop_gives_them(
        faults in prop::collection::vec(fault(), 12), retries in 0_u32..8, idempotent: bool,
        give_up in prop::option::of(1_u64..400), burst in 1_u32..5,
    ) {
        paused(async {
            let retry = Retry::new("far", RetrySettings {
                give_up_after: give_up.map(|time| ms(time).into()),
                idempotent,
                budget: BudgetSettings { burst, per_second: 0, share: Share::NONE },
                ..settings(retries)
            }).unwrap().classify(classify);

            // The plain loop.
            let (mut expected, mut at, mut first_failure) = (Vec::new(), 0, None);
            let mut answer = None;
            for (index, fault) in faults.iter().enumerate() {
                expected.push(at);
                answer = *fault;
                let Some(fault) = fault else { break };
                let first = *first_failure.get_or_insert(at);
                let after = match fault {
                    Fault::Final => break,
                    Fault::Again(_) if !idempotent => break,
                    Fault::Again(after) | Fault::NotBegun(after) => after.unwrap_or(0),
                };
                let delay = (10 << index).min(5_000).max(after);
                let late = give_up.is_some_and(|limit| at + delay - first > limit);
                if index as u32 >= retries || late || index as u32 >= burst {
                    break;
                }
                at += delay;
            }

            let (start, tries) = (Instant::now(), parking_lot::Mutex::new(Vec::new()));
            let result = retry.call(|| {
                let mut tries = tries.lock();
                tries.push(start.elapsed().as_millis() as u64);
                let fault = faults[tries.len() - 1];
                async move { fault.map_or(Ok(()), Err) }
            }).await;
            prop_assert_eq!(tries.into_inner(), expected);
            prop_assert_eq!(result, answer.map_or(Ok(()), |fault| Err(CallError::Failed(fault))));
            Ok(())
        })?;
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_retried_when_it_says_even_where_nothing_may_happen_twice() {
    let retry = Retry::new("far", settings(3)).unwrap().idempotent(false);
    let start = Instant::now();
    let refusal = || Refusal::new("gate", Reason::Other("not now".into()), Some(ms(700)));
    let result = retry
        .around(&|| async {
            if start.elapsed() < ms(700) { Err(CallError::<()>::Refused(refusal())) } else { Ok(start.elapsed()) }
        })
        .await;
    assert_eq!(result, Ok(ms(700)));
    assert_eq!(retry.call(|| async { Err::<(), _>(1) }).await, Err(CallError::Failed(1)));
    assert_eq!(retry.stats().retries, 1);
}

#[tokio::test(start_paused = true)]
async fn an_outage_costs_no_more_than_the_budget() {
    let budget = Budget::new(&BudgetSettings { share: Share::percent(10), per_second: 0, burst: 10 });
    let retry = Retry::with_budget("far", settings(3), budget).unwrap();
    let tries = AtomicU32::new(0);
    for _ in 0..1_000 {
        let _ = retry.call(|| async { Err::<(), u32>(tries.fetch_add(1, Relaxed)) }).await;
    }
    // Ten saved up, and one in ten of the thousand.
    assert!((1_100..=1_111).contains(&tries.load(Relaxed)), "{tries:?}");
    assert!(retry.stats().denied >= 890, "{:?}", retry.stats());
}

#[tokio::test(start_paused = true)]
async fn who_leaves_between_tries_leaves_nothing_behind() {
    let retry = Retry::new("far", settings(3)).unwrap();
    let tries = AtomicU32::new(0);
    let failing = || async { Err::<(), _>(tries.fetch_add(1, Relaxed)) };
    let mut call = Box::pin(retry.call(&failing));
    assert!(poll(&mut call).is_pending());
    drop(call);
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(tries.load(Relaxed), 1);
}

/// Takes so long for its tries, in order, and fails where told.
async fn hedged(hedge: &Hedge, tries: [(u64, bool); 2]) -> (Result<usize, CallError<usize>>, Duration, usize) {
    let (count, start) = (AtomicU32::new(0), Instant::now());
    let result = hedge
        .call(|| {
            let this = count.fetch_add(1, Relaxed) as usize;
            async move {
                tokio::time::sleep(ms(tries[this].0)).await;
                if tries[this].1 { Ok(this) } else { Err(this) }
            }
        })
        .await;
    (result, start.elapsed(), count.into_inner() as usize)
}

proptest! {
    #![proptest_config(crate::seeded())]

    #[test]
    fn of_two_tries_the_first_good_answer_counts(
        // Odd and even, so that no two things happen at the same time.
        first in 0_u64..200, second in 0_u64..200, good: (bool, bool), budget: bool,
    ) {
        paused(async {
            let (first, second) = (2 * first + 1, 2 * second);
            let settings = HedgeSettings {
                after: ms(100).into(),
                budget: BudgetSettings { share: Share::NONE, per_second: 0, burst: 1 },
            };
            let hedge = Hedge::new("far", settings).unwrap();
            if !budget {
                let _ = hedged(&hedge, [(900, true), (5_000, true)]).await;
            }
            let (result, took, tries) = hedged(&hedge, [(first, good.0), (second, good.1)]).await;
            let one = if good.0 { Ok(0) } else { Err(CallError::Failed(0)) };
            let two = if good.1 { Ok(1) } else { Err(CallError::Failed(1)) };
            let expected = if first <= 100 || !budget {
                (one, first, 1)
            } else {
                match (first < 100 + second, good) {
                    (true, (true, _)) | (false, (_, false)) => (one, first, 2),
                    (false, (_, true)) | (true, (false, _)) => (two, 100 + second, 2),
                }
            };
            prop_assert_eq!((result, took, tries), (expected.0, ms(expected.1), expected.2));
            Ok(())
        })?;
    }
}
