//! What becomes of a resource whose caller leaves: during its check, and while it is made.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{sleep, timeout};
use trimtab_pool::{Manager, ResourcePool};

use super::resources::runtime;
use crate::frame::{Case, Contender, Measure, Role, Rounds};

const CANCELLATIONS: usize = 100;
const TRIES: usize = 20;

/// Resources that take their time to make and to check.
#[derive(Clone)]
struct Slow {
    create: Duration,
    check: Duration,
    made: Arc<AtomicU64>,
}

impl Slow {
    fn new(create: u64, check: u64) -> Self {
        let (create, check) = (Duration::from_millis(create), Duration::from_millis(check));
        Self { create, check, made: Arc::default() }
    }

    async fn made(&self) -> u64 {
        sleep(self.create).await;
        self.made.fetch_add(1, Ordering::Relaxed)
    }
}

impl Manager for Slow {
    type Resource = u64;
    type Error = Infallible;

    async fn create(&self) -> Result<u64, Infallible> {
        Ok(self.made().await)
    }

    async fn check(&self, _: &mut u64) -> Result<(), Infallible> {
        sleep(self.check).await;
        Ok(())
    }
}

impl deadpool::managed::Manager for Slow {
    type Type = u64;
    type Error = Infallible;

    async fn create(&self) -> Result<u64, Infallible> {
        Ok(self.made().await)
    }

    async fn recycle(
        &self,
        _: &mut u64,
        _: &deadpool::managed::Metrics,
    ) -> deadpool::managed::RecycleResult<Infallible> {
        sleep(self.check).await;
        Ok(())
    }
}

impl bb8::ManageConnection for Slow {
    type Connection = u64;
    type Error = Infallible;

    async fn connect(&self) -> Result<u64, Infallible> {
        Ok(self.made().await)
    }

    async fn is_valid(&self, _: &mut u64) -> Result<(), Infallible> {
        sleep(self.check).await;
        Ok(())
    }

    fn has_broken(&self, _: &mut u64) -> bool {
        false
    }
}

async fn ours(manager: &Slow) -> Result<ResourcePool<Slow>, String> {
    ResourcePool::builder("slow", manager.clone())
        .configure(|settings| {
            (settings.min, settings.max) = (0, Some(1));
            // Every borrow is checked, as the peers do.
            settings.check_after = Duration::ZERO.into();
        })
        .build()
        .map_err(|error| error.to_string())
}

async fn theirs(manager: &Slow) -> Result<deadpool::managed::Pool<Slow>, String> {
    deadpool::managed::Pool::builder(manager.clone()).max_size(1).build().map_err(|error| error.to_string())
}

async fn bees(manager: &Slow) -> Result<bb8::Pool<Slow>, String> {
    bb8::Pool::builder().max_size(1).build(manager.clone()).await.map_err(|never| match never {})
}

/// Cancels acquires in the check; answers resources lost, and made.
macro_rules! check {
    ($make:expr, $get:ident) => {
        |_| {
            let manager = Slow::new(0, 4);
            runtime(2)?.block_on(async {
                let pool = $make(&manager).await?;
                drop(pool.$get().await.map_err(|error| error.to_string())?);
                let (mut cancelled, mut tries) = (0, 0);
                while cancelled < CANCELLATIONS {
                    // On a busy machine the timer may come after the check.
                    match timeout(Duration::from_millis(2), pool.$get()).await {
                        Ok(lease) => drop(lease.map_err(|error| error.to_string())?),
                        Err(_) => cancelled += 1,
                    }
                    tries += 1;
                    if tries > 4 * CANCELLATIONS {
                        return Err("the checks were over before they could be cancelled".to_owned());
                    }
                    sleep(Duration::from_millis(8)).await;
                }
                drop(timeout(Duration::from_secs(5), pool.$get()).await.map_err(|_| "none came back".to_owned())?);
                let made = manager.made.load(Ordering::Relaxed);
                Ok(vec![made as f64 - 1.0, made as f64])
            })
        }
    };
}

/// Callers who wait shorter than a connect takes; answers how many were served.
macro_rules! connect {
    ($make:expr, $get:ident) => {
        |_| {
            let manager = Slow::new(20, 0);
            runtime(2)?.block_on(async {
                let pool = $make(&manager).await?;
                let mut served = 0.0;
                for _ in 0..TRIES {
                    if let Ok(lease) = timeout(Duration::from_millis(10), pool.$get()).await {
                        drop(lease.map_err(|error| error.to_string())?);
                        served += 1.0;
                    }
                }
                Ok(vec![served])
            })
        }
    };
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "cancelled/check".into(),
            what: format!("{CANCELLATIONS} acquires cancelled while the one resource is checked"),
            threads: 2,
            measures: vec![Measure::lower("lost", "resources"), Measure::lower("made", "resources")],
            contenders: vec![
                Contender::new("trimtab", Role::Ours, check!(ours, acquire)),
                Contender::new("deadpool", Role::Peer, check!(theirs, get)),
                Contender::new("bb8", Role::Peer, check!(bees, get)),
            ],
            rounds: Rounds::Exact(3),
        },
        Case {
            name: "cancelled/connect".into(),
            what: format!("{TRIES} callers one after the other who wait 10 ms; a connect takes 20 ms"),
            threads: 2,
            measures: vec![Measure::higher("served", "callers")],
            contenders: vec![
                Contender::new("trimtab", Role::Ours, connect!(ours, acquire)),
                Contender::new("deadpool", Role::Peer, connect!(theirs, get)),
                Contender::new("bb8", Role::Peer, connect!(bees, get)),
            ],
            rounds: Rounds::Exact(5),
        },
    ]
}
