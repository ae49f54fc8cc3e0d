//! The token bucket behind a lock.

use std::fmt;

use crate::clock::{Clock, SystemClock};
use crate::limiter::ops::bucket::bucket;
use crate::limiter::ops::single::limiter;
use crate::limiter::shell::bucket::{BucketOps, BucketShell};
use crate::quota::{Quota, QuotaError};

/// An exact token bucket behind one lock, for every [`Quota`].
///
/// The bucket makes the same decisions as an [`AtomicTokenBucket`](crate::AtomicTokenBucket), which is faster.
/// Choose the locked bucket for a quota that does not fit the word of the atomic one.
///
/// # Waiting
/// Waiters are served by floor, then by arrival, as [every limiter](crate::RateLimiter#waiting) serves them. A
/// waiter holds nothing before its turn, so dropping it costs nothing; a pause, another quota, a refund,
/// a charge, a lease and `close` reach all waiters; a waiter that is not polled blocks no other.
///
/// # Memory ordering
/// Every operation takes the lock, and so synchronises with every other on the same bucket.
///
/// # Examples
/// ```
/// use tollgate::{AtomicTokenBucket, LockedTokenBucket, Quota, RateLimiter};
///
/// // A token is a byte. At this rate the word holds no burst of 64 MiB.
/// let bandwidth = Quota::per_second(1_234_567)?.burst(64 << 20)?;
/// assert!(AtomicTokenBucket::new(bandwidth).is_err());
/// let bucket = LockedTokenBucket::new(bandwidth)?;
/// assert!(bucket.try_acquire(4_096).is_ok());
/// # Ok::<(), tollgate::QuotaError>(())
/// ```
pub struct LockedTokenBucket<C = SystemClock> {
    shell: BucketShell<C>,
}

impl LockedTokenBucket {
    /// Creates a full bucket on the [`SystemClock`].
    ///
    /// # Errors
    /// [`QuotaError::ZeroBurst`].
    pub fn new(quota: Quota) -> Result<Self, QuotaError> {
        Self::with_clock(quota, SystemClock::new())
    }
}

#[cfg(not(tollgate_loom))]
impl LockedTokenBucket {
    /// Creates a full bucket in a `static`, of a quota that is known at compile time: see
    /// [`AtomicTokenBucket::from_quota`](crate::AtomicTokenBucket::from_quota).
    ///
    /// # Panics
    /// If [`new`](Self::new) would return an error. In a `static` or `const` that is a compile error.
    pub const fn from_quota(quota: Quota) -> Self {
        let Ok(units) = quota.units() else {
            panic!("the burst of a quota must be at least 1")
        };
        Self {
            shell: BucketShell::new((quota, units), SystemClock::new(), false),
        }
    }
}

impl<C> LockedTokenBucket<C> {
    /// Creates a full bucket on the given clock.
    ///
    /// # Errors
    /// [`QuotaError::ZeroBurst`].
    pub fn with_clock(quota: Quota, clock: C) -> Result<Self, QuotaError> {
        let shell = BucketShell::new((quota, quota.units()?), clock, false);
        Ok(Self { shell })
    }
}

impl<C: Clock> LockedTokenBucket<C> {
    #[inline]
    fn ops(&self) -> BucketOps<'_, C> {
        self.shell.with(None, None)
    }
}

bucket!(LockedTokenBucket);

impl<C> fmt::Debug for LockedTokenBucket<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the lock: `Debug` never blocks.
        f.debug_struct("LockedTokenBucket").finish_non_exhaustive()
    }
}
