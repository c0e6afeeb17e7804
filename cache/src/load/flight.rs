//! One running load, and who waits for it.
//!
//! Waiters leave a `Waker`; a blocked thread is just a waker that unparks it. When the load ends, all are woken: after
//! an abandoned load the first of them leads and the others wait again, so no waker can be lost with its task.

use std::any::Any;
use std::borrow::Borrow;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use crate::store::sync::Mutex;
use crate::tags::Tags;
use hashbrown::HashTable;

/// How a load ended.
pub(crate) enum Outcome<V> {
    /// With a value.
    Done(Arc<V>),
    /// With an error of a type that only its callers know.
    Failed(Arc<dyn Any + Send + Sync>),
    /// Its leader was dropped or panicked, or only looked.
    Abandoned,
    /// A bulk load ended without this key: who asked for it in bulk has the answer, others load it themselves.
    Absent,
}

impl<V> Clone for Outcome<V> {
    fn clone(&self) -> Self {
        match self {
            Self::Done(value) => Self::Done(value.clone()),
            Self::Failed(error) => Self::Failed(error.clone()),
            Self::Abandoned => Self::Abandoned,
            Self::Absent => Self::Absent,
        }
    }
}

/// One load.
pub(crate) struct Flight<V> {
    progress: Mutex<Progress<V>>,
    /// Address of the flight that stands for all of a bulk load; 0 for one that stands for itself.
    stands_for: AtomicUsize,
}

enum Progress<V> {
    Running(Wakers),
    Ended(Outcome<V>),
}

/// The wakers of those who wait; a slot is free when its waiter has gone.
#[derive(Default)]
struct Wakers {
    slots: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl<V> Flight<V> {
    /// Ends the flight and wakes everybody. Only the first end counts.
    pub(crate) fn settle(&self, outcome: Outcome<V>) {
        let mut progress = self.progress.lock();
        if matches!(*progress, Progress::Ended(_)) {
            return;
        }
        let Progress::Running(wakers) = std::mem::replace(&mut *progress, Progress::Ended(outcome)) else {
            return;
        };
        drop(progress);
        wakers.slots.into_iter().flatten().for_each(Waker::wake);
    }

    /// Whether the current thread is inside this flight's loader.
    pub(crate) fn is_led_here(self: &Arc<Self>) -> bool {
        LED_HERE.with_borrow(|led| {
            !led.is_empty() && {
                let address = match self.stands_for.load(Ordering::Relaxed) {
                    0 => Arc::as_ptr(self).addr(),
                    first => first,
                };
                led.contains(&address)
            }
        })
    }

    /// Lets another flight of the same loader stand for this one, so that running the loader costs the same for one key as
    /// for thousands. The other flight must live as long as this one is led.
    pub(crate) fn follow(&self, first: &Arc<Self>) {
        self.stands_for.store(Arc::as_ptr(first).addr(), Ordering::Relaxed);
    }
}

thread_local! {
    /// Addresses of the flights whose loaders the current thread is inside of, outermost first. Each is kept alive by
    /// its leader.
    static LED_HERE: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// Runs a piece of a flight's loader: the closure of a thread, or one poll of a future. A load inside it that comes
/// back to the same flight can then be told from one that waits for somebody else.
pub(crate) fn leading<V, R>(flight: &Arc<Flight<V>>, run: impl FnOnce() -> R) -> R {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            LED_HERE.with_borrow_mut(Vec::pop);
        }
    }
    LED_HERE.with_borrow_mut(|led| led.push(Arc::as_ptr(flight).addr()));
    let _leave = Leave;
    run()
}

/// Waits for a flight to end.
pub(crate) struct Wait<V> {
    flight: Arc<Flight<V>>,
    slot: Option<usize>,
}

impl<V> Wait<V> {
    pub(crate) fn new(flight: Arc<Flight<V>>) -> Self {
        Self { flight, slot: None }
    }

    /// Waits by parking the current thread.
    pub(crate) fn block(mut self) -> Outcome<V> {
        struct Unpark(Thread);
        impl Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut context = Context::from_waker(&waker);
        loop {
            match Pin::new(&mut self).poll(&mut context) {
                Poll::Ready(outcome) => return outcome,
                Poll::Pending => thread::park(),
            }
        }
    }
}

impl<V> Future for Wait<V> {
    type Output = Outcome<V>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome<V>> {
        let this = &mut *self;
        let mut progress = this.flight.progress.lock();
        match &mut *progress {
            Progress::Ended(outcome) => Poll::Ready(outcome.clone()),
            Progress::Running(wakers) => {
                let slot = *this.slot.get_or_insert_with(|| {
                    wakers.free.pop().unwrap_or_else(|| {
                        wakers.slots.push(None);
                        wakers.slots.len() - 1
                    })
                });
                // Dropping the old waker may drop a task, and with it another waiter of this flight: after the lock.
                let old = match &mut wakers.slots[slot] {
                    Some(waker) if waker.will_wake(context.waker()) => None,
                    waker => waker.replace(context.waker().clone()),
                };
                drop(progress);
                drop(old);
                Poll::Pending
            }
        }
    }
}

impl<V> Drop for Wait<V> {
    fn drop(&mut self) {
        let Some(slot) = self.slot else { return };
        let mut progress = self.flight.progress.lock();
        if let Progress::Running(wakers) = &mut *progress {
            let waker = wakers.slots[slot].take();
            wakers.free.push(slot);
            drop(progress);
            drop(waker);
        }
    }
}

/// The flights of one shard, by key.
pub(crate) struct Flights<K, V>(HashTable<Running<K, V>>);

/// A flight that callers can still join.
pub(crate) struct Running<K, V> {
    hash: u64,
    key: K,
    flight: Arc<Flight<V>>,
    /// What the value will be tagged with.
    tags: Tags,
}

impl<K, V> Default for Flights<K, V> {
    fn default() -> Self {
        Self(HashTable::new())
    }
}

impl<K, V> Flights<K, V> {
    pub(crate) fn find<Q>(&self, hash: u64, key: &Q) -> Option<&Arc<Flight<V>>>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        self.0.find(hash, |running| running.hash == hash && running.key.borrow() == key).map(|running| &running.flight)
    }

    /// Starts a flight for a key that has none.
    pub(crate) fn begin(&mut self, hash: u64, key: K, tags: Tags) -> Arc<Flight<V>> {
        let progress = Mutex::new(Progress::Running(Wakers::default()));
        let flight = Arc::new(Flight { progress, stands_for: AtomicUsize::new(0) });
        let running = Running { hash, key, flight: Arc::clone(&flight), tags };
        self.0.insert_unique(hash, running, |running| running.hash);
        flight
    }

    /// Takes a flight out, if it was not detached before.
    pub(crate) fn end(&mut self, hash: u64, flight: &Arc<Flight<V>>) -> Option<Running<K, V>> {
        self.0.find_entry(hash, |running| Arc::ptr_eq(&running.flight, flight)).ok().map(|slot| slot.remove().0)
    }

    /// Something newer happened to the key: its load, if one runs, still serves those who wait, but will not be stored,
    /// and whoever comes next starts afresh.
    #[inline]
    pub(crate) fn detach<Q>(&mut self, hash: u64, key: &Q) -> Option<Running<K, V>>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        if self.0.is_empty() {
            return None;
        }
        let slot = self.0.find_entry(hash, |running| running.hash == hash && running.key.borrow() == key);
        slot.ok().map(|slot| slot.remove().0)
    }

    /// Detaches the flights whose values would get a tag.
    pub(crate) fn detach_tagged(&mut self, tag: &str) -> Vec<Running<K, V>> {
        let tagged = |running: &mut Running<K, V>| {
            running.tags.as_ref().is_some_and(|tags| tags.iter().any(|other| &**other == tag))
        };
        self.0.extract_if(tagged).collect()
    }

    /// Detaches all flights.
    pub(crate) fn detach_all(&mut self) -> impl Sized + use<K, V> {
        std::mem::take(&mut self.0)
    }
}
