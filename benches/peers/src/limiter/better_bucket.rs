//! `better-bucket`, whose core takes the caller's time.

use std::time::Duration;

use better_bucket::{BucketConfig, BucketCore};

use super::{Limiter, Shared};
use crate::clock::{Clock, Tsc};
use crate::quota::Quota;

/// `better_bucket::BucketCore` on the clock that all contenders share.
pub struct BetterBucket {
    bucket: BucketCore,
    clock: Tsc,
}

impl Limiter for BetterBucket {
    type Handle<'a> = &'a Self;

    fn new(quota: Quota) -> Self {
        let clock = Tsc::default();
        let narrow = |tokens: u64| u32::try_from(tokens).ok();
        let config = narrow(quota.burst)
            .zip(narrow(quota.tokens))
            .and_then(|(burst, tokens)| BucketConfig::new(burst, tokens, quota.period, burst).ok())
            .expect("the workloads' quotas are within range");
        Self {
            bucket: BucketCore::new(config, Duration::from_nanos(clock.nanos())),
            clock,
        }
    }

    fn handle(&self, _callers: usize) -> &Self {
        self
    }

    fn nanos(&self) -> u64 {
        self.clock.nanos()
    }
}

impl Shared for BetterBucket {
    #[inline(always)]
    fn try_acquire(&self, n: u32) -> bool {
        let now = Duration::from_nanos(self.clock.nanos());
        self.bucket.try_acquire_at(n, now)
    }
}
