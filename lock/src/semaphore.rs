//! Semaphores: so many leases of a name at the same time, in memory and over Redis.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{AcquireError, ForceError};
use crate::group::Group;
use crate::lease::Lease;
use crate::locks::{look, wait_for};
use crate::mode::LeaseMode;

/// A counting lock: at most so many leases at the same time, served in the order of the queue. Clones are cheap.
///
/// Made by [`Locks::semaphore`](crate::Locks::semaphore). Each permit is a [`Lease`] with a token of its own, renewed and told
/// of its loss as one of a lock; tokens of permits that are held together say nothing about each other.
#[derive(Clone)]
pub struct Semaphore {
    group: Arc<Group>,
    name: Arc<str>,
    permits: u32,
}

impl Semaphore {
    pub(crate) fn new(group: Arc<Group>, name: Arc<str>, permits: u32) -> Self {
        Self { group, name, permits }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many there are.
    pub fn permits(&self) -> u32 {
        self.permits
    }

    /// Waits at most `wait` for a permit. Errors and cancel safety as [`Locks::acquire`](crate::Locks::acquire).
    ///
    /// # Errors
    ///
    /// [`AcquireError`].
    #[track_caller]
    pub fn acquire(&self, wait: Duration) -> impl Future<Output = Result<Lease, AcquireError>> + Send + use<> {
        let (group, name, mode) = (self.group.clone(), self.name.clone(), LeaseMode::Permit { of: self.permits });
        let location = Location::caller();
        async move { wait_for(&group.shared(&name, mode), mode, wait, location).await }
    }

    /// A permit if one is free now. Errors and cancel safety as [`Locks::try_acquire`](crate::Locks::try_acquire).
    ///
    /// # Errors
    ///
    /// [`AcquireError`].
    #[track_caller]
    pub fn try_acquire(&self) -> impl Future<Output = Result<Option<Lease>, AcquireError>> + Send + use<> {
        let (group, name, mode) = (self.group.clone(), self.name.clone(), LeaseMode::Permit { of: self.permits });
        let location = Location::caller();
        async move { look(&group.shared(&name, mode), mode, location).await }
    }

    /// Takes all permits from those who hold them in this process, who are told; false when nobody here holds one. As
    /// [`Locks::force_release`](crate::Locks::force_release).
    pub fn force_release(&self, reason: &str) -> bool {
        self.group.force(&self.name, true, reason) > 0
    }

    /// Takes all permits from those who hold them in any process, who are told; how many they were. As
    /// [`Locks::force_release_everywhere`](crate::Locks::force_release_everywhere).
    ///
    /// # Errors
    ///
    /// [`ForceError`].
    ///
    /// # Cancel safety
    ///
    /// Dropped in between, it may have happened or not.
    pub async fn force_release_everywhere(&self, reason: &str) -> Result<usize, ForceError> {
        self.group.force_everywhere(&self.name, true, reason).await
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore").field("name", &self.name).field("permits", &self.permits).finish_non_exhaustive()
    }
}
