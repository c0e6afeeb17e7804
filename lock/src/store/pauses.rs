//! The pauses of a waiter whom nothing wakes: growing by the settings, and over as soon as nobody wants the lock.

use std::time::Duration;

use trimtab_config::{Backoff, Delays};

use crate::named::Named;

/// One wait.
pub(super) struct Pauses<'a> {
    named: &'a Named,
    delays: Delays,
    delay: Duration,
}

impl<'a> Pauses<'a> {
    pub(super) fn new(backoff: &Backoff, named: &'a Named) -> Self {
        Self { named, delays: backoff.delays(), delay: backoff.base.get() }
    }

    /// Waits for the moment to ask again; false when nobody wants to know any more. Beyond the last of the settings' delays, that one.
    pub(super) async fn pass(&mut self) -> bool {
        self.delay = self.delays.next().unwrap_or(self.delay);
        tokio::select! {
            () = tokio::time::sleep(self.delay) => true,
            () = self.named.unwanted() => false,
        }
    }
}
