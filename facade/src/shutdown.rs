//! When to stop: a signal from outside, or a call from inside; and what became of what was open.

use std::fmt;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

/// Resolves on ctrl-C (SIGINT) or, on Unix, SIGTERM: what a terminal, a service manager and a container runtime send.
///
/// From the first call on, the program no longer dies of these signals by itself; whoever calls this must stop it.
///
/// # Cancel safety
///
/// Cancel-safe, but a signal that arrives while nobody waits is lost.
pub async fn signal() -> &'static str {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        // Where a handler cannot be set up, the other one still works.
        let mut terminate = signal(SignalKind::terminate()).ok();
        let terminated = async {
            match &mut terminate {
                Some(terminate) => terminate.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = terminated => "SIGTERM",
            () = interrupted() => "SIGINT",
        }
    }
    #[cfg(not(unix))]
    {
        interrupted().await;
        "ctrl-C"
    }
}

async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// How long a stop waits for servers that answer requests.
pub const SERVING_MAX: Duration = Duration::from_secs(60);

/// What became of what was open when a system stopped.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Stopped {
    /// Jobs that the scheduler still had.
    #[cfg(feature = "scheduler")]
    pub jobs: trimtab_scheduler::DrainReport,
    /// Locks that this process held.
    #[cfg(feature = "lock")]
    pub locks: crate::locks::LocksReleased,
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stopped")?;
        #[cfg(feature = "scheduler")]
        write!(f, "; {}", self.jobs)?;
        #[cfg(feature = "lock")]
        write!(f, "; {}", self.locks)?;
        Ok(())
    }
}

/// A latch that closes once and wakes all who wait, and later says how the stop went.
#[derive(Debug)]
pub(crate) struct Closing {
    closed: watch::Sender<bool>,
    /// Servers that answer requests.
    serving: watch::Sender<usize>,
    /// With the one who stops.
    report: Mutex<Option<watch::Sender<Option<Stopped>>>>,
    stopped: watch::Receiver<Option<Stopped>>,
}

impl Closing {
    pub(crate) fn new() -> Self {
        let (report, stopped) = watch::channel(None);
        Self {
            closed: watch::Sender::new(false),
            serving: watch::Sender::new(0),
            report: Mutex::new(Some(report)),
            stopped,
        }
    }

    /// Closes; the first one is handed what the others wait for.
    pub(crate) fn close(&self) -> Option<watch::Sender<Option<Stopped>>> {
        self.closed.send_replace(true);
        self.report.lock().take()
    }

    pub(crate) async fn closed(&self) {
        let mut state = self.closed.subscribe();
        // The sender lives in `self`, so that waiting cannot fail.
        let _ = state.wait_for(|closed| *closed).await;
    }

    /// A server answers requests for as long as what this returns lives.
    pub(crate) fn serving(&self) -> Serving {
        self.serving.send_modify(|servers| *servers += 1);
        Serving(self.serving.clone())
    }

    /// Waits until no server answers requests, but not for ever.
    pub(crate) async fn served(&self) {
        let mut servers = self.serving.subscribe();
        let last = servers.wait_for(|servers| *servers == 0);
        if tokio::time::timeout(SERVING_MAX, last).await.is_err() {
            tracing::warn!(after = ?SERVING_MAX, "jobs and locks end while a server still answers: drop what Trimtab::serving returned");
        }
    }

    /// How the stop went; nothing is known of one whose runtime ended.
    pub(crate) async fn stopped(&self) -> Stopped {
        let mut stopped = self.stopped.clone();
        stopped.wait_for(Option::is_some).await.ok().and_then(|report| report.clone()).unwrap_or_default()
    }
}

/// Says that requests are answered, until it is dropped: see [`Trimtab::serving`](crate::Trimtab::serving).
#[derive(Debug)]
#[must_use = "what is dropped at once holds nothing up"]
pub struct Serving(watch::Sender<usize>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.send_modify(|servers| *servers -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn closing_wakes_those_who_wait_and_those_who_come_later() {
        let closing = std::sync::Arc::new(Closing::new());
        let early = tokio::spawn({
            let closing = closing.clone();
            async move { closing.closed().await }
        });
        tokio::task::yield_now().await;
        assert!(closing.close().is_some(), "the first call closes");
        assert!(closing.close().is_none(), "the second finds it closed");
        early.await.expect("woken");
        closing.closed().await;
    }

    #[tokio::test]
    async fn a_stop_that_is_never_told_is_not_waited_for() {
        let closing = Closing::new();
        drop(closing.close());
        assert_eq!(closing.stopped().await, Stopped::default());
    }

    #[tokio::test(start_paused = true)]
    async fn who_stops_waits_for_the_last_server() {
        let closing = std::sync::Arc::new(Closing::new());
        closing.served().await;
        let (one, other) = (closing.serving(), closing.serving());
        let waiting = tokio::spawn({
            let closing = closing.clone();
            async move { closing.served().await }
        });
        drop(one);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(other);
        waiting.await.expect("woken");
        let _forgotten = closing.serving();
        closing.served().await;
    }
}
