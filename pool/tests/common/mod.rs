//! A manager whose every step can be told to fail, hang or panic, and that counts what exists.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use trimtab_pool::{Fate, Manager, PoolSettings, ResourcePool};

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does {
    Well,
    Fails,
    Hangs,
    Panics,
    /// Well, after so many milliseconds.
    Takes(u64),
}

#[derive(Debug, thiserror::Error)]
#[error("{0} was told to fail")]
pub struct Told(&'static str);

/// What happened to all resources.
#[derive(Debug)]
pub struct World {
    pub create: Mutex<Does>,
    pub check: Mutex<Does>,
    pub recycle: Mutex<Does>,
    pub close: Mutex<Does>,
    pub fate: Mutex<Fate>,
    pub returned_panics: Mutex<bool>,
    pub alive: AtomicI64,
    pub most: AtomicI64,
    pub made: AtomicU64,
    pub checks: AtomicU64,
    pub closes: AtomicU64,
}

impl Default for World {
    fn default() -> Self {
        Self {
            create: Mutex::new(Does::Well),
            check: Mutex::new(Does::Well),
            recycle: Mutex::new(Does::Well),
            close: Mutex::new(Does::Well),
            fate: Mutex::new(Fate::Keep),
            returned_panics: Mutex::new(false),
            alive: AtomicI64::new(0),
            most: AtomicI64::new(0),
            made: AtomicU64::new(0),
            checks: AtomicU64::new(0),
            closes: AtomicU64::new(0),
        }
    }
}

impl World {
    pub fn made(&self) -> u64 {
        self.made.load(Ordering::SeqCst)
    }

    pub fn checks(&self) -> u64 {
        self.checks.load(Ordering::SeqCst)
    }

    pub fn alive(&self) -> i64 {
        self.alive.load(Ordering::SeqCst)
    }

    pub fn most(&self) -> i64 {
        self.most.load(Ordering::SeqCst)
    }
}

/// A resource that is counted while it lives.
#[derive(Debug)]
pub struct Thing {
    pub id: u64,
    world: Arc<World>,
}

impl Drop for Thing {
    fn drop(&mut self) {
        self.world.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Makes [`Thing`]s.
#[derive(Debug, Clone, Default)]
pub struct Stub(pub Arc<World>);

async fn step(name: &'static str, does: Does) -> Result<(), Told> {
    match does {
        Does::Well => Ok(()),
        Does::Fails => Err(Told(name)),
        Does::Hangs => std::future::pending().await,
        Does::Panics => panic!("{name} was told to panic"),
        Does::Takes(millis) => {
            // The tests that use it run on the paused clock.
            tokio::time::sleep(Duration::from_millis(millis)).await;
            Ok(())
        }
    }
}

impl Manager for Stub {
    type Resource = Thing;
    type Error = Told;

    async fn create(&self) -> Result<Thing, Told> {
        let does = *self.0.create.lock();
        step("create", does).await?;
        let id = self.0.made.fetch_add(1, Ordering::SeqCst);
        let alive = self.0.alive.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.most.fetch_max(alive, Ordering::SeqCst);
        Ok(Thing { id, world: self.0.clone() })
    }

    async fn check(&self, _: &mut Thing) -> Result<(), Told> {
        self.0.checks.fetch_add(1, Ordering::SeqCst);
        let does = *self.0.check.lock();
        step("check", does).await
    }

    fn returned(&self, _: &mut Thing) -> Fate {
        assert!(!*self.0.returned_panics.lock(), "returned was told to panic");
        *self.0.fate.lock()
    }

    async fn recycle(&self, _: &mut Thing) -> Result<(), Told> {
        let does = *self.0.recycle.lock();
        step("recycle", does).await
    }

    async fn close(&self, thing: Thing) {
        self.0.closes.fetch_add(1, Ordering::SeqCst);
        let does = *self.0.close.lock();
        let _ = step("close", does).await;
        drop(thing);
    }
}

/// Milliseconds.
pub fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A pool of at most two things, with whatever the test wants otherwise.
pub fn pool(change: impl FnOnce(&mut PoolSettings)) -> (Arc<World>, ResourcePool<Stub>) {
    let stub = Stub::default();
    let world = stub.0.clone();
    let pool = ResourcePool::builder("things", stub)
        .configure(|settings| {
            (settings.min, settings.max, settings.growth_factor) = (0, Some(2), 1.0);
            change(settings);
        })
        .build()
        .unwrap();
    (world, pool)
}

/// Lets tasks and timers run.
pub async fn settle() {
    // On the paused clock, which moves when nothing else can.
    tokio::time::sleep(ms(1)).await;
}
