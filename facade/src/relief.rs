//! Under memory pressure caches give back: a share of all of them, what is regretted least first, and then the allocator.
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

use crate::settings::{MemorySettings, TrimtabSettings};

/// What one step gave back.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Relieved {
    /// What the caches were to keep of their bytes.
    pub share: Share,
    /// What left the caches.
    pub freed: Freed,
    /// How far resident memory fell; `None` when the allocator could not be asked, or not again yet.
    pub returned: Option<ByteSize>,
    /// How long it took.
    pub took: Duration,
}

/// Shrinks all caches together to a share and lets the system have the memory.
pub(crate) fn relieve(
    caches: &Caches,
    share: Share,
    reclaim: impl FnOnce() -> Result<Reclaimed, ReclaimError>,
) -> Relieved {
    let (started, mut freed) = (Instant::now(), Freed::default());
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
    Relieved { share, freed, returned, took: started.elapsed() }
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
    pub(crate) fn tick(self: &Arc<Self>, caches: &Caches, level: Pressure, settings: &TrimtabSettings, now: Duration) {
        let gap = settings.monitor.reclaim_gap.get();
        let Some(share) = self.due(level, now, gap, &settings.memory) else { return };
        if self.running.swap(true, Ordering::AcqRel) {
            return;
        }
        let (running, caches) = (Running(Arc::clone(self)), caches.clone());
        tokio::task::spawn_blocking(move || {
            let _running = running;
            // Steps keep the gap themselves. The monitor's own handle would keep it alive from within its callback.
            let done = relieve(&caches, share, reclaim);
            tracing::warn!(
                %level,
                %share,
                entries = done.freed.entries,
                bytes = done.freed.bytes,
                returned_bytes = done.returned.map(ByteSize::as_u64),
                took = ?done.took,
                "memory is short: caches gave back what is regretted least"
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
    use trimtab_config::Profile;

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

    #[test]
    fn a_share_of_everything_switches_it_off() {
        let settings = MemorySettings { keep_when_high: Share::ALL, ..MemorySettings::default() };
        assert_eq!(Relief::default().due(Pressure::High, Duration::ZERO, Duration::ZERO, &settings), None);
    }
}
