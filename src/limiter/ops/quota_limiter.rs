use crate::clock::Timestamp;
use crate::limiter::core::carry::CarryOver;
use crate::limiter::ops::rate_limiter::RateLimiter;
use crate::quota::{Quota, QuotaError};

/// A limiter with one quota, which can be changed, and can follow a server's word.
///
/// The buckets have these methods without the trait too; it is for code that is generic over them.
/// [`AllOf`](crate::AllOf) has several quotas, so it is none: change those of its members.
///
/// ```
/// use tollgate::{AtomicTokenBucket, CarryOver, LockedTokenBucket, QuotaLimiter};
///
/// /// What an operator's configuration asks for, in force at once.
/// fn reload(limits: &[&dyn QuotaLimiter], text: &str) -> Result<(), tollgate::QuotaError> {
///     let quota = text.parse()?;
///     limits.iter().try_for_each(|limit| limit.set_quota(quota, CarryOver::Tokens))
/// }
///
/// let atomic = AtomicTokenBucket::new("10/s".parse()?)?;
/// let locked = LockedTokenBucket::new("10/s".parse()?)?;
/// reload(&[&atomic, &locked], "20/s")?;
/// assert_eq!([atomic.quota(), locked.quota()], ["20/s".parse()?, "20/s".parse()?]);
/// # Ok::<(), tollgate::QuotaError>(())
/// ```
pub trait QuotaLimiter: RateLimiter {
    /// The quota in force.
    fn quota(&self) -> Quota;

    /// Changes the quota, from now on; how the fill carries over is `carry`'s choice. Reservations
    /// that were made keep their instants; waiters are re-timed.
    ///
    /// "Now" is read once no caller can take unseen, so whatever was taken before is charged at the
    /// old rate, and nothing is minted.
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
    fn set_quota(&self, quota: Quota, carry: CarryOver) -> Result<(), QuotaError>;

    /// As [`set_quota`](Self::set_quota), with the new quota in force since `now`: tokens accrue at
    /// its rate from then on, and all that has been taken is charged.
    ///
    /// A `now` of before the last take counts as that in a
    /// [`LockedTokenBucket`](crate::LockedTokenBucket), so it gives nothing back. An
    /// [`AtomicTokenBucket`](crate::AtomicTokenBucket) does not know when that was, and counts what
    /// was taken since as if it had been taken by `now`: a faster quota from a stale `now` refills
    /// that at its own rate. [`set_quota`](Self::set_quota) has no such gap.
    ///
    /// # Errors
    /// As [`set_quota`](Self::set_quota).
    fn set_quota_at(
        &self,
        quota: Quota,
        carry: CarryOver,
        now: Timestamp,
    ) -> Result<(), QuotaError>;

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
    fn drain_at(&self, now: Timestamp) {
        self.sync_remaining_at(0, now);
    }

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
    fn sync_remaining_at(&self, remaining: u64, now: Timestamp);
}
