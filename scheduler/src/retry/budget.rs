//! How many second tries all calls together may cost: a token bucket.
//!
//! Retries help against single failures and make an outage worse, since they multiply its load. So each call puts a part of a
//! token in and each extra try takes a whole one out (Finagle's `RetryBudget`); a few per second come for free, so that a
//! service with few calls can retry at all. While nothing fails the bucket is full, and a call costs one load.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::manners::clock::Clock;
use crate::manners::config::BudgetSettings;
use crate::manners::pad::Padded;

/// A token is so many parts.
const TOKEN: u64 = 1_000;

/// A budget of extra tries, to be shared by whoever calls the same far side. Clones are cheap.
///
/// ```
/// use trimtab_scheduler::{Budget, BudgetSettings};
///
/// let budget = Budget::new(&BudgetSettings { burst: 1, per_second: 0, ..BudgetSettings::default() });
/// assert!(budget.withdraw());
/// assert!(!budget.withdraw(), "used up");
/// for _ in 0..5 {
///     budget.deposit();                      // five calls at 20 %
/// }
/// assert!(budget.withdraw());
/// ```
#[derive(Clone)]
pub struct Budget {
    inner: Arc<Inner>,
}

struct Inner {
    parts: Padded<AtomicU64>,
    /// Parts for each call.
    deposit: u64,
    most: u64,
    per_second: u64,
    clock: Clock,
    /// When the free tokens were last added.
    refilled: Mutex<u64>,
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("left", &self.left()).finish_non_exhaustive()
    }
}

impl Budget {
    /// A full budget.
    pub fn new(settings: &BudgetSettings) -> Self {
        let most = u64::from(settings.burst) * TOKEN;
        Self {
            inner: Arc::new(Inner {
                parts: Padded(AtomicU64::new(most)),
                deposit: (settings.share.get() * TOKEN as f64).round() as u64,
                most,
                per_second: u64::from(settings.per_second) * TOKEN,
                clock: Clock::new(),
                refilled: Mutex::new(0),
            }),
        }
    }

    /// A call is made.
    #[inline]
    pub fn deposit(&self) {
        let inner = &*self.inner;
        // Racing calls may exceed the most by a little, until the next withdrawal.
        if inner.parts.load(Relaxed) < inner.most {
            inner.parts.fetch_add(inner.deposit, Relaxed);
        }
    }

    /// Asks for an extra try.
    pub fn withdraw(&self) -> bool {
        let inner = &*self.inner;
        let mut refilled = inner.refilled.lock();
        let (free, until) = inner.free(*refilled);
        let mut parts = inner.parts.load(Relaxed);
        loop {
            let full = parts.saturating_add(free).min(inner.most);
            let left = full.checked_sub(TOKEN);
            match inner.parts.compare_exchange_weak(parts, left.unwrap_or(full), Relaxed, Relaxed) {
                Ok(_) => {
                    *refilled = until;
                    return left.is_some();
                }
                Err(other) => parts = other,
            }
        }
    }

    /// Extra tries that it would allow now.
    pub fn left(&self) -> f64 {
        let inner = &*self.inner;
        let (free, _) = inner.free(*inner.refilled.lock());
        inner.parts.load(Relaxed).saturating_add(free).min(inner.most) as f64 / TOKEN as f64
    }
}

impl Inner {
    /// Free parts since then, and until when they are paid: a fraction of a part is left for the next time.
    fn free(&self, since: u64) -> (u64, u64) {
        if self.per_second == 0 {
            return (0, since);
        }
        let elapsed = u128::from(self.clock.now().saturating_sub(since));
        let free = elapsed * u128::from(self.per_second) / 1_000_000_000;
        let paid = free * 1_000_000_000 / u128::from(self.per_second);
        (u64::try_from(free).unwrap_or(u64::MAX), since.saturating_add(u64::try_from(paid).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;
    use trimtab_config::Share;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig {
            rng_seed: RngSeed::Fixed(7),
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn a_budget_allows_what_a_ledger_allows(
            share in 0_u32..=100, per_second in 0_u32..20, burst in 1_u32..20,
            steps in prop::collection::vec((0_u8..3, 0_u64..400), 1..200),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let budget = Budget::new(&BudgetSettings { share: Share::percent(share), per_second, burst });
                // In parts of a token, free ones counted from the start, as the paper's bucket would.
                let most = f64::from(burst);
                let (mut tokens, mut last) = (most, tokio::time::Instant::now());
                for (step, wait) in steps {
                    match step {
                        0 => tokio::time::advance(Duration::from_millis(wait)).await,
                        1 => {
                            budget.deposit();
                            // Free tokens are added when they are needed, so a deposit sees the bucket without them.
                            if tokens < most {
                                tokens += f64::from(share) / 100.0;
                            }
                        }
                        _ => {
                            let now = tokio::time::Instant::now();
                            tokens = (tokens + (now - last).as_secs_f64() * f64::from(per_second)).min(most);
                            last = now;
                            // Parts are whole thousandths.
                            if (tokens - 1.0).abs() < 0.01 {
                                tokens = if budget.withdraw() { 0.0_f64.max(tokens - 1.0) } else { tokens };
                                continue;
                            }
                            let allowed = tokens >= 1.0;
                            prop_assert_eq!(budget.withdraw(), allowed, "{} tokens", tokens);
                            tokens -= if allowed { 1.0 } else { 0.0 };
                        }
                    }
                }
                Ok(())
            })?;
        }
    }
}
