//! What the console shows of parts that features switch on: scheduler, calls, locks, limits; and what of them guards the API.
//!
//! Named calls, locks and limits are kept by whoever opens them; the console is given a function that lists them.

#[cfg(any(feature = "scheduler", feature = "lock", feature = "limit"))]
use std::sync::{Arc, OnceLock};

use crate::console::Console;

#[cfg(any(feature = "scheduler", feature = "lock", feature = "limit"))]
type List<T> = OnceLock<Arc<dyn Fn() -> T + Send + Sync>>;

/// One named call as it stands.
#[cfg(feature = "scheduler")]
#[derive(Clone, Debug)]
pub struct CallView {
    /// Its name.
    pub name: String,
    /// The settings in force.
    pub settings: trimtab_scheduler::CallSettings,
    /// Its manners, which have the numbers.
    pub chain: trimtab_scheduler::Standard,
}

/// One named limit as it stands.
#[cfg(feature = "limit")]
#[derive(Clone)]
pub struct LimitView {
    /// Its name.
    pub name: String,
    /// `all` for one limit for all callers, `keyed` for one for each key, `shared` for one over a server.
    pub kind: &'static str,
    /// The settings in force.
    pub settings: trimtab_limit::LimitSettings,
    /// Its numbers.
    pub stats: trimtab_limit::LimitStats,
    /// The busiest of its keys, so many at most; none where it has no keys, or such as are no text.
    pub usage: Option<Usage>,
}

/// Looks for the busiest keys.
#[cfg(feature = "limit")]
pub type Usage = Arc<dyn Fn(usize) -> Vec<trimtab_limit::KeyUsage<String>> + Send + Sync>;

#[cfg(feature = "limit")]
impl std::fmt::Debug for LimitView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LimitView").field("name", &self.name).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// The handles. Each is given once; later ones change nothing.
#[derive(Default)]
pub(crate) struct Parts {
    #[cfg(feature = "scheduler")]
    pub(crate) scheduler: OnceLock<trimtab_scheduler::Scheduler>,
    #[cfg(feature = "scheduler")]
    pub(crate) work_on: OnceLock<trimtab_scheduler::Scheduler>,
    #[cfg(feature = "scheduler")]
    pub(crate) file_breaker: List<Option<trimtab_scheduler::Breaker>>,
    #[cfg(feature = "scheduler")]
    pub(crate) calls: List<Vec<CallView>>,
    #[cfg(feature = "lock")]
    pub(crate) locks: List<Vec<trimtab_lock::Locks>>,
    #[cfg(feature = "limit")]
    pub(crate) limits: List<Vec<LimitView>>,
    #[cfg(feature = "limit")]
    pub(crate) peers: OnceLock<trimtab_limit::KeyedLimit<std::net::IpAddr>>,
}

/// The names by which the page knows which panels can have something to show.
pub(crate) const COMPILED: &[&str] = &[
    #[cfg(feature = "scheduler")]
    "lanes",
    #[cfg(feature = "lock")]
    "locks",
    #[cfg(feature = "limit")]
    "limits",
];

#[cfg(feature = "scheduler")]
impl Console {
    /// Shows this scheduler: lanes, jobs and ceilings.
    pub fn with_scheduler(self, scheduler: trimtab_scheduler::Scheduler) -> Self {
        let _ = self.parts().scheduler.set(scheduler);
        self
    }

    /// Shows these calls, and lets their breakers be forced.
    pub fn with_calls(self, list: impl Fn() -> Vec<CallView> + Send + Sync + 'static) -> Self {
        let _ = self.parts().calls.set(Arc::new(list));
        self
    }

    /// Does the heavy work of requests as jobs of this scheduler's cpu lane, where it is seen, bounded, and started before
    /// what is less important; without this it runs on tokio's blocking threads.
    pub fn with_work_on(self, scheduler: trimtab_scheduler::Scheduler) -> Self {
        let _ = self.parts().work_on.set(scheduler);
        self
    }

    /// Touches files of snapshots only while this breaker lets it.
    pub fn with_file_breaker(
        self,
        breaker: impl Fn() -> Option<trimtab_scheduler::Breaker> + Send + Sync + 'static,
    ) -> Self {
        let _ = self.parts().file_breaker.set(Arc::new(breaker));
        self
    }

    /// The scheduler.
    pub(crate) fn scheduler(&self) -> Option<&trimtab_scheduler::Scheduler> {
        self.parts().scheduler.get()
    }

    /// The calls, by name.
    pub(crate) fn calls(&self) -> Vec<CallView> {
        self.parts().calls.get().map(|list| list()).unwrap_or_default()
    }

    /// The breaker in front of files.
    pub(crate) fn file_breaker(&self) -> Option<trimtab_scheduler::Breaker> {
        self.parts().file_breaker.get().and_then(|breaker| breaker())
    }
}

#[cfg(feature = "lock")]
impl Console {
    /// Shows these groups of locks, and lets locks of this process be taken from their holders.
    pub fn with_locks(self, list: impl Fn() -> Vec<trimtab_lock::Locks> + Send + Sync + 'static) -> Self {
        let _ = self.parts().locks.set(Arc::new(list));
        self
    }

    /// The groups of locks, by name.
    pub(crate) fn locks(&self) -> Vec<trimtab_lock::Locks> {
        self.parts().locks.get().map(|list| list()).unwrap_or_default()
    }
}

#[cfg(feature = "limit")]
impl Console {
    /// Shows these limits.
    pub fn with_limits(self, list: impl Fn() -> Vec<LimitView> + Send + Sync + 'static) -> Self {
        let _ = self.parts().limits.set(Arc::new(list));
        self
    }

    /// Lets each peer ask so often: every request but those for the page, for health, for events and for entries counts.
    /// Peers are told apart by `ConnectInfo<SocketAddr>`; without it all share one.
    pub fn with_peer_limit(self, limit: trimtab_limit::KeyedLimit<std::net::IpAddr>) -> Self {
        let _ = self.parts().peers.set(limit);
        self
    }

    /// The limits, by name.
    pub(crate) fn limits(&self) -> Vec<LimitView> {
        self.parts().limits.get().map(|list| list()).unwrap_or_default()
    }
}

impl Console {
    /// Whether requests are counted by peer, so that it helps to serve with `ConnectInfo<SocketAddr>`.
    pub fn counts_peers(&self) -> bool {
        #[cfg(feature = "limit")]
        let counts = self.parts().peers.get().is_some();
        #[cfg(not(feature = "limit"))]
        let counts = false;
        counts
    }

    /// Publishes the numbers of all parts, before a scrape.
    #[cfg_attr(
        not(any(feature = "scheduler", feature = "lock")),
        allow(clippy::unused_self, reason = "where no part is compiled in")
    )]
    pub(crate) fn publish_parts(&self) {
        #[cfg(feature = "scheduler")]
        {
            if let Some(scheduler) = self.scheduler() {
                scheduler.publish_metrics();
            }
            self.calls().iter().for_each(|call| call.chain.publish_metrics());
        }
        #[cfg(feature = "lock")]
        self.locks().iter().for_each(trimtab_lock::Locks::publish_metrics);
    }
}
