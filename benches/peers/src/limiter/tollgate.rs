//! Our limiters.

use tollgate::{
    AtomicTokenBucket, CarryOver, KeyedLimiter, LockedTokenBucket, QuotaLimiter, RateLimiter,
    StripedTokenBucket, Timestamp, TokenLease,
};

use super::{Handle, Limiter, Shared};
use crate::clock::{As, Clock, Os, Tsc};
use crate::quota::Quota;

/// Implements the traits for our buckets that threads call through a shared reference.
macro_rules! shared {
    ($($bucket:ty = |$quota:ident| $new:expr),* $(,)?) => {$(
        impl Limiter for $bucket {
            type Handle<'a> = &'a Self;

            fn new(quota: Quota) -> Self {
                let $quota = quota.tollgate();
                $new.expect("the workloads' quotas fit every bucket")
            }

            fn handle(&self, _callers: usize) -> &Self {
                self
            }

            fn nanos(&self) -> u64 {
                self.now().as_nanos()
            }

            fn set_quota(&self, quota: Quota) -> bool {
                QuotaLimiter::set_quota(self, quota.tollgate(), CarryOver::Tokens).is_ok()
            }
        }

        impl Shared for $bucket {
            #[inline(always)]
            fn try_acquire(&self, n: u32) -> bool {
                RateLimiter::try_acquire(self, n.into()).is_ok()
            }
        }
    )*};
}

shared! {
    AtomicTokenBucket = |quota| AtomicTokenBucket::new(quota),
    AtomicTokenBucket<As<Os>> = |quota| AtomicTokenBucket::with_clock(quota, As(Os::default())),
    LockedTokenBucket = |quota| LockedTokenBucket::new(quota),
    StripedTokenBucket = |quota| StripedTokenBucket::new(quota),
}

/// `AtomicTokenBucket` at the caller's time.
pub struct AtGivenTime(AtomicTokenBucket);

/// A caller that already has a timestamp.
pub struct WithTime<'a>(&'a AtomicTokenBucket, u64);

impl Limiter for AtGivenTime {
    type Handle<'a> = WithTime<'a>;

    fn new(quota: Quota) -> Self {
        Self(Limiter::new(quota))
    }

    fn handle(&self, _callers: usize) -> WithTime<'_> {
        WithTime(&self.0, self.nanos())
    }

    fn nanos(&self) -> u64 {
        self.0.nanos()
    }
}

impl Handle for WithTime<'_> {
    #[inline(always)]
    fn try_acquire(&mut self, n: u32) -> bool {
        self.1 += 1;
        self.0
            .at(Timestamp::from_nanos(self.1))
            .try_acquire(n.into())
            .is_ok()
    }
}

/// A `StripedTokenBucket` whose stripes are always empty, as near its limit.
pub struct Unstriped(StripedTokenBucket);

impl Limiter for Unstriped {
    type Handle<'a> = &'a StripedTokenBucket;

    fn new(quota: Quota) -> Self {
        let striped: StripedTokenBucket = Limiter::new(quota);
        Self(striped.carve(0))
    }

    fn handle(&self, _callers: usize) -> &StripedTokenBucket {
        &self.0
    }

    fn nanos(&self) -> u64 {
        Limiter::nanos(&self.0)
    }
}

/// A key of a `KeyedLimiter`, with its own quota.
pub struct OneKey(KeyedLimiter<u64>);

impl Limiter for OneKey {
    type Handle<'a> = &'a Self;

    fn new(quota: Quota) -> Self {
        let limiter = KeyedLimiter::new(quota.tollgate(), 1);
        Self(limiter.expect("the workloads' quotas fit the word"))
    }

    fn handle(&self, _callers: usize) -> &Self {
        self
    }

    fn nanos(&self) -> u64 {
        Tsc::default().nanos()
    }

    fn set_quota(&self, quota: Quota) -> bool {
        let key = self.0.key(&0);
        QuotaLimiter::set_quota(&key, quota.tollgate(), CarryOver::Tokens).is_ok()
    }
}

impl Shared for OneKey {
    #[inline(always)]
    fn try_acquire(&self, n: u32) -> bool {
        self.0.key(&0).try_acquire(n.into()).is_ok()
    }
}

/// A lease of an `AtomicTokenBucket` for each thread.
pub struct Leased(AtomicTokenBucket);

impl Limiter for Leased {
    type Handle<'a> = TokenLease<&'a AtomicTokenBucket>;

    fn new(quota: Quota) -> Self {
        Self(Limiter::new(quota))
    }

    /// Sizes the batch so that all leases together leave most of the burst in the bucket.
    fn handle(&self, callers: usize) -> Self::Handle<'_> {
        let part = 64.max(callers as u64 * 4);
        let batch = (self.0.quota().max_burst() / part).clamp(1, 10_000);
        self.0
            .lease(batch)
            .expect("the burst is larger than all leases")
    }

    fn nanos(&self) -> u64 {
        self.0.nanos()
    }

    fn set_quota(&self, quota: Quota) -> bool {
        Limiter::set_quota(&self.0, quota)
    }
}

impl Handle for TokenLease<&AtomicTokenBucket> {
    #[inline(always)]
    fn try_acquire(&mut self, n: u32) -> bool {
        TokenLease::try_acquire(self, n.into()).is_ok()
    }
}
