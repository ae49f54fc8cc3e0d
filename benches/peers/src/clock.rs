//! The two clocks that limiters go by.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use governor::nanos::Nanos;
use tollgate::{SystemClock, Timestamp};

/// A clock under a limiter.
pub trait Clock: Clone + Default + Send + Sync + 'static {
    /// Nanoseconds since its origin.
    fn nanos(&self) -> u64;
}

/// The time-stamp counter, as tollgate reads it by default: the clock of all who can be given one.
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
    /// All share an origin.
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

/// Any of the clocks as the clock of another crate.
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

/// A clock that counts from when it was made, as `ratelimit` wants it.
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
    /// The clock itself.
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
