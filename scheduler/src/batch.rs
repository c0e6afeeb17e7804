//! The batch processor: callers hand in single items, a closure gets them by the hundred, and each caller gets its own result.
//!
//! For a far side where a call costs more than an item: inserts, lookups by key, messages. A batch goes when it is full, by number
//! or bytes, or when its first item has waited long enough, and when there is room for one in work; while there is none it
//! grows. With no wait at all it gathers what comes within one turn of the runtime, and whatever comes while another batch is
//! in work.
//!
//! A batch is a task of the runtime, begun with its first item: an idle processor has none. Items whose callers leave before it
//! begins are taken out.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};

use crate::manners::SetupError;
use crate::manners::config::{BatchSettings, check};
use crate::manners::metrics::Meters;
use crate::timeout::within;

mod cell;
mod error;

pub use error::{BatchError, Loss};

use cell::Cell;

/// The numbers of a batch processor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BatchStats {
    /// Its name.
    pub name: Arc<str>,
    /// Items that wait for their batch.
    pub waiting: usize,
    /// Batches in work.
    pub in_work: usize,
    /// Items that went into a batch.
    pub items: u64,
    /// Batches that began.
    pub batches: u64,
    /// Items whose callers left before their batch began.
    pub left: u64,
    /// Items given back because too many waited.
    pub refused: u64,
    /// Items whose batch gave no result for them.
    pub lost: u64,
}

type Process<T, R> = dyn Fn(Vec<T>) -> Pin<Box<dyn Future<Output = Vec<R>> + Send>> + Send + Sync;
/// Where an item waits: its batch, and its place in it.
type Placed<T, R> = (Arc<Cell<T, R>>, usize);
type Weigh<T> = dyn Fn(&T) -> usize + Send + Sync;

/// Gathers items into batches. Clones are cheap and feed the same batches.
///
/// ```
/// use trimtab_scheduler::Batcher;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let squares = Batcher::builder("squares", |numbers: Vec<u64>| async move {
///     numbers.into_iter().map(|n| n * n).collect()       // one result for each item, in order; often a `Result`
/// })
/// .configure(|settings| settings.max_items = 50)
/// .build()?;
///
/// let (four, nine) = tokio::join!(squares.submit(2), squares.submit(3));
/// assert_eq!((four?, nine?), (4, 9));
/// assert_eq!(squares.stats().batches, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub struct Batcher<T, R> {
    inner: Arc<Inner<T, R>>,
}

impl<T, R> Clone for Batcher<T, R> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

struct Inner<T, R> {
    state: Mutex<State<T, R>>,
    /// Room for batches in work.
    room: Semaphore,
    /// Told when no batch is left.
    idle: Notify,
    process: Box<Process<T, R>>,
    weigh: Option<Box<Weigh<T>>>,
    name: Arc<str>,
    settings: BatchSettings,
    runtime: Handle,
    meters: Meters,
}

struct State<T, R> {
    /// The batch that takes items, if there is one.
    open: Option<Arc<Cell<T, R>>>,
    /// Batches that have a task.
    batches: usize,
    waiting: usize,
    closed: bool,
    in_work: usize,
    items: u64,
    begun: u64,
    left: u64,
    refused: u64,
    lost: u64,
}

impl<T, R> fmt::Debug for Batcher<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batcher").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// Makes a [`Batcher`].
pub struct BatcherBuilder<T, R> {
    name: String,
    settings: BatchSettings,
    process: Box<Process<T, R>>,
    weigh: Option<Box<Weigh<T>>>,
}

impl<T, R> fmt::Debug for BatcherBuilder<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatcherBuilder")
            .field("name", &self.name)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl<T: Send + 'static, R: Send + 'static> BatcherBuilder<T, R> {
    /// All settings at once.
    pub fn settings(mut self, settings: BatchSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Changes some settings.
    pub fn configure(mut self, change: impl FnOnce(&mut BatchSettings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// How many bytes an item has; without it `max_bytes` limits nothing.
    pub fn weigh(mut self, weigh: impl Fn(&T) -> usize + Send + Sync + 'static) -> Self {
        self.weigh = Some(Box::new(weigh));
        self
    }

    /// The batch processor. Batches will be tasks of the runtime that this is called in.
    ///
    /// # Errors
    ///
    /// [`SetupError`]: an impossible name, all problems of the settings, or no runtime.
    pub fn build(self) -> Result<Batcher<T, R>, SetupError> {
        let Self { name, settings, process, weigh } = self;
        check("batch", &name, &settings)?;
        let runtime = Handle::try_current().map_err(|_| SetupError::NoRuntime { what: "batch", name: name.clone() })?;
        let state = State {
            open: None,
            batches: 0,
            waiting: 0,
            closed: false,
            in_work: 0,
            items: 0,
            begun: 0,
            left: 0,
            refused: 0,
            lost: 0,
        };
        let inner = Inner {
            state: Mutex::new(state),
            room: Semaphore::new(settings.concurrency as usize),
            idle: Notify::new(),
            process,
            weigh,
            name: name.into(),
            settings,
            runtime,
            meters: Meters::default(),
        };
        Ok(Batcher { inner: Arc::new(inner) })
    }
}

impl<T: Send + 'static, R: Send + 'static> Batcher<T, R> {
    /// Begins a batch processor: the closure gets the items and gives a result for each, in the same order.
    pub fn builder<F, Fut>(name: &str, process: F) -> BatcherBuilder<T, R>
    where
        F: Fn(Vec<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Vec<R>> + Send + 'static,
    {
        BatcherBuilder {
            name: name.to_owned(),
            settings: BatchSettings::default(),
            process: Box::new(move |items| Box::pin(process(items))),
            weigh: None,
        }
    }

    /// Hands in an item and waits for its result.
    ///
    /// # Errors
    ///
    /// [`BatchError`]: too many wait, closed (both with the item), or the batch gave no result.
    ///
    /// # Cancel safety
    ///
    /// A caller who leaves before the batch begins takes its item along. Later the item is worked on, and its result dropped.
    ///
    /// # Complexity
    ///
    /// Three short locks; the task of a batch and its four allocations are shared by its items.
    pub async fn submit(&self, item: T) -> Result<R, BatchError<T>> {
        let inner = &self.inner;
        let bytes = inner.weigh.as_ref().map_or(0, |weigh| weigh(&item));
        let (cell, place) = inner.push(item, bytes)?;
        let mut ticket = Ticket { inner, cell, place, bytes, answered: false };
        let result = poll_fn(|context| ticket.cell.poll(place, context)).await;
        ticket.answered = true;
        result.map_err(|loss| BatchError::Lost { name: inner.name.clone(), loss })
    }

    /// Takes no more items, lets the batch that gathers go at once, and waits until all have their results.
    ///
    /// # Cancel safety
    ///
    /// It stays closed; the waiting can be taken up again by another call.
    pub async fn close(&self) {
        let inner = &*self.inner;
        let open = {
            let mut state = inner.state.lock();
            state.closed = true;
            state.open.take()
        };
        if let Some(cell) = open {
            cell.sealed.notify_one();
        }
        loop {
            let mut idle = pin!(inner.idle.notified());
            idle.as_mut().enable();
            if inner.state.lock().batches == 0 {
                return;
            }
            idle.await;
        }
    }
}

impl<T, R> Batcher<T, R> {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Its numbers.
    pub fn stats(&self) -> BatchStats {
        let state = self.inner.state.lock();
        BatchStats {
            name: self.inner.name.clone(),
            waiting: state.waiting,
            in_work: state.in_work,
            items: state.items,
            batches: state.begun,
            left: state.left,
            refused: state.refused,
            lost: state.lost,
        }
    }

    /// Publishes its numbers through the `metrics` facade; call it before each scrape.
    pub fn publish_metrics(&self) {
        self.inner.meters.batch(&self.stats());
    }
}

impl<T: Send + 'static, R: Send + 'static> Inner<T, R> {
    fn push(self: &Arc<Self>, item: T, bytes: usize) -> Result<Placed<T, R>, BatchError<T>> {
        let (max_items, max_bytes) = (self.settings.max_items as usize, self.settings.max_bytes.as_usize());
        let limit = self.settings.max_waiting as usize;
        let mut state = self.state.lock();
        if state.closed {
            drop(state);
            return Err(BatchError::Closed { name: self.name.clone(), item });
        }
        if state.waiting >= limit {
            state.refused += 1;
            drop(state);
            return Err(BatchError::Full { name: self.name.clone(), limit, item });
        }
        state.waiting += 1;
        // One that would make it too heavy begins the next batch.
        let mut sealed = None;
        if bytes > 0
            && let Some(cell) = &state.open
        {
            let (items, held) = cell.size();
            if items > 0 && held.saturating_add(bytes) > max_bytes {
                sealed = state.open.take();
            }
        }
        let (cell, opened) = if let Some(cell) = &state.open {
            (cell.clone(), false)
        } else {
            let cell = Arc::new(Cell::new());
            state.open = Some(cell.clone());
            state.batches += 1;
            (cell, true)
        };
        let (place, items, held) = cell.push(item, bytes);
        let full = items >= max_items || held >= max_bytes && bytes > 0;
        if full {
            state.open = None;
        }
        drop(state);
        if let Some(sealed) = sealed {
            sealed.sealed.notify_one();
        }
        if full {
            cell.sealed.notify_one();
        }
        if opened {
            let batch = Batch { inner: self.clone(), cell: cell.clone(), stage: Stage::Gathering, stopped: true };
            self.runtime.spawn(batch.run());
        }
        Ok((cell, place))
    }
}

/// Where a batch is, for its end to put right.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Gathering,
    Working,
}

/// The task of a batch. Its end, whichever way it comes, leaves nobody waiting.
struct Batch<T, R> {
    inner: Arc<Inner<T, R>>,
    cell: Arc<Cell<T, R>>,
    stage: Stage,
    stopped: bool,
}

impl<T: Send + 'static, R: Send + 'static> Batch<T, R> {
    async fn run(mut self) {
        let max_wait = self.inner.settings.max_wait.get();
        if max_wait.is_zero() {
            tokio::task::yield_now().await;
        } else {
            let cell = self.cell.clone();
            // By time or because it is full: the batch goes either way.
            let _ = within(pin!(cell.sealed.notified()), max_wait).await;
        }
        let inner = self.inner.clone();
        // The semaphore is never closed.
        let Ok(_room) = inner.room.acquire().await else { return };
        let (items, places) = self.begin();
        let count = items.len();
        if count > 0 {
            let results = (inner.process)(items).await;
            let given = results.len();
            drop(self.cell.finish(&places, results));
            if given < count {
                tracing::error!(batch = %inner.name, items = count, results = given, "batch gave too few results");
                let (lost, _) = self.cell.lose(Loss::Missing { items: count, results: given });
                inner.state.lock().lost += lost as u64;
            }
        }
        self.stopped = false;
    }

    fn begin(&mut self) -> (Vec<T>, Vec<usize>) {
        let mut state = self.inner.state.lock();
        close(&mut state, &self.cell);
        let (items, places) = self.cell.begin();
        state.waiting -= items.len();
        state.in_work += 1;
        state.items += items.len() as u64;
        state.begun += u64::from(!items.is_empty());
        self.stage = Stage::Working;
        (items, places)
    }
}

/// Takes the batch out of the way of further items.
fn close<T, R>(state: &mut State<T, R>, cell: &Arc<Cell<T, R>>) {
    if state.open.as_ref().is_some_and(|open| Arc::ptr_eq(open, cell)) {
        state.open = None;
    }
}

impl<T, R> Drop for Batch<T, R> {
    fn drop(&mut self) {
        close(&mut self.inner.state.lock(), &self.cell);
        let (lost, items) = if self.stopped {
            self.cell.lose(if std::thread::panicking() { Loss::Panicked } else { Loss::Stopped })
        } else {
            (0, Vec::new())
        };
        let mut state = self.inner.state.lock();
        state.lost += lost as u64;
        match self.stage {
            Stage::Gathering => state.waiting -= lost,
            Stage::Working => state.in_work -= 1,
        }
        state.batches -= 1;
        let idle = state.batches == 0;
        drop(state);
        if idle {
            self.inner.idle.notify_waiters();
        }
        drop(items);
    }
}

/// A caller who waits.
struct Ticket<'a, T, R> {
    inner: &'a Inner<T, R>,
    cell: Arc<Cell<T, R>>,
    place: usize,
    bytes: usize,
    answered: bool,
}

impl<T, R> Drop for Ticket<'_, T, R> {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        // The state first, as everywhere: the batch may be about to begin.
        let mut state = self.inner.state.lock();
        let (item, result, waker, left) = self.cell.leave(self.place, self.bytes);
        if left {
            state.waiting -= 1;
            state.left += 1;
        }
        drop(state);
        drop((item, result, waker));
    }
}
