//! What a loading cache asks of the program's async runtime: a task, and an alarm.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// A future that can be sent between threads.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A runtime that runs tasks in the background.
///
/// With the feature `tokio` there is `TokioRuntime`; another runtime takes a few lines. A runtime may drop tasks when it
/// ends: their callers are told.
pub trait Runtime: Send + Sync + 'static {
    /// Runs a task to its end, independently of the caller.
    fn spawn(&self, task: BoxFuture<()>);

    /// A future that is ready after `time`.
    fn sleep(&self, time: Duration) -> BoxFuture<()>;
}

/// A [`Runtime`] on tokio.
#[cfg(feature = "tokio")]
#[derive(Debug, Clone)]
pub struct TokioRuntime(tokio::runtime::Handle);

#[cfg(feature = "tokio")]
impl TokioRuntime {
    /// The runtime behind a handle. Its timers must be enabled for time-outs.
    pub fn new(handle: tokio::runtime::Handle) -> Self {
        Self(handle)
    }

    /// The runtime that the caller runs in.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn current() -> Self {
        Self(tokio::runtime::Handle::current())
    }
}

#[cfg(feature = "tokio")]
impl Runtime for TokioRuntime {
    fn spawn(&self, task: BoxFuture<()>) {
        drop(self.0.spawn(task));
    }

    fn sleep(&self, time: Duration) -> BoxFuture<()> {
        let _context = self.0.enter();
        Box::pin(tokio::time::sleep(time))
    }
}
