//! What a pool must know about the resources that it keeps: how to make, check, recycle and close one.
//!
//! The pool calls these in tasks of its own, each with a time limit, and survives whatever they do: fail, hang, panic.
//! A caller who stops waiting never ends one of them half-way. The methods are native async functions; nothing is boxed.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;

/// What becomes of a resource that comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fate {
    /// It can be given to the next caller as it is.
    Keep,
    /// It goes through [`Manager::recycle`] first.
    Recycle,
    /// It is of no use any more and is closed.
    Discard,
}

/// Makes, checks, recycles and closes the resources of one pool.
///
/// Only `create` must be written. Each async method has its time limit in the settings of the pool.
///
/// ```
/// use trimtab_pool::{Manager, ResourcePool};
///
/// struct Files;
///
/// impl Manager for Files {
///     type Resource = std::io::Cursor<Vec<u8>>;
///     type Error = std::io::Error;
///
///     async fn create(&self) -> Result<Self::Resource, Self::Error> {
///         Ok(std::io::Cursor::default())
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let pool = ResourcePool::builder("files", Files).max(2).build().unwrap();
/// assert_eq!(pool.acquire().await.unwrap().position(), 0);
/// # });
/// ```
pub trait Manager: Send + Sync + 'static {
    /// What is kept.
    type Resource: Send + 'static;
    /// Why one could not be made, or is broken.
    type Error: Error + Send + Sync + 'static;

    /// Makes a resource.
    fn create(&self) -> impl Future<Output = Result<Self::Resource, Self::Error>> + Send;

    /// Whether a resource that was idle for a while still works. An error closes it.
    fn check(&self, resource: &mut Self::Resource) -> impl Future<Output = Result<(), Self::Error>> + Send {
        let _ = resource;
        std::future::ready(Ok(()))
    }

    /// Called on the caller's thread when a lease ends: must be quick, and not wait.
    fn returned(&self, resource: &mut Self::Resource) -> Fate {
        let _ = resource;
        Fate::Keep
    }

    /// Cleans a resource for which [`returned`](Self::returned) answered [`Fate::Recycle`]. An error closes it.
    fn recycle(&self, resource: &mut Self::Resource) -> impl Future<Output = Result<(), Self::Error>> + Send {
        self.check(resource)
    }

    /// Ends a resource in an orderly way; by default it is dropped.
    fn close(&self, resource: Self::Resource) -> impl Future<Output = ()> + Send {
        drop(resource);
        std::future::ready(())
    }
}

/// A manager that only makes: from a closure. See [`ResourcePool::from_factory`](crate::ResourcePool::from_factory).
pub struct FromFactory<F, R> {
    factory: F,
    makes: PhantomData<fn() -> R>,
}

impl<F, R> FromFactory<F, R> {
    pub(crate) fn new(factory: F) -> Self {
        Self { factory, makes: PhantomData }
    }
}

impl<F, R> fmt::Debug for FromFactory<F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromFactory").field("makes", &std::any::type_name::<R>()).finish_non_exhaustive()
    }
}

impl<F, R, E, Made> Manager for FromFactory<F, Result<R, E>>
where
    F: Fn() -> Made + Send + Sync + 'static,
    Made: Future<Output = Result<R, E>> + Send,
    R: Send + 'static,
    E: Error + Send + Sync + 'static,
{
    type Resource = R;
    type Error = E;

    async fn create(&self) -> Result<R, E> {
        (self.factory)().await
    }
}

/// The error of managers that cannot fail.
pub type Never = Infallible;
