//! `governor`'s direct limiter.

use std::num::NonZeroU32;
use std::ops::Add;
use std::sync::LazyLock;

use governor::RateLimiter;
use governor::clock::{Clock as _, QuantaClock, QuantaInstant, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};

use super::{Limiter, Shared};
use crate::clock::{As, Tsc};
use crate::quota::Quota;

/// The clock that all contenders share.
pub type Given = As<Tsc>;
/// governor's default clock.
pub type Default = QuantaClock;

/// A clock whose instants convert to nanoseconds.
pub trait Stamps: governor::clock::Clock + std::default::Default + Send + Sync {
    /// Nanoseconds since the clock's origin.
    fn nanos(&self) -> u64;
}

impl Stamps for Given {
    fn nanos(&self) -> u64 {
        self.now().as_u64()
    }
}

impl Stamps for Default {
    fn nanos(&self) -> u64 {
        static ORIGIN: LazyLock<QuantaInstant> = LazyLock::new(|| QuantaClock::default().now());
        self.now().duration_since(*ORIGIN).as_u64()
    }
}

/// `governor::RateLimiter` on a clock.
pub struct Governor<C: Stamps> {
    limiter: RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<C::Instant>>,
    clock: C,
}

impl<C: Stamps> Limiter for Governor<C>
where
    C::Instant: Add<Nanos>,
{
    type Handle<'a>
        = &'a Self
    where
        Self: 'a;

    fn new(quota: Quota) -> Self {
        Self {
            limiter: RateLimiter::direct_with_clock(quota.governor(), C::default()),
            clock: C::default(),
        }
    }

    fn handle(&self, _callers: usize) -> &Self {
        self
    }

    fn nanos(&self) -> u64 {
        self.clock.nanos()
    }
}

impl<C: Stamps> Shared for Governor<C> {
    #[inline(always)]
    fn try_acquire(&self, n: u32) -> bool {
        match NonZeroU32::new(n) {
            Some(n) if n.get() > 1 => matches!(self.limiter.check_n(n), Ok(Ok(()))),
            _ => self.limiter.check().is_ok(),
        }
    }
}
