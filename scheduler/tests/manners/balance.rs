//! The balancer: capacity, shares, ejection, slow start, health, and the line of those who wait.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use proptest::prelude::*;
use trimtab_scheduler::{BalanceSettings, Balancer, CallOutcome, Picked, Policy, Reason};

use crate::{ms, paused, poll, settle};

const POLICIES: [Policy; 4] = [Policy::Weighted, Policy::LeastLoaded, Policy::TwoChoices, Policy::PeakEwma];

fn balancer(policy: Policy, weights: &[(u32, usize)]) -> Balancer<usize> {
    let balancer = Balancer::new("far", BalanceSettings { policy, ..BalanceSettings::default() }).unwrap();
    for (index, (weight, capacity)) in weights.iter().enumerate() {
        balancer.add(&format!("w{index}"), index, *weight, *capacity).unwrap();
    }
    balancer
}

fn shares(balancer: &Balancer<usize>, calls: u32) -> HashMap<usize, u32> {
    let mut shares = HashMap::new();
    for _ in 0..calls {
        let picked = balancer.pick().unwrap();
        *shares.entry(*picked.worker()).or_default() += 1;
        picked.success();
    }
    shares
}

proptest! {
    #![proptest_config(crate::seeded())]

    /// The model is a number of calls for each worker, and for how long each is ejected.
    #[test]
    fn capacity_holds_refusals_are_true_and_the_ejected_get_nothing(
        policy in prop::sample::select(&POLICIES[..]),
        workers in prop::collection::vec((1_u32..5, 1_usize..4), 0..6),
        steps in prop::collection::vec((0_u8..12, any::<prop::sample::Index>(), 0_u64..4_000), 1..200),
    ) {
        paused(async {
            let balancer = balancer(policy, &workers);
            let mut out: Vec<Picked<usize>> = Vec::new();
            for (step, which, time) in steps {
                match step {
                    0..=5 => {
                        let before = balancer.stats();
                        let room = before.workers.iter().any(|w| w.available && w.in_use < w.capacity);
                        match balancer.pick() {
                            Ok(picked) => {
                                prop_assert!(room);
                                prop_assert!(before.workers[*picked.worker()].available);
                                out.push(picked);
                            }
                            Err(refusal) => {
                                prop_assert!(!room, "{}", refusal);
                                let ejected = before.workers.iter().filter(|w| !w.available).count();
                                let workers = workers.len();
                                prop_assert_eq!(refusal.reason(), &Reason::NoWorker { workers, ejected });
                            }
                        }
                    }
                    6..=10 if !out.is_empty() => {
                        let picked = out.swap_remove(which.index(out.len()));
                        match step {
                            6 => drop(picked),
                            7 => picked.ignore(),
                            8 => picked.failure(),
                            _ => picked.success(),
                        }
                    }
                    _ => tokio::time::advance(ms(time)).await,
                }
                for (index, worker) in balancer.stats().workers.iter().enumerate() {
                    let calls = out.iter().filter(|picked| *picked.worker() == index).count();
                    prop_assert_eq!(worker.in_use, calls);
                    prop_assert!(calls <= worker.capacity);
                }
            }
            Ok(())
        })?;
    }
}

#[tokio::test(start_paused = true)]
async fn turns_follow_the_weights_exactly() {
    let balancer = balancer(Policy::Weighted, &[(5, 10), (2, 10), (1, 10)]);
    assert_eq!(shares(&balancer, 800), HashMap::from([(0, 500), (1, 200), (2, 100)]));
}

#[tokio::test(start_paused = true)]
async fn least_loaded_fills_up_by_weight() {
    let balancer = balancer(Policy::LeastLoaded, &[(3, 100), (1, 100)]);
    let _out: Vec<_> = (0..40).map(|_| balancer.pick().unwrap()).collect();
    let stats = balancer.stats();
    assert!(stats.workers[0].in_use.abs_diff(30) <= 1, "{stats:?}");
}

#[tokio::test(start_paused = true)]
async fn two_choices_keep_the_load_even() {
    let balancer = balancer(Policy::TwoChoices, &[(1, 1_000); 8]);
    let _out: Vec<_> = (0..800).map(|_| balancer.pick().unwrap()).collect();
    let in_use: Vec<_> = balancer.stats().workers.iter().map(|worker| worker.in_use).collect();
    // Two choices leave the fullest about lg lg 8 above the mean; one choice would leave it some 20 above.
    assert!(in_use.iter().all(|calls| calls.abs_diff(100) <= 6), "{in_use:?}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_worker_is_avoided_at_once_and_forgiven_later() {
    let balancer = balancer(Policy::PeakEwma, &[(1, 100), (1, 100)]);
    let call = async |takes: [u64; 2]| {
        let picked = balancer.pick().unwrap();
        let worker = *picked.worker();
        tokio::time::sleep(ms(takes[worker])).await;
        picked.success();
        worker
    };
    for _ in 0..50 {
        call([10, 10]).await;
    }
    while call([10, 1_000]).await == 0 {}
    let mut slow = 0;
    for _ in 0..100 {
        slow += call([10, 1_000]).await;
    }
    assert_eq!(slow, 0, "one bad answer is remembered");
    tokio::time::advance(Duration::from_secs(200)).await;
    let mut back = 0;
    for _ in 0..100 {
        back += call([10, 10]).await;
    }
    assert!(back > 20, "after twenty times its decay it has a part again: {back}");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_fails_is_ejected_for_longer_each_time_and_comes_back_slowly() {
    let settings = BalanceSettings { policy: Policy::Weighted, ..BalanceSettings::default() };
    let balancer = Balancer::new("far", settings).unwrap();
    for (name, index) in [("a", 0), ("b", 1)] {
        balancer.add(name, index, 1, 100).unwrap();
    }
    let fail_b = |calls: u32| {
        for _ in 0..calls {
            let picked = balancer.pick().unwrap();
            let outcome = if *picked.worker() == 1 { CallOutcome::Failure } else { CallOutcome::Success };
            picked.settle(outcome);
        }
    };
    fail_b(10);
    assert_eq!(shares(&balancer, 100), HashMap::from([(0, 100)]));
    tokio::time::advance(Duration::from_secs(10)).await;
    // A tenth of a half at the beginning of its slow start, which draws lots.
    let back = shares(&balancer, 2_000).get(&1).copied().unwrap_or(0);
    assert!((40..=280).contains(&back), "{back}");
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(shares(&balancer, 100)[&1], 50);

    fail_b(10);
    tokio::time::advance(Duration::from_secs(19)).await;
    assert!(!balancer.stats().workers[1].available, "twice as long");
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(balancer.stats().workers[1].available);
    assert_eq!(balancer.stats().ejections, 2);
}

#[tokio::test(start_paused = true)]
async fn never_more_than_their_share_is_ejected() {
    for policy in POLICIES {
        let balancer = balancer(policy, &[(1, 10); 4]);
        for _ in 0..500 {
            balancer.pick().unwrap().failure();
        }
        let out = balancer.stats().workers.iter().filter(|worker| !worker.available).count();
        assert_eq!(out, 2, "{policy:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_are_served_in_order_and_one_who_leaves_is_skipped() {
    let balancer = balancer(Policy::LeastLoaded, &[(1, 1)]);
    let held = balancer.pick().unwrap();
    let wait = || {
        let balancer = balancer.clone();
        Box::pin(async move { balancer.acquire().await })
    };
    let mut line = [wait(), wait(), wait()];
    for caller in &mut line {
        assert!(poll(caller).is_pending());
    }
    let [first, mut second, mut third] = line;
    drop(first);
    held.success();
    assert!(poll(&mut third).is_pending());
    let Poll::Ready(Ok(picked)) = poll(&mut second) else { panic!("the next in line moves up") };
    drop(second);
    assert!(poll(&mut third).is_pending());
    drop(picked);
    assert!(matches!(poll(&mut third), Poll::Ready(Ok(_))));
    drop(third);
    assert_eq!(balancer.stats().waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_ejected_workers_gets_the_first_that_is_back() {
    let settings =
        BalanceSettings { eject_share: trimtab_config::Share::ALL, eject_after: 1, ..BalanceSettings::default() };
    let balancer = Balancer::new("far", settings).unwrap();
    balancer.add("a", 0, 1, 1).unwrap();
    balancer.pick().unwrap().failure();
    assert_eq!(balancer.pick().unwrap_err().retry_after(), Some(Duration::from_secs(10)));
    let start = tokio::time::Instant::now();
    balancer.acquire().await.unwrap().success();
    assert_eq!(start.elapsed(), Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn the_unhealthy_get_nothing_until_they_are_well_whatever_their_checks_do() {
    let settings = BalanceSettings { slow_start: Duration::ZERO.into(), ..BalanceSettings::default() };
    let balancer = Balancer::new("far", settings).unwrap();
    for name in ["a", "b", "c", "d"] {
        balancer.add(name, name, 1, 100).unwrap();
    }
    let well = Arc::new(AtomicBool::new(false));
    let all_well = well.clone();
    let checks = balancer
        .check_health(Duration::from_secs(5), ms(500), move |name| {
            let well = all_well.load(Relaxed);
            assert!(well || *name != "b", "on purpose, before the first await");
            async move {
                match *name {
                    _ if well => true,
                    "c" => std::future::pending().await,
                    name => name == "a",
                }
            }
        })
        .unwrap();
    tokio::time::sleep(ms(600)).await;
    let available = || balancer.stats().workers.iter().map(|worker| worker.available).collect::<Vec<_>>();
    assert_eq!(available(), [true, false, false, false]);
    assert!((0..50).all(|_| *balancer.pick().unwrap().worker() == "a"));
    well.store(true, Relaxed);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(available(), [true; 4]);
    drop(checks);
    well.store(false, Relaxed);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(available(), [true; 4], "checks end with their guard");
}

#[tokio::test(start_paused = true)]
async fn the_set_changes_under_its_callers() {
    let balancer = balancer(Policy::PeakEwma, &[]);
    assert!(matches!(balancer.acquire().await.unwrap_err().reason(), Reason::NoWorker { workers: 0, .. }));
    balancer.add("a", 1, 1, 1).unwrap();
    let old = balancer.pick().unwrap();
    balancer.add("a", 2, 1, 1).unwrap();
    assert_eq!(*balancer.pick().unwrap().worker(), 2, "the new one has its own room");
    assert_eq!(*old.worker(), 1, "and the call of the old one goes on");
    assert!(balancer.remove("a") && !balancer.remove("a") && balancer.is_empty());
    drop(old);
    assert_eq!(balancer.stats().picks, 2);

    let other = balancer.clone();
    balancer.add("b", 3, 1, 1).unwrap();
    let held = balancer.pick().unwrap();
    let waiter = tokio::spawn(async move { *other.acquire().await.unwrap().worker() });
    settle().await;
    balancer.add("c", 4, 1, 1).unwrap();
    assert_eq!(waiter.await.unwrap(), 4, "a new worker is room for those who wait");
    drop(held);
}

#[test]
fn impossible_workers_are_refused_with_all_reasons() {
    let balancer = balancer(Policy::Weighted, &[]);
    let error = balancer.add("a", 0, 0, 0).unwrap_err().to_string();
    assert!(error.contains("worker.a.weight") && error.contains("worker.a.capacity"), "{error}");
    assert!(balancer.add("A", 0, 1, 1).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tasks_on_several_threads_never_exceed_capacity_and_all_are_served() {
    for policy in POLICIES {
        let balancer = balancer(policy, &[(1, 1), (1, 2), (2, 1)]);
        let tasks: Vec<_> = (0..16)
            .map(|_| {
                let balancer = balancer.clone();
                tokio::spawn(async move {
                    for _ in 0..300 {
                        let picked = balancer.acquire().await.unwrap();
                        tokio::task::yield_now().await;
                        picked.success();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let stats = balancer.stats();
        assert_eq!((stats.picks, stats.waiting), (16 * 300, 0));
        assert!(stats.workers.iter().all(|worker| worker.in_use == 0));
    }
}
