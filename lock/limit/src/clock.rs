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
            // 584 years fit.
            Nanos::from(self.0.elapsed().as_nanos() as u64)
        }
    }
}
