use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, SystemTime};

use crate::clock::{Clock, SystemClock, Timestamp};
use crate::limiter::core::acquire_turn::AcquireTurn;
use crate::limiter::core::carry::CarryOver;
use crate::limiter::core::denied::Denied;
use crate::limiter::core::rate::burst_without;
use crate::limiter::core::reserved_part::Parts;
use crate::limiter::core::saved::Saved;
use crate::limiter::core::status::Status;
use crate::limiter::core::word::WordQuota;
use crate::limiter::ops::acquire::Acquire;
use crate::limiter::ops::bucket::bucket;
use crate::limiter::ops::lease::{Leasable, TokenLease};
use crate::limiter::ops::limiter::Limiter;
use crate::limiter::ops::quota_limiter::QuotaLimiter;
use crate::limiter::ops::quota_limiter::quota_methods;
use crate::limiter::ops::rate_limiter::RateLimiter;
use crate::limiter::ops::single::{acquire_methods, limiter};
use crate::limiter::shell::bucket::{BucketOps, BucketShell};
use crate::limiter::shell::line_shell::LineShell;
use crate::limiter::shell::ordered_lock::OrderedLock;
use crate::limiter::shell::word_cell::WordCell;
use crate::quota::{Quota, QuotaError};
use crate::wait::{Progress, Wait};

/// An exact token bucket in one atomic word: while nobody waits, acquire and deny take no lock,
/// allocate nothing, and never wait for another thread, also while the quota changes beside them.
///
/// # Waiting
/// While a caller waits, the fill is behind a lock, and every take goes there: so no newcomer
/// overtakes a waiter. Waiters are served by floor, then by arrival, as
/// [every limiter](RateLimiter#waiting) serves them. A waiter holds nothing before its turn, so
/// dropping it costs nothing; a pause, another quota, a refund, a charge, a lease and `close` reach all
/// of them; one that is not polled holds up no other.
///
/// # Limits
/// Burst and rate must fit 56 bits of *units* (a token and a nanosecond are both whole numbers of
/// them).
/// [`new`](Self::new) says so when they do not; a [`LockedTokenBucket`](crate::LockedTokenBucket)
/// takes every quota. Debt or a pause that the word cannot hold is kept behind the lock until it is
/// paid.
///
/// # Contention
/// A taker that another has beaten to the word tries again at once, and backs off for some hundred
/// nanoseconds when it is done, so that others are not held up in turn. A
/// [`lease`](Self::lease) keeps away from the word altogether. A denial of one token for some
/// microseconds is cached: others that are denied meanwhile only read.
///
/// # Memory ordering
/// Taking a token synchronises with nothing: do not use it to publish data. A thread whose time is
/// older than what others have used is judged by its own time, which is never in its favour. What
/// lay before the base of the word, which follows the latest time at some distance (seconds at
/// 999,983 a second, weeks at common rates), is forgotten: a thread with an even older time may be
/// denied what its own time would have allowed, never the reverse.
///
/// The generation in the word is 7 bits. A thread would have to sleep in the middle of a decision
/// through an exact multiple of 128 generations (changes of the quota, leases that come or go, and
/// moves of the base, which are at least a millisecond apart and days at common rates), for
/// that single decision to be judged by an old quota, burst or base.
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
    /// What acquire and deny do without, while nobody waits.
    shell: BucketShell<C>,
}

impl AtomicTokenBucket {
    /// A full bucket on the [`SystemClock`].
    ///
    /// # Errors
    /// [`QuotaError::BeyondWord`], with the largest burst that fits, and [`QuotaError::ZeroBurst`].
    ///
    /// ```
    /// use tollgate::{AtomicTokenBucket, Quota, QuotaError, RateLimiter};
    ///
    /// assert_eq!(AtomicTokenBucket::new(Quota::per_second(5)?)?.available(), 5);
    /// let nothing = AtomicTokenBucket::new(Quota::per_second(0)?);
    /// assert_eq!(nothing.unwrap_err(), QuotaError::ZeroBurst);
    /// # Ok::<(), QuotaError>(())
    /// ```
    pub fn new(quota: Quota) -> Result<Self, QuotaError> {
        Self::with_clock(quota, SystemClock::new())
    }
}

#[cfg(not(tollgate_loom))]
impl AtomicTokenBucket {
    /// A full bucket of a quota that is known at compile time: for a `static`.
    ///
    /// # Panics
    /// Where [`new`](Self::new) returns an error; in a `static` or `const`, that is when it is
    /// compiled.
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
        let Ok(word_quota) = WordQuota::new(units) else {
            panic!("the quota does not fit the word of an AtomicTokenBucket")
        };
        Self {
            cell: WordCell::new(&word_quota),
            shell: BucketShell::new((quota, units), SystemClock::new(), true),
        }
    }
}

impl<C> AtomicTokenBucket<C> {
    /// A full bucket on the given clock.
    ///
    /// # Errors
    /// As [`new`](AtomicTokenBucket::new).
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
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
    fn ops(&self) -> BucketOps<'_, C> {
        self.shell.with_word(Some(&self.cell))
    }

    #[expect(clippy::inline_always, reason = "a call would cost a third of it")]
    #[inline(always)]
    fn take(&self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        match self.cell.take(n, floor, now) {
            Some(taken) => taken,
            None => self.ops().take_by_word(&self.cell, n, floor, now),
        }
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
    use std::task::Context;

    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn what_is_used_is_not_remembered() {
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
