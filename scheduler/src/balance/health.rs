//! Health checks: asks each worker every so often, and lets those that do not answer well get no calls until they do.
//!
//! Checks of one round run side by side; one that takes too long or panics is a bad answer. A worker that comes back starts
//! slowly.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::MissedTickBehavior;

use super::Balancer;
use crate::manners::SetupError;

/// Checks that go on until this is dropped.
#[derive(Debug)]
#[must_use = "the checks end when this is dropped"]
pub struct HealthChecks {
    task: AbortHandle,
}

impl Drop for HealthChecks {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<T: Send + Sync + 'static> Balancer<T> {
    /// Checks each worker every so often; `check` tells whether it is well, and has so long for its answer.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use trimtab_scheduler::{BalanceSettings, Balancer};
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
    /// let balancer = Balancer::new("shards", BalanceSettings::default())?;
    /// balancer.add("a", true, 1, 10)?;
    /// balancer.add("b", false, 1, 10)?;
    /// let checks = balancer.check_health(Duration::from_secs(5), Duration::from_secs(1), |well| async move { *well })?;
    /// tokio::time::sleep(Duration::from_millis(1)).await;
    /// assert!((0..9).all(|_| *balancer.pick().unwrap().worker()), "only the one that is well");
    /// # drop(checks);
    /// # Ok::<(), trimtab_scheduler::SetupError>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`SetupError::NoRuntime`].
    pub fn check_health<F, Fut>(&self, every: Duration, limit: Duration, check: F) -> Result<HealthChecks, SetupError>
    where
        F: Fn(Arc<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = bool> + Send + 'static,
    {
        let runtime = tokio::runtime::Handle::try_current()
            .map_err(|_| SetupError::NoRuntime { what: "balancer", name: self.name().to_owned() })?;
        let balancer = self.clone();
        let task = runtime.spawn(async move {
            let check = Arc::new(check);
            let mut ticks = tokio::time::interval(every.max(Duration::from_millis(1)));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let mut round = JoinSet::new();
                for worker in &*balancer.inner.set.load_full().workers {
                    let (worker, check) = (worker.clone(), check.clone());
                    let mut verdict = Verdict { balancer: balancer.clone(), worker, well: false };
                    round.spawn(async move {
                        let value = verdict.worker.value.clone();
                        // The call is inside, so that one which panics before its first await is caught too.
                        let answer = tokio::time::timeout(limit, async { check(value).await }).await;
                        verdict.well = answer.unwrap_or(false);
                        verdict.given();
                    });
                }
                while round.join_next().await.is_some() {}
            }
        });
        Ok(HealthChecks { task: task.abort_handle() })
    }
}

/// What a check found, told once; a check that panics found nothing good, one that was stopped found nothing.
struct Verdict<T> {
    balancer: Balancer<T>,
    worker: Arc<super::worker::Worker<T>>,
    well: bool,
}

impl<T> Verdict<T> {
    fn given(&self) {
        self.balancer.inner.set_health(&self.worker, self.well);
    }
}

impl<T> Drop for Verdict<T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.well = false;
            self.given();
        }
    }
}
