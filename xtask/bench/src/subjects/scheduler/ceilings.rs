//! How close a ceiling that adapts comes to the best fixed one, on three services, within ten seconds each time.
//!
//! *constant*: any number at once, always in the same time. *knee*: beyond some number, each waits for the others, and a little
//! more than that. *noisy*: the same, with times that vary by half either way, and one in a hundred ten times as long. After ten
//! seconds the knee moves to half (the constant service becomes slower by half), and it is measured again after ten more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use trimtab_scheduler::config::Adaptation;
use trimtab_scheduler::{Job, LaneKind, Scheduler};

use super::{runtime, scheduler, shown};
use crate::frame::{Case, Contender, Measure, Role, Rounds, Turn};
use crate::load::random::SplitMix;

const WORKERS: usize = 2;
const MOST: u32 = 128;
const BASE: Duration = Duration::from_millis(10);
const KNEE: f64 = 48.0;
/// Beyond the knee, latency grows with this power of the number at once.
const CROWDED: f64 = 1.2;
/// What is asked for at the same time.
const CALLERS: usize = 256;
/// Ceilings that are tried for the best.
const FIXED: [u32; 6] = [16, 24, 32, 48, 64, 128];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Curve {
    Constant,
    Knee,
    Noisy,
}

struct Service {
    curve: Curve,
    moved: bool,
    inside: AtomicU64,
    served: AtomicU64,
    calls: AtomicU64,
}

impl Service {
    fn new(curve: Curve, moved: bool) -> Arc<Self> {
        let zero = || AtomicU64::new(0);
        Arc::new(Self { curve, moved, inside: zero(), served: zero(), calls: zero() })
    }

    async fn call(&self) {
        let inside = self.inside.fetch_add(1, Ordering::Relaxed) as f64 + 1.0;
        let knee = if self.moved { KNEE / 2.0 } else { KNEE };
        let mut times = match self.curve {
            Curve::Constant => {
                if self.moved {
                    1.5
                } else {
                    1.0
                }
            }
            Curve::Knee | Curve::Noisy => (inside / knee).max(1.0).powf(CROWDED),
        };
        if self.curve == Curve::Noisy {
            let mut random = SplitMix::new(self.calls.fetch_add(1, Ordering::Relaxed));
            times *= 0.5 + random.unit();
            if random.below(100) == 0 {
                times *= 10.0;
            }
        }
        tokio::time::sleep(BASE.mul_f64(times)).await;
        self.inside.fetch_sub(1, Ordering::Relaxed);
        self.served.fetch_add(1, Ordering::Relaxed);
    }
}

fn lane(ceiling: u32, adaptation: Adaptation) -> Result<Scheduler, String> {
    scheduler(|settings| {
        settings.io.ceiling = Some(ceiling);
        settings.io.ceiling_max = Some(MOST);
        settings.io.adaptation = adaptation;
        settings.io.latency_max = (BASE * 2).into();
    })
}

/// Keeps the lane busy with calls of `service`; tells calls a second after `settle`, over `time`.
async fn rate(scheduler: &Scheduler, service: &Arc<Service>, settle: Duration, time: Duration) -> Result<f64, String> {
    let until = Instant::now() + settle + time;
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (scheduler, service) = (scheduler.clone(), Arc::clone(service));
            tokio::spawn(async move {
                while Instant::now() < until {
                    let service = Arc::clone(&service);
                    scheduler.submit(Job::io(async move { service.call().await })).await.map_err(shown)?;
                }
                Ok::<(), String>(())
            })
        })
        .collect();
    tokio::time::sleep(settle).await;
    let (before, start) = (service.served.load(Ordering::Relaxed), Instant::now());
    tokio::time::sleep(time).await;
    let rate = (service.served.load(Ordering::Relaxed) - before) as f64 / start.elapsed().as_secs_f64();
    for caller in callers {
        caller.await.map_err(shown)??;
    }
    Ok(rate)
}

fn adaptive(curve: Curve, adaptation: Adaptation) -> impl FnMut(&Turn) -> Result<Vec<f64>, String> {
    move |turn| {
        let (settle, time) = times(turn);
        runtime(WORKERS)?.block_on(async {
            let scheduler = lane(8, adaptation)?;
            let mut figures = Vec::new();
            for moved in [false, true] {
                figures.push(rate(&scheduler, &Service::new(curve, moved), settle, time).await?);
            }
            figures.push(f64::from(scheduler.lane_stats(LaneKind::Io).ceiling));
            Ok(figures)
        })
    }
}

fn best(curve: Curve) -> impl FnMut(&Turn) -> Result<Vec<f64>, String> {
    move |_| {
        runtime(WORKERS)?.block_on(async {
            let mut best = [(0.0_f64, 0_u32); 2];
            for (moved, best) in [false, true].into_iter().zip(&mut best) {
                for ceiling in FIXED {
                    let scheduler = lane(ceiling, Adaptation::Fixed)?;
                    let (settle, time) = (Duration::from_millis(200), Duration::from_millis(600));
                    let rate = rate(&scheduler, &Service::new(curve, moved), settle, time).await?;
                    if rate > best.0 {
                        *best = (rate, ceiling);
                    }
                }
            }
            Ok(vec![best[0].0, best[1].0, f64::from(best[1].1)])
        })
    }
}

fn times(turn: &Turn) -> (Duration, Duration) {
    let settle = if turn.quick { 5 } else { 10 };
    (Duration::from_secs(settle), Duration::from_secs(1))
}

fn contenders(curve: Curve) -> Vec<Contender> {
    let mut all = vec![
        Contender::new("gradient", Role::Ours, adaptive(curve, Adaptation::Gradient)),
        Contender::new("best fixed", Role::Limit, best(curve)),
    ];
    // It holds a latency that it is told, so only a knee has something to show.
    if curve == Curve::Knee {
        all.push(Contender::new("aimd", Role::Ours, adaptive(curve, Adaptation::Aimd)));
    }
    all
}

pub(super) fn cases() -> Vec<Case> {
    [("constant", Curve::Constant), ("knee", Curve::Knee), ("noisy", Curve::Noisy)]
        .into_iter()
        .map(|(name, curve)| Case {
            name: format!("ceiling/{name}"),
            what: format!("{CALLERS} callers of a service of {} ms, {name}; at most {MOST} at once", BASE.as_millis()),
            threads: WORKERS,
            measures: vec![
                Measure::higher("found", "calls/s"),
                Measure::higher("followed", "calls/s"),
                Measure::context("ceiling at the end", ""),
            ],
            contenders: contenders(curve),
            rounds: Rounds::Exact(1),
        })
        .collect()
}
