//! The pool of objects that are dear to make and cheap to clean: parsers, scratch space, encoders.
//!
//! lockfree-object-pool and opool are the models for speed. Here each thread has a few objects of its own (see `stash`), so
//! that the usual round trip is a few loads and stores on a line that no other thread writes.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use trimtab_config::{Profile, Settings, Share, check_name};

use crate::config::{FOREVER, PoolSettings, check};
use crate::demand::grown;
use crate::error::BuildError;
use crate::metrics::{Meters, ObjectNumbers};
use crate::stash::{Budget, Node, Stash};
use crate::stats::{ObjectStats, Trimmed};

type Factory<T> = Box<dyn Fn() -> T + Send + Sync>;
type Reset<T> = Box<dyn Fn(&mut T) + Send + Sync>;
type Keep<T> = Box<dyn Fn(&T) -> bool + Send + Sync>;

/// What is done to an object that comes back.
struct Cleaning<T> {
    reset: Option<Reset<T>>,
    keep: Option<Keep<T>>,
}

impl<T> Cleaning<T> {
    /// Cleans it; answers whether it is worth keeping.
    fn clean(&self, value: &mut T) -> bool {
        let clean = || {
            if let Some(reset) = &self.reset {
                reset(value);
            }
            self.keep.as_ref().is_none_or(|keep| keep(value))
        };
        catch_unwind(AssertUnwindSafe(clean)).unwrap_or(false)
    }
}

/// After so many objects were made on demand, a pool that nobody cleans up looks at the clock itself.
const LOOK_EVERY: u64 = 64;

/// A pool of objects. Clones are cheap and speak of the same pool.
///
/// ```
/// use trimtab_pool::ObjectPool;
///
/// let words = ObjectPool::builder("words", || Vec::<String>::with_capacity(64))
///     .reset(Vec::clear)
///     .keep_if(|words| words.capacity() <= 1024)
///     .build()?;
/// {
///     let mut list = words.acquire();
///     list.push("trim".to_owned());
/// } // cleared, and back in the pool
/// assert!(words.acquire().is_empty());
/// assert_eq!(words.stats().created, 1);
/// # Ok::<(), trimtab_pool::BuildError>(())
/// ```
pub struct ObjectPool<T: Send + 'static> {
    inner: Arc<Inner<T>>,
}

struct Inner<T: Send> {
    name: Arc<str>,
    stash: Stash<T>,
    budget: Arc<Budget>,
    factory: Factory<T>,
    cleaning: Option<Cleaning<T>>,
    min: AtomicUsize,
    settings: Mutex<PoolSettings>,
    profile: Profile,
    next_period: Mutex<Instant>,
    meters: Meters,
}

impl<T: Send + 'static> Clone for ObjectPool<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<T: Send + 'static> fmt::Debug for ObjectPool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectPool").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// Describes an object pool; made by [`ObjectPool::builder`]. Only [`build`](Self::build) checks.
pub struct ObjectPoolBuilder<T> {
    name: String,
    factory: Factory<T>,
    reset: Option<Reset<T>>,
    keep: Option<Keep<T>>,
    settings: PoolSettings,
    profile: Profile,
}

impl<T> fmt::Debug for ObjectPoolBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, settings, .. } = self;
        f.debug_struct("ObjectPoolBuilder").field("name", name).field("settings", settings).finish_non_exhaustive()
    }
}

impl<T: Send + 'static> ObjectPoolBuilder<T> {
    /// Cleans each object when it comes back. One whose cleaning panics is discarded.
    pub fn reset(mut self, reset: impl Fn(&mut T) + Send + Sync + 'static) -> Self {
        self.reset = Some(Box::new(reset));
        self
    }

    /// Which objects are worth keeping, asked after the reset: what has grown too large is better dropped.
    pub fn keep_if(mut self, keep: impl Fn(&T) -> bool + Send + Sync + 'static) -> Self {
        self.keep = Some(Box::new(keep));
        self
    }

    /// Objects made at once.
    pub fn initial(mut self, initial: u32) -> Self {
        self.settings.initial = initial;
        self
    }

    /// The most objects kept. More may be out at the same time; what exceeds the limit is dropped when it comes back.
    /// Lowers `min` to it where `min` is the default.
    pub fn max(mut self, max: u32) -> Self {
        self.settings.max = Some(max);
        if self.settings.min == PoolSettings::for_profile(self.profile).min {
            self.settings.min = self.settings.min.min(max);
        }
        self
    }

    /// How many times larger the pool becomes when it is too small.
    pub fn growth_factor(mut self, factor: f64) -> Self {
        self.settings.growth_factor = factor;
        self
    }

    /// How often the pool lets go of what it did not need.
    pub fn cleanup_interval(mut self, interval: Duration) -> Self {
        self.settings.cleanup_interval = interval.into();
        self
    }

    /// Takes all settings from elsewhere, such as a file.
    pub fn settings(mut self, settings: PoolSettings) -> Self {
        self.settings = settings;
        self
    }

    pub(crate) fn with_profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// Builds the pool and its first objects.
    ///
    /// # Errors
    ///
    /// [`BuildError`]: an impossible name, or settings that make no pool.
    pub fn build(self) -> Result<ObjectPool<T>, BuildError> {
        let Self { name, factory, reset, keep, settings, profile } = self;
        check_name("pool", &name)?;
        check(&name, &settings)?;
        let budget = Budget::new(settings.max_objects(profile) as usize);
        let inner = Inner {
            name: name.into(),
            stash: Stash::new(budget.clone(), 1),
            budget,
            factory,
            cleaning: (reset.is_some() || keep.is_some()).then_some(Cleaning { reset, keep }),
            min: AtomicUsize::new(settings.min as usize),
            next_period: Mutex::new(Instant::now() + settings.cleanup_interval.get().min(FOREVER)),
            settings: Mutex::new(settings),
            profile,
            meters: Meters::default(),
        };
        for _ in 0..inner.settings.lock().initial {
            inner.stash.stock(&inner.factory);
        }
        Ok(ObjectPool { inner: Arc::new(inner) })
    }
}

impl<T: Send + 'static> Inner<T> {
    #[inline]
    #[allow(clippy::unnecessary_box_returns, reason = "a node lives in its box")]
    fn pull(&self) -> Box<Node<T>> {
        self.stash.pull().unwrap_or_else(|| self.make())
    }

    /// A new object for the caller, and as many more as the growth factor says.
    #[cold]
    #[allow(clippy::unnecessary_box_returns, reason = "a node lives in its box")]
    fn make(&self) -> Box<Node<T>> {
        let before = self.stash.owned();
        let node = self.stash.adopt((self.factory)());
        let factor = self.settings.lock().growth_factor;
        for _ in self.stash.owned()..grown(before, before + 1, factor, self.budget.limit()) {
            if !self.stash.stock(&self.factory) {
                break;
            }
        }
        if self.stash.counts().created.is_multiple_of(LOOK_EVERY) {
            self.clean_up_if_due();
        }
        node
    }

    #[inline]
    fn put(&self, mut node: Box<Node<T>>) {
        if let Some(cleaning) = &self.cleaning
            && !cleaning.clean(&mut node.value)
        {
            return self.stash.discard(node);
        }
        self.stash.put(node);
    }

    fn clean_up_if_due(&self) -> usize {
        let now = Instant::now();
        {
            let Some(mut next) = self.next_period.try_lock() else { return 0 };
            if now < *next {
                return 0;
            }
            *next = now + self.settings.lock().cleanup_interval.get().min(FOREVER);
        }
        self.stash.end_period(self.min.load(Ordering::Relaxed))
    }
}

impl<T: Send + 'static> ObjectPool<T> {
    /// Describes a pool whose objects `factory` makes.
    pub fn builder(name: &str, factory: impl Fn() -> T + Send + Sync + 'static) -> ObjectPoolBuilder<T> {
        ObjectPoolBuilder {
            name: name.to_owned(),
            factory: Box::new(factory),
            reset: None,
            keep: None,
            settings: PoolSettings::default(),
            profile: Profile::default(),
        }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// An object: an idle one, or a new one. Never waits.
    ///
    /// # Complexity
    ///
    /// Constant, without a lock while the thread finds an object of its own.
    #[inline]
    pub fn acquire(&self) -> Pooled<'_, T> {
        Pooled { node: Some(self.inner.pull()), inner: &self.inner }
    }

    /// The same with a guard that borrows nothing, at the price of a shared count.
    pub fn acquire_owned(&self) -> OwnedPooled<T> {
        OwnedPooled { node: Some(self.inner.pull()), inner: self.inner.clone() }
    }

    /// Lets go of what the demand of the last periods does not ask for, if `cleanup_interval` is over; answers how many.
    ///
    /// A registry does this at its ticks; a pool on its own does it now and then while it makes objects.
    pub fn clean_up(&self) -> usize {
        self.inner.clean_up_if_due()
    }

    /// Lets go of a share of the idle objects, never below `min`; answers how many.
    pub fn trim_idle(&self, share: Share) -> Trimmed {
        let objects = self.inner.stash.trim(share.get(), self.inner.min.load(Ordering::Relaxed));
        Trimmed { objects, bytes: 0 }
    }

    /// Changes the settings while the pool is used. What is too much is dropped as it comes back.
    ///
    /// # Errors
    ///
    /// [`BuildError::Settings`] with all problems; then nothing changed.
    pub fn apply(&self, settings: PoolSettings) -> Result<(), BuildError> {
        check(&self.inner.name, &settings)?;
        let max = settings.max_objects(self.inner.profile) as usize;
        self.inner.budget.set_limit(max);
        self.inner.stash.limit_changed();
        self.inner.min.store(settings.min as usize, Ordering::Relaxed);
        *self.inner.next_period.lock() = Instant::now() + settings.cleanup_interval.get().min(FOREVER);
        *self.inner.settings.lock() = settings;
        if self.inner.stash.owned() > max {
            self.inner.stash.trim(1.0, max);
        }
        Ok(())
    }

    /// The settings in force.
    pub fn settings(&self) -> PoolSettings {
        let mut settings = self.inner.settings.lock().clone();
        settings.max = Some(self.inner.budget.limit() as u32);
        settings
    }

    /// What the pool holds now, and what happened since it was built. Exact when nobody is at work.
    pub fn stats(&self) -> ObjectStats {
        let (stash, counts) = (&self.inner.stash, self.inner.stash.counts());
        let min = self.inner.min.load(Ordering::Relaxed);
        let max = self.inner.budget.limit();
        ObjectStats {
            name: self.inner.name.clone(),
            min,
            max,
            wanted: stash.wanted().clamp(min.min(max), max),
            in_use: counts.pulled.saturating_sub(counts.returned) as usize,
            idle: stash.idle(),
            acquired: counts.pulled,
            created: counts.created,
            recycled: counts.returned.saturating_sub(counts.discarded + counts.taken),
            discarded: counts.discarded,
            trimmed: counts.trimmed,
            taken: counts.taken,
            guests: counts.guests,
        }
    }

    /// Publishes the statistics as metrics, unless the settings say not to. Call it before each scrape.
    pub fn publish_metrics(&self) {
        if self.inner.settings.lock().metrics {
            let stats = self.stats();
            let ObjectStats {
                in_use, idle, max, wanted, acquired, created, recycled, discarded, trimmed, taken, ..
            } = stats;
            let numbers = ObjectNumbers {
                in_use,
                idle,
                max,
                wanted,
                acquired,
                created,
                recycled,
                discarded,
                trimmed,
                taken,
                ..ObjectNumbers::default()
            };
            self.inner.meters.publish_objects(&self.inner.name, &numbers);
        }
    }
}

const THERE: &str = "a guard has its object until it is dropped";

macro_rules! guard {
    ($guard:ident $(<$life:lifetime>)?, $doc:literal, $inner:ty) => {
        #[doc = $doc]
        pub struct $guard<$($life,)? T: Send + 'static> {
            /// Empty only while it is taken apart.
            node: Option<Box<Node<T>>>,
            inner: $inner,
        }

        impl<$($life,)? T: Send + 'static> $guard<$($life,)? T> {
            /// Takes the object out of the pool for good.
            pub fn take(mut self) -> T {
                self.inner.stash.take(self.node.take().expect(THERE))
            }
        }

        impl<$($life,)? T: Send + 'static> Deref for $guard<$($life,)? T> {
            type Target = T;

            #[inline]
            fn deref(&self) -> &T {
                &self.node.as_ref().expect(THERE).value
            }
        }

        impl<$($life,)? T: Send + 'static> DerefMut for $guard<$($life,)? T> {
            #[inline]
            fn deref_mut(&mut self) -> &mut T {
                &mut self.node.as_mut().expect(THERE).value
            }
        }

        impl<$($life,)? T: Send + 'static> Drop for $guard<$($life,)? T> {
            #[inline]
            fn drop(&mut self) {
                if let Some(node) = self.node.take() {
                    self.inner.put(node);
                }
            }
        }

        impl<$($life,)? T: Send + fmt::Debug + 'static> fmt::Debug for $guard<$($life,)? T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($guard)).field(&**self).finish()
            }
        }
    };
}

guard!(Pooled<'a>, "An object in a caller's hands. Dropping it cleans the object and gives it back.", &'a Inner<T>);
guard!(OwnedPooled, "As [`Pooled`], for tasks and structures that outlive the pool's handle.", Arc<Inner<T>>);
