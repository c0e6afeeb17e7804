//! Batches: 64 tasks hand in items one by one and await each result; and what 2.4 million items leave behind.

use std::hint::black_box;
use std::time::{Duration, Instant};

use batch_aint_one::{BatchingPolicy, Limits, Processor};
use serde_json::json;
use trimtab_scheduler::Batcher;

use super::{nanoseconds, shown};
use crate::frame::{Case, Contender, Measure, Role, Rounds};
use crate::memory::Counting;
use crate::subjects::{child, number};

const TASKS: u64 = 64;
const MANY: u64 = 2_400_000;

/// Adds one; one batch at a time, as large as it comes.
fn ours() -> Result<Batcher<u64, u64>, String> {
    Batcher::builder("far", |items: Vec<u64>| async { items.into_iter().map(|item| item + 1).collect() })
        .configure(|settings| {
            settings.max_wait = Duration::ZERO.into();
            settings.concurrency = 1;
        })
        .build()
        .map_err(shown)
}

/// The same for the peer.
#[derive(Debug, Clone)]
struct Plus;

impl Processor for Plus {
    type Key = ();
    type Input = u64;
    type Output = u64;
    type Error = String;
    type Resources = ();

    async fn acquire_resources(&self, (): ()) -> Result<(), String> {
        Ok(())
    }

    async fn process(&self, (): (), inputs: impl Iterator<Item = u64> + Send, (): ()) -> Result<Vec<u64>, String> {
        Ok(inputs.map(|item| item + 1).collect())
    }
}

/// Runs the tasks until `done` says so; tells nanoseconds by item.
async fn race<F, Fut>(
    submit: F,
    done: impl Fn(Instant, u64) -> bool + Copy + Send + Sync + 'static,
) -> Result<f64, String>
where
    F: Fn(u64) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<u64, String>> + Send,
{
    let start = Instant::now();
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let submit = submit.clone();
            tokio::spawn(async move {
                let mut count = 0;
                while !done(start, count) {
                    for _ in 0..50 {
                        if black_box(submit(count).await)? != count + 1 {
                            return Err("somebody else's result".to_owned());
                        }
                        count += 1;
                    }
                }
                Ok(count)
            })
        })
        .collect();
    let mut count = 0;
    for task in tasks {
        count += task.await.map_err(shown)??;
    }
    Ok(start.elapsed().as_nanos() as f64 / count as f64)
}

fn runtime(threads: usize) -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_time().build().map_err(shown)
}

async fn race_ours(done: impl Fn(Instant, u64) -> bool + Copy + Send + Sync + 'static) -> Result<f64, String> {
    let batcher = ours()?;
    let submit = move |item| {
        let batcher = batcher.clone();
        async move { batcher.submit(item).await.map_err(shown) }
    };
    race(submit, done).await
}

async fn race_peer(done: impl Fn(Instant, u64) -> bool + Copy + Send + Sync + 'static) -> Result<f64, String> {
    let batcher = batch_aint_one::Batcher::builder()
        .name("far")
        .processor(Plus)
        .limits(Limits::builder().max_batch_size(100).max_key_concurrency(1).build())
        .batching_policy(BatchingPolicy::Immediate)
        .build();
    let submit = move |item| {
        let batcher = batcher.clone();
        async move { batcher.add((), item).await.map_err(|error| format!("{error:?}")) }
    };
    race(submit, done).await
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = [1, 2, 4]
        .into_iter()
        .map(|threads| {
            nanoseconds(
                format!("batch/{threads}t"),
                format!("{TASKS} tasks on {threads} workers, each awaiting item after item; by item"),
                threads,
                vec![
                    Contender::new("trimtab", Role::Ours, move |turn| {
                        let time = turn.time;
                        let race = race_ours(move |start, _| start.elapsed() >= time);
                        Ok(vec![runtime(threads)?.block_on(race)?])
                    }),
                    Contender::new("batch-aint-one", Role::Peer, move |turn| {
                        let time = turn.time;
                        let race = race_peer(move |start, _| start.elapsed() >= time);
                        Ok(vec![runtime(threads)?.block_on(race)?])
                    }),
                ],
            )
        })
        .collect();
    let grown = |name: &'static str, role| {
        Contender::new(name, role, move |_| Ok(vec![number(&child(&["scheduler", "batch", name])?, "grown")?]))
    };
    cases.push(Case {
        name: "memory/batch".into(),
        what: format!("memory that {MANY} items leave behind, beyond what the first tenth of them does"),
        threads: 2,
        measures: vec![Measure::lower("grown", "MiB")],
        contenders: vec![grown("trimtab", Role::Ours), grown("batch-aint-one", Role::Peer)],
        rounds: Rounds::Exact(1),
    });
    cases
}

/// What a child measures.
///
/// # Errors
///
/// When the step or contender is unknown, or an item was lost.
pub fn measure(account: &Counting, step: &str, name: &str) -> Result<serde_json::Value, String> {
    let runtime = runtime(2)?;
    account.start();
    let mut live = Vec::new();
    for items in [MANY / 10, MANY] {
        let done = move |_: Instant, count: u64| count >= items / TASKS;
        match (step, name) {
            ("batch", "trimtab") => runtime.block_on(race_ours(done))?,
            ("batch", "batch-aint-one") => runtime.block_on(race_peer(done))?,
            _ => return Err(format!("unknown step {step:?} of {name:?}")),
        };
        live.push(account.live() as f64);
    }
    Ok(json!({ "grown": (live[1] - live[0]).max(0.0) / f64::from(1 << 20) }))
}
