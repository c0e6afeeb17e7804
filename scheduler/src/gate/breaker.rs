//! The circuit breaker: stops calling what is down, and finds out when it is back.
//!
//! Closed, it watches the last calls; when too many failed or were slow it opens and refuses. After a pause it is half open:
//! exactly so many calls are let in as probes, and their answers decide. The pattern is Nygard's (*Release It!*, 2007), the
//! windows and rates are resilience4j's. Different here: a call counts also when its caller drops it, since that is how an
//! outer time-out looks from inside; a probe is a reservation, so that no herd gets through; and a pause doubles when probes
//! fail.
//!
//! Closed and healthy costs a few loads and an addition that no other thread fights for (`window`), and no look at the clock
//! unless it must time calls.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;

use crate::gate::{Gate, Gated};
use crate::manners::clock::{Clock, nanos};
use crate::manners::config::{BreakerSettings, check};
use crate::manners::metrics::Meters;
use crate::manners::pad::Padded;
use crate::manners::stripes::Striped;
use crate::manners::{CallError, Reason, Refusal, SetupError};

mod permit;
mod state;
mod sync;
mod window;

pub use permit::BreakerPermit;
pub use window::Counts;

use state::{Kind, State};
use window::{CallWindow, FAILED, SLOW, TimeWindow};

/// What a breaker does with calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BreakerState {
    /// Lets calls in and watches them.
    Closed,
    /// Refuses calls until its pause is over.
    Open,
    /// Lets in probes.
    HalfOpen,
    /// Refuses calls until told otherwise.
    ForcedOpen,
    /// Lets calls in and does not watch them.
    ForcedClosed,
}

impl BreakerState {
    /// As it is shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::ForcedOpen => "forced_open",
            Self::ForcedClosed => "forced_closed",
        }
    }
}

impl fmt::Display for BreakerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The numbers of a breaker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BreakerStats {
    /// Its name.
    pub name: Arc<str>,
    /// What it does with calls.
    pub state: BreakerState,
    /// How long it goes on refusing, if it is open.
    pub opens_probes_in: Option<Duration>,
    /// What its window holds.
    #[serde(skip)]
    pub window: Counts,
    /// Calls that were answered, probes and late answers included.
    pub calls: u64,
    /// Of these, failed.
    pub failed: u64,
    /// Of these, slow.
    pub slow: u64,
    /// Of these, dropped by their callers.
    pub dropped: u64,
    /// Calls refused.
    pub refused: u64,
    /// How often it opened.
    pub opened: u64,
}

/// A circuit breaker. Clones are cheap and share everything.
///
/// ```
/// use trimtab_scheduler::{Breaker, BreakerState, CallError};
///
/// let breaker = Breaker::new("payments")?;               // or `with_settings`
/// for _ in 0..20 {
///     let _ = breaker.run(|| Err::<(), _>("down"));      // sync; `call` takes a future
/// }
/// assert_eq!(breaker.state(), BreakerState::Open);
/// let refused = breaker.run(|| Ok::<_, &str>(7)).unwrap_err();
/// assert!(matches!(&refused, CallError::Refused(refusal) if refusal.retry_after().is_some()));
/// assert!(refused.to_string().starts_with(
///     "breaker \"payments\" refused: it opened when 20 of 20 calls had failed; look at the far side, and try again in"));
/// # Ok::<(), trimtab_scheduler::SetupError>(())
/// ```
#[derive(Clone)]
pub struct Breaker {
    inner: Arc<Inner>,
}

struct Inner {
    // Read by every call and rarely written, so on lines of their own.
    state: Padded<State>,
    window: Padded<Window>,
    name: Arc<str>,
    settings: BreakerSettings,
    clock: Clock,
    /// Until when it is open, or half open at the latest.
    until: AtomicU64,
    /// What the window held when it opened.
    verdict: AtomicU64,
    changes: Mutex<Progress>,
    /// Calls that were answered.
    calls: Striped,
    totals: Totals,
    watch: watch::Sender<BreakerState>,
    meters: Meters,
}

enum Window {
    Calls(CallWindow),
    Time(Box<Mutex<TimeWindow>>),
}

/// What the lock of changes keeps.
#[derive(Debug, Default)]
struct Progress {
    /// Answers of the probes of this half-open time.
    probes: Counts,
    /// How often it opened without having been closed in between.
    in_a_row: u32,
}

#[derive(Debug, Default)]
struct Totals {
    failed: AtomicU64,
    slow: AtomicU64,
    dropped: AtomicU64,
    refused: AtomicU64,
    opened: AtomicU64,
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Breaker {
    /// A breaker with the default settings.
    ///
    /// # Errors
    ///
    /// [`SetupError::Name`].
    pub fn new(name: &str) -> Result<Self, SetupError> {
        Self::with_settings(name, BreakerSettings::default())
    }

    /// A breaker with these settings.
    ///
    /// # Errors
    ///
    /// [`SetupError`]: an impossible name, or all problems of the settings.
    pub fn with_settings(name: &str, settings: BreakerSettings) -> Result<Self, SetupError> {
        check("breaker", name, &settings)?;
        let window = match settings.window_time {
            None => Window::Calls(CallWindow::new(settings.window)),
            Some(time) => Window::Time(Box::new(Mutex::new(TimeWindow::new(nanos(time.get()))))),
        };
        Ok(Self {
            inner: Arc::new(Inner {
                state: Padded(State::new()),
                window: Padded(window),
                name: name.into(),
                settings,
                clock: Clock::new(),
                until: AtomicU64::new(0),
                verdict: AtomicU64::new(0),
                changes: Mutex::default(),
                calls: Striped::default(),
                totals: Totals::default(),
                watch: watch::Sender::new(BreakerState::Closed),
                meters: Meters::default(),
            }),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Its settings.
    pub fn settings(&self) -> &BreakerSettings {
        &self.inner.settings
    }

    /// Asks to make a call.
    ///
    /// The permit wants to be told how the call went. Dropped, it counts the call as dropped (`count_dropped`).
    ///
    /// # Errors
    ///
    /// The refusal, with the time at which it lets probes in.
    ///
    /// # Complexity
    ///
    /// Closed: one load.
    #[inline]
    pub fn try_acquire(&self) -> Result<BreakerPermit<'_>, Refusal> {
        let seen = self.inner.state.see();
        if seen.kind() == Kind::Closed {
            return Ok(self.inner.permit(seen.generation(), true));
        }
        self.inner.acquire_slowly()
    }

    /// Makes a call that needs no await.
    ///
    /// # Errors
    ///
    /// [`CallError::Failed`] with the error of the call, or [`CallError::Refused`].
    #[inline]
    pub fn run<T, E>(&self, call: impl FnOnce() -> Result<T, E>) -> Result<T, CallError<E>> {
        let permit = self.try_acquire()?;
        match call() {
            Ok(value) => {
                permit.success();
                Ok(value)
            }
            Err(error) => {
                permit.failure();
                Err(CallError::Failed(error))
            }
        }
    }

    crate::gate::call_alone!();

    /// This breaker as a manner with a judge: a closure that says which results are to blame on the far side.
    ///
    /// ```
    /// use trimtab_scheduler::{Breaker, CallError, Chain, CallOutcome};
    ///
    /// # let breaker = Breaker::new("pages")?;
    /// let chain = Chain::new().with(breaker.judged(|result: &Result<u32, CallError<u16>>| match result {
    ///     Err(CallError::Failed(400..=499)) => CallOutcome::Ignored,
    ///     Err(_) => CallOutcome::Failure,
    ///     Ok(_) => CallOutcome::Success,
    /// }));
    /// # Ok::<(), trimtab_scheduler::SetupError>(())
    /// ```
    pub fn judged<J>(&self, judge: J) -> Gated<Self, J> {
        Gated::new(self.clone()).judged(judge)
    }

    /// What it does with calls. An open one whose pause is over says so until a call comes.
    pub fn state(&self) -> BreakerState {
        self.inner.state()
    }

    /// Follows its state: `changed().await` on the receiver, then `borrow()`. Changes in quick succession may be seen as one.
    pub fn watch(&self) -> watch::Receiver<BreakerState> {
        self.inner.watch.subscribe()
    }

    /// Refuses all calls until [`automatic`](Self::automatic).
    pub fn force_open(&self) {
        self.inner.force(Kind::ForcedOpen);
    }

    /// Lets all calls in, and counts none, until [`automatic`](Self::automatic).
    pub fn force_closed(&self) {
        self.inner.force(Kind::ForcedClosed);
    }

    /// Closed, with an empty window, and watching: takes back what was forced, or ends a pause.
    pub fn automatic(&self) {
        self.inner.force(Kind::Closed);
    }

    /// Its numbers.
    pub fn stats(&self) -> BreakerStats {
        let inner = &*self.inner;
        let state = inner.state();
        let now = inner.clock.now();
        let opens_probes_in =
            (state == BreakerState::Open).then(|| Duration::from_nanos(inner.until.load(Relaxed).saturating_sub(now)));
        let window = match &*inner.window {
            Window::Calls(window) => window.counts(),
            Window::Time(window) => window.lock().counts(now),
        };
        let totals = &inner.totals;
        BreakerStats {
            name: inner.name.clone(),
            state,
            opens_probes_in,
            window,
            calls: inner.calls.sum(),
            failed: totals.failed.load(Relaxed),
            slow: totals.slow.load(Relaxed),
            dropped: totals.dropped.load(Relaxed),
            refused: totals.refused.load(Relaxed),
            opened: totals.opened.load(Relaxed),
        }
    }

    /// Publishes its numbers through the `metrics` facade; call it before each scrape.
    pub fn publish_metrics(&self) {
        self.inner.meters.breaker(&self.stats());
    }
}

impl Inner {
    fn state(&self) -> BreakerState {
        match self.state.see().kind() {
            Kind::Closed => BreakerState::Closed,
            Kind::Open => BreakerState::Open,
            Kind::HalfOpen => BreakerState::HalfOpen,
            Kind::ForcedOpen => BreakerState::ForcedOpen,
            Kind::ForcedClosed => BreakerState::ForcedClosed,
        }
    }

    #[inline]
    fn permit(&self, generation: u64, counted: bool) -> BreakerPermit<'_> {
        let start = if self.settings.slow_after.is_some() && counted { self.clock.now() } else { 0 };
        BreakerPermit { inner: self, generation, start, counted }
    }

    #[cold]
    fn acquire_slowly(&self) -> Result<BreakerPermit<'_>, Refusal> {
        let mut seen = self.state.see();
        loop {
            match seen.kind() {
                Kind::Closed => return Ok(self.permit(seen.generation(), true)),
                Kind::ForcedClosed => return Ok(self.permit(seen.generation(), false)),
                Kind::ForcedOpen => return Err(self.refuse(Reason::ForcedOpen, None)),
                Kind::Open => {
                    let left = self.until.load(Relaxed).saturating_sub(self.clock.now());
                    if left > 0 {
                        let Counts { calls, failed, slow } = Counts::unpack(self.verdict.load(Relaxed));
                        return Err(self.refuse(Reason::Open { failed, slow, calls }, Some(Duration::from_nanos(left))));
                    }
                    self.change(seen.generation(), Kind::HalfOpen, |inner, progress| {
                        progress.probes = Counts::default();
                        inner.until.store(inner.after(inner.settings.probe_timeout.get()), Relaxed);
                    });
                    seen = self.state.see();
                }
                Kind::HalfOpen => match self.state.reserve(seen, self.settings.probes) {
                    Ok(seen) => return Ok(self.permit(seen.generation(), true)),
                    Err(other) if other.generation() != seen.generation() => seen = other,
                    Err(_) => {
                        let left = self.until.load(Relaxed).saturating_sub(self.clock.now());
                        if left > 0 {
                            let probes = self.settings.probes.into();
                            return Err(self.refuse(Reason::Probing { probes }, None));
                        }
                        // The probes hang; that is an answer.
                        self.open(seen.generation(), None);
                        seen = self.state.see();
                    }
                },
            }
        }
    }

    fn refuse(&self, reason: Reason, retry_after: Option<Duration>) -> Refusal {
        self.totals.refused.fetch_add(1, Relaxed);
        Refusal::new(self.name.clone(), reason, retry_after)
    }

    fn after(&self, pause: Duration) -> u64 {
        self.clock.now().saturating_add(nanos(pause))
    }

    /// Changes from the generation seen to another kind, unless somebody else has changed it meanwhile.
    fn change(&self, from: u64, to: Kind, prepare: impl FnOnce(&Self, &mut Progress)) {
        let mut progress = self.changes.lock();
        if self.state.see().generation() != from {
            return;
        }
        prepare(self, &mut progress);
        self.state.change(to);
        drop(progress);
        self.tell();
    }

    /// The state is read inside of the channel's own lock, so that the last word is the latest.
    fn tell(&self) {
        self.watch.send_if_modified(|told| {
            let state = self.state();
            std::mem::replace(told, state) != state
        });
        tracing::info!(breaker = %self.name, state = %self.state(), "breaker changed");
    }

    fn open(&self, from: u64, verdict: Option<Counts>) {
        self.change(from, Kind::Open, |inner, progress| {
            // From probes that hang there is no verdict; the one that opened it stands.
            if let Some(verdict) = verdict {
                inner.verdict.store(verdict.pack(), Relaxed);
            }
            let settings = &inner.settings;
            let doubled = settings.open_for.get().saturating_mul(1 << progress.in_a_row.min(30));
            inner.until.store(inner.after(doubled.min(settings.open_max.get())), Relaxed);
            progress.in_a_row = progress.in_a_row.saturating_add(1);
            inner.totals.opened.fetch_add(1, Relaxed);
        });
    }

    fn force(&self, kind: Kind) {
        let mut progress = self.changes.lock();
        *progress = Progress::default();
        self.clear();
        self.state.change(kind);
        drop(progress);
        self.tell();
    }

    fn clear(&self) {
        match &*self.window {
            Window::Calls(window) => window.clear(),
            Window::Time(window) => window.lock().clear(),
        }
    }

    fn too_many(&self, counts: Counts) -> bool {
        let beyond =
            |bad: u32, rate: trimtab_config::Share| bad > 0 && f64::from(bad) >= rate.get() * f64::from(counts.calls);
        beyond(counts.failed, self.settings.failure_rate) || beyond(counts.slow, self.settings.slow_rate)
    }

    /// A call of that generation was answered.
    #[inline]
    fn record(&self, generation: u64, start: u64, failed: bool) {
        let mut word = if failed { FAILED } else { 0 };
        let mut now = 0;
        if let Some(slow) = self.settings.slow_after {
            now = self.clock.now();
            if now.saturating_sub(start) > nanos(slow.get()) {
                word |= SLOW;
            }
        }
        if word != 0 {
            self.count_fault(word);
        }
        self.calls.add();
        let seen = self.state.see();
        if seen.generation() == generation && seen.kind() == Kind::Closed {
            let counts = match &*self.window {
                Window::Calls(window) => window.record(word),
                Window::Time(window) => {
                    if now == 0 {
                        now = self.clock.now();
                    }
                    window.lock().record(now, word)
                }
            };
            if (counts.failed | counts.slow) != 0 && counts.calls >= self.settings.min_calls && self.too_many(counts) {
                self.open(generation, Some(counts));
            }
        } else if seen.generation() == generation && seen.kind() == Kind::HalfOpen {
            self.record_probe(generation, word);
        }
    }

    #[cold]
    fn count_fault(&self, word: u8) {
        if word & FAILED != 0 {
            self.totals.failed.fetch_add(1, Relaxed);
        }
        if word & SLOW != 0 {
            self.totals.slow.fetch_add(1, Relaxed);
        }
    }

    #[cold]
    fn record_probe(&self, generation: u64, word: u8) {
        let probes = u32::from(self.settings.probes);
        let mut progress = self.changes.lock();
        if self.state.see().generation() != generation {
            return;
        }
        progress.probes.calls += 1;
        progress.probes.failed += u32::from(word & FAILED != 0);
        progress.probes.slow += u32::from(word & SLOW != 0);
        let answered = progress.probes;
        drop(progress);
        // As soon as no answer of the others could change the verdict.
        if self.too_many(Counts { calls: probes, ..answered }) {
            self.open(generation, Some(answered));
        } else if answered.calls >= probes {
            self.change(generation, Kind::Closed, |inner, progress| {
                *progress = Progress::default();
                inner.clear();
            });
        }
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker").field("name", &self.name).field("state", &self.state()).finish_non_exhaustive()
    }
}

impl Gate for Breaker {
    type Permit<'a> = BreakerPermit<'a>;

    #[inline]
    async fn enter(&self) -> Result<BreakerPermit<'_>, Refusal> {
        self.try_acquire()
    }

    #[inline]
    fn try_enter(&self) -> Result<BreakerPermit<'_>, Refusal> {
        self.try_acquire()
    }
}
