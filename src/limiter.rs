//! Token buckets: who may pass now, and how long the others wait.
//!
//! | type | state | choose it for |
//! |---|---|---|
//! | [`AtomicTokenBucket`] | one atomic word | the hot path: no lock, no allocation, scales with cores |
//! | [`LockedTokenBucket`] | a lock | any quota at all, however large; waiters that move up when one before them gives up |
//! | [`KeyedLimiter`] | eight bytes a key | a limit for each tenant, client or address, in bounded memory |
//! | [`AllOf`] | that of its members | several limits at once, all or nothing |
//!
//! All make the same decisions: the same arithmetic, exact to the nanosecond.

mod all_of;
mod atomic;
mod bucket;
mod carry;
mod cell;
mod debt;
mod denied;
mod gate;
mod generations;
mod keyed;
mod lease;
mod ledger;
mod line;
mod locked;
mod rate;
mod reservation;
mod standing_denial;
mod word;

use std::fmt;
use std::time::Duration;

pub use all_of::{AllOf, Limits};
pub use atomic::{AtomicAcquire, AtomicTokenBucket};
pub use carry::CarryOver;
pub use debt::Acquire;
pub use denied::Denied;
pub use keyed::{ClientAddr, PrefixTooLong};
pub use keyed::{KeyHandle, KeyedBuilder, KeyedError, KeyedLimiter, KeyedStats, OnFull};
pub use lease::TokenLease;
pub use locked::{LockedAcquire, LockedTokenBucket};
pub(crate) use reservation::Internal;
pub use reservation::Reservation;
#[cfg(feature = "tower")]
pub(crate) use reservation::Taken;

use crate::clock::Timestamp;
use crate::quota::{Quota, QuotaError};

/// What every limiter can do, as an object: `Arc<dyn RateLimiter>`.
///
/// # Promises
/// - Never over: what is admitted in any window of length T is at most B + floor(T * N / P).
/// - Never under: while the bucket is not full, tokens accrue exactly, however often it is asked.
/// - Honest wait: denied with `retry_after` w at `now` means denied until 1 ns before `now + w` and
///   admitted then, if nobody else took.
/// - A denial changes nothing. Zero tokens always pass.
/// - A `now` older than what the bucket has seen is legal, at any skew, and no take mints a token by
///   it. Giving back and changing the quota are promises about the past, for which an
///   [`AtomicTokenBucket`] has to believe the time that it is given: see
///   [`Reservation::cancel_at`] and [`set_quota_at`](Self::set_quota_at).
///
/// ```
/// use std::sync::Arc;
/// use tollgate::{AtomicTokenBucket, LockedTokenBucket, Quota, RateLimiter};
///
/// let quota = Quota::per_hour(2)?;
/// let limiters: [Arc<dyn RateLimiter>; 2] =
///     [Arc::new(AtomicTokenBucket::new(quota)?), Arc::new(LockedTokenBucket::new(quota)?)];
/// for limiter in limiters {
///     assert!(limiter.try_acquire(2).is_ok());
///     assert!(limiter.try_acquire(1).is_err());
/// }
/// # Ok::<(), tollgate::QuotaError>(())
/// ```
///
/// Every operation has a form `_at`, for a caller who has the time in hand: the clock read is most
/// of the cost.
///
/// The trait is sealed: what a reservation or a lease needs of a limiter is this crate's own
/// business.
pub trait RateLimiter: Internal + fmt::Debug + Send + Sync {
    /// The time on the limiter's clock.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{AtomicTokenBucket, ManualClock, Quota, RateLimiter, Timestamp};
    ///
    /// let clock = ManualClock::new();
    /// let bucket = AtomicTokenBucket::with_clock(Quota::per_day(1)?, clock.clone())?;
    /// clock.advance(Duration::from_nanos(7));
    /// assert_eq!(bucket.now(), Timestamp::from_nanos(7));
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    fn now(&self) -> Timestamp;

    /// The quota in force.
    ///
    /// ```
    /// use tollgate::{LockedTokenBucket, Quota, RateLimiter};
    ///
    /// let bucket = LockedTokenBucket::new(Quota::per_second(5)?)?;
    /// assert_eq!(bucket.quota(), "5/s".parse()?);
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    fn quota(&self) -> Quota;

    /// Takes `n` tokens now, or none.
    ///
    /// # Errors
    /// [`Denied`]; nothing was taken.
    ///
    /// ```
    /// use tollgate::{AtomicTokenBucket, Denied, Quota, RateLimiter};
    ///
    /// let bucket = AtomicTokenBucket::new(Quota::per_hour(3)?)?;
    /// assert!(bucket.try_acquire(3).is_ok());
    /// assert!(matches!(bucket.try_acquire(1), Err(Denied::NotYet { .. })));
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    #[inline]
    fn try_acquire(&self, n: u64) -> Result<(), Denied> {
        self.try_acquire_at(n, self.now())
    }

    /// As [`try_acquire`](Self::try_acquire), at the caller's time.
    ///
    /// # Errors
    /// [`Denied`]; nothing was taken.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{AtomicTokenBucket, Denied, Quota, RateLimiter, Timestamp};
    ///
    /// let bucket = AtomicTokenBucket::new(Quota::per_second(3)?.burst(1)?)?;
    /// assert!(bucket.try_acquire_at(1, Timestamp::ZERO).is_ok());
    /// let retry_after = Duration::from_nanos(333_333_334);
    /// assert_eq!(bucket.try_acquire_at(1, Timestamp::ZERO), Err(Denied::NotYet { retry_after }));
    /// assert!(bucket.try_acquire_at(1, Timestamp::from_nanos(333_333_334)).is_ok());
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    #[inline]
    fn try_acquire_at(&self, n: u64, now: Timestamp) -> Result<(), Denied> {
        self.try_acquire_above_at(n, 0, now)
    }

    /// Takes `n` tokens if at least `floor` remain: callers of low priority leave some for those of
    /// high.
    ///
    /// # Errors
    /// [`Denied`]; nothing was taken. If `n` and `floor` together are more than the burst:
    /// [`Denied::ExceedsBurst`].
    ///
    /// ```
    /// use tollgate::{AtomicTokenBucket, Quota, RateLimiter};
    ///
    /// let bucket = AtomicTokenBucket::new(Quota::per_hour(10)?)?;
    /// assert!(bucket.try_acquire_above(6, 4).is_ok());
    /// assert!(bucket.try_acquire_above(1, 4).is_err());
    /// assert!(bucket.try_acquire(4).is_ok());
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    fn try_acquire_above(&self, n: u64, floor: u64) -> Result<(), Denied> {
        self.try_acquire_above_at(n, floor, self.now())
    }

    /// As [`try_acquire_above`](Self::try_acquire_above), at the caller's time.
    ///
    /// # Errors
    /// As [`try_acquire_above`](Self::try_acquire_above).
    ///
    /// ```
    /// use tollgate::{AtomicTokenBucket, Quota, RateLimiter, Timestamp};
    ///
    /// let bucket = AtomicTokenBucket::new(Quota::per_second(4)?)?;
    /// let now = Timestamp::from_nanos(1_000_000_000);
    /// assert!(bucket.try_acquire_above_at(2, 2, now).is_ok());
    /// assert!(bucket.try_acquire_above_at(1, 2, now).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn try_acquire_above_at(&self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied>;

    /// Takes what there is, at most `n`, and says how much.
    ///
    /// ```
    /// use tollgate::{LockedTokenBucket, Quota, RateLimiter};
    ///
    /// let bucket = LockedTokenBucket::new(Quota::per_hour(3)?)?;
    /// assert_eq!(bucket.try_acquire_up_to(5), 3);
    /// assert_eq!(bucket.try_acquire_up_to(5), 0);
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    fn try_acquire_up_to(&self, n: u64) -> u64 {
        self.try_acquire_up_to_at(n, self.now())
    }

    /// As [`try_acquire_up_to`](Self::try_acquire_up_to), at the caller's time.
    ///
    /// ```
    /// use tollgate::{AtomicTokenBucket, Quota, RateLimiter, Timestamp};
    ///
    /// let bucket = AtomicTokenBucket::new(Quota::per_second(4)?)?;
    /// assert_eq!(bucket.try_acquire_up_to_at(9, Timestamp::ZERO), 4);
    /// assert_eq!(bucket.try_acquire_up_to_at(1, Timestamp::from_nanos(1_000_000_000)), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn try_acquire_up_to_at(&self, n: u64, now: Timestamp) -> u64;

    /// Takes `n` tokens ahead of their time, if they are there after at most `max_wait`.
    ///
    /// When they are ready is rounded up to a nanosecond, for each reservation by itself; so two can be
    /// a part of a nanosecond nearer to each other than the rate has it.
    ///
    /// # Errors
    /// [`Denied`]; nothing was taken.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{AtomicTokenBucket, Denied, Quota, RateLimiter};
    ///
    /// let bucket = AtomicTokenBucket::new(Quota::per_second(1)?)?;
    /// let used = bucket.reserve(1, Duration::ZERO)?;
    /// assert!(matches!(bucket.reserve(1, Duration::ZERO), Err(Denied::TooLong { .. })));
    /// let next = bucket.reserve(1, Duration::from_secs(2))?;
    /// assert!(next.ready_at() > used.ready_at());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn reserve(&self, n: u64, max_wait: Duration) -> Result<Reservation<'_>, Denied> {
        self.reserve_at(n, max_wait, self.now())
    }

    /// As [`reserve`](Self::reserve), at the caller's time.
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve).
    ///
    /// ```
    /// use tollgate::{AtomicTokenBucket, Quota, RateLimiter, Timestamp};
    ///
    /// let bucket = AtomicTokenBucket::new(Quota::per_second(1)?)?;
    /// let max_wait = std::time::Duration::from_secs(1);
    /// let used = bucket.reserve_at(1, max_wait, Timestamp::ZERO)?;
    /// let next = bucket.reserve_at(1, max_wait, Timestamp::ZERO)?;
    /// assert_eq!([used.ready_at(), next.ready_at()], [Timestamp::ZERO, Timestamp::from_nanos(1_000_000_000)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn reserve_at(
        &self,
        n: u64,
        max_wait: Duration,
        now: Timestamp,
    ) -> Result<Reservation<'_>, Denied>;

    /// Returns `n` tokens that were taken and not used, at most a burst of them, and never above the
    /// burst. What the bucket has gained meanwhile is not taken back: to undo a take exactly,
    /// [`reserve`](Self::reserve) and cancel.
    ///
    /// ```
    /// use tollgate::{AtomicTokenBucket, Quota, RateLimiter};
    ///
    /// let bucket = AtomicTokenBucket::new(Quota::per_day(3)?)?;
    /// assert!(bucket.try_acquire(2).is_ok());
    /// bucket.refund(1);
    /// assert_eq!(bucket.available(), 2);
    /// bucket.refund(100);
    /// assert_eq!(bucket.available(), 3);
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    fn refund(&self, n: u64) {
        self.refund_at(n, self.now());
    }

    /// As [`refund`](Self::refund), at the caller's time.
    ///
    /// ```
    /// use tollgate::{LockedTokenBucket, Quota, RateLimiter, Timestamp};
    ///
    /// let bucket = LockedTokenBucket::new(Quota::per_day(3)?)?;
    /// assert!(bucket.try_acquire_at(3, Timestamp::ZERO).is_ok());
    /// bucket.refund_at(2, Timestamp::ZERO);
    /// assert_eq!(bucket.available_at(Timestamp::ZERO), 2);
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    fn refund_at(&self, n: u64, now: Timestamp);

    /// Takes all there is: the server said that we are out of tokens. Debt stays.
    ///
    /// ```
    /// use tollgate::{AtomicTokenBucket, Quota, RateLimiter};
    ///
    /// let bucket = AtomicTokenBucket::new(Quota::per_day(3)?)?;
    /// bucket.drain();
    /// assert_eq!(bucket.available(), 0);
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    fn drain(&self) {
        self.drain_at(self.now());
    }

    /// As [`drain`](Self::drain), at the caller's time.
    ///
    /// ```
    /// use tollgate::{AtomicTokenBucket, Quota, RateLimiter, Timestamp};
    ///
    /// let bucket = AtomicTokenBucket::new(Quota::per_second(4)?)?;
    /// bucket.drain_at(Timestamp::ZERO);
    /// assert_eq!(bucket.available_at(Timestamp::ZERO), 0);
    /// assert_eq!(bucket.available_at(Timestamp::from_nanos(1_000_000_000)), 4);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn drain_at(&self, now: Timestamp) {
        self.sync_remaining_at(0, now);
    }

    /// Lets no token be had before `until`, and the first one then: the server said `Retry-After`.
    /// What was taken before stays taken, and can be used: a reservation, or what a lease holds.
    /// It only tightens; an unlimited limiter stays unlimited. Nothing that comes back ends it, and
    /// of the ways to change the quota only [`CarryOver::Full`] does. (A key of a
    /// [`KeyedLimiter`] keeps it as debt, which refunds pay off.)
    ///
    /// # Errors
    /// [`Denied::TooLong`] if the limiter cannot promise that far ahead, [`Denied::Exhausted`] if its
    /// rate is zero, so that no token would ever come back; nothing was changed.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{AtomicTokenBucket, ManualClock, Quota, RateLimiter};
    ///
    /// let clock = ManualClock::new();
    /// let bucket = AtomicTokenBucket::with_clock(Quota::per_second(100)?, clock.clone())?;
    /// bucket.pause_until(bucket.now().saturating_add(Duration::from_secs(30)))?;
    /// assert_eq!(bucket.try_acquire(1).unwrap_err().retry_after(), Some(Duration::from_secs(30)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn pause_until(&self, until: Timestamp) -> Result<(), Denied> {
        self.pause_until_at(until, self.now())
    }

    /// As [`pause_until`](Self::pause_until), at the caller's time.
    ///
    /// # Errors
    /// As [`pause_until`](Self::pause_until).
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{LockedTokenBucket, Quota, RateLimiter, Timestamp};
    ///
    /// let bucket = LockedTokenBucket::new(Quota::per_second(100)?)?;
    /// bucket.pause_until_at(Timestamp::from_nanos(500), Timestamp::from_nanos(100))?;
    /// let denied = bucket.try_acquire_at(1, Timestamp::from_nanos(200)).unwrap_err();
    /// assert_eq!(denied.retry_after(), Some(Duration::from_nanos(300)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn pause_until_at(&self, until: Timestamp, now: Timestamp) -> Result<(), Denied>;

    /// Lets no more than `remaining` tokens be there: the server said `X-RateLimit-Remaining`. It
    /// only tightens.
    ///
    /// ```
    /// use tollgate::{LockedTokenBucket, Quota, RateLimiter};
    ///
    /// let bucket = LockedTokenBucket::new(Quota::per_day(10)?)?;
    /// bucket.sync_remaining(4);
    /// bucket.sync_remaining(7);
    /// assert_eq!(bucket.available(), 4);
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    fn sync_remaining(&self, remaining: u64) {
        self.sync_remaining_at(remaining, self.now());
    }

    /// As [`sync_remaining`](Self::sync_remaining), at the caller's time.
    ///
    /// ```
    /// use tollgate::{AtomicTokenBucket, Quota, RateLimiter, Timestamp};
    ///
    /// let bucket = AtomicTokenBucket::new(Quota::per_second(4)?)?;
    /// bucket.sync_remaining_at(1, Timestamp::ZERO);
    /// assert_eq!(bucket.available_at(Timestamp::ZERO), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn sync_remaining_at(&self, remaining: u64, now: Timestamp);

    /// Changes the quota, from now on; how the fill carries over is `carry`'s choice.
    ///
    /// # Errors
    /// [`QuotaError`] if the limiter cannot have this quota: it keeps the one it has.
    /// [`QuotaError::ZeroBurst`] also if leases hold all of the new burst.
    ///
    /// ```
    /// use tollgate::{AtomicTokenBucket, CarryOver, Quota, RateLimiter};
    ///
    /// let bucket = AtomicTokenBucket::new(Quota::per_day(10)?)?;
    /// assert!(bucket.try_acquire(6).is_ok());
    /// bucket.set_quota(Quota::per_day(100)?, CarryOver::Tokens)?;
    /// assert_eq!(bucket.available(), 4);
    /// bucket.set_quota(Quota::per_day(1000)?, CarryOver::Full)?;
    /// assert_eq!(bucket.available(), 1000);
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    fn set_quota(&self, quota: Quota, carry: CarryOver) -> Result<(), QuotaError> {
        self.set_quota_at(quota, carry, self.now())
    }

    /// As [`set_quota`](Self::set_quota), with the new quota in force since `now`: tokens accrue at
    /// its rate from then on, and all that has been taken is charged.
    ///
    /// A `now` of before the last take counts as that in a
    /// [`LockedTokenBucket`], so it gives nothing back. An
    /// [`AtomicTokenBucket`] does not know when that was, and counts what
    /// was taken since as if it had been taken by `now`: a faster quota from a stale `now` refills
    /// that at its own rate. [`set_quota`](Self::set_quota) reads the clock again whenever somebody
    /// takes meanwhile, and has no such gap if all go by that clock.
    ///
    /// # Errors
    /// As [`set_quota`](Self::set_quota).
    ///
    /// ```
    /// use tollgate::{AtomicTokenBucket, CarryOver, Quota, RateLimiter, Timestamp};
    ///
    /// let bucket = AtomicTokenBucket::new(Quota::per_second(10)?)?;
    /// let now = Timestamp::from_nanos(1_000_000_000);
    /// bucket.set_quota_at(Quota::per_second(100)?, CarryOver::Fraction, now)?;
    /// assert_eq!(bucket.available_at(now), 100); // full before, full after
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    fn set_quota_at(
        &self,
        quota: Quota,
        carry: CarryOver,
        now: Timestamp,
    ) -> Result<(), QuotaError>;

    /// The whole tokens in the bucket now; [`u64::MAX`] if unlimited.
    ///
    /// ```
    /// use tollgate::{AtomicTokenBucket, Quota, RateLimiter};
    ///
    /// let bucket = AtomicTokenBucket::new(Quota::per_day(5)?)?;
    /// assert!(bucket.try_acquire(2).is_ok());
    /// assert_eq!(bucket.available(), 3);
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    fn available(&self) -> u64 {
        self.available_at(self.now())
    }

    /// The whole tokens in the bucket at `now`.
    ///
    /// ```
    /// use tollgate::{AtomicTokenBucket, Quota, RateLimiter, Timestamp};
    ///
    /// let bucket = AtomicTokenBucket::new(Quota::per_second(4)?)?;
    /// bucket.try_acquire_at(4, Timestamp::ZERO)?;
    /// assert_eq!(bucket.available_at(Timestamp::from_nanos(499_999_999)), 1);
    /// assert_eq!(bucket.available_at(Timestamp::from_nanos(500_000_000)), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn available_at(&self, now: Timestamp) -> u64;

    /// Carves `batch` tokens out of the burst, for a thread of its own: see [`TokenLease`].
    ///
    /// # Errors
    /// [`Denied::ExceedsBurst`], with the largest batch, if nothing of the burst would be left.
    ///
    /// ```
    /// use tollgate::{AtomicTokenBucket, Denied, Quota, RateLimiter};
    ///
    /// let bucket = AtomicTokenBucket::new(Quota::per_hour(10)?)?;
    /// assert_eq!(bucket.lease(10).unwrap_err(), Denied::ExceedsBurst { burst: 9 });
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    fn lease(&self, batch: u64) -> Result<TokenLease<'_, Self>, Denied>
    where
        Self: Sized,
    {
        TokenLease::new(self, batch)
    }
}
