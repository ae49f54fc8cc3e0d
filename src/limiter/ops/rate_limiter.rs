//! The trait of all limiters, and their promises.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::limiter::core::denied::Denied;
use crate::limiter::core::status::Status;
use crate::limiter::ops::acquire::Acquire;
use crate::limiter::ops::at::At;
use crate::limiter::ops::limiter::Limiter;
use crate::limiter::ops::reservation::{LimiterRef, Reservation};
use crate::wait::Wait;

/// The operations of every limiter.
///
/// A reference, an `Arc` or a `Box` of a limiter is a limiter too, also of `dyn RateLimiter`.
/// [`QuotaLimiter`](crate::QuotaLimiter) adds what a limiter with a single quota can do. The trait is sealed.
///
/// Each operation reads the limiter's clock. [`at`](Self::at) gives the same operations at the caller's
/// time.
///
/// # Promises
/// With a quota of N tokens in P and a burst of B:
/// - Never over: a token bucket admits at most B + floor(T × N / P) in any window of length T. (A
///   [`SlidingWindow`](crate::SlidingWindow) admits at most N in any window of P; an
///   [`IntervalTokenBucket`](crate::IntervalTokenBucket) at most B + N for each boundary in it.)
/// - Never under: while a bucket is not full, tokens accrue exactly, however often it is polled.
/// - Honest wait: a denial at `now` with `retry_after` w means denied until 1 ns before `now + w`, and
///   admitted at `now + w`, if no other caller takes and no waiter ahead leaves.
/// - A denial changes nothing. Zero tokens always pass.
/// - A thread with a stale time mints no token, at any skew.
///
/// # Waiting
/// - A waiter holds nothing of the limiter before its turn. A waiter that gives up costs nothing, and
///   every waiter behind it moves up.
/// - First come, first served among waiters with the same reserve floor; waiters with a lower floor go
///   first. While a caller waits, no newcomer with its floor or a higher one overtakes it.
/// - A pause, another quota, a refund, a charge and [`close`](crate::AtomicTokenBucket::close) reach the
///   waiters.
/// - A waiter that is not polled blocks no other: at its turn its tokens are set aside for it, and the
///   line goes on. Each waiter has one timer.
///
/// # Examples
/// Generic code takes any limiter:
///
/// ```
/// use tollgate::{AllOf, AtomicTokenBucket, Denied, KeyedLimiter, Quota, RateLimiter};
///
/// /// Each call takes a token of the client's limiter.
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
/// A limiter can be chosen at run time:
///
/// ```
/// use std::sync::Arc;
/// use tollgate::{AtomicTokenBucket, LockedTokenBucket, Quota, RateLimiter};
///
/// let quota = Quota::per_hour(2)?;
/// let limiters: [Arc<dyn RateLimiter>; 2] =
///     [Arc::new(AtomicTokenBucket::new(quota)?), Arc::new(LockedTokenBucket::new(quota)?)];
/// for limiter in limiters {
///     limiter.acquire(2).wait()?;
///     assert!(limiter.try_acquire(1).is_err());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait RateLimiter: Limiter + fmt::Debug {
    /// Returns the time on the limiter's clock.
    #[inline]
    fn now(&self) -> Timestamp {
        self.clock_now()
    }

    /// Returns the operations of this limiter at the caller's time. For a plain `&dyn RateLimiter` use
    /// [`At::new`].
    #[inline]
    fn at(&self, now: Timestamp) -> At<'_, Self>
    where
        Self: Sized,
    {
        At::new(self, now)
    }

    /// Takes `n` tokens now, or none.
    ///
    /// # Errors
    /// [`Denied`]; nothing was taken.
    #[inline]
    fn try_acquire(&self, n: u64) -> Result<(), Denied> {
        self.take_now(n)
    }

    /// Takes `n` tokens if at least `floor` remain. So callers of low priority leave some for callers of
    /// high priority.
    ///
    /// # Errors
    /// [`Denied`]; nothing was taken. [`Denied::ExceedsBurst`] if `n` and `floor` together are more than
    /// the burst.
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

    /// Takes `n` tokens now, or none, and returns the [`Status`] as of that decision: for the headers of
    /// an HTTP answer.
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

    /// Takes the tokens that are there, at most `n`; returns how many.
    fn try_acquire_up_to(&self, n: u64) -> u64 {
        self.try_acquire_up_to_at(n, self.now())
    }

    /// Takes `n` tokens and waits until they are there: `.await` it, or `.wait()` for it on a thread.
    /// See [Waiting](#waiting).
    ///
    /// # Errors
    /// With nothing taken:
    /// - [`Denied::ExceedsBurst`] and [`Denied::Exhausted`]: at once, or, after a change of the quota, when
    ///   it is first in line;
    /// - [`Denied::TooManyWaiters`] and [`Denied::TooLong`]: if the limiter bounds its waits;
    /// - [`Denied::Closed`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves the line, and the waiters behind move up. Tokens that were set aside at
    /// its turn go back, as far as no later taker has built on them.
    fn acquire(&self, n: u64) -> Wait<Acquire<&dyn Limiter>> {
        Acquire::of(self.as_dyn(), n)
    }

    /// Same as [`acquire`](Self::acquire), within `timeout` from the first poll. If the tokens will not be
    /// there by then, as the line stands, it fails at once.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire), and [`Denied::TooLong`]; nothing was taken.
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    fn acquire_timeout(&self, n: u64, timeout: Duration) -> Wait<Acquire<&dyn Limiter>> {
        Acquire::of_timeout(self.as_dyn(), n, timeout)
    }

    /// Same as [`acquire`](Self::acquire), once at least `floor` tokens remain beside them. Waiters with a
    /// lower floor go first.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire) and [`try_acquire_above`](Self::try_acquire_above).
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    fn acquire_above(&self, n: u64, floor: u64) -> Wait<Acquire<&dyn Limiter>> {
        Acquire::of_above(self.as_dyn(), n, floor)
    }

    /// Same as [`acquire`](Self::acquire), also of more than the burst: at the head of the line it takes in
    /// parts. If it leaves, it gives all parts back, as far as the burst holds them.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire), without [`Denied::ExceedsBurst`]. An [`AllOf`](crate::AllOf), a
    /// [`SlidingWindow`](crate::SlidingWindow) and an [`IntervalTokenBucket`](crate::IntervalTokenBucket)
    /// take no more than their burst, and return it.
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    fn acquire_many(&self, n: u64) -> Wait<Acquire<&dyn Limiter>> {
        Acquire::of_many(self.as_dyn(), n)
    }

    /// Same as [`acquire`](Self::acquire); the future owns a share of the limiter.
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

    /// Takes `n` tokens ahead of time, if they are there within `max_wait`. The caller sleeps until
    /// [`ready_at`](Reservation::ready_at), which is rounded up to a nanosecond.
    ///
    /// # Errors
    /// [`Denied`]; nothing was taken. [`Denied::TooLong`] if `max_wait` is too short.
    fn reserve(&self, n: u64, max_wait: Duration) -> Result<Reservation<'_>, Denied> {
        Reservation::of(LimiterRef::Borrowed(self.as_dyn()), n, max_wait, self.now())
    }

    /// Same as [`reserve`](Self::reserve); the reservation owns a share of the limiter.
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve).
    fn reserve_owned(
        self: Arc<Self>,
        n: u64,
        max_wait: Duration,
    ) -> Result<Reservation<'static>, Denied>
    where
        Self: Sized + 'static,
    {
        let now = self.now();
        Reservation::of(LimiterRef::Owned(self), n, max_wait, now)
    }

    /// Returns `n` tokens that were taken and not used, at most a burst of them, and never above the
    /// burst. A refund does not undo a take exactly, since tokens have accrued meanwhile: for that,
    /// [`reserve`](Self::reserve) and [cancel](Reservation::cancel).
    fn refund(&self, n: u64) {
        self.refund_at(n, self.now());
    }

    /// Debits `n` tokens, whether they are there or not: for a cost that is known only afterwards. A
    /// charge goes beyond the burst and ahead of waiters, and later callers wait until the debt is paid. Debt saturates
    /// at 2^126 units, more than any quota pays in the age of a clock.
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

    /// Blocks all admissions until `until`: the server said `Retry-After`.
    ///
    /// A pause only tightens, and an unlimited limiter stays unlimited. Tokens of reservations and leases can
    /// still be used. Refunds do not shorten a pause; of the ways to change the quota only
    /// [`CarryOver::Full`](crate::CarryOver::Full) ends it. (A key of a [`KeyedLimiter`](crate::KeyedLimiter)
    /// keeps a pause as debt, which refunds pay off.)
    ///
    /// # Errors
    /// [`Denied::Exhausted`] if the rate is zero, so that no token would ever come back; nothing was
    /// changed.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{AtomicTokenBucket, ManualClock, Quota, RateLimiter};
    ///
    /// let bucket = AtomicTokenBucket::with_clock(Quota::per_second(100)?, ManualClock::new())?;
    /// bucket.pause_until(bucket.now() + Duration::from_secs(30))?;
    /// assert_eq!(bucket.try_acquire(1).unwrap_err().retry_after(), Some(Duration::from_secs(30)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn pause_until(&self, until: Timestamp) -> Result<(), Denied> {
        self.pause_until_at(until, self.now())
    }

    /// Same as [`pause_until`](Self::pause_until), for a time from now on.
    ///
    /// # Errors
    /// As [`pause_until`](Self::pause_until).
    fn pause_for(&self, pause: Duration) -> Result<(), Denied> {
        let now = self.now();
        self.pause_until_at(now.saturating_add(pause), now)
    }

    /// Returns the number of whole tokens now, whether callers wait for them or not; [`u64::MAX`] if
    /// unlimited.
    fn available(&self) -> u64 {
        self.available_at(self.now())
    }

    /// Reads how full the limiter is, and how long a caller waits for `n` tokens, as of one instant. Of an
    /// [`AllOf`](crate::AllOf) it is the tightest member in each respect, each read once.
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
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn status(&self, n: u64) -> Status {
        self.status_at(n, self.now())
    }
}

impl<L: RateLimiter + ?Sized> RateLimiter for &L {}
impl<L: RateLimiter + ?Sized> RateLimiter for Arc<L> {}
impl<L: RateLimiter + ?Sized> RateLimiter for Box<L> {}
