//! A resource in a caller's hands, which goes back when it is dropped.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::core::{Core, Entry};
use super::shared::Shared;
use crate::manager::Manager;

/// A leased resource. Dropping it gives the resource back to the pool, or to the caller who waits longest.
///
/// It can be moved to other tasks and threads, and outlives the pool's handles.
pub struct Lease<M: Manager> {
    /// Empty only while it is taken apart.
    entry: Option<Box<Entry<M::Resource>>>,
    shared: Arc<Shared<M>>,
}

impl<M: Manager> Lease<M> {
    #[inline]
    pub(super) fn new(entry: Box<Entry<M::Resource>>, shared: Arc<Shared<M>>) -> Self {
        Self { entry: Some(entry), shared }
    }

    fn entry(&self) -> &Entry<M::Resource> {
        self.entry.as_ref().expect("a lease has its resource until it is dropped")
    }

    /// Takes the resource out of the pool for good; the pool may make another in its place.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use trimtab_pool::{ResourcePool, Never};
    ///
    /// let pool = ResourcePool::from_factory("words", || async { Ok::<_, Never>("word".to_owned()) }).unwrap();
    /// let word: String = pool.acquire().await.unwrap().take();
    /// assert_eq!((word.as_str(), pool.stats().total), ("word", 0));
    /// # });
    /// ```
    pub fn take(mut self) -> M::Resource {
        let entry = self.entry.take().expect("a lease has its resource until it is dropped");
        let now = Instant::now();
        self.shared.event(|core| core.take(Core::slot(&entry), now));
        self.shared.changed.notify_waiters();
        entry.resource
    }

    /// Gives the resource back as broken: it is closed and never given out again.
    pub fn discard(mut self) {
        if let Some(entry) = self.entry.take() {
            let now = Instant::now();
            self.shared.event(|core| core.discard(entry, now));
        }
    }

    /// Age of the resource.
    pub fn age(&self) -> Duration {
        self.entry().created().elapsed()
    }

    /// How often the resource has been leased, this time included.
    pub fn uses(&self) -> u64 {
        self.entry().uses()
    }
}

impl<M: Manager> Deref for Lease<M> {
    type Target = M::Resource;

    #[inline]
    fn deref(&self) -> &M::Resource {
        &self.entry().resource
    }
}

impl<M: Manager> DerefMut for Lease<M> {
    #[inline]
    fn deref_mut(&mut self) -> &mut M::Resource {
        &mut self.entry.as_mut().expect("a lease has its resource until it is dropped").resource
    }
}

impl<M: Manager> Drop for Lease<M> {
    #[inline]
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            self.shared.take_back(entry);
        }
    }
}

impl<M: Manager> fmt::Debug for Lease<M>
where
    M::Resource: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("pool", &self.shared.name).field("resource", &**self).finish_non_exhaustive()
    }
}
