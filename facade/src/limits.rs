//! Rate limits by name, with the rate of `[limit.NAME]`.
//!
//! One name is one limit of one kind: for all callers, for each key, or shared over a server. A changed rate is
//! that of the next call; the other settings of an open limit wait for the next start, and the change says so.

use std::any::{Any, type_name};
use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hash;
#[cfg(feature = "admin")]
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use parking_lot::RwLock;
use trimtab_config::{Change, Profile, Settings};
#[cfg(any(feature = "postgres", feature = "redis"))]
use trimtab_limit::SharedLimit;
use trimtab_limit::clock::DefaultClock;
use trimtab_limit::{BuildError, KeyedLimit, Limit, LimitSettings, LimitStats, Rate};

use crate::error::{NAMES_MAX, OpenError};
use crate::settings::TrimtabSettings;
use crate::system::Trimtab;

/// What is the same for limits of all kinds.
pub(crate) trait AnyLimit: Send + Sync {
    #[cfg_attr(not(feature = "admin"), allow(dead_code, reason = "for the console"))]
    fn kind(&self) -> &'static str;
    fn type_name(&self) -> &'static str;
    #[cfg_attr(not(feature = "admin"), allow(dead_code, reason = "for the console"))]
    /// With the rate of now.
    fn settings(&self) -> LimitSettings;
    fn set_rate(&self, rate: Rate) -> Result<(), BuildError>;
    fn stats(&self) -> LimitStats;
    fn publish_metrics(&self);
    fn as_any(&self) -> &dyn Any;
    /// What looks for the busiest keys, where they can be shown as text.
    #[cfg(feature = "admin")]
    fn usage(&self) -> Option<trimtab_admin::Usage> {
        let limit = self.as_any();
        macro_rules! keyed_by {
            ($($key:ty),*) => {
                $(if let Some(limit) = limit.downcast_ref::<KeyedLimit<$key>>() {
                    let limit = limit.clone();
                    return Some(Arc::new(move |top| limit.usage(top).into_iter().map(|usage| usage.map_key(|key| key.to_string())).collect()));
                })*
            };
        }
        // A key of any other type need not be text, and a bound on it would be one on every limit.
        keyed_by!(String, Arc<str>, &'static str, u32, u64, u128, i32, i64, IpAddr, SocketAddr);
        #[cfg(any(feature = "postgres", feature = "redis"))]
        if let Some(limit) = limit.downcast_ref::<SharedLimit>() {
            let limit = limit.clone();
            return Some(Arc::new(move |top| limit.usage(top)));
        }
        None
    }
}

macro_rules! any_limit {
    ([$($generics:tt)*] $limit:ty, $kind:literal) => {
        impl<$($generics)*> AnyLimit for $limit {
            fn kind(&self) -> &'static str {
                $kind
            }
            fn type_name(&self) -> &'static str {
                type_name::<Self>()
            }
            fn settings(&self) -> LimitSettings {
                let mut settings = Self::settings(self).clone();
                settings.rate = self.rate();
                settings
            }
            fn set_rate(&self, rate: Rate) -> Result<(), BuildError> {
                Self::set_rate(self, rate)
            }
            fn stats(&self) -> LimitStats {
                Self::stats(self)
            }
            fn publish_metrics(&self) {
                Self::publish_metrics(self);
            }
            fn as_any(&self) -> &dyn Any {
                self
            }
        }
    };
}

any_limit!([] Limit, "all");
any_limit!([K: Hash + Eq + Clone + Send + Sync + 'static] KeyedLimit<K>, "keyed");
#[cfg(any(feature = "postgres", feature = "redis"))]
any_limit!([] SharedLimit, "shared");

/// The named limits of a system.
#[derive(Clone)]
pub(crate) struct Limits {
    profile: Profile,
    state: Arc<RwLock<State>>,
}

#[derive(Default)]
struct State {
    declared: BTreeMap<String, LimitSettings>,
    open: BTreeMap<String, Arc<dyn AnyLimit>>,
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.state.read().open.keys()).finish()
    }
}

impl Limits {
    pub(crate) fn declared(settings: &TrimtabSettings, profile: Profile) -> Self {
        let state = State { declared: settings.limit.clone(), open: BTreeMap::new() };
        Self { profile, state: Arc::new(RwLock::new(state)) }
    }

    /// The open limit of this name and type.
    fn known<L: AnyLimit + Clone + 'static>(&self, name: &str) -> Result<Option<L>, OpenError> {
        let state = self.state.read();
        let Some(limit) = state.open.get(name) else { return Ok(None) };
        let same = limit.as_any().downcast_ref::<L>().cloned();
        let (open, asked) = (limit.type_name(), type_name::<L>());
        same.map(Some).ok_or_else(|| OpenError::Mistyped { what: "limit", name: name.to_owned(), open, asked })
    }

    /// The settings of this name: those of its section, or else these, or else the profile's.
    fn settings_of(&self, name: &str, defaults: Option<LimitSettings>) -> LimitSettings {
        let declared = self.state.read().declared.get(name).cloned();
        declared.or(defaults).unwrap_or_else(|| LimitSettings::for_profile(self.profile))
    }

    /// Keeps a limit that was just made, or finds the one that another caller made meanwhile.
    fn keep<L: AnyLimit + Clone + 'static>(&self, name: &str, limit: L) -> Result<L, OpenError> {
        {
            let mut state = self.state.write();
            if !state.open.contains_key(name) {
                if state.open.len() >= NAMES_MAX {
                    let name = name.chars().take(64).collect();
                    return Err(OpenError::TooMany { what: "limit", name, limit: NAMES_MAX });
                }
                state.open.insert(name.to_owned(), Arc::new(limit.clone()));
                return Ok(limit);
            }
        }
        Ok(self.known(name)?.unwrap_or(limit))
    }

    /// A limit inside of this process.
    fn local<L: AnyLimit + Clone + 'static>(
        &self,
        name: &str,
        defaults: Option<LimitSettings>,
        make: impl FnOnce(LimitSettings) -> Result<L, BuildError>,
    ) -> Result<L, OpenError> {
        if let Some(limit) = self.known(name)? {
            return Ok(limit);
        }
        let settings = self.settings_of(name, defaults);
        if settings.url.is_some() {
            return Err(OpenError::Shared { name: name.to_owned() });
        }
        self.keep(name, make(settings)?)
    }

    pub(crate) fn keyed<K>(&self, name: &str, defaults: Option<LimitSettings>) -> Result<KeyedLimit<K>, OpenError>
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
    {
        self.local(name, defaults, |settings| KeyedLimit::with_clock(name, settings, DefaultClock::default()))
    }

    /// All open limits, by name.
    pub(crate) fn list(&self) -> Vec<(String, Arc<dyn AnyLimit>)> {
        self.state.read().open.iter().map(|(name, limit)| (name.clone(), Arc::clone(limit))).collect()
    }

    /// Notes changed sections for limits that are not open yet, and gives open ones their changed rates.
    pub(crate) fn follow(&self, change: &Change<TrimtabSettings>) {
        self.state.write().declared.clone_from(&change.new.limit);
        for (name, limit) in self.list() {
            let Some(new) = change.new.limit.get(&name).map(|section| section.rate) else { continue };
            if change.old.limit.get(&name).map(|section| section.rate) != Some(new)
                && let Err(reason) = limit.set_rate(new)
            {
                tracing::warn!(limit = name, %reason, "the changed rate was refused, the old one stays");
            }
        }
    }

    pub(crate) fn publish_metrics(&self) {
        self.list().iter().for_each(|(_, limit)| limit.publish_metrics());
    }
}

impl Trimtab {
    /// The limit of this name, one for all callers of this process: the same one at every call.
    ///
    /// Its settings are those of `[limit.NAME]`; a name that no section mentions gets the profile's, which is `100/s`.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: an impossible name, a name of another kind, a section that names a server.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use trimtab::Trimtab;
    ///
    /// let tt = Trimtab::builder()
    ///     .no_file()
    ///     .set("limit.mails.rate", "100/m burst 1")
    ///     .set("limit.logins.rate", "5/m burst 1")
    ///     .start()
    ///     .await?;
    /// let mails = tt.limit("mails")?;
    /// assert!(mails.check().is_ok() && mails.check().is_err());
    ///
    /// let logins = tt.keyed_limit::<String>("logins")?; // one for each key, in bounded memory
    /// assert!(logins.check(&"ada".to_owned()).is_ok());
    /// assert!(logins.check(&"ada".to_owned()).is_err());
    /// assert!(logins.check(&"grace".to_owned()).is_ok());
    /// # tt.shutdown().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn limit(&self, name: &str) -> Result<Limit, OpenError> {
        self.limit_with(name, LimitSettings::for_profile(self.profile()))
    }

    /// As [`limit`](Self::limit), with these settings where no section `[limit.NAME]` speaks.
    ///
    /// # Errors
    ///
    /// As [`limit`](Self::limit).
    pub fn limit_with(&self, name: &str, defaults: LimitSettings) -> Result<Limit, OpenError> {
        let make = |settings| Limit::with_clock(name, settings, DefaultClock::default());
        self.parts().limits.local(name, Some(defaults), make)
    }

    /// The limit of this name, one for each key, inside of this process: the same one at every call.
    ///
    /// # Errors
    ///
    /// As [`limit`](Self::limit), and another type of keys than at the first call.
    pub fn keyed_limit<K>(&self, name: &str) -> Result<KeyedLimit<K>, OpenError>
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
    {
        self.parts().limits.keyed(name, None)
    }

    /// As [`keyed_limit`](Self::keyed_limit), with these settings where no section `[limit.NAME]` speaks.
    ///
    /// # Errors
    ///
    /// As [`keyed_limit`](Self::keyed_limit).
    pub fn keyed_limit_with<K>(&self, name: &str, defaults: LimitSettings) -> Result<KeyedLimit<K>, OpenError>
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
    {
        self.parts().limits.keyed(name, Some(defaults))
    }

    /// The limit of this name, one for each key, shared over the server of `limit.NAME.url`: the same one at every call. The
    /// first call asks the server.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: an impossible name, a name of another kind, a section without `url`, a server that does not answer.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe.
    #[cfg(any(feature = "postgres", feature = "redis"))]
    pub async fn shared_limit(&self, name: &str) -> Result<SharedLimit, OpenError> {
        let limits = &self.parts().limits;
        if let Some(limit) = limits.known(name)? {
            return Ok(limit);
        }
        let made = SharedLimit::connect(name, limits.settings_of(name, None)).await?;
        limits.keep(name, made)
    }
}
