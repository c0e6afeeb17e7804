//! The clock of limits: nanoseconds since it was made, by the system's monotonic clock.
//!
//! With the feature `quanta` the processor's own counter is read instead, which takes about half as long.

#[cfg(feature = "quanta")]
pub use governor::clock::QuantaClock as DefaultClock;
#[cfg(not(feature = "quanta"))]
pub use system::SystemClock as DefaultClock;

#[cfg(not(feature = "quanta"))]
mod system {
    use std::time::Instant;

    use governor::clock::Clock;
    use governor::nanos::Nanos;

    /// Nanoseconds since it was made. Clones share their start.
    #[derive(Debug, Clone)]
    pub struct SystemClock(Instant);

    impl Default for SystemClock {
        fn default() -> Self {
            Self(Instant::now())
        }
    }

    impl Clock for SystemClock {
        type Instant = Nanos;

        fn now(&self) -> Nanos {
            let elapsed = self.0.elapsed();
            // 584 years fit. In halves: the whole in one would be a number of 128 bits.
            Nanos::from(elapsed.as_secs() * 1_000_000_000 + u64::from(elapsed.subsec_nanos()))
        }
    }
}
