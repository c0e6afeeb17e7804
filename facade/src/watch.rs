//! What the parts say of themselves, as health: a lane that refuses work, a breaker that is open, a store or server that is away.
//!
//! All of it is optional in the sense of health: it makes the service degraded, not unready. Components appear when there is
//! something to tell of: a program that uses no lane has no health of lanes. Looked at once a tick of the monitor.

use trimtab_monitor::Health;

use crate::parts::Parts;
use crate::settings::TrimtabSettings;

/// The eye on the parts.
pub(crate) struct Watch {
    #[cfg_attr(
        not(any(feature = "scheduler", feature = "lock", feature = "limit")),
        allow(dead_code, reason = "where no part is compiled in")
    )]
    health: Health,
    #[cfg(feature = "scheduler")]
    refused: parking_lot::Mutex<std::collections::BTreeMap<&'static str, u64>>,
    #[cfg(feature = "limit")]
    away: parking_lot::Mutex<std::collections::BTreeMap<String, u64>>,
    #[cfg(feature = "lock")]
    stores: std::sync::Arc<stores::Stores>,
}

impl Watch {
    pub(crate) fn new(health: &Health) -> Self {
        Self {
            health: health.clone(),
            #[cfg(feature = "scheduler")]
            refused: parking_lot::Mutex::default(),
            #[cfg(feature = "limit")]
            away: parking_lot::Mutex::default(),
            #[cfg(feature = "lock")]
            stores: std::sync::Arc::default(),
        }
    }

    #[cfg_attr(
        not(any(feature = "scheduler", feature = "lock", feature = "limit")),
        allow(clippy::unused_self, reason = "where no part is compiled in")
    )]
    pub(crate) fn look(&self, parts: &Parts, settings: &TrimtabSettings) {
        let _ = (parts, settings);
        #[cfg(feature = "scheduler")]
        {
            self.lanes(&parts.lanes.scheduler, settings);
            self.calls(&parts.calls);
        }
        #[cfg(feature = "limit")]
        self.limits(&parts.limits);
        #[cfg(feature = "lock")]
        self.stores.look(&self.health, &parts.locks);
    }
}

#[cfg(any(feature = "scheduler", feature = "limit"))]
fn tell(health: &Health, component: &str, wrong: &[String]) {
    let component = health.component(component, trimtab_monitor::Need::Optional);
    if wrong.is_empty() { component.up() } else { component.degraded(wrong.join("; ")) }
}

#[cfg(feature = "scheduler")]
impl Watch {
    /// A lane is saturated when it refused or shed a job since the last look, or its queue is nine tenths full.
    fn lanes(&self, scheduler: &trimtab_scheduler::Scheduler, settings: &TrimtabSettings) {
        let stats = scheduler.stats();
        if stats.ledger().submitted == 0 {
            return;
        }
        let mut before = self.refused.lock();
        let mut wrong = Vec::new();
        for lane in &stats.lanes {
            let (name, max) = (lane.lane.label(), settings.scheduler.lane(lane.lane).queue_max as usize);
            let refused = lane.ledger.rejected + lane.ledger.shed;
            let lately = refused - before.insert(name, refused).unwrap_or(0);
            if lately > 0 || lane.queued.saturating_mul(10) >= max.saturating_mul(9) {
                wrong.push(format!(
                    "lane {name} is saturated: {} of {max} jobs queued, {lately} refused or shed since the last look; submit less, or raise scheduler.{name}.ceiling or queue_max",
                    lane.queued
                ));
            }
        }
        tell(&self.health, "scheduler", &wrong);
    }

    fn calls(&self, calls: &crate::calls::Calls) {
        use trimtab_scheduler::BreakerState;
        let breakers: Vec<_> = calls.list().iter().filter_map(crate::calls::Call::breaker).collect();
        if breakers.is_empty() {
            return;
        }
        let refusing = breakers.iter().map(|breaker| (breaker, breaker.state()));
        let refusing =
            refusing.filter(|(_, state)| !matches!(state, BreakerState::Closed | BreakerState::ForcedClosed));
        let wrong: Vec<_> =
            refusing.map(|(breaker, state)| format!("the breaker of call {} is {state}", breaker.name())).collect();
        tell(&self.health, "calls", &wrong);
    }
}

#[cfg(feature = "limit")]
impl Watch {
    /// A shared limit is degraded when its fallback decided since the last look.
    fn limits(&self, limits: &crate::limits::Limits) {
        let mut before = self.away.lock();
        let mut wrong = Vec::new();
        let shared: Vec<_> = limits.list().into_iter().filter(|(_, limit)| limit.settings().url.is_some()).collect();
        if shared.is_empty() {
            return;
        }
        for (name, limit) in shared {
            let away = limit.stats().away;
            let lately = away - before.insert(name.clone(), away).unwrap_or(0);
            if lately > 0 {
                let fallback = limit.settings().fallback;
                wrong.push(format!(
                    "the server of limit {name} is away: {lately} calls were decided by its fallback ({fallback:?}) since the last look"
                ));
            }
        }
        tell(&self.health, "limits", &wrong);
    }
}

#[cfg(feature = "lock")]
mod stores {
    //! Whether the stores of locks answer: each is asked for a lock of its own now and then, since that is what it is for.

    use std::error::Error;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use parking_lot::Mutex;
    use tokio::time::Instant;
    use trimtab_lock::Locks;
    use trimtab_monitor::{Health, Need};

    use crate::locks::LockGroups;

    /// Two round trips in so long.
    const EVERY: Duration = Duration::from_secs(10);
    /// The lock that is asked for. Whether it is free does not matter: an answer is an answer.
    const PROBE: &str = "trimtab/health";

    #[derive(Debug, Default)]
    pub(super) struct Stores {
        last: Mutex<Option<Instant>>,
        running: AtomicBool,
    }

    impl Stores {
        /// Asks if it is time, beside the caller.
        pub(super) fn look(self: &Arc<Self>, health: &Health, groups: &LockGroups) {
            let groups: Vec<_> = groups.list().into_iter().filter(is_far).collect();
            let now = Instant::now();
            if groups.is_empty() || self.last.lock().is_some_and(|last| now - last < EVERY) {
                return;
            }
            if self.running.swap(true, Ordering::AcqRel) {
                return;
            }
            *self.last.lock() = Some(now);
            let (stores, health) = (Arc::clone(self), health.clone());
            tokio::spawn(async move {
                for locks in groups {
                    ask(&locks, &health).await;
                }
                stores.running.store(false, Ordering::Release);
            });
        }
    }

    /// Kept by a server.
    fn is_far(locks: &Locks) -> bool {
        let url = locks.settings().url.expose();
        !url.starts_with("memory:") && !url.starts_with("file:")
    }

    async fn ask(locks: &Locks, health: &Health) {
        let component = health.component(format!("lock.{}", locks.name()), Need::Optional);
        match locks.try_acquire(PROBE).await {
            Ok(lease) => {
                drop(lease);
                component.up();
            }
            Err(error) => {
                let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
                component.degraded(format!("its store does not answer: {error}{cause}"));
            }
        }
    }

    #[cfg(all(test, feature = "redis"))]
    mod tests {
        use tokio::net::{TcpListener, TcpStream};
        use trimtab_config::Secret;
        use trimtab_lock::LockSettings;
        use trimtab_monitor::State;

        use super::*;

        /// Carries connections to the server at `to` until it is dropped.
        async fn wire(to: String) -> (std::net::SocketAddr, tokio::task::JoinSet<()>) {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("an address");
            let mut carrying = tokio::task::JoinSet::new();
            carrying.spawn(async move {
                let mut open = tokio::task::JoinSet::new();
                while let Ok((mut client, _)) = listener.accept().await {
                    let to = to.clone();
                    open.spawn(async move {
                        if let Ok(mut server) = TcpStream::connect(to).await {
                            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                        }
                    });
                }
            });
            (address, carrying)
        }

        #[tokio::test]
        async fn a_store_that_is_cut_off_shows_in_the_health() {
            let Ok(url) = std::env::var("XTASK_REDIS_URL") else {
                skipped("trimtab::watch: skipped: no Redis (cargo xtask test starts one)");
                return;
            };
            let (scheme, rest) = url.split_once("://").expect("a URL");
            let (login, server) = rest.rsplit_once('@').map_or(("", rest), |(login, server)| (login, server));
            let host = server.split('/').next().expect("a host").to_owned();
            let (address, wire) = wire(host).await;
            let login = if login.is_empty() { String::new() } else { format!("{login}@") };
            let mut settings = LockSettings::default();
            settings.url = Secret::new(format!("{scheme}://{login}{address}"));
            settings.timeout = Duration::from_millis(500).into();
            let locks = Locks::with_settings("jobs", settings).await.expect("locks");
            assert!(is_far(&locks));
            let health = Health::new();
            ask(&locks, &health).await;
            assert_eq!(health.report().components[0].state, State::Up);
            drop(wire);
            ask(&locks, &health).await;
            let report = &health.report().components[0];
            assert_eq!((report.name.as_str(), report.state), ("lock.jobs", State::Degraded), "{report:?}");
            assert!(report.reason.as_ref().is_some_and(|why| why.contains("does not answer")), "{report:?}");
            assert!(health.ready().ok, "worse is not unready");
        }

        /// Says that a test could not run: on standard error, and in the file that collects such lines.
        #[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
        fn skipped(line: &str) {
            use std::io::Write;
            eprintln!("{line}");
            if let Ok(path) = std::env::var("XTASK_SKIPS") {
                let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
                let written = file.and_then(|mut file| writeln!(file, "{line}"));
                written.unwrap_or_else(|error| panic!("XTASK_SKIPS={path}: {error}"));
            }
        }
    }
}
