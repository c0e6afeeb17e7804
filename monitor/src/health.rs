//! Health: which parts of a service work, and the two questions an orchestrator asks about it.
//!
//! *Live* means "do not restart me"; *ready* means "send me requests". A component says how it is;
//! its [`Need`] says which of the two answers it can spoil. Draining makes a service unready while
//! it stays live, so that open requests can finish.
//!
//! The split follows Kubernetes' probes. A component that is down must not fail liveness unless a
//! restart would mend it: otherwise one broken database restarts a whole fleet.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::RwLock;
use serde::Serialize;

use crate::pressure::{Pressure, PressureReport};
use crate::sample;

/// How a component is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Works.
    Up,
    /// Works, but worse than it should.
    Degraded,
    /// Not there yet.
    Starting,
    /// Does not work.
    Down,
}

impl State {
    /// The state's name, lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Degraded => "degraded",
            Self::Starting => "starting",
            Self::Down => "down",
        }
    }
}

/// What suffers when a component does not work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Need {
    /// Nothing but quality: the service stays ready and is reported as degraded.
    Optional,
    /// Requests cannot be served: not ready while it is down or starting.
    #[default]
    Ready,
    /// Only a restart helps: not ready, and not live while it is down.
    Live,
}

/// One component in a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ComponentHealth {
    /// Its name.
    pub name: String,
    /// How it is.
    pub state: State,
    /// Why it is not up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What suffers when it does not work.
    pub need: Need,
    /// Since when it is in this state; milliseconds since the Unix epoch in JSON.
    #[serde(serialize_with = "sample::unix_millis")]
    pub since: SystemTime,
}

/// The answer to "live?" or "ready?".
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Verdict {
    /// Yes or no.
    pub ok: bool,
    /// Why not, one entry for each cause; empty when `ok`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

/// Everything at once, for a health page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HealthReport {
    /// The service as a whole: down when not live, starting while a needed component starts,
    /// down when a needed one is down, degraded when anything else is not up.
    pub status: State,
    /// Do not restart me?
    pub live: Verdict,
    /// Send me requests?
    pub ready: Verdict,
    /// Finishing what is open, taking nothing new.
    pub draining: bool,
    /// Every component by name.
    pub components: Vec<ComponentHealth>,
}

/// The registry of components: a cheap handle, every clone shows the same state.
///
/// # Example
///
/// ```
/// use trimtab_monitor::{Health, Need};
///
/// let health = Health::new();
/// let database = health.component("database", Need::Ready);
/// assert!(!health.ready().ok); // still starting
/// database.up();
/// assert!(health.ready().ok);
///
/// database.down("connection refused");
/// assert_eq!(health.ready().reasons, ["database is down: connection refused"]);
/// assert!(health.live().ok); // a restart would not help
/// ```
#[derive(Debug, Clone, Default)]
pub struct Health {
    inner: Arc<RwLock<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    draining: bool,
    components: BTreeMap<Arc<str>, Entry>,
}

#[derive(Debug)]
struct Entry {
    state: State,
    reason: Option<String>,
    need: Need,
    since: SystemTime,
}

impl Health {
    /// An empty registry: live and ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a component, [starting](State::Starting), and gives the handle that reports for it.
    ///
    /// A name that is known already keeps its state and takes the new `need`: both handles then
    /// report for the same component.
    pub fn component(&self, name: impl Into<Arc<str>>, need: Need) -> Component {
        let name = name.into();
        self.inner
            .write()
            .components
            .entry(Arc::clone(&name))
            .and_modify(|entry| entry.need = need)
            .or_insert_with(|| Entry { state: State::Starting, reason: None, need, since: SystemTime::now() });
        Component { name, health: self.clone() }
    }

    /// Forgets a component; whether it was known.
    pub fn remove(&self, name: &str) -> bool {
        self.inner.write().components.remove(name).is_some()
    }

    /// From now on: not ready, while live. There is no way back; a drained service ends.
    pub fn drain(&self) {
        self.inner.write().draining = true;
    }

    /// Whether [`drain`](Self::drain) was called.
    pub fn is_draining(&self) -> bool {
        self.inner.read().draining
    }

    /// "Do not restart me": no component of [`Need::Live`] is down.
    pub fn live(&self) -> Verdict {
        live(&self.inner.read())
    }

    /// "Send me requests": not draining, and every component that is not optional is up or degraded.
    pub fn ready(&self) -> Verdict {
        ready(&self.inner.read())
    }

    /// Both answers and every component.
    pub fn report(&self) -> HealthReport {
        let inner = self.inner.read();
        let (live, ready) = (live(&inner), ready(&inner));
        let worst = |wanted: State| {
            inner.components.values().any(|entry| entry.need != Need::Optional && entry.state == wanted)
        };
        let status = if !live.ok || worst(State::Down) {
            State::Down
        } else if worst(State::Starting) {
            State::Starting
        } else if inner.draining || inner.components.values().any(|entry| entry.state != State::Up) {
            State::Degraded
        } else {
            State::Up
        };
        let components = inner
            .components
            .iter()
            .map(|(name, entry)| ComponentHealth {
                name: name.to_string(),
                state: entry.state,
                reason: entry.reason.clone(),
                need: entry.need,
                since: entry.since,
            })
            .collect();
        HealthReport { status, live, ready, draining: inner.draining, components }
    }
}

fn live(inner: &Inner) -> Verdict {
    verdict(reasons(inner, |entry| entry.need == Need::Live && entry.state == State::Down))
}

fn ready(inner: &Inner) -> Verdict {
    let mut causes =
        reasons(inner, |entry| entry.need != Need::Optional && matches!(entry.state, State::Starting | State::Down));
    if inner.draining {
        causes.insert(0, "draining: finishing open requests, taking no new ones".to_owned());
    }
    verdict(causes)
}

fn verdict(reasons: Vec<String>) -> Verdict {
    Verdict { ok: reasons.is_empty(), reasons }
}

fn reasons(inner: &Inner, spoils: impl Fn(&Entry) -> bool) -> Vec<String> {
    let words = |name: &str, entry: &Entry| match &entry.reason {
        Some(reason) => format!("{name} is {}: {reason}", entry.state.as_str()),
        None => format!("{name} is {}", entry.state.as_str()),
    };
    inner.components.iter().filter(|(_, entry)| spoils(entry)).map(|(name, entry)| words(name, entry)).collect()
}

/// Reports the state of one component. Cheap to clone.
///
/// Reporting the state that already holds keeps its `since` and takes the new reason.
#[derive(Debug, Clone)]
pub struct Component {
    name: Arc<str>,
    health: Health,
}

impl Component {
    /// The name it was registered by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Works.
    pub fn up(&self) {
        self.set(State::Up, None);
    }

    /// Works, but worse than it should, because of `reason`.
    pub fn degraded(&self, reason: impl Into<String>) {
        self.set(State::Degraded, Some(reason.into()));
    }

    /// Not there yet, because of `reason`.
    pub fn starting(&self, reason: impl Into<String>) {
        self.set(State::Starting, Some(reason.into()));
    }

    /// Does not work, because of `reason`.
    pub fn down(&self, reason: impl Into<String>) {
        self.set(State::Down, Some(reason.into()));
    }

    /// A component that was [removed](Health::remove) stays removed: a late report must not bring
    /// it back.
    fn set(&self, state: State, reason: Option<String>) {
        let mut inner = self.health.inner.write();
        if let Some(entry) = inner.components.get_mut(&*self.name) {
            if entry.state != state {
                tracing::info!(
                    component = &*self.name,
                    from = entry.state.as_str(),
                    to = state.as_str(),
                    reason,
                    "health changed"
                );
                entry.state = state;
                entry.since = SystemTime::now();
            }
            entry.reason = reason;
        }
    }
}

/// The three words of a memory health page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MemoryStatus {
    /// Pressure is low or moderate.
    Healthy,
    /// Pressure is high.
    Warning,
    /// Pressure is critical.
    Critical,
}

impl From<Pressure> for MemoryStatus {
    fn from(level: Pressure) -> Self {
        match level {
            Pressure::Low | Pressure::Moderate => Self::Healthy,
            Pressure::High => Self::Warning,
            Pressure::Critical => Self::Critical,
        }
    }
}

/// Memory as a health page shows it: a status, and the evidence it rests on.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct MemoryHealth {
    /// In one word.
    pub status: MemoryStatus,
    /// The pressure level.
    pub memory_pressure: Pressure,
    /// In one sentence.
    pub detail: String,
    /// What was measured.
    pub evidence: PressureReport,
}

impl From<PressureReport> for MemoryHealth {
    fn from(evidence: PressureReport) -> Self {
        Self { status: evidence.level.into(), memory_pressure: evidence.level, detail: evidence.explain(), evidence }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_registry_is_live_and_ready() {
        let report = Health::new().report();
        assert!(report.live.ok && report.ready.ok);
        assert_eq!(report.status, State::Up);
    }

    #[test]
    fn need_decides_which_answer_a_component_spoils() {
        for (need, live, ready, status) in [
            (Need::Optional, true, true, State::Degraded),
            (Need::Ready, true, false, State::Down),
            (Need::Live, false, false, State::Down),
        ] {
            let health = Health::new();
            health.component("part", need).down("broken");
            let report = health.report();
            assert_eq!((report.live.ok, report.ready.ok, report.status), (live, ready, status), "{need:?}");
        }
    }

    #[test]
    fn a_starting_component_is_live_but_not_ready() {
        let health = Health::new();
        let part = health.component("disk tier", Need::Live);
        part.starting("replaying 3 of 9 segments");
        assert!(health.live().ok);
        assert_eq!(health.ready().reasons, ["disk tier is starting: replaying 3 of 9 segments"]);
        assert_eq!(health.report().status, State::Starting);
        part.degraded("slow");
        assert!(health.ready().ok);
        assert_eq!(health.report().status, State::Degraded);
    }

    #[test]
    fn draining_is_unready_while_live() {
        let health = Health::new();
        health.component("part", Need::Ready).up();
        health.drain();
        assert!(health.is_draining());
        assert!(health.live().ok);
        let ready = health.ready();
        assert!(!ready.ok);
        assert!(ready.reasons[0].starts_with("draining"));
    }

    #[test]
    fn since_moves_only_when_the_state_does() {
        let health = Health::new();
        let part = health.component("part", Need::Ready);
        part.down("one");
        let since = health.report().components[0].since;
        part.down("two");
        let again = &health.report().components[0];
        assert_eq!(again.since, since);
        assert_eq!(again.reason.as_deref(), Some("two"));
        part.up();
        assert_eq!(health.report().components[0].reason, None);
    }

    #[test]
    fn a_late_report_does_not_bring_a_removed_component_back() {
        let health = Health::new();
        let part = health.component("part", Need::Ready);
        assert!(health.remove("part"));
        part.down("late");
        assert!(health.report().components.is_empty());
        assert!(!health.remove("part"));
    }

    #[test]
    fn the_same_name_is_the_same_component() {
        let health = Health::new();
        let first = health.component("part", Need::Optional);
        let second = health.component("part", Need::Ready);
        second.up();
        first.down("seen by both");
        let report = health.report();
        assert_eq!(report.components.len(), 1);
        assert_eq!((report.components[0].state, report.components[0].need), (State::Down, Need::Ready));
    }

    #[test]
    fn pressure_becomes_the_words_of_the_health_page() {
        let words = Pressure::ALL.map(|level| serde_json::to_value(MemoryStatus::from(level)).expect("a word"));
        assert_eq!(words, ["healthy", "healthy", "warning", "critical"]);
    }
}
