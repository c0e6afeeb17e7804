//! When to stop: a signal from outside, or a call from inside.

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

/// A latch that closes once and wakes all who wait.
#[derive(Debug)]
pub(crate) struct Closing(watch::Sender<bool>);

impl Closing {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Whether this call was the one that closed it.
    pub(crate) fn close(&self) -> bool {
        !self.0.send_replace(true)
    }

    pub(crate) async fn closed(&self) {
        let mut state = self.0.subscribe();
        // The sender lives in `self`, so that waiting cannot fail.
        let _ = state.wait_for(|closed| *closed).await;
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
        assert!(closing.close(), "the first call closes");
        assert!(!closing.close(), "the second finds it closed");
        early.await.expect("woken");
        closing.closed().await;
    }
}
