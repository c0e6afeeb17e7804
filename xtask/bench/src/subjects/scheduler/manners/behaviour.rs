//! What speed must not cost: a breaker that learns of dropped calls, and lets in its probes and no herd.

use std::time::{Duration, Instant};

use trimtab_scheduler::{Breaker, BreakerSettings, BreakerState, CallError};

use super::shown;
use crate::frame::{Case, Contender, Measure, Role, Rounds};

const CALLS: u32 = 50;
const HERD: usize = 100;
const PAUSE: Duration = Duration::from_millis(20);

fn exact(name: &str, what: String, measure: Measure, contenders: Vec<Contender>) -> Case {
    Case { name: name.into(), what, threads: 1, measures: vec![measure], contenders, rounds: Rounds::Exact(1) }
}

fn failsafe() -> impl failsafe::CircuitBreaker + failsafe::futures::CircuitBreaker {
    let policy = failsafe::failure_policy::consecutive_failures(5, failsafe::backoff::constant(PAUSE));
    failsafe::Config::new().failure_policy(policy).build()
}

fn ours() -> Result<Breaker, String> {
    let settings =
        BreakerSettings { min_calls: 5, open_for: PAUSE.into(), open_max: PAUSE.into(), ..BreakerSettings::default() };
    Breaker::with_settings("far", settings).map_err(shown)
}

/// Waits until the pause is over: what is measured is behaviour, and the clock of the peer cannot be paused.
fn pass(time: Duration) {
    let start = Instant::now();
    while start.elapsed() <= time {
        std::thread::yield_now();
    }
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        exact(
            "learns/dropped",
            format!("of {CALLS} calls that an outer time-out drops, those after which it is still closed"),
            Measure::lower("ignored", "calls"),
            vec![
                Contender::new("trimtab", Role::Ours, |_| {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(shown)?;
                    let breaker = ours()?;
                    runtime.block_on(async {
                        for _ in 0..CALLS {
                            let call = breaker.call(std::future::pending::<Result<(), ()>>());
                            let _ = tokio::time::timeout(Duration::from_millis(1), call).await;
                            if breaker.stats().opened > 0 {
                                return Ok(vec![0.0]);
                            }
                        }
                        Ok(vec![f64::from(CALLS)])
                    })
                }),
                Contender::new("failsafe", Role::Peer, |_| {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(shown)?;
                    let breaker = failsafe();
                    runtime.block_on(async {
                        for _ in 0..CALLS {
                            let call = failsafe::futures::CircuitBreaker::call(
                                &breaker,
                                std::future::pending::<Result<(), ()>>(),
                            );
                            let _ = tokio::time::timeout(Duration::from_millis(1), call).await;
                            if !failsafe::CircuitBreaker::is_call_permitted(&breaker) {
                                return Ok(vec![0.0]);
                            }
                        }
                        Ok(vec![f64::from(CALLS)])
                    })
                }),
            ],
        ),
        exact(
            "learns/probes",
            format!("of a herd of {HERD} calls at a half-open breaker, those that get in"),
            Measure::lower("let in", "calls"),
            vec![
                Contender::new("trimtab", Role::Ours, |_| {
                    let breaker = ours()?;
                    while breaker.state() == BreakerState::Closed {
                        let _: Result<(), CallError<()>> = breaker.run(|| Err(()));
                    }
                    pass(PAUSE);
                    let inside: Vec<_> = (0..HERD).filter_map(|_| breaker.try_acquire().ok()).collect();
                    let count = inside.len();
                    if count != usize::from(breaker.settings().probes) {
                        return Err(format!("{count} probes instead of {}", breaker.settings().probes));
                    }
                    Ok(vec![count as f64])
                }),
                Contender::new("failsafe", Role::Peer, |_| {
                    let breaker = failsafe();
                    for _ in 0..5 {
                        let _ = failsafe::CircuitBreaker::call(&breaker, || Err::<(), ()>(()));
                    }
                    pass(PAUSE);
                    let inside = (0..HERD).filter(|_| failsafe::CircuitBreaker::is_call_permitted(&breaker)).count();
                    Ok(vec![inside as f64])
                }),
            ],
        ),
    ]
}
