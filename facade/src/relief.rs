//! Under memory pressure pools let go of what is idle, caches give back what is regretted least, and then the allocator
//! gives its free pages to the system. Caches keep a share of their bytes, and pools the same share of what they have idle.
//!
//! A step is taken when pressure becomes high or critical, and again while it stays, but no sooner than the allocator may be
//! asked again (`monitor.reclaim_gap`): what a step brought shows only in a later sample. It runs on a thread that may
//! block, one at a time. Limits are not touched; when pressure has gone, caches fill again by themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use trimtab_cache::{Caches, Freed};
use trimtab_config::{ByteSize, Share};
use trimtab_monitor::{Pressure, ReclaimError, Reclaimed, reclaim};
use trimtab_pool::{Pools, Trimmed};

use crate::settings::{MemorySettings, TrimtabSettings};

/// What one step gave back.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Relieved {
    /// What caches were to keep of their bytes, and pools of what they had idle.
    pub share: Share,
    /// What left the caches.
    pub freed: Freed,
    /// What left the pools. Of objects and connections only the number is known.
    pub trimmed: Trimmed,
    /// How far resident memory fell; `None` when the allocator could not be asked, or not again yet.
    pub returned: Option<ByteSize>,
    /// How long it took.
    pub took: Duration,
}

/// Shrinks all caches together to a share, has pools let go of the rest of what is idle, and lets the system have the memory.
pub(crate) fn relieve(
    caches: &Caches,
    pools: &Pools,
    share: Share,
    reclaim: impl FnOnce() -> Result<Reclaimed, ReclaimError>,
) -> Relieved {
    let (started, mut freed) = (Instant::now(), Freed::default());
    // What nobody uses goes first: it costs the least.
    let trimmed = pools.trim_idle(Share::new(1.0 - share.get()).unwrap_or(Share::NONE));
    for shrunk in caches.shrink_to(share) {
        tracing::debug!(cache = shrunk.cache, share = %shrunk.share, entries = shrunk.freed.entries, bytes = shrunk.freed.bytes, "a cache gave memory back");
        freed += shrunk.freed;
    }
    let returned = match reclaim() {
        Ok(done) => Some(ByteSize::b(done.freed)),
        Err(error) => {
            tracing::debug!(%error, "the allocator was not asked for its free pages");
            None
        }
    };
    Relieved { share, freed, trimmed, returned, took: started.elapsed() }
}

/// When the last step was taken, and whether one is under way.
#[derive(Debug, Default)]
pub(crate) struct Relief {
    last: Mutex<Option<(Pressure, Duration)>>,
    running: AtomicBool,
}

impl Relief {
    /// The share to shrink to at this level and time, if a step is due; it counts as taken then.
    fn due(&self, level: Pressure, now: Duration, gap: Duration, settings: &MemorySettings) -> Option<Share> {
        let mut last = self.last.lock();
        let share = match level {
            Pressure::Critical => settings.keep_when_critical,
            Pressure::High => settings.keep_when_high,
            Pressure::Low | Pressure::Moderate => {
                *last = None;
                return None;
            }
        };
        let due = last.is_none_or(|(before, at)| level > before || now.saturating_sub(at) >= gap);
        if !due || share >= Share::ALL {
            return None;
        }
        *last = Some((level, now));
        Some(share)
    }

    /// Takes a step if one is due, beside the caller. Call it from a task of the runtime.
    pub(crate) fn tick(
        self: &Arc<Self>,
        caches: &Caches,
        pools: &Pools,
        level: Pressure,
        settings: &TrimtabSettings,
        now: Duration,
    ) {
        let gap = settings.monitor.reclaim_gap.get();
        let Some(share) = self.due(level, now, gap, &settings.memory) else { return };
        if self.running.swap(true, Ordering::AcqRel) {
            return;
        }
        let (running, caches, pools) = (Running(Arc::clone(self)), caches.clone(), pools.clone());
        tokio::task::spawn_blocking(move || {
            let _running = running;
            // Steps keep the gap themselves. The monitor's own handle would keep it alive from within its callback.
            let done = relieve(&caches, &pools, share, reclaim);
            tracing::warn!(
                %level,
                %share,
                entries = done.freed.entries,
                bytes = done.freed.bytes,
                pooled = done.trimmed.objects,
                pooled_bytes = done.trimmed.bytes,
                returned_bytes = done.returned.map(ByteSize::as_u64),
                took = ?done.took,
                "memory is short: caches gave back what is regretted least, pools what is idle"
            );
        });
    }
}

/// A step under way; over when dropped.
struct Running(Arc<Relief>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use trimtab_config::{Profile, Settings as _};

    use super::*;

    #[test]
    fn a_step_is_due_when_pressure_rises_and_after_the_gap_and_starts_over_when_it_has_gone() {
        let (relief, settings) = (Relief::default(), MemorySettings::for_profile(Profile::Balanced));
        let at = |level, seconds| relief.due(level, Duration::from_secs(seconds), Duration::from_secs(30), &settings);
        assert_eq!(at(Pressure::Moderate, 0), None);
        assert_eq!(at(Pressure::High, 1), Some(settings.keep_when_high));
        assert_eq!(at(Pressure::High, 2), None, "what it brought is not seen yet");
        assert_eq!(at(Pressure::Critical, 3), Some(settings.keep_when_critical));
        assert_eq!(at(Pressure::High, 20), None);
        assert_eq!(at(Pressure::High, 33), Some(settings.keep_when_high));
        assert_eq!(at(Pressure::Low, 34), None);
        assert_eq!(at(Pressure::High, 35), Some(settings.keep_when_high));
    }

    #[tokio::test]
    async fn a_step_trims_the_pools_too_beside_the_caller() {
        let (caches, pools) = (Caches::new(), Pools::new());
        let scratch = pools.object_pool("scratch", Vec::<u8>::new).unwrap();
        drop((0..40).map(|_| scratch.acquire()).collect::<Vec<_>>());
        let (before, settings) = (scratch.stats(), TrimtabSettings::for_profile(Profile::Balanced));
        let relief = Arc::new(Relief::default());
        relief.tick(&caches, &pools, Pressure::Moderate, &settings, Duration::ZERO);
        assert!(!relief.running.load(Ordering::Acquire), "nothing is due");
        relief.tick(&caches, &pools, Pressure::Critical, &settings, Duration::from_secs(1));
        while relief.running.load(Ordering::Acquire) {
            tokio::task::yield_now().await;
        }
        assert_eq!(scratch.stats().trimmed, (before.idle as f64 * 0.5).ceil() as u64, "{before:?}");
    }

    #[test]
    fn a_share_of_everything_switches_it_off() {
        let settings = MemorySettings { keep_when_high: Share::ALL, ..MemorySettings::default() };
        assert_eq!(Relief::default().due(Pressure::High, Duration::ZERO, Duration::ZERO, &settings), None);
    }
}
