//! The two clocks that limiters read.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use governor::nanos::Nanos;
use tollgate::{SystemClock, Timestamp};

/// The clock that a limiter reads.
pub trait Clock: Clone + Default + Send + Sync + 'static {
    /// Nanoseconds since its origin.
    fn nanos(&self) -> u64;
}

/// The time-stamp counter, as tollgate reads it by default. Every contender that accepts a clock
/// gets it.
#[derive(Clone, Debug, Default)]
pub struct Tsc(SystemClock);

impl Clock for Tsc {
    #[inline]
    fn nanos(&self) -> u64 {
        tollgate::Clock::now(&self.0).as_nanos()
    }
}

/// The operating system's monotonic clock: the default of most peers.
#[derive(Clone, Copy, Debug)]
pub struct Os(Instant);

impl Default for Os {
    /// All instances share an origin.
    fn default() -> Self {
        static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
        Self(*ORIGIN)
    }
}

impl Clock for Os {
    #[inline]
    fn nanos(&self) -> u64 {
        let elapsed = self.0.elapsed();
        elapsed.as_secs() * 1_000_000_000 + u64::from(elapsed.subsec_nanos())
    }
}

/// Adapts a clock to the clock traits of the other crates.
#[derive(Clone, Debug, Default)]
pub struct As<C>(pub C);

impl<C: Clock> tollgate::Clock for As<C> {
    #[inline]
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(self.0.nanos())
    }
}

impl<C: Clock> governor::clock::Clock for As<C> {
    type Instant = Nanos;

    #[inline]
    fn now(&self) -> Nanos {
        Nanos::new(self.0.nanos())
    }
}

/// A clock that counts from its creation, as `ratelimit` requires.
#[derive(Clone, Debug)]
pub struct Since<C>(C, u64);

impl<C: Clock> Default for Since<C> {
    fn default() -> Self {
        let clock = C::default();
        let origin = clock.nanos();
        Self(clock, origin)
    }
}

impl<C: Clock> Since<C> {
    /// Returns the underlying clock.
    pub fn clock(&self) -> &C {
        &self.0
    }
}

impl<C: Clock> ratelimit::Clock for Since<C> {
    #[inline]
    fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.0.nanos() - self.1)
    }
}
