//! The token bucket in one atomic word.

use std::fmt;

use crate::clock::{Clock, SystemClock};
use crate::limiter::core::word::WordQuota;
use crate::limiter::ops::bucket::bucket;
use crate::limiter::ops::single::limiter;
use crate::limiter::shell::bucket::{BucketOps, BucketShell};
use crate::limiter::shell::word_cell::WordCell;
use crate::quota::{Quota, QuotaError};

/// An exact token bucket in one atomic word: the limiter for the hot path.
///
/// While no caller waits, a take or a denial takes no lock, allocates nothing and waits for no other
/// thread, also while the quota changes.
///
/// # Waiting
/// While a caller waits, the fill is behind a lock and every take goes there, so no newcomer overtakes a
/// waiter. Waiters are served by floor, then by arrival, as [every limiter](crate::RateLimiter#waiting) serves
/// them. A waiter holds nothing before its turn, so dropping it costs nothing; a pause, another quota, a
/// refund, a charge, a lease and `close` reach all waiters; a waiter that is not polled blocks no other.
///
/// # Limits
/// Burst and rate must fit 56 bits of *units*, of which a token and a nanosecond are whole numbers.
/// Otherwise [`new`](Self::new) returns an error; a [`LockedTokenBucket`](crate::LockedTokenBucket) takes
/// every quota. Debt or a pause that the word cannot hold is kept behind the lock until it is paid.
///
/// # Contention
/// A take whose compare-and-swap fails tries again at once, and backs off after it has succeeded. A
/// denial of one token is cached while it lasts some microseconds, so the denied callers only read. Many
/// threads that share one generous bucket contend least with a [`lease`](Self::lease) each.
///
/// # Memory ordering
/// Taking a token synchronises with nothing: do not use it to publish data. A thread whose time is older
/// than what others have used is judged by its own time, never in its favour.
///
/// The word counts from a base that follows the latest time at a distance: weeks at common rates, seconds
/// at 999,983 a second. A thread with a time before the base may be denied what its own time would have
/// allowed, never the reverse.
///
/// The word names its generation in 7 bits. Known gap: a decision goes by an old quota, burst or base if
/// its thread is suspended in the middle of it while an exact multiple of 128 generations begins. A
/// generation begins when the quota changes, when a lease comes or goes, and when the base moves, which
/// is at most once a millisecond.
///
/// # Examples
/// ```
/// use tollgate::{AtomicTokenBucket, Denied, Quota, RateLimiter};
///
/// let bucket = AtomicTokenBucket::new(Quota::per_hour(3)?)?;
/// assert!(bucket.try_acquire(3).is_ok());
/// assert!(matches!(bucket.try_acquire(1), Err(Denied::NotYet { .. })));
/// assert_eq!(bucket.try_acquire(4), Err(Denied::ExceedsBurst { burst: 3 }));
/// # Ok::<(), tollgate::QuotaError>(())
/// ```
pub struct AtomicTokenBucket<C = SystemClock> {
    cell: WordCell,
    /// What takes do without while no caller waits.
    shell: BucketShell<C>,
}

impl AtomicTokenBucket {
    /// Creates a full bucket on the [`SystemClock`].
    ///
    /// # Errors
    /// [`QuotaError::BeyondWord`], with the largest burst that fits; [`QuotaError::ZeroBurst`].
    pub fn new(quota: Quota) -> Result<Self, QuotaError> {
        Self::with_clock(quota, SystemClock::new())
    }
}

#[cfg(not(tollgate_loom))]
impl AtomicTokenBucket {
    /// Creates a full bucket in a `static`, of a quota that is known at compile time.
    ///
    /// # Panics
    /// If [`new`](Self::new) would return an error. In a `static` or `const` that is a compile error.
    ///
    /// ```
    /// use tollgate::{AtomicTokenBucket, Quota, RateLimiter};
    ///
    /// static API: AtomicTokenBucket =
    ///     AtomicTokenBucket::from_quota(Quota::from_static("100/h burst 20"));
    ///
    /// assert_eq!(API.try_acquire_up_to(50), 20);
    /// ```
    pub const fn from_quota(quota: Quota) -> Self {
        let Ok(units) = quota.units() else {
            panic!("the burst of a quota must be at least 1")
        };
        let Ok(fitted) = WordQuota::new(units) else {
            panic!("the quota does not fit the word of an AtomicTokenBucket")
        };
        Self {
            cell: WordCell::new(&fitted),
            shell: BucketShell::new((quota, units), SystemClock::new(), true),
        }
    }
}

impl<C> AtomicTokenBucket<C> {
    /// Creates a full bucket on the given clock.
    ///
    /// # Errors
    /// As [`new`](AtomicTokenBucket::new).
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{AtomicTokenBucket, ManualClock, Quota, RateLimiter};
    ///
    /// let clock = ManualClock::new();
    /// let bucket = AtomicTokenBucket::with_clock(Quota::per_second(10)?.burst(1)?, clock.clone())?;
    /// assert!(bucket.try_acquire(1).is_ok());
    /// clock.advance(Duration::from_millis(100));
    /// assert!(bucket.try_acquire(1).is_ok());
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    pub fn with_clock(quota: Quota, clock: C) -> Result<Self, QuotaError> {
        let units = quota.units()?;
        Ok(Self {
            cell: WordCell::new(&WordQuota::new(units)?),
            shell: BucketShell::new((quota, units), clock, true),
        })
    }
}

impl<C: Clock> AtomicTokenBucket<C> {
    #[expect(clippy::inline_always, reason = "a call would cost a third of a take")]
    #[inline(always)]
    fn ops(&self) -> BucketOps<'_, C> {
        self.shell.with(Some(&self.cell), None)
    }
}

bucket!(AtomicTokenBucket);

impl<C> fmt::Debug for AtomicTokenBucket<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the quota, which is behind a lock: `Debug` never blocks.
        f.debug_struct("AtomicTokenBucket")
            .field("cell", &self.cell)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Waker};
    use std::time::Duration;

    use super::*;
    use crate::clock::ManualClock;
    use crate::limiter::ops::rate_limiter::RateLimiter;

    #[test]
    fn a_committed_reservation_is_forgotten() {
        let (quota, clock) = (Quota::per_second(5).unwrap(), ManualClock::new());
        let bucket = AtomicTokenBucket::with_clock(quota, clock.clone()).unwrap();
        bucket.reserve(1, Duration::MAX).unwrap().commit();
        assert!(bucket.shell.is_settled());
        bucket.drain();
        let mut waiting = bucket.acquire(1);
        let context = &mut Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut waiting).poll(context).is_pending());
        clock.advance(Duration::from_secs(1));
        assert!(Pin::new(&mut waiting).poll(context).is_ready());
        assert!(bucket.shell.is_settled());
        assert!(bucket.cell.peek(|_| ()).is_some(), "takes go by the word");
    }
}
