//! Rate limits: one for all and one for each key beside governor, a flood of keys, and permits fetched from a server.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use governor::{Quota, RateLimiter};
use trimtab_config::Secret;
use trimtab_limit::{KeyedLimit, Limit, LimitSettings, Rate, SharedLimit};

use super::single::{runtime, text};
use crate::frame::{Case, Contender, Measure, Role, Rounds, Turn};
use crate::memory::Counting;
use crate::subjects::{child, number};

const KEYS: u64 = 1_000;
const FLOOD: u64 = 10_000_000;

/// So high that every call passes, as most calls of a service do.
fn rate() -> Rate {
    Rate::new(1_000_000_000, Duration::from_secs(1)).expect("a rate").with_burst(1_000_000_000)
}

fn quota() -> Quota {
    Quota::per_second(NonZeroU32::new(1_000_000_000).expect("not zero"))
}

/// Nanoseconds of a call.
fn time(turn: &Turn, mut call: impl FnMut(u64) -> bool) -> Result<Vec<f64>, String> {
    let started = Instant::now();
    let mut done = 0_u64;
    while started.elapsed() < turn.time {
        for _ in 0..4_096 {
            if !black_box(call(done)) {
                return Err("a call did not pass".to_owned());
            }
            done += 1;
        }
    }
    Ok(vec![started.elapsed().as_secs_f64() * 1e9 / done as f64])
}

fn local(name: &str, what: &str, contenders: Vec<Contender>) -> Case {
    Case {
        name: format!("limit/{name}"),
        what: what.to_owned(),
        threads: 1,
        measures: vec![Measure::lower("time", "ns")],
        contenders,
        rounds: Rounds::Timed,
    }
}

/// In a process of its own, whose bytes are counted.
fn flooded((name, role): (&'static str, Role)) -> Contender {
    Contender::new(name, role, move |_| {
        let answer = child(&["lock", "flood", name])?;
        ["keys", "mib", "time"].iter().map(|key| number(&answer, key)).collect()
    })
}

/// What that process does: the most keys and bytes seen, and nanoseconds of a call.
pub(super) fn flood(account: &Counting, name: &str) -> Result<serde_json::Value, String> {
    account.start();
    let started = Instant::now();
    let (mut keys, mut bytes) = (0, 0);
    let mut over = |check: &dyn Fn(u64), remembered: &dyn Fn() -> usize| {
        for key in 0..FLOOD {
            check(key);
            if key % 100_000 == 0 || key + 1 == FLOOD {
                (keys, bytes) = (remembered().max(keys), account.live().max(bytes));
            }
        }
    };
    match name {
        "trimtab" => {
            let limit: KeyedLimit<u64> = KeyedLimit::new("bench", "100/s".parse().map_err(text)?).map_err(text)?;
            over(&|key| drop(black_box(limit.check(&key))), &|| limit.stats().keys);
        }
        _ => {
            let limit = RateLimiter::dashmap(Quota::per_second(NonZeroU32::new(100).ok_or("a rate")?));
            over(&|key| drop(black_box(limit.check_key(&key))), &|| limit.len());
        }
    }
    let time = started.elapsed().as_secs_f64() * 1e9 / FLOOD as f64;
    Ok(serde_json::json!({ "keys": keys, "mib": bytes as f64 / f64::from(1 << 20), "time": time }))
}

pub(super) fn cases(stores: &[(&'static str, String)]) -> Vec<Case> {
    let mut cases = vec![
        local(
            "direct",
            "one limit for all, every call passes",
            vec![
                Contender::new("trimtab", Role::Ours, |turn: &Turn| {
                    let limit = Limit::new("bench", rate()).map_err(|error| error.to_string())?;
                    time(turn, |_| limit.check().is_ok())
                }),
                Contender::new("governor", Role::Peer, |turn: &Turn| {
                    let limit = RateLimiter::direct(quota());
                    time(turn, |_| limit.check().is_ok())
                }),
            ],
        ),
        local(
            "keyed",
            "1,000 keys in turn, every call passes",
            vec![
                Contender::new("trimtab", Role::Ours, |turn: &Turn| {
                    let limit: KeyedLimit<u64> = KeyedLimit::new("bench", rate()).map_err(|error| error.to_string())?;
                    time(turn, |n| limit.check(&(n % KEYS)).is_ok())
                }),
                Contender::new("governor DashMap", Role::Peer, |turn: &Turn| {
                    let limit = RateLimiter::dashmap(quota());
                    time(turn, |n| limit.check_key(&(n % KEYS)).is_ok())
                }),
                Contender::new("governor HashMap", Role::Peer, |turn: &Turn| {
                    let limit = RateLimiter::hashmap(quota());
                    time(turn, |n| limit.check_key(&(n % KEYS)).is_ok())
                }),
            ],
        ),
        Case {
            name: "limit/flood".into(),
            what: format!("{FLOOD} distinct keys at 100/s each, room for 100,000; bytes by a counting allocator"),
            threads: 1,
            measures: vec![Measure::lower("keys", "keys"), Measure::lower("held", "MiB"), Measure::lower("time", "ns")],
            contenders: [("trimtab", Role::Ours), ("governor DashMap", Role::Peer)].map(flooded).into(),
            rounds: Rounds::Exact(1),
        },
    ];
    for (store, url) in stores.iter().filter(|(store, _)| ["postgres", "redis"].contains(store)) {
        let contender = |name, role, leased: u32| {
            let url = url.clone();
            Contender::new(name, role, move |turn: &Turn| {
                let mut settings =
                    LimitSettings::of("1000000/s burst 1000000".parse().map_err(|_| "a rate".to_owned())?);
                settings.url = Some(Secret::new(url.clone()));
                settings.leased = leased;
                let time = turn.time;
                runtime()?.block_on(async move {
                    let work = async move {
                        let limit = SharedLimit::connect("bench", settings).await.map_err(|error| error.to_string())?;
                        let (started, mut done) = (Instant::now(), 0_u64);
                        while started.elapsed() < time {
                            for _ in 0..leased {
                                limit.check("key").await.map_err(|error| error.to_string())?;
                            }
                            done += u64::from(leased);
                        }
                        let (rate, stats) = (done as f64 / started.elapsed().as_secs_f64(), limit.stats());
                        if stats.away > 0 { Err(format!("{stats:?}")) } else { Ok(vec![rate]) }
                    };
                    tokio::spawn(work).await.map_err(|error| error.to_string())?
                })
            })
        };
        cases.push(Case {
            name: format!("limit/shared-{store}"),
            what: "one caller of one key: 100 permits at once, and each asked for".into(),
            threads: 2,
            measures: vec![Measure::higher("rate", "/s")],
            contenders: vec![contender("trimtab", Role::Ours, 100), contender("one by one", Role::Limit, 1)],
            rounds: Rounds::Timed,
        });
    }
    cases
}
