//! What features switch on beside caches and pools: scheduler and calls, locks, limits. One place that starts, follows,
//! publishes, shows and stops them, so that the rest of the house need not know which are there.

use trimtab_config::{Change, Loaded};
use trimtab_monitor::Sample;

use crate::error::StartError;
use crate::settings::TrimtabSettings;
use crate::shutdown::Stopped;

/// How long jobs may go on once the last request was answered.
#[cfg(feature = "scheduler")]
pub const JOB_DRAIN: std::time::Duration = std::time::Duration::from_secs(10);

/// What the program gives to parts, beside settings.
#[derive(Debug, Default)]
pub(crate) struct Given {
    /// The functions of worker processes.
    #[cfg(feature = "process")]
    pub(crate) workers: Option<trimtab_scheduler::Workers>,
}

/// The parts, as far as they are compiled in. Clones are cheap and speak of the same ones.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    #[cfg(feature = "scheduler")]
    pub(crate) lanes: crate::lanes::Lanes,
    #[cfg(feature = "scheduler")]
    pub(crate) calls: crate::calls::Calls,
    #[cfg(feature = "lock")]
    pub(crate) locks: crate::locks::LockGroups,
    #[cfg(feature = "limit")]
    pub(crate) limits: crate::limits::Limits,
}

#[cfg_attr(
    not(all(feature = "scheduler", feature = "lock", feature = "limit")),
    allow(clippy::unused_self, clippy::unused_async, clippy::unnecessary_wraps, reason = "where a part is left out")
)]
impl Parts {
    /// What the settings declare. Nothing runs and nothing is asked yet.
    #[cfg_attr(
        not(feature = "scheduler"),
        allow(clippy::needless_pass_by_value, reason = "nothing is given where no part takes it")
    )]
    pub(crate) fn start(loaded: &Loaded<TrimtabSettings>, given: Given) -> Result<Self, StartError> {
        let _ = (loaded, &given);
        Ok(Self {
            #[cfg(feature = "scheduler")]
            lanes: crate::lanes::Lanes::start(loaded, given)?,
            #[cfg(feature = "scheduler")]
            calls: crate::calls::Calls::declared(&loaded.settings),
            #[cfg(feature = "lock")]
            locks: crate::locks::LockGroups::declared(&loaded.settings, loaded.profile),
            #[cfg(feature = "limit")]
            limits: crate::limits::Limits::declared(&loaded.settings, loaded.profile),
        })
    }

    /// Carries changed settings to the parts.
    pub(crate) fn follow(&self, change: &Change<TrimtabSettings>) {
        let _ = change;
        #[cfg(feature = "scheduler")]
        {
            self.lanes.follow(change);
            self.calls.follow(change);
        }
        #[cfg(feature = "lock")]
        self.locks.follow(change);
        #[cfg(feature = "limit")]
        self.limits.follow(change);
    }

    /// Tells the parts how busy the machine is.
    pub(crate) fn hear(&self, sample: &Sample) {
        let _ = sample;
        // Whichever is nearer to its end: the cores of the machine, or the quota of this process.
        #[cfg(feature = "scheduler")]
        {
            let shares = [sample.machine.cpu_share, sample.process.cpu_quota_share];
            if let Some(load) = shares.into_iter().flatten().reduce(f64::max) {
                self.lanes.scheduler.set_load(load);
            }
        }
    }

    /// Publishes the numbers of all parts.
    pub(crate) fn publish_metrics(&self) {
        #[cfg(feature = "scheduler")]
        {
            self.lanes.scheduler.publish_metrics();
            self.calls.publish_metrics();
        }
        #[cfg(feature = "lock")]
        self.locks.publish_metrics();
        #[cfg(feature = "limit")]
        self.limits.publish_metrics();
    }

    /// Ends jobs, then what they may have locked.
    pub(crate) async fn stop(&self) -> Stopped {
        #[cfg_attr(not(any(feature = "scheduler", feature = "lock")), allow(unused_mut, reason = "nothing to tell"))]
        let mut stopped = Stopped::default();
        #[cfg(feature = "scheduler")]
        {
            stopped.jobs = self.lanes.scheduler.drain(JOB_DRAIN).await;
            if stopped.jobs.is_clean() {
                tracing::info!(jobs = %stopped.jobs, "the scheduler has stopped");
            } else {
                let jobs = &stopped.jobs;
                tracing::warn!(%jobs, cancelled = ?jobs.cancelled, never_started = ?jobs.never_started, "jobs were cut off");
            }
        }
        #[cfg(feature = "lock")]
        {
            stopped.locks = self.locks.release().await;
            if !stopped.locks.taken.is_empty() {
                tracing::warn!(locks = ?stopped.locks.taken, "locks were taken from holders that did not give them back");
            }
        }
        // What was counted last is scraped by nobody, but a test or a report may look.
        self.publish_metrics();
        stopped
    }
}

#[cfg(feature = "admin")]
impl Parts {
    /// Lets the HTTP API show the parts.
    #[cfg_attr(
        not(any(feature = "scheduler", feature = "lock", feature = "limit")),
        allow(clippy::unused_self, reason = "where no part is compiled in")
    )]
    pub(crate) fn show(&self, console: trimtab_admin::Console) -> trimtab_admin::Console {
        #[cfg(feature = "scheduler")]
        let console = {
            let calls = self.calls.clone();
            let view = |call: &crate::calls::Call| trimtab_admin::CallView {
                name: call.name().to_owned(),
                settings: call.settings(),
                chain: call.chain(),
            };
            console
                .with_scheduler(self.lanes.scheduler.clone())
                .with_calls(move || calls.list().iter().map(view).collect())
        };
        #[cfg(feature = "lock")]
        let console = {
            let locks = self.locks.clone();
            console.with_locks(move || locks.list())
        };
        #[cfg(feature = "limit")]
        let console = {
            let limits = self.limits.clone();
            let view = |(name, limit): (String, std::sync::Arc<dyn crate::limits::AnyLimit>)| {
                let (kind, settings, stats, usage) = (limit.kind(), limit.settings(), limit.stats(), limit.usage());
                trimtab_admin::LimitView { name, kind, settings, stats, usage }
            };
            console.with_limits(move || limits.list().into_iter().map(view).collect())
        };
        console
    }

    /// Puts the HTTP API behind the parts: heavy requests on the cpu lane, files behind a breaker, peers under a limit.
    #[cfg_attr(
        not(any(feature = "scheduler", feature = "limit")),
        allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "where no part is compiled in")
    )]
    pub(crate) fn guard(
        &self,
        console: trimtab_admin::Console,
        profile: trimtab_config::Profile,
    ) -> Result<trimtab_admin::Console, StartError> {
        let _ = profile;
        #[cfg(feature = "scheduler")]
        let console = {
            use trimtab_config::Settings as _;
            use trimtab_scheduler::{BreakerSettings, CallSettings};
            // Snapshots are few: a disk that failed five times in a row is known to be broken.
            let breaker = BreakerSettings { window: 20, min_calls: 5, ..BreakerSettings::for_profile(profile) };
            let defaults = CallSettings { breaker: Some(breaker), ..CallSettings::default() };
            let snapshots = self.calls.open("snapshots", defaults)?;
            console.with_work_on(self.lanes.scheduler.clone()).with_file_breaker(move || snapshots.breaker())
        };
        #[cfg(feature = "limit")]
        let console = {
            use trimtab_config::Settings as _;
            let mut defaults = trimtab_limit::LimitSettings::for_profile(profile);
            // Thirty open pages ask for less than a hundred things a second.
            defaults.rate = "200/s burst 1000".parse().unwrap_or(defaults.rate);
            console.with_peer_limit(self.limits.keyed("admin", Some(defaults))?)
        };
        Ok(console)
    }
}
