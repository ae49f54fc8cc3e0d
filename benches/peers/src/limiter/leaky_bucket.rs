//! `leaky-bucket`. It refills in steps of at least a millisecond, and reads no clock while it has
//! tokens left.

use leaky_bucket::RateLimiter;

use super::{Limiter, Shared};
use crate::clock::{Clock, Os};
use crate::quota::Quota;

/// `leaky_bucket::RateLimiter`, which reads tokio's clock.
pub struct LeakyBucket(RateLimiter);

impl Limiter for LeakyBucket {
    type Handle<'a> = &'a Self;

    fn new(quota: Quota) -> Self {
        // The finest step that it accepts.
        let steps = quota.tokens.min(quota.period.as_millis() as u64);
        Self(
            RateLimiter::builder()
                .max(quota.burst as usize)
                .initial(quota.burst as usize)
                .refill((quota.tokens / steps) as usize)
                .interval(quota.period / steps as u32)
                .build(),
        )
    }

    fn handle(&self, _callers: usize) -> &Self {
        self
    }

    fn nanos(&self) -> u64 {
        Os::default().nanos()
    }
}

impl Shared for LeakyBucket {
    #[inline(always)]
    fn try_acquire(&self, n: u32) -> bool {
        self.0.try_acquire(n as usize)
    }
}
