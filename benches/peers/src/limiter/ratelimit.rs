//! `ratelimit`.

use ratelimit::{Builder, Ratelimiter};

use super::{Limiter, Shared};
use crate::clock::{Clock, Since};
use crate::quota::Quota;

/// `ratelimit::Ratelimiter` on a clock.
pub struct Ratelimit<C: Clock> {
    limiter: Ratelimiter<Since<C>>,
    clock: C,
}

impl<C: Clock> Limiter for Ratelimit<C> {
    type Handle<'a> = &'a Self;

    fn new(quota: Quota) -> Self {
        let since = Since::<C>::default();
        let clock = since.clock().clone();
        let limiter = Builder::with_clock(quota.tokens, since)
            .period(quota.period)
            .max_tokens(quota.burst)
            .initial_available(quota.burst)
            .build()
            .expect("the workloads' quotas are within range");
        Self { limiter, clock }
    }

    fn handle(&self, _callers: usize) -> &Self {
        self
    }

    fn nanos(&self) -> u64 {
        self.clock.nanos()
    }

    /// Takes two calls: no single one sets both rate and burst.
    fn set_quota(&self, quota: Quota) -> bool {
        self.limiter.set_rate_per(quota.tokens, quota.period);
        self.limiter.set_max_tokens(quota.burst);
        true
    }
}

impl<C: Clock> Shared for Ratelimit<C> {
    #[inline(always)]
    fn try_acquire(&self, n: u32) -> bool {
        self.limiter.try_wait_n(n.into()).is_ok()
    }
}
