//! Background tasks: jobs with a number that outlives every handle, and results that are kept for a while.
//!
//! A small task per background task waits for its result and files it. Results are kept up to a number and an age (see
//! [`BackgroundSettings`]); tasks that have not ended are never forgotten.

use std::any::{Any, type_name};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use thiserror::Error;
use tokio::sync::Notify;

use crate::clock::{Clock, Nanos, nanos};
use crate::config::BackgroundSettings;
use crate::error::{Cancellation, JobError};
use crate::handle::{Handle, JobId};
use crate::job::cell::{Judge, Task};
use crate::job::{Job, Outcome, Status};

/// A result whose type was forgotten, and whether it counts as a failure.
pub(crate) struct Kept {
    value: Arc<dyn Any + Send + Sync>,
    failed: bool,
}

/// A future whose result is kept for whoever asks.
pub(crate) struct Keeping<F: Future> {
    future: Pin<Box<F>>,
    judge: Option<Judge<F::Output>>,
}

impl<F> Future for Keeping<F>
where
    F: Future,
    F::Output: Send + Sync + 'static,
{
    type Output = Kept;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Kept> {
        let output = ready!(self.future.as_mut().poll(context));
        let failed = self.judge.is_some_and(|failed| failed(&output));
        Poll::Ready(Kept { value: Arc::new(output), failed })
    }
}

/// The same job, with its result kept.
pub(crate) fn keeping<F>(job: Job<F>) -> Job<Keeping<F>>
where
    F: Future,
    F::Output: Send + Sync + 'static,
{
    let Job { work, judge, spec } = job;
    Job { work: Keeping { future: Box::pin(work), judge }, judge: Some(|kept: &Kept| kept.failed), spec }
}

type Filed = Result<Arc<dyn Any + Send + Sync>, Arc<JobError>>;

struct Entry {
    name: String,
    task: Arc<dyn Task>,
    filed: Mutex<Option<Filed>>,
    ended: Notify,
}

impl Entry {
    fn status(&self) -> Status {
        match &*self.filed.lock() {
            Some(Err(error)) => Status::Ended(error.outcome()),
            // Published, and not filed yet: whoever waits is not told twice.
            _ => self.task.head().status(),
        }
    }
}

/// A background task, as it stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct BackgroundStatus {
    /// Its number.
    pub id: JobId,
    /// Its name.
    pub name: String,
    /// Whether it has started.
    pub started: bool,
    /// How it ended, if it has.
    pub outcome: Option<Outcome>,
    /// Why it has no result, if it ended without one.
    pub error: Option<String>,
    /// How far it is, from 0 to 1, if it says so.
    pub progress: Option<f64>,
    /// How long it waited for its turn.
    pub waited: Duration,
    /// From its start to its end, or until now.
    pub duration: Duration,
}

/// Why there is no result of a background task.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum BackgroundError {
    /// It is not known: never submitted here, or its result was kept as long as the settings say.
    #[error(
        "no background task has the number {id}; results are kept up to scheduler.background.keep_for and keep_max"
    )]
    Unknown {
        /// The number asked for.
        id: JobId,
    },
    /// It has not ended yet.
    #[error("background task {id} \"{name}\" has not ended within {waited:?}; ask again, or cancel it")]
    NotYet {
        /// Its number.
        id: JobId,
        /// Its name.
        name: String,
        /// How long the caller waited.
        waited: Duration,
    },
    /// It ended without a result.
    #[error("background task {id} \"{name}\" ended without a result")]
    Ended {
        /// Its number.
        id: JobId,
        /// Its name.
        name: String,
        /// Why.
        #[source]
        cause: Arc<JobError>,
    },
    /// Its result is of another type.
    #[error(
        "background task {id} \"{name}\" has a result, which is not a {asked}; ask for the type that the job returns"
    )]
    Mistyped {
        /// Its number.
        id: JobId,
        /// Its name.
        name: String,
        /// The type asked for.
        asked: &'static str,
    },
}

#[derive(Default)]
struct Table {
    entries: HashMap<JobId, Arc<Entry>>,
    ended: VecDeque<(Nanos, JobId)>,
}

/// All background tasks of a scheduler.
pub(crate) struct Background {
    clock: Clock,
    settings: Mutex<BackgroundSettings>,
    table: Mutex<Table>,
}

impl fmt::Debug for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Background").finish_non_exhaustive()
    }
}

/// Files the result, also when the task that waits for it is ended with its runtime.
struct Filing {
    all: Arc<Background>,
    entry: Arc<Entry>,
    id: JobId,
}

impl Filing {
    fn file(&self, filed: Filed) {
        {
            let mut place = self.entry.filed.lock();
            if place.is_some() {
                return;
            }
            *place = Some(filed);
        }
        self.all.ended(self.id);
        self.entry.ended.notify_waiters();
    }
}

impl Drop for Filing {
    fn drop(&mut self) {
        let head = self.entry.task.head();
        let site = crate::error::JobSite::of(head);
        self.file(Err(Arc::new(JobError::Cancelled(Box::new(site), Cancellation::RuntimeEnded))));
    }
}

impl Background {
    pub(crate) fn new(clock: Clock, settings: BackgroundSettings) -> Self {
        Self { clock, settings: Mutex::new(settings), table: Mutex::default() }
    }

    pub(crate) fn apply(&self, settings: &BackgroundSettings) {
        self.settings.lock().clone_from(settings);
        self.sweep();
    }

    /// Takes a submitted job in.
    pub(crate) fn add(self: &Arc<Self>, runtime: &tokio::runtime::Handle, name: String, handle: Handle<Kept>) -> JobId {
        let id = handle.id();
        let entry = Arc::new(Entry { name, task: handle.task(), filed: Mutex::new(None), ended: Notify::new() });
        self.table.lock().entries.insert(id, Arc::clone(&entry));
        let filing = Filing { all: Arc::clone(self), entry, id };
        drop(runtime.spawn(async move {
            let result = handle.await;
            filing.file(result.map(|kept| kept.value).map_err(Arc::new));
        }));
        id
    }

    fn ended(&self, id: JobId) {
        let now = self.clock.now();
        self.table.lock().ended.push_back((now, id));
        self.sweep();
    }

    /// Forgets what is too old or too much.
    fn sweep(&self) {
        let (max, age) = {
            let settings = self.settings.lock();
            (settings.keep_max as usize, nanos(settings.keep_for.get()))
        };
        let now = self.clock.now();
        let mut forgotten = Vec::new();
        {
            let mut table = self.table.lock();
            while let Some((since, id)) = table.ended.front().copied()
                && (table.ended.len() > max || now.saturating_sub(since) > age)
            {
                table.ended.pop_front();
                forgotten.extend(table.entries.remove(&id));
            }
        }
        // Results are foreign: they are dropped outside of the lock.
        drop(forgotten);
    }

    fn get(&self, id: JobId) -> Option<Arc<Entry>> {
        self.sweep();
        self.table.lock().entries.get(&id).cloned()
    }

    pub(crate) fn status(&self, id: JobId) -> Option<BackgroundStatus> {
        self.get(id).map(|entry| status(id, &entry))
    }

    /// In the order of their numbers.
    pub(crate) fn list(&self) -> Vec<BackgroundStatus> {
        self.sweep();
        let entries: Vec<_> = self.table.lock().entries.iter().map(|(id, entry)| (*id, Arc::clone(entry))).collect();
        let mut all: Vec<_> = entries.iter().map(|(id, entry)| status(*id, entry)).collect();
        all.sort_by_key(|status| status.id);
        all
    }

    pub(crate) fn cancel(&self, id: JobId) -> bool {
        self.get(id).is_some_and(|entry| entry.task.head().lane().cancel(&entry.task))
    }

    /// Open tasks, and kept results.
    pub(crate) fn counts(&self) -> (usize, usize) {
        self.sweep();
        let table = self.table.lock();
        (table.entries.len() - table.ended.len(), table.ended.len())
    }

    pub(crate) async fn wait<T: Send + Sync + 'static>(
        &self,
        id: JobId,
        time: Duration,
    ) -> Result<Arc<T>, BackgroundError> {
        let entry = self.get(id).ok_or(BackgroundError::Unknown { id })?;
        let ended = async {
            loop {
                let notified = entry.ended.notified();
                if let Some(filed) = &*entry.filed.lock() {
                    return filed.clone();
                }
                notified.await;
            }
        };
        let name = entry.name.clone();
        match tokio::time::timeout(time, ended).await {
            Err(_) => Err(BackgroundError::NotYet { id, name, waited: time }),
            Ok(Err(cause)) => Err(BackgroundError::Ended { id, name, cause }),
            Ok(Ok(value)) => {
                value.downcast().map_err(|_| BackgroundError::Mistyped { id, name, asked: type_name::<T>() })
            }
        }
    }
}

fn status(id: JobId, entry: &Entry) -> BackgroundStatus {
    let head = entry.task.head();
    let status = entry.status();
    let error = match &*entry.filed.lock() {
        Some(Err(error)) => Some(error.to_string()),
        _ => None,
    };
    BackgroundStatus {
        id,
        name: entry.name.clone(),
        started: status != Status::Queued,
        outcome: if let Status::Ended(outcome) = status { Some(outcome) } else { None },
        error,
        progress: head.extra.as_ref().and_then(|extra| extra.progress()),
        waited: head.waited(),
        duration: head.ran(),
    }
}
