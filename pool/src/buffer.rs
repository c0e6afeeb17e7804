//! The pool of byte buffers: sizes in powers of two, one budget of bytes for all.
//!
//! A buffer is a [`BytesMut`] of at least the capacity asked for. It comes back empty and exactly as large as its class: what
//! it grew beyond is given back to the allocator, and what was split off is replaced. So the bytes counted are the bytes held.
//! Frozen buffers ([`OwnedBuffer::freeze`]) come back when the last [`Bytes`] that shares them is dropped.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::time::Instant;
use trimtab_config::{ByteSize, Share, check_name};

use crate::config::{FOREVER, PoolSettings, check};
use crate::error::BuildError;
use crate::metrics::{Meters, ObjectNumbers};
use crate::stash::{Budget, Node, Stash};
use crate::stats::{BufferStats, Trimmed};

/// Capacity of the smallest buffers.
pub const SMALLEST: usize = 1 << 10;
/// Capacity of the largest buffers that are kept.
pub const LARGEST: usize = 1 << 20;
const CLASSES: usize = (LARGEST / SMALLEST).ilog2() as usize + 1;

/// A pool of byte buffers. Clones are cheap and speak of the same pool.
///
/// ```
/// use trimtab_pool::BufferPool;
///
/// let buffers = BufferPool::new("frames")?;
/// let mut frame = buffers.acquire(3_000);
/// assert_eq!((frame.len(), frame.capacity()), (0, 4_096));
/// frame.extend_from_slice(b"hello");
/// drop(frame); // emptied, and back in the pool
/// assert_eq!(buffers.stats().bytes_idle, 4_096);
///
/// let mut frame = buffers.acquire_owned(3_000);
/// frame.extend_from_slice(b"shared");
/// let (shared, other) = { let bytes = frame.freeze(); (bytes.clone(), bytes.slice(1..)) };
/// assert_eq!((&shared[..], &other[..]), (&b"shared"[..], &b"hared"[..]));
/// assert_eq!(buffers.stats().bytes_idle, 0);
/// drop((shared, other));
/// assert_eq!(buffers.stats().bytes_idle, 4_096);
/// # Ok::<(), trimtab_pool::BuildError>(())
/// ```
#[derive(Clone)]
pub struct BufferPool {
    inner: Arc<Inner>,
}

struct Inner {
    name: Arc<str>,
    classes: [Stash<BytesMut>; CLASSES],
    budget: Arc<Budget>,
    zero: AtomicBool,
    /// Buffers of each class that a clean-up and a trim leave.
    min: AtomicUsize,
    settings: Mutex<PoolSettings>,
    next_period: Mutex<Instant>,
    oversize: AtomicU64,
    shrunk: AtomicU64,
    meters: Meters,
}

impl fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferPool").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// The class of a capacity; none when it is too large to be kept.
#[inline]
fn class_of(capacity: usize) -> Option<usize> {
    if capacity <= SMALLEST {
        return Some(0);
    }
    let class = ((capacity - 1) / SMALLEST).ilog2() as usize + 1;
    (class < CLASSES).then_some(class)
}

impl Inner {
    #[inline]
    fn pull(&self, capacity: usize) -> (Option<Box<Node<BytesMut>>>, usize) {
        match class_of(capacity) {
            Some(class) => (Some(self.classes[class].pull().unwrap_or_else(|| self.make(class))), class),
            None => (Some(self.make_oversize(capacity)), CLASSES),
        }
    }

    /// A buffer that is too large to be kept: it belongs to no class and no budget.
    #[cold]
    #[allow(clippy::unnecessary_box_returns, reason = "a node lives in its box")]
    fn make_oversize(&self, capacity: usize) -> Box<Node<BytesMut>> {
        self.oversize.fetch_add(1, Ordering::Relaxed);
        Box::new(Node::guest(BytesMut::with_capacity(capacity)))
    }

    #[cold]
    #[allow(clippy::unnecessary_box_returns, reason = "a node lives in its box")]
    fn make(&self, class: usize) -> Box<Node<BytesMut>> {
        // Other classes may hold the bytes that this one needs now.
        let stash = &self.classes[class];
        if self.budget.used() + stash.weight() > self.budget.limit() {
            self.clean_up_if_due();
        }
        stash.adopt(BytesMut::with_capacity(SMALLEST << class))
    }

    #[inline]
    fn put(&self, mut node: Box<Node<BytesMut>>, class: usize) {
        let Some(stash) = self.classes.get(class) else { return };
        let buffer = &mut node.value;
        buffer.clear();
        if buffer.capacity() != SMALLEST << class {
            self.reshape(buffer, SMALLEST << class);
        }
        if self.zero.load(Ordering::Relaxed) {
            let capacity = buffer.capacity();
            buffer.resize(capacity, 0);
            buffer.clear();
        }
        stash.put(node);
    }

    /// Makes a buffer that grew or was split as large as its class again.
    #[cold]
    fn reshape(&self, buffer: &mut BytesMut, size: usize) {
        if buffer.capacity() > size {
            if self.zero.load(Ordering::Relaxed) {
                let capacity = buffer.capacity();
                buffer.resize(capacity, 0);
            }
            self.shrunk.fetch_add(1, Ordering::Relaxed);
            *buffer = BytesMut::with_capacity(size);
        } else if !(buffer.try_reclaim(size) && buffer.capacity() == size) {
            *buffer = BytesMut::with_capacity(size);
        }
    }

    fn clean_up_if_due(&self) -> Trimmed {
        let now = Instant::now();
        {
            let Some(mut next) = self.next_period.try_lock() else { return Trimmed::default() };
            if now < *next {
                return Trimmed::default();
            }
            *next = now + self.settings.lock().cleanup_interval.get().min(FOREVER);
        }
        self.each(|stash| stash.end_period(self.min.load(Ordering::Relaxed)))
    }

    fn each(&self, trim: impl Fn(&Stash<BytesMut>) -> usize) -> Trimmed {
        let trimmed = self.classes.iter().map(|stash| {
            let objects = trim(stash);
            Trimmed { objects, bytes: objects * stash.weight() }
        });
        trimmed.fold(Trimmed::default(), std::ops::Add::add)
    }
}

impl BufferPool {
    /// A pool with default settings.
    ///
    /// # Errors
    ///
    /// [`BuildError`]: an impossible name.
    pub fn new(name: &str) -> Result<Self, BuildError> {
        Self::builder(name).build()
    }

    /// Describes a pool.
    ///
    /// ```
    /// use trimtab_config::ByteSize;
    /// use trimtab_pool::BufferPool;
    ///
    /// let secrets = BufferPool::builder("secrets").max_bytes(ByteSize::mib(2)).zero_on_return(true).build()?;
    /// secrets.acquire(32).extend_from_slice(b"overwritten when it comes back");
    /// assert_eq!(secrets.settings().max_bytes, ByteSize::mib(2));
    /// # Ok::<(), trimtab_pool::BuildError>(())
    /// ```
    pub fn builder(name: &str) -> BufferPoolBuilder {
        BufferPoolBuilder { name: name.to_owned(), settings: PoolSettings::default() }
    }

    fn build(name: &str, settings: PoolSettings) -> Result<Self, BuildError> {
        check_name("pool", name)?;
        check(name, &settings)?;
        let budget = Budget::new(settings.max_bytes.as_usize());
        let inner = Inner {
            name: name.into(),
            classes: std::array::from_fn(|class| Stash::new(budget.clone(), SMALLEST << class)),
            budget,
            zero: settings.zero_on_return.into(),
            min: AtomicUsize::new(settings.min as usize),
            next_period: Mutex::new(Instant::now() + settings.cleanup_interval.get().min(FOREVER)),
            settings: Mutex::new(settings),
            oversize: AtomicU64::new(0),
            shrunk: AtomicU64::new(0),
            meters: Meters::default(),
        };
        for (class, stash) in inner.classes.iter().enumerate() {
            for _ in 0..inner.settings.lock().initial {
                stash.stock(|| BytesMut::with_capacity(SMALLEST << class));
            }
        }
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// An empty buffer of at least `capacity` bytes. Never waits. Above [`LARGEST`] it comes from the allocator and goes there.
    #[inline]
    pub fn acquire(&self, capacity: usize) -> Buffer<'_> {
        let (node, class) = self.inner.pull(capacity);
        Buffer { node, class, inner: &self.inner }
    }

    /// The same with a guard that borrows nothing, and that can be frozen.
    pub fn acquire_owned(&self, capacity: usize) -> OwnedBuffer {
        let (node, class) = self.inner.pull(capacity);
        OwnedBuffer { node, class, inner: self.inner.clone() }
    }

    /// Lets go of what the demand of the last periods does not ask for, if `cleanup_interval` is over.
    pub fn clean_up(&self) -> Trimmed {
        self.inner.clean_up_if_due()
    }

    /// Lets go of a share of the idle buffers of each class, never below `min`; answers how many, and their bytes.
    pub fn trim_idle(&self, share: Share) -> Trimmed {
        self.inner.each(|stash| stash.trim(share.get(), self.inner.min.load(Ordering::Relaxed)))
    }

    /// Changes the settings while the pool is used. What is too much is dropped as it comes back, and so is what is idle and
    /// not overwritten when `zero_on_return` is switched on.
    ///
    /// # Errors
    ///
    /// [`BuildError::Settings`] with all problems; then nothing changed.
    pub fn apply(&self, settings: PoolSettings) -> Result<(), BuildError> {
        check(&self.inner.name, &settings)?;
        self.inner.budget.set_limit(settings.max_bytes.as_usize());
        self.inner.classes.iter().for_each(Stash::limit_changed);
        *self.inner.next_period.lock() = Instant::now() + settings.cleanup_interval.get().min(FOREVER);
        self.inner.min.store(settings.min as usize, Ordering::Relaxed);
        let zero = settings.zero_on_return;
        let begins_to_zero = zero && !self.inner.zero.load(Ordering::Relaxed);
        self.inner.zero.store(zero, Ordering::Relaxed);
        *self.inner.settings.lock() = settings;
        if begins_to_zero || self.inner.budget.used() > self.inner.budget.limit() {
            self.inner.each(|stash| stash.trim(1.0, 0));
        }
        Ok(())
    }

    /// The settings in force.
    pub fn settings(&self) -> PoolSettings {
        self.inner.settings.lock().clone()
    }

    /// What the pool holds now, and what happened since it was built. Exact when nobody is at work.
    pub fn stats(&self) -> BufferStats {
        let inner = &self.inner;
        let mut stats = BufferStats {
            name: inner.name.clone(),
            bytes_max: inner.budget.limit(),
            bytes_owned: inner.budget.used(),
            bytes_idle: 0,
            in_use: 0,
            idle: 0,
            acquired: 0,
            created: 0,
            recycled: 0,
            trimmed: 0,
            oversize: inner.oversize.load(Ordering::Relaxed),
            shrunk: inner.shrunk.load(Ordering::Relaxed),
        };
        for stash in &inner.classes {
            let (counts, idle) = (stash.counts(), stash.idle());
            stats.bytes_idle += idle * stash.weight();
            stats.idle += idle;
            stats.in_use += counts.pulled.saturating_sub(counts.returned) as usize;
            stats.acquired += counts.pulled;
            stats.created += counts.created;
            stats.recycled += counts.returned.saturating_sub(counts.taken);
            stats.trimmed += counts.trimmed;
        }
        stats
    }

    /// Publishes the statistics as metrics, unless the settings say not to. Call it before each scrape.
    pub fn publish_metrics(&self) {
        if self.inner.settings.lock().metrics {
            let BufferStats { in_use, idle, acquired, created, recycled, trimmed, bytes_owned: bytes, .. } =
                self.stats();
            let numbers =
                ObjectNumbers { in_use, idle, bytes, acquired, created, recycled, trimmed, ..ObjectNumbers::default() };
            self.inner.meters.publish_objects(&self.inner.name, &numbers);
        }
    }
}

/// Describes a [`BufferPool`]; made by [`BufferPool::builder`]. What is not said stays at the defaults of [`PoolSettings`].
#[derive(Debug, Clone)]
#[must_use = "a builder makes nothing before `build`"]
pub struct BufferPoolBuilder {
    name: String,
    settings: PoolSettings,
}

impl BufferPoolBuilder {
    /// Buffers of each class made at once.
    pub fn initial(mut self, initial: u32) -> Self {
        self.settings.initial = initial;
        self
    }

    /// Buffers of each class that stay even when nobody asks.
    pub fn min(mut self, min: u32) -> Self {
        self.settings.min = min;
        self
    }

    /// The most memory of all buffers together, idle or not.
    pub fn max_bytes(mut self, max: ByteSize) -> Self {
        self.settings.max_bytes = max;
        self
    }

    /// Whether a buffer is overwritten with zeros when it comes back.
    pub fn zero_on_return(mut self, zero: bool) -> Self {
        self.settings.zero_on_return = zero;
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

    /// Builds the pool and its first buffers.
    ///
    /// # Errors
    ///
    /// [`BuildError`]: an impossible name, or settings that make no pool.
    pub fn build(self) -> Result<BufferPool, BuildError> {
        BufferPool::build(&self.name, self.settings)
    }
}

const THERE: &str = "a guard has its buffer until it is dropped";

macro_rules! guard {
    ($guard:ident $(<$life:lifetime>)?, $doc:literal, $inner:ty) => {
        #[doc = $doc]
        pub struct $guard<$($life)?> {
            /// Empty only while it is taken apart.
            node: Option<Box<Node<BytesMut>>>,
            class: usize,
            inner: $inner,
        }

        impl<$($life)?> $guard<$($life)?> {
            /// Takes the buffer out of the pool for good.
            pub fn take(mut self) -> BytesMut {
                let node = self.node.take().expect(THERE);
                match self.inner.classes.get(self.class) {
                    Some(stash) => stash.take(node),
                    None => node.value,
                }
            }
        }

        impl<$($life)?> Deref for $guard<$($life)?> {
            type Target = BytesMut;

            #[inline]
            fn deref(&self) -> &BytesMut {
                &self.node.as_ref().expect(THERE).value
            }
        }

        impl<$($life)?> DerefMut for $guard<$($life)?> {
            #[inline]
            fn deref_mut(&mut self) -> &mut BytesMut {
                &mut self.node.as_mut().expect(THERE).value
            }
        }

        impl<$($life)?> AsRef<[u8]> for $guard<$($life)?> {
            fn as_ref(&self) -> &[u8] {
                self
            }
        }

        impl<$($life)?> Drop for $guard<$($life)?> {
            #[inline]
            fn drop(&mut self) {
                if let Some(node) = self.node.take() {
                    self.inner.put(node, self.class);
                }
            }
        }

        impl<$($life)?> fmt::Debug for $guard<$($life)?> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($guard)).field("len", &self.len()).field("capacity", &self.capacity()).finish()
            }
        }
    };
}

guard!(Buffer<'a>, "A buffer in a caller's hands. Dropping it empties the buffer and gives it back.", &'a Inner);
guard!(OwnedBuffer, "As [`Buffer`], for tasks and structures that outlive the pool's handle.", Arc<Inner>);

impl OwnedBuffer {
    /// The content as shared bytes, without a copy. The buffer goes back to the pool with the last of them.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}
