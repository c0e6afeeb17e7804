//! The pace against the cell rate algorithm written out, and its line.

use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;
use trimtab_config::Rate;
use trimtab_scheduler::{Pace, Reason};

use crate::{ms, paused, poll, settle};

fn rate(text: &str) -> Rate {
    text.parse().unwrap()
}

proptest! {
    #![proptest_config(crate::seeded())]

    #[test]
    fn it_lets_through_what_the_algorithm_lets_through(
        burst in 1_u32..6, steps in prop::collection::vec((any::<bool>(), 1_u64..40), 1..150),
    ) {
        paused(async {
            let pace = Pace::new("far", rate("100/s").with_burst(burst)).unwrap();
            let interval = ms(10);
            let start = Instant::now();
            let mut due = Duration::ZERO; // the theoretical time of arrival
            for (call, wait) in steps {
                if !call {
                    tokio::time::advance(ms(wait)).await;
                    continue;
                }
                let now = start.elapsed();
                let earliest = due.saturating_sub(interval * (burst - 1));
                match pace.try_ready() {
                    Ok(()) => {
                        prop_assert!(now >= earliest);
                        due = due.max(now) + interval;
                    }
                    Err(refusal) => {
                        prop_assert!(now < earliest);
                        prop_assert_eq!(refusal.retry_after(), earliest.checked_sub(now));
                    }
                }
            }
            Ok(())
        })?;
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_of_demand_gets_a_second_of_calls() {
    let pace = Pace::new("far", rate("100/s burst 5")).unwrap();
    let start = Instant::now();
    let callers: Vec<_> = (0..10)
        .map(|_| {
            let pace = pace.clone();
            tokio::spawn(async move {
                let mut calls = 0;
                while start.elapsed() < Duration::from_secs(1) {
                    pace.ready().await.unwrap();
                    calls += u32::from(start.elapsed() < Duration::from_secs(1));
                }
                calls
            })
        })
        .collect();
    let mut calls = 0;
    for caller in callers {
        calls += caller.await.unwrap();
    }
    assert!((95..=105).contains(&calls), "{calls} calls in a second at 100/s with a burst of 5");
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_are_served_in_order_and_one_who_leaves_is_skipped() {
    let pace = Pace::new("far", rate("10/s burst 1")).unwrap();
    pace.ready().await.unwrap();
    let (sender, mut served) = tokio::sync::mpsc::unbounded_channel();
    let mut callers = Vec::new();
    for caller in 0..4 {
        let (pace, sender) = (pace.clone(), sender.clone());
        callers.push(tokio::spawn(async move {
            pace.ready().await.unwrap();
            sender.send(caller).unwrap();
        }));
        settle().await;
    }
    assert_eq!(pace.stats().waiting, 4);
    // The first of them has the timer; the second stands behind it.
    callers[0].abort();
    callers[2].abort();
    drop(sender);
    let mut order = Vec::new();
    while let Some(caller) = served.recv().await {
        order.push(caller);
    }
    assert_eq!(order, [1, 3]);
    assert_eq!((pace.stats().waiting, pace.stats().passed), (0, 3));
}

#[tokio::test(start_paused = true)]
async fn one_who_would_wait_too_long_is_told_at_the_door() {
    let patient = Pace::new("far", rate("10/s burst 1")).unwrap();
    let hasty = patient.clone().max_wait(ms(150));
    hasty.ready().await.unwrap();
    let mut waiting = Box::pin(patient.ready());
    assert!(poll(&mut waiting).is_pending());
    let refusal = hasty.ready().await.unwrap_err();
    assert!(matches!(refusal.reason(), Reason::Pace { wait, .. } if *wait == ms(200)), "{refusal}");
    drop(waiting);
    hasty.ready().await.unwrap();
}

#[test]
fn any_rate_makes_a_pace() {
    for text in ["1/30000000s", "4000000000/us", "1/s burst 4000000000"] {
        if let Ok(rate) = text.parse::<Rate>() {
            let pace = Pace::new("far", rate).unwrap();
            let _ = pace.try_ready();
            let _ = pace.try_ready();
        }
    }
}
