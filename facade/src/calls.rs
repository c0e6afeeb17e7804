//! Calls with manners by name: retries, time-out, breaker, pace and bulkhead of `[call.NAME]`.
//!
//! A change of the settings takes effect with the next call. What did not change keeps what it has learnt: a new time-out
//! does not close an open breaker. Calls under way end with the manners they began with.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::RwLock;
use trimtab_config::Change;
use trimtab_scheduler::{Breaker, CallError, CallSettings, Chain, SetupError, Standard};

use crate::error::{NAMES_MAX, OpenError};
use crate::settings::TrimtabSettings;
use crate::system::Trimtab;

/// One kind of call, with the manners that its settings put around it. Clones are cheap and share everything.
#[derive(Clone)]
pub struct Call {
    inner: Arc<Inner>,
}

struct Inner {
    name: Arc<str>,
    /// What holds where no section speaks.
    defaults: CallSettings,
    current: ArcSwap<Current>,
}

struct Current {
    settings: CallSettings,
    chain: Standard,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("name", &self.name()).field("settings", &self.settings()).finish_non_exhaustive()
    }
}

impl Call {
    fn new(name: &str, settings: CallSettings, defaults: CallSettings) -> Result<Self, SetupError> {
        let chain = Chain::from_settings(name, &settings)?;
        let current = ArcSwap::from_pointee(Current { settings, chain });
        Ok(Self { inner: Arc::new(Inner { name: name.into(), defaults, current }) })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The settings in force.
    pub fn settings(&self) -> CallSettings {
        self.inner.current.load().settings.clone()
    }

    /// Makes a call: the closure begins it, once a try.
    ///
    /// # Errors
    ///
    /// [`CallError`]: the error of the call, or the manner that refused it or cut it short, and when to come back.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped the call is dropped; places, permits and probes come back, and the breaker learns of it.
    ///
    /// # Complexity
    ///
    /// That of its manners, and one reference count.
    pub async fn call<T, E, F, Fut>(&self, call: F) -> Result<T, CallError<E>>
    where
        T: Send,
        E: Send,
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, E>> + Send,
    {
        let current = self.inner.current.load_full();
        current.chain.call(call).await
    }

    /// The chain of this moment, for a tower layer or for its numbers. It does not follow later changes of the settings.
    pub fn chain(&self) -> Standard {
        self.inner.current.load().chain.clone()
    }

    /// The breaker of this moment, if the settings have one.
    pub fn breaker(&self) -> Option<Breaker> {
        let current = self.inner.current.load();
        let (_, _, breaker, ..) = current.chain.parts();
        breaker.cloned()
    }

    fn apply(&self, settings: CallSettings) -> Result<(), SetupError> {
        let now = self.inner.current.load_full();
        if now.settings == settings {
            return Ok(());
        }
        let chain = changed(&self.inner.name, &now, &settings)?;
        self.inner.current.store(Arc::new(Current { settings, chain }));
        Ok(())
    }
}

/// The chain after a change, with the parts of the old one whose settings are the same.
fn changed(name: &str, now: &Current, settings: &CallSettings) -> Result<Standard, SetupError> {
    let fresh = Chain::from_settings(name, settings)?;
    let (old, before) = (now.chain.parts(), &now.settings);
    let new = fresh.parts();
    // Calls that are inside keep their places when only their number changes.
    let resized = match (before.bulkhead, settings.bulkhead, old.4) {
        (Some(before), Some(after), Some(bulkhead))
            if before.max_waiting == after.max_waiting && before.max_wait == after.max_wait =>
        {
            bulkhead.set_max(after.max)?;
            Some(bulkhead)
        }
        _ => None,
    };
    Ok(Chain::new()
        .with(either(before.retry == settings.retry, old.0, new.0))
        .with(either(before.timeout == settings.timeout, old.1, new.1))
        .with(either(before.breaker == settings.breaker, old.2, new.2))
        .with(either(before.pace == settings.pace, old.3, new.3))
        .with(either(resized.is_some(), resized, new.4)))
}

fn either<P: Clone>(same: bool, old: Option<&P>, new: Option<&P>) -> Option<P> {
    if same { old.cloned() } else { new.cloned() }
}

/// The named calls of a system.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls {
    state: Arc<RwLock<State>>,
}

#[derive(Debug, Default)]
struct State {
    declared: BTreeMap<String, CallSettings>,
    open: BTreeMap<String, Call>,
}

impl Calls {
    pub(crate) fn declared(settings: &TrimtabSettings) -> Self {
        let state = State { declared: settings.call.clone(), open: BTreeMap::new() };
        Self { state: Arc::new(RwLock::new(state)) }
    }

    /// The call of this name; where no section speaks, with these settings.
    pub(crate) fn open(&self, name: &str, defaults: CallSettings) -> Result<Call, OpenError> {
        if let Some(call) = self.state.read().open.get(name) {
            return Ok(call.clone());
        }
        let mut state = self.state.write();
        if let Some(call) = state.open.get(name) {
            return Ok(call.clone());
        }
        if state.open.len() >= NAMES_MAX {
            return Err(OpenError::TooMany { what: "call", name: name.chars().take(64).collect(), limit: NAMES_MAX });
        }
        let settings = state.declared.get(name).cloned().unwrap_or_else(|| defaults.clone());
        let call = Call::new(name, settings, defaults)?;
        state.open.insert(name.to_owned(), call.clone());
        Ok(call)
    }

    /// All open calls, by name.
    pub(crate) fn list(&self) -> Vec<Call> {
        self.state.read().open.values().cloned().collect()
    }

    /// Carries changed sections to their calls.
    pub(crate) fn follow(&self, change: &Change<TrimtabSettings>) {
        let new = &change.new.call;
        if change.old.call == *new {
            return;
        }
        self.state.write().declared.clone_from(new);
        for call in self.list() {
            let settings = new.get(call.name()).unwrap_or(&call.inner.defaults).clone();
            if let Err(error) = call.apply(settings) {
                tracing::error!(call = call.name(), %error, "the call keeps its old manners");
            }
        }
    }

    pub(crate) fn publish_metrics(&self) {
        self.list().iter().for_each(|call| call.chain().publish_metrics());
    }
}

impl Trimtab {
    /// The call of this name, with the manners of `[call.NAME]` around it: the same one for all callers.
    ///
    /// A name that no section mentions has none. Changed settings take effect with the next call.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: an impossible name.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use trimtab::Trimtab;
    ///
    /// let tt = Trimtab::builder()
    ///     .no_file()
    ///     .set("call.orders.timeout", "250ms")
    ///     .set("call.orders.breaker.failure_rate", "25%")
    ///     .start()
    ///     .await?;
    /// let orders = tt.call("orders")?;
    /// assert_eq!(orders.call(|| async { Ok::<_, std::io::Error>("one pound of tea") }).await?, "one pound of tea");
    /// assert_eq!(orders.breaker().unwrap().stats().calls, 1);
    /// # tt.shutdown().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn call(&self, name: &str) -> Result<Call, OpenError> {
        self.call_with(name, CallSettings::default())
    }

    /// As [`call`](Self::call), with these settings where no section `[call.NAME]` speaks. Those of the first caller count.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: an impossible name, or all problems of the settings.
    pub fn call_with(&self, name: &str, defaults: CallSettings) -> Result<Call, OpenError> {
        self.parts().calls.open(name, defaults)
    }

    /// All open calls, by name.
    pub fn calls(&self) -> Vec<Call> {
        self.parts().calls.list()
    }
}
