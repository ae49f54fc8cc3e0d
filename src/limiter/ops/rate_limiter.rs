use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::limiter::core::denied::Denied;
use crate::limiter::core::status::Status;
use crate::limiter::ops::acquire::Acquire;
use crate::limiter::ops::internal::Internal;
use crate::limiter::ops::reservation::Reservation;
use crate::wait::Wait;

/// What every limiter can do, also as an object: `Arc<dyn RateLimiter>`. A reference, an `Arc` or a
/// `Box` of a limiter is a limiter too.
///
/// # Promises
/// - Never over: what is admitted in any window of length T is at most B + floor(T * N / P). (A
///   [`SlidingWindow`](crate::SlidingWindow) admits at most N in any window of P, an
///   [`IntervalTokenBucket`](crate::IntervalTokenBucket) at most B + N for each boundary.)
/// - Never under: while the bucket is not full, tokens accrue exactly, however often it is asked.
/// - Honest wait: denied with `retry_after` w at `now` means denied until 1 ns before `now + w` and
///   admitted then, if no other caller took, and of the waiters ahead, which are counted, none left.
/// - A denial changes nothing. Zero tokens always pass.
/// - A `now` older than what the bucket has seen is legal, at any skew, and no take mints a token by
///   it. Giving back and changing the quota are promises about the past, for which an
///   [`AtomicTokenBucket`](crate::AtomicTokenBucket) has to believe the time that it is given: see
///   [`Reservation::cancel_at`] and [`QuotaLimiter::set_quota_at`](crate::QuotaLimiter::set_quota_at).
///
/// # Waiting
/// - A waiter holds nothing of the limiter before its turn. One that gives up costs nothing, and
///   every waiter behind it moves up.
/// - First come, first served, among waiters with the same reserve floor; those with a lower floor go
///   first. While a caller waits, no newcomer with its floor or a higher one takes before it.
/// - A pause, another quota, a refund and [`close`](crate::AtomicTokenBucket::close) reach those who wait.
/// - A waiter that is not polled holds up no other: at its turn its tokens are set aside for it, and
///   the line goes on. Each waiter has one timer.
///
/// ```
/// use std::sync::Arc;
/// use tollgate::{AtomicTokenBucket, LockedTokenBucket, Quota, RateLimiter};
///
/// let quota = Quota::per_hour(2)?;
/// let limiters: [Arc<dyn RateLimiter>; 2] =
///     [Arc::new(AtomicTokenBucket::new(quota)?), Arc::new(LockedTokenBucket::new(quota)?)];
/// for limiter in limiters {
///     limiter.acquire(2).wait()?; // `limiter.acquire(2).await?` in a task
///     assert!(limiter.try_acquire(1).is_err());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Generic code takes any of them, and waits for it:
///
/// ```
/// use tollgate::{AllOf, AtomicTokenBucket, Denied, KeyedLimiter, Quota, RateLimiter};
///
/// /// Each call takes a token of what its client was made with.
/// struct Client<L>(L);
///
/// impl<L: RateLimiter> Client<L> {
///     fn call(&self) -> Result<(), Denied> {
///         self.0.acquire(1).wait() // `self.0.acquire(1).await` in a task
///     }
/// }
///
/// let bucket = AtomicTokenBucket::new(Quota::per_hour(3)?)?;
/// let tenants: KeyedLimiter<String> = KeyedLimiter::new(Quota::per_hour(1)?, 100)?;
/// Client(&bucket).call()?; // or an `Arc`, or a `Box`
/// Client(tenants.key("ada")).call()?;
/// Client(AllOf::new((tenants.key("bob"), &bucket))).call()?;
/// assert_eq!((bucket.available(), tenants.key("bob").available()), (1, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Every operation has a form `_at`, for a caller that has the time in hand: the clock read is most
/// of the cost. The trait is sealed: what a reservation or a lease needs of a limiter is this
/// crate's own business.
pub trait RateLimiter: Internal + fmt::Debug {
    /// The time on the limiter's clock.
    fn now(&self) -> Timestamp;

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
    fn try_acquire_above_at(&self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied>;

    /// As [`try_acquire`](Self::try_acquire), with the [`Status`] as of that decision: for the headers
    /// of an answer, beside others that take meanwhile.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{AtomicTokenBucket, ManualClock, RateLimiter};
    ///
    /// let bucket = AtomicTokenBucket::with_clock("10/h".parse()?, ManualClock::new())?;
    /// let (admitted, status) = bucket.try_acquire_with_status(1);
    /// assert_eq!((admitted, status.remaining), (Ok(()), 9));
    /// assert_eq!(status.full_after, Some(Duration::from_secs(360)));
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    fn try_acquire_with_status(&self, n: u64) -> (Result<(), Denied>, Status) {
        self.try_acquire_with_status_at(n, self.now())
    }

    /// As [`try_acquire_with_status`](Self::try_acquire_with_status), at the caller's time.
    fn try_acquire_with_status_at(&self, n: u64, now: Timestamp) -> (Result<(), Denied>, Status);

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
    fn try_acquire_up_to_at(&self, n: u64, now: Timestamp) -> u64;

    /// Takes `n` tokens and waits until they are there: `.await` it, or `.wait()` for it on a
    /// thread. See [Waiting](#waiting).
    ///
    /// # Errors
    /// With nothing taken: [`Denied::ExceedsBurst`] and [`Denied::Exhausted`], at once, or when the
    /// burst or the rate has become too small for it and it is the first in line;
    /// [`Denied::TooManyWaiters`], and [`Denied::TooLong`] where the limiter bounds its waits;
    /// [`Denied::Closed`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves the line; those behind move up. Tokens that were set aside for it
    /// at its turn go back, as far as no later taker has built on them.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{AtomicTokenBucket, Quota, RateLimiter};
    ///
    /// let bucket = AtomicTokenBucket::new(Quota::per_second(1_000)?.burst(1)?)?;
    /// let start = bucket.now();
    /// for _ in 0..3 {
    ///     bucket.acquire(1).wait()?; // `bucket.acquire(1).await?` in a task
    /// }
    /// assert!(bucket.now().saturating_since(start) >= Duration::from_millis(2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn acquire(&self, n: u64) -> Wait<Acquire<&dyn RateLimiter>> {
        Acquire::of(self.as_dyn(), n)
    }

    /// As [`acquire`](Self::acquire), if the tokens are there within `timeout` from the first poll;
    /// if, as the line stands, they will not be, it fails at once.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire), and [`Denied::TooLong`]; nothing was taken.
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{AtomicTokenBucket, Denied, Quota, RateLimiter};
    ///
    /// let bucket = AtomicTokenBucket::new(Quota::per_hour(1)?)?;
    /// assert!(bucket.acquire_timeout(1, Duration::ZERO).wait().is_ok());
    /// let denied = bucket.acquire_timeout(1, Duration::from_secs(1)).wait(); // does not wait a second
    /// assert!(matches!(denied, Err(Denied::TooLong { .. })));
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    fn acquire_timeout(&self, n: u64, timeout: Duration) -> Wait<Acquire<&dyn RateLimiter>> {
        Acquire::of_timeout(self.as_dyn(), n, timeout)
    }

    /// As [`acquire`](Self::acquire), while at least `floor` tokens remain. Waiters with a lower
    /// floor go first.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire) and [`try_acquire_above`](Self::try_acquire_above).
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    ///
    /// ```
    /// use tollgate::{AtomicTokenBucket, RateLimiter};
    ///
    /// let bucket = AtomicTokenBucket::new("1000/s burst 5".parse()?)?;
    /// let start = bucket.now();
    /// bucket.try_acquire(5)?;
    /// bucket.acquire_above(1, 2).wait()?; // three have come, and two are left
    /// assert!(bucket.now().saturating_since(start).as_micros() >= 3_000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn acquire_above(&self, n: u64, floor: u64) -> Wait<Acquire<&dyn RateLimiter>> {
        Acquire::of_above(self.as_dyn(), n, floor)
    }

    /// As [`acquire`](Self::acquire), also of more than the burst: at the head of the line it takes
    /// in parts, and gives all of them back, as far as the burst holds them, when it leaves.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire), but for [`Denied::ExceedsBurst`]. An [`AllOf`](crate::AllOf)
    /// takes no more than the smallest burst of its members.
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    ///
    /// ```
    /// use tollgate::{LockedTokenBucket, RateLimiter};
    ///
    /// let bucket = LockedTokenBucket::new("1000/s burst 2".parse()?)?;
    /// let start = bucket.now();
    /// bucket.acquire_many(5).wait()?;
    /// assert!(bucket.now().saturating_since(start).as_millis() >= 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn acquire_many(&self, n: u64) -> Wait<Acquire<&dyn RateLimiter>> {
        Acquire::of_many(self.as_dyn(), n)
    }

    /// As [`acquire`](Self::acquire), of a limiter that the future owns a share of.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tollgate::{AtomicTokenBucket, RateLimiter};
    ///
    /// let bucket = Arc::new(AtomicTokenBucket::new("2/h".parse()?)?);
    /// let wait = bucket.clone().acquire_owned(2);
    /// let elsewhere = std::thread::spawn(move || wait.wait()); // or a task of a runtime
    /// elsewhere.join().unwrap()?;
    /// assert_eq!(bucket.available(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn acquire_owned(self: Arc<Self>, n: u64) -> Wait<Acquire<Arc<Self>>>
    where
        Self: Sized,
    {
        Acquire::of(self, n)
    }

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
    fn reserve_at(
        &self,
        n: u64,
        max_wait: Duration,
        now: Timestamp,
    ) -> Result<Reservation<'_>, Denied> {
        let parts = self.owe(n, max_wait, now)?;
        Ok(Reservation::new(self.as_dyn(), parts, now))
    }

    /// As [`reserve`](Self::reserve), of a limiter that the reservation owns a share of.
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve).
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::time::Duration;
    /// use tollgate::{AtomicTokenBucket, RateLimiter, Reservation};
    ///
    /// let bucket = Arc::new(AtomicTokenBucket::new("1/s".parse()?)?);
    /// let pending: Reservation<'static> = bucket.clone().reserve_owned(1, Duration::MAX)?;
    /// assert!(pending.ready_at() <= bucket.now()); // it is there already
    /// assert_eq!(bucket.available(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn reserve_owned(
        self: Arc<Self>,
        n: u64,
        max_wait: Duration,
    ) -> Result<Reservation<'static>, Denied>
    where
        Self: Sized + 'static,
    {
        let now = self.now();
        let parts = self.owe(n, max_wait, now)?;
        Ok(Reservation::owned(self, parts, now))
    }

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
    fn refund_at(&self, n: u64, now: Timestamp);

    /// Takes `n` tokens whether they are there or not, also beyond the burst and while others wait:
    /// for a cost that is known only afterwards. The next callers wait the longer. Debt saturates at
    /// 2^126 units, more than any quota pays in the age of a clock.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{AtomicTokenBucket, ManualClock, RateLimiter};
    ///
    /// let bucket = AtomicTokenBucket::with_clock("1000/min".parse()?, ManualClock::new())?;
    /// bucket.try_acquire(1000)?; // the estimate
    /// bucket.charge(600); // the answer says that it was more
    /// let wait = bucket.try_acquire(1).unwrap_err().retry_after();
    /// assert_eq!(wait, Some(Duration::from_millis(36_060)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn charge(&self, n: u64) {
        self.charge_at(n, self.now());
    }

    /// As [`charge`](Self::charge), at the caller's time.
    fn charge_at(&self, n: u64, now: Timestamp);

    /// Blocks all admissions until `until`; the first token is there then. The server said
    /// `Retry-After`. What was taken before stays taken, and can be used: a reservation, or what a
    /// lease holds. It only tightens; an unlimited limiter stays unlimited. Refunds do not shorten
    /// it, and of the ways to change the quota only [`CarryOver::Full`](crate::CarryOver::Full)
    /// does. (A key of a [`KeyedLimiter`](crate::KeyedLimiter) keeps it as debt, which refunds pay
    /// off.)
    ///
    /// # Errors
    /// [`Denied::Exhausted`] if the rate is zero, so that no token would ever come back; nothing was
    /// changed.
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
    fn pause_until_at(&self, until: Timestamp, now: Timestamp) -> Result<(), Denied>;

    /// The whole tokens there now, whether others wait for them or not; [`u64::MAX`] if unlimited.
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

    /// The whole tokens there at `now`.
    fn available_at(&self, now: Timestamp) -> u64;

    /// How full the limiter is, and how long `n` tokens take, in one look that takes nothing. Of an
    /// [`AllOf`](crate::AllOf): the tightest of its members in each respect, each read once.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{LockedTokenBucket, ManualClock, RateLimiter};
    ///
    /// let bucket = LockedTokenBucket::with_clock("10/h".parse()?, ManualClock::new())?;
    /// bucket.try_acquire(8)?;
    /// let status = bucket.status(3);
    /// assert_eq!((status.limit, status.remaining), (10, 2));
    /// assert_eq!(status.retry_after, Some(Duration::from_secs(360)));
    /// assert_eq!(bucket.available(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn status(&self, n: u64) -> Status {
        self.status_at(n, self.now())
    }

    /// As [`status`](Self::status), at the caller's time.
    fn status_at(&self, n: u64, now: Timestamp) -> Status;
}
