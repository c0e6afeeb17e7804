//! Resources: an idle one taken and given back; and 64 tasks that take turns at 8.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_queue::ArrayQueue;
use tokio::sync::Semaphore;
use trimtab_pool::{Manager, ResourcePool};

use crate::frame::{Case, Contender, Measure, Role, Rounds, Turn};

const TASKS: usize = 64;
const RESOURCES: usize = 8;
/// One turn of so many has its waiting measured.
const SAMPLE: u64 = 8;

/// Makes numbers; for all pools.
#[derive(Debug)]
pub(super) struct Numbers;

impl Manager for Numbers {
    type Resource = u64;
    type Error = Infallible;

    async fn create(&self) -> Result<u64, Infallible> {
        Ok(0)
    }
}

impl deadpool::managed::Manager for Numbers {
    type Type = u64;
    type Error = Infallible;

    async fn create(&self) -> Result<u64, Infallible> {
        Ok(0)
    }

    async fn recycle(
        &self,
        _: &mut u64,
        _: &deadpool::managed::Metrics,
    ) -> deadpool::managed::RecycleResult<Infallible> {
        Ok(())
    }
}

impl bb8::ManageConnection for Numbers {
    type Connection = u64;
    type Error = Infallible;

    async fn connect(&self) -> Result<u64, Infallible> {
        Ok(0)
    }

    async fn is_valid(&self, _: &mut u64) -> Result<(), Infallible> {
        Ok(())
    }

    fn has_broken(&self, _: &mut u64) -> bool {
        false
    }
}

/// Who takes part: a clonable pool, a lease, and how to get one.
trait Pool: Clone + Send + 'static {
    const NAME: &'static str;
    const ROLE: Role;
    type Lease: Send;
    fn make(size: usize) -> impl Future<Output = Self>;
    fn lease(&self) -> impl Future<Output = Self::Lease> + Send;
    fn end(lease: Self::Lease, pool: &Self);
    /// Nothing lost, nothing beyond the limit.
    fn check(&self, size: usize) -> Result<(), String>;
}

#[derive(Clone)]
struct Ours(ResourcePool<Numbers>);

struct OurLease(trimtab_pool::Lease<Numbers>);

impl Pool for Ours {
    const NAME: &'static str = "trimtab";
    const ROLE: Role = Role::Ours;
    type Lease = OurLease;

    async fn make(size: usize) -> Self {
        let pool = ResourcePool::builder("numbers", Numbers)
            .configure(|settings| (settings.min, settings.max) = (size as u32, Some(size as u32)))
            .build()
            .expect("sound settings");
        pool.warm_up().await.expect("numbers can be made");
        Self(pool)
    }

    async fn lease(&self) -> OurLease {
        OurLease(self.0.acquire().await.expect("in time"))
    }

    fn end(lease: OurLease, _: &Self) {
        drop(lease.0);
    }

    fn check(&self, size: usize) -> Result<(), String> {
        let stats = self.0.stats();
        let sound = stats.idle == size && stats.in_use == 0 && stats.created == size as u64;
        if sound { Ok(()) } else { Err(format!("lost or made too many: {stats:?}")) }
    }
}

#[derive(Clone)]
struct Deadpool(deadpool::managed::Pool<Numbers>);

impl Pool for Deadpool {
    const NAME: &'static str = "deadpool";
    const ROLE: Role = Role::Peer;
    type Lease = deadpool::managed::Object<Numbers>;

    async fn make(size: usize) -> Self {
        let pool = deadpool::managed::Pool::builder(Numbers).max_size(size).build().expect("sound settings");
        let mut held = Vec::new();
        for _ in 0..size {
            held.push(pool.get().await.expect("in time"));
        }
        drop(held);
        Self(pool)
    }

    async fn lease(&self) -> Self::Lease {
        self.0.get().await.expect("in time")
    }

    fn end(lease: Self::Lease, _: &Self) {
        drop(lease);
    }

    fn check(&self, size: usize) -> Result<(), String> {
        let status = self.0.status();
        if status.available == size { Ok(()) } else { Err(format!("lost some: {status:?}")) }
    }
}

#[derive(Clone)]
struct Bb8(bb8::Pool<Numbers>);

impl Pool for Bb8 {
    const NAME: &'static str = "bb8";
    const ROLE: Role = Role::Peer;
    type Lease = bb8::PooledConnection<'static, Numbers>;

    async fn make(size: usize) -> Self {
        let size = size as u32;
        Self(bb8::Pool::builder().max_size(size).min_idle(Some(size)).build(Numbers).await.expect("sound settings"))
    }

    async fn lease(&self) -> Self::Lease {
        self.0.get_owned().await.expect("in time")
    }

    fn end(lease: Self::Lease, _: &Self) {
        drop(lease);
    }

    fn check(&self, _: usize) -> Result<(), String> {
        Ok(())
    }
}

/// What no fair pool can pass: a semaphore and a queue, without check, ledger or counts.
#[derive(Clone)]
struct Bare(Arc<(Semaphore, ArrayQueue<u64>)>);

impl Pool for Bare {
    const NAME: &'static str = "semaphore and queue";
    const ROLE: Role = Role::Limit;
    type Lease = u64;

    async fn make(size: usize) -> Self {
        let queue = ArrayQueue::new(size);
        (0..size).for_each(|n| queue.push(n as u64).expect("room"));
        Self(Arc::new((Semaphore::new(size), queue)))
    }

    async fn lease(&self) -> u64 {
        self.0.0.acquire().await.expect("open").forget();
        self.0.1.pop().expect("as many as permits")
    }

    fn end(lease: u64, pool: &Self) {
        pool.0.1.push(lease).expect("room");
        pool.0.0.add_permits(1);
    }

    fn check(&self, size: usize) -> Result<(), String> {
        if self.0.1.len() == size { Ok(()) } else { Err("lost some".into()) }
    }
}

/// The idle case, and the turns by number of workers.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![Case {
        name: "idle/1t".into(),
        what: "an idle resource acquired and given back by one task".into(),
        threads: 1,
        measures: vec![Measure::lower("time", "ns")],
        contenders: vec![idle::<Ours>(), idle::<Deadpool>(), idle::<Bb8>(), idle::<Bare>()],
        rounds: Rounds::Timed,
    }];
    cases.extend([1, 2, 4].into_iter().map(|workers| Case {
        name: format!("turns/{workers}w"),
        what: format!("{TASKS} tasks take turns at {RESOURCES} resources, holding one over a yield; {workers} workers"),
        threads: workers,
        measures: vec![
            Measure::lower("time", "ns"),
            Measure::lower("p99", "µs"),
            Measure::lower("fairness", "most ÷ least"),
        ],
        contenders: vec![
            turns::<Ours>(workers),
            turns::<Deadpool>(workers),
            turns::<Bb8>(workers),
            turns::<Bare>(workers),
        ],
        rounds: Rounds::Timed,
    }));
    cases
}

pub(super) fn runtime(workers: usize) -> Result<tokio::runtime::Runtime, String> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(workers);
    builder.enable_time().build().map_err(|error| format!("cannot start a runtime: {error}"))
}

fn idle<P: Pool>() -> Contender {
    Contender::new(P::NAME, P::ROLE, |turn| {
        // Of several threads, as a service's is, although this task runs on this one.
        runtime(1)?.block_on(async {
            let pool = P::make(RESOURCES).await;
            let (started, mut operations) = (Instant::now(), 0_u64);
            while started.elapsed() < turn.time {
                for _ in 0..512 {
                    let lease = pool.lease().await;
                    P::end(lease, &pool);
                }
                operations += 512;
            }
            let time = started.elapsed().as_nanos() as f64 / operations as f64;
            pool.check(RESOURCES)?;
            Ok(vec![time])
        })
    })
}

fn turns<P: Pool>(workers: usize) -> Contender {
    Contender::new(P::NAME, P::ROLE, move |turn| runtime(workers)?.block_on(take_turns::<P>(turn)))
}

async fn take_turns<P: Pool>(turn: &Turn) -> Result<Vec<f64>, String> {
    let pool = P::make(RESOURCES).await;
    let stop = Arc::new(AtomicBool::new(false));
    let gate = Arc::new(Semaphore::new(0));
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let (pool, stop, gate) = (pool.clone(), stop.clone(), gate.clone());
            tokio::spawn(async move {
                gate.acquire().await.expect("open").forget();
                let (mut turns, mut waits) = (0_u64, Vec::with_capacity(4_096));
                while !stop.load(Ordering::Relaxed) {
                    let asked = (turns % SAMPLE == 0).then(Instant::now);
                    let lease = pool.lease().await;
                    if let Some(asked) = asked {
                        waits.push(asked.elapsed());
                    }
                    tokio::task::yield_now().await;
                    P::end(lease, &pool);
                    turns += 1;
                }
                (turns, waits)
            })
        })
        .collect();
    let started = Instant::now();
    gate.add_permits(TASKS);
    tokio::time::sleep(turn.time).await;
    stop.store(true, Ordering::Relaxed);
    let (mut served, mut waits) = (Vec::new(), Vec::<Duration>::new());
    for task in tasks {
        let (turns, some) = task.await.map_err(|error| format!("a task died: {error}"))?;
        served.push(turns);
        waits.extend(some);
    }
    let elapsed = started.elapsed();
    pool.check(RESOURCES)?;
    waits.sort_unstable();
    let p99 = waits[(waits.len() - 1) * 99 / 100].as_nanos() as f64 / 1e3;
    let (most, least) = (served.iter().max().copied().unwrap_or(0), served.iter().min().copied().unwrap_or(0));
    let fairness = most as f64 / least.max(1) as f64;
    Ok(vec![elapsed.as_nanos() as f64 / served.iter().sum::<u64>() as f64, p99, fairness])
}
