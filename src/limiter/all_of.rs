//! Several limits at once, all or nothing.

mod limits;
mod members;

use std::time::Duration;

pub use limits::Limits;

use self::members::Members;
use super::debt::{Acquire, Lender};
use super::reservation::Parts;
use super::{Denied, RateLimiter, Reservation};
use crate::clock::{Clock, Timestamp};
use crate::wait::Wait;

/// Several limits as one: a token is taken from all of them, or from none.
///
/// The members are a tuple, an array, a `Vec` or a slice, of limiters, of references or [`Arc`]s to
/// them, or of `&dyn RateLimiter`; tuples nest. They must be on the same clock. It is cheap to make,
/// also for each request: per tenant and global is `AllOf::new((tenants.key("ada"), &global))`.
///
/// A limiter can be a member twice, and is then taken from twice; `retry_after` does not know of
/// that, so it may be too short.
///
/// It is not a [`RateLimiter`] itself: it has no quota, and could not change one.
///
/// # Atomicity
/// First every member is asked, so a denial changes nothing, and its `retry_after` is that of the
/// last member to be ready: if nobody else takes, it is denied until then and admitted then. Those
/// who take from several limiters go through the gates of all of them, one at a time, in an order
/// that does not depend on the order of the members; so among themselves their decisions are
/// linearizable, and none makes another fail for ever. Whoever takes from a member directly does
/// not wait at its gate. If it takes the last token between the asking and the taking, what was
/// taken from other members goes back as a cancelled reservation does; for that moment a direct
/// taker may have been denied by a token that then came back.
///
/// # Memory ordering
/// As that of the members.
///
/// # Examples
/// ```
/// use tollgate::{AllOf, AtomicTokenBucket, KeyedLimiter, Quota, RateLimiter};
///
/// let tenants: KeyedLimiter<String> = KeyedLimiter::new(Quota::per_hour(2)?, 1_000)?;
/// let global = AtomicTokenBucket::new(Quota::per_hour(3)?)?;
/// let take = |tenant| AllOf::new((tenants.key(tenant), &global)).try_acquire(1);
///
/// assert!(take("ada").is_ok() && take("ada").is_ok());
/// assert!(take("ada").is_err());
/// assert_eq!(global.available(), 1); // the denial took nothing
/// assert!(take("bob").is_ok());
/// assert!(take("bob").is_err());
/// assert_eq!(tenants.key("bob").available(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [`Arc`]: std::sync::Arc
#[derive(Clone, Copy, Debug)]
pub struct AllOf<L: ?Sized>(L);

impl<L: Limits> AllOf<L> {
    /// All of these limits at once. Of none, everything passes.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tollgate::{AllOf, AtomicTokenBucket, LockedTokenBucket, Quota, RateLimiter};
    ///
    /// let per_second = AtomicTokenBucket::new(Quota::per_second(5)?)?;
    /// let per_hour = LockedTokenBucket::new(Quota::per_hour(7)?)?;
    /// assert_eq!(AllOf::new((&per_second, &per_hour)).available(), 5);
    ///
    /// let any: Vec<Arc<dyn RateLimiter>> = vec![Arc::new(per_second), Arc::new(per_hour)];
    /// assert_eq!(AllOf::new(any).available(), 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn new(limits: L) -> Self {
        Self(limits)
    }

    fn members(&self) -> Members<'_> {
        Members::of(&self.0)
    }

    /// The time on the clock of the first member; of none, zero.
    ///
    /// ```
    /// use tollgate::{AllOf, AtomicTokenBucket, ManualClock, Quota, Timestamp};
    ///
    /// let bucket = AtomicTokenBucket::with_clock(Quota::per_second(5)?, ManualClock::new())?;
    /// assert_eq!(AllOf::new([&bucket]).now(), Timestamp::ZERO);
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    pub fn now(&self) -> Timestamp {
        self.members().now()
    }

    /// Takes `n` tokens from every member now, or none from any.
    ///
    /// # Errors
    /// [`Denied`], of the member that would be ready last; nothing was taken.
    ///
    /// ```
    /// use tollgate::{AllOf, AtomicTokenBucket, Quota};
    ///
    /// let second = AtomicTokenBucket::new(Quota::per_second(5)?)?;
    /// let hour = AtomicTokenBucket::new(Quota::per_hour(6)?)?;
    /// let both = AllOf::new((&second, &hour));
    /// assert!(both.try_acquire(5).is_ok());
    /// assert!(both.try_acquire(1).is_err());
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    pub fn try_acquire(&self, n: u64) -> Result<(), Denied> {
        self.try_acquire_at(n, self.now())
    }

    /// As [`try_acquire`](Self::try_acquire), at the caller's time.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    ///
    /// ```
    /// use tollgate::{AllOf, AtomicTokenBucket, Quota, Timestamp};
    ///
    /// let bucket = AtomicTokenBucket::new(Quota::per_second(1)?)?;
    /// let all = AllOf::new([&bucket]);
    /// assert!(all.try_acquire_at(1, Timestamp::ZERO).is_ok());
    /// assert!(all.try_acquire_at(1, Timestamp::from_nanos(999_999_999)).is_err());
    /// assert!(all.try_acquire_at(1, Timestamp::from_nanos(1_000_000_000)).is_ok());
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    pub fn try_acquire_at(&self, n: u64, now: Timestamp) -> Result<(), Denied> {
        self.try_acquire_above_at(n, 0, now)
    }

    /// As [`try_acquire`](Self::try_acquire), if at least `floor` tokens remain in every member.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    ///
    /// ```
    /// use tollgate::{AllOf, AtomicTokenBucket, Quota};
    ///
    /// let bucket = AtomicTokenBucket::new(Quota::per_hour(5)?)?;
    /// assert!(AllOf::new([&bucket]).try_acquire_above(2, 4).is_err());
    /// assert!(AllOf::new([&bucket]).try_acquire_above(2, 3).is_ok());
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    pub fn try_acquire_above(&self, n: u64, floor: u64) -> Result<(), Denied> {
        self.try_acquire_above_at(n, floor, self.now())
    }

    /// As [`try_acquire_above`](Self::try_acquire_above), at the caller's time.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    ///
    /// ```
    /// use tollgate::{AllOf, AtomicTokenBucket, Quota, Timestamp};
    ///
    /// let bucket = AtomicTokenBucket::new(Quota::per_hour(5)?)?;
    /// assert!(AllOf::new([&bucket]).try_acquire_above_at(2, 3, Timestamp::ZERO).is_ok());
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    pub fn try_acquire_above_at(&self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        let members = self.members();
        let _held = members.enter();
        members.take(n, floor, now)
    }

    /// Takes what every member has, at most `n`, and says how much.
    ///
    /// ```
    /// use tollgate::{AllOf, AtomicTokenBucket, Quota};
    ///
    /// let three = AtomicTokenBucket::new(Quota::per_hour(3)?)?;
    /// let five = AtomicTokenBucket::new(Quota::per_hour(5)?)?;
    /// assert_eq!(AllOf::new((&three, &five)).try_acquire_up_to(10), 3);
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    pub fn try_acquire_up_to(&self, n: u64) -> u64 {
        self.try_acquire_up_to_at(n, self.now())
    }

    /// As [`try_acquire_up_to`](Self::try_acquire_up_to), at the caller's time.
    ///
    /// ```
    /// use tollgate::{AllOf, AtomicTokenBucket, Quota, Timestamp};
    ///
    /// let three = AtomicTokenBucket::new(Quota::per_hour(3)?)?;
    /// assert_eq!(AllOf::new([&three]).try_acquire_up_to_at(10, Timestamp::ZERO), 3);
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    pub fn try_acquire_up_to_at(&self, n: u64, now: Timestamp) -> u64 {
        let members = self.members();
        let _held = members.enter();
        members.take_up_to(n, now)
    }

    /// Takes `n` tokens of every member ahead of their time, if they are all there after at most
    /// `max_wait`. The reservation is ready when the last member is, and is cancelled as one.
    ///
    /// # Errors
    /// [`Denied`]; nothing was taken.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{AllOf, AtomicTokenBucket, ManualClock, Quota, RateLimiter};
    ///
    /// let clock = ManualClock::new();
    /// let fast = AtomicTokenBucket::with_clock("10/s burst 1".parse()?, clock.clone())?;
    /// let slow = AtomicTokenBucket::with_clock("1/s burst 1".parse()?, clock.clone())?;
    /// let both = AllOf::new((&fast, &slow));
    /// assert!(both.try_acquire(1).is_ok());
    /// let reservation = both.reserve(1, Duration::from_secs(1))?;
    /// assert_eq!(reservation.wait_from(clock_now(&both)), Duration::from_secs(1));
    /// reservation.cancel();
    /// assert_eq!(fast.try_acquire(1).unwrap_err().retry_after(), Some(Duration::from_millis(100)));
    /// # fn clock_now<L: tollgate::limiter::Limits>(all: &AllOf<L>) -> tollgate::Timestamp { all.now() }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reserve(&self, n: u64, max_wait: Duration) -> Result<Reservation<'_>, Denied> {
        self.reserve_at(n, max_wait, self.now())
    }

    /// As [`reserve`](Self::reserve), at the caller's time.
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve).
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{AllOf, AtomicTokenBucket, Quota, RateLimiter, Timestamp};
    ///
    /// let bucket = AtomicTokenBucket::new(Quota::per_hour(3)?)?;
    /// let all = AllOf::new([&bucket]);
    /// all.reserve_at(2, Duration::ZERO, Timestamp::ZERO)?.cancel();
    /// assert_eq!(bucket.available_at(Timestamp::ZERO), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reserve_at(
        &self,
        n: u64,
        max_wait: Duration,
        now: Timestamp,
    ) -> Result<Reservation<'_>, Denied> {
        let members = self.members();
        let _held = members.enter();
        let parts = members.owe(n, max_wait, now)?;
        Ok(Reservation::of_all(parts, now))
    }

    /// Returns `n` tokens to every member, as [`RateLimiter::refund`](super::RateLimiter::refund).
    ///
    /// ```
    /// use tollgate::{AllOf, AtomicTokenBucket, Quota, RateLimiter};
    ///
    /// let bucket = AtomicTokenBucket::new(Quota::per_hour(3)?)?;
    /// let all = AllOf::new([&bucket]);
    /// assert!(all.try_acquire(2).is_ok());
    /// all.refund(1);
    /// assert_eq!(bucket.available(), 2);
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    pub fn refund(&self, n: u64) {
        self.0.visit(&mut |member| member.refund(n));
    }

    /// As [`refund`](Self::refund), at the caller's time.
    ///
    /// ```
    /// use tollgate::{AllOf, AtomicTokenBucket, Quota, Timestamp};
    ///
    /// let bucket = AtomicTokenBucket::new(Quota::per_hour(3)?)?;
    /// let (all, now) = (AllOf::new([&bucket]), Timestamp::ZERO);
    /// assert!(all.try_acquire_at(2, now).is_ok());
    /// all.refund_at(1, now);
    /// assert_eq!(all.available_at(now), 2);
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    pub fn refund_at(&self, n: u64, now: Timestamp) {
        self.0.visit(&mut |member| member.refund_at(n, now));
    }

    /// Takes all there is in every member.
    ///
    /// ```
    /// use tollgate::{AllOf, AtomicTokenBucket, Quota, RateLimiter};
    ///
    /// let bucket = AtomicTokenBucket::new(Quota::per_hour(3)?)?;
    /// AllOf::new([&bucket]).drain();
    /// assert_eq!(bucket.available(), 0);
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    pub fn drain(&self) {
        self.0.visit(&mut |member| member.drain());
    }

    /// As [`drain`](Self::drain), at the caller's time.
    ///
    /// ```
    /// use tollgate::{AllOf, AtomicTokenBucket, Quota, Timestamp};
    ///
    /// let bucket = AtomicTokenBucket::new(Quota::per_hour(3)?)?;
    /// let (all, now) = (AllOf::new([&bucket]), Timestamp::ZERO);
    /// all.drain_at(now);
    /// assert_eq!(all.available_at(now), 0);
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    pub fn drain_at(&self, now: Timestamp) {
        self.0.visit(&mut |member| member.drain_at(now));
    }

    /// Lets no token be had of any member before `until`.
    ///
    /// # Errors
    /// [`Denied::TooLong`] of a member that cannot promise that far ahead; the others are paused.
    ///
    /// ```
    /// use tollgate::{AllOf, AtomicTokenBucket, ManualClock, Quota, RateLimiter, Timestamp};
    ///
    /// let bucket = AtomicTokenBucket::with_clock(Quota::per_hour(3)?, ManualClock::new())?;
    /// AllOf::new([&bucket]).pause_until(Timestamp::from_nanos(9))?;
    /// assert!(bucket.try_acquire(1).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn pause_until(&self, until: Timestamp) -> Result<(), Denied> {
        self.each_paused(|member| member.pause_until(until))
    }

    /// As [`pause_until`](Self::pause_until), at the caller's time.
    ///
    /// # Errors
    /// As [`pause_until`](Self::pause_until).
    ///
    /// ```
    /// use tollgate::{AllOf, AtomicTokenBucket, Quota, Timestamp};
    ///
    /// let bucket = AtomicTokenBucket::new(Quota::per_hour(3)?)?;
    /// let (all, until) = (AllOf::new([&bucket]), Timestamp::from_nanos(9));
    /// all.pause_until_at(until, Timestamp::ZERO)?;
    /// assert!(all.try_acquire_at(1, Timestamp::from_nanos(8)).is_err());
    /// assert!(all.try_acquire_at(1, until).is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn pause_until_at(&self, until: Timestamp, now: Timestamp) -> Result<(), Denied> {
        self.each_paused(|member| member.pause_until_at(until, now))
    }

    fn each_paused(
        &self,
        pause: impl Fn(&dyn RateLimiter) -> Result<(), Denied>,
    ) -> Result<(), Denied> {
        let mut paused = Ok(());
        self.0.visit(&mut |member| {
            let one = pause(member);
            paused = paused.and(one);
        });
        paused
    }

    /// Lets no more than `remaining` tokens be there in any member.
    ///
    /// ```
    /// use tollgate::{AllOf, AtomicTokenBucket, Quota, RateLimiter};
    ///
    /// let bucket = AtomicTokenBucket::new(Quota::per_day(3)?)?;
    /// AllOf::new([&bucket]).sync_remaining(1);
    /// assert_eq!(bucket.available(), 1);
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    pub fn sync_remaining(&self, remaining: u64) {
        self.0.visit(&mut |member| member.sync_remaining(remaining));
    }

    /// As [`sync_remaining`](Self::sync_remaining), at the caller's time.
    ///
    /// ```
    /// use tollgate::{AllOf, AtomicTokenBucket, Quota, Timestamp};
    ///
    /// let bucket = AtomicTokenBucket::new(Quota::per_day(3)?)?;
    /// let (all, now) = (AllOf::new([&bucket]), Timestamp::ZERO);
    /// all.sync_remaining_at(1, now);
    /// assert_eq!(all.available_at(now), 1);
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    pub fn sync_remaining_at(&self, remaining: u64, now: Timestamp) {
        self.0
            .visit(&mut |member| member.sync_remaining_at(remaining, now));
    }

    /// The whole tokens that every member has now; of no members, [`u64::MAX`].
    ///
    /// ```
    /// use tollgate::{AllOf, AtomicTokenBucket, Quota};
    ///
    /// let three = AtomicTokenBucket::new(Quota::per_hour(3)?)?;
    /// let five = AtomicTokenBucket::new(Quota::per_hour(5)?)?;
    /// assert_eq!(AllOf::new((&three, &five)).available(), 3);
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    pub fn available(&self) -> u64 {
        self.available_at(self.now())
    }

    /// As [`available`](Self::available), at the caller's time.
    ///
    /// ```
    /// use tollgate::{AllOf, AtomicTokenBucket, Quota, Timestamp};
    ///
    /// let three = AtomicTokenBucket::new(Quota::per_hour(3)?)?;
    /// assert_eq!(AllOf::new([&three]).available_at(Timestamp::ZERO), 3);
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    pub fn available_at(&self, now: Timestamp) -> u64 {
        self.members().available(now)
    }

    /// Takes `n` tokens of every member and waits, by `clock`, until they are all there: `.await`
    /// it, or `.wait()` for it on a thread. The clock must be that of the members.
    ///
    /// # Errors
    /// At once, with nothing taken: as [`reserve`](Self::reserve).
    ///
    /// # Cancel safety
    /// Dropping the future gives back what no later taker has built on.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{AllOf, AtomicTokenBucket, Quota, SystemClock};
    ///
    /// let bucket = AtomicTokenBucket::new(Quota::per_second(1_000)?.burst(1)?)?;
    /// let (all, clock) = (AllOf::new([&bucket]), SystemClock::new());
    /// let start = all.now();
    /// for _ in 0..3 {
    ///     all.acquire(1, &clock).wait()?; // `all.acquire(1, &clock).await?` in a task
    /// }
    /// assert!(all.now().saturating_since(start) >= Duration::from_millis(2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn acquire<'a, C: Clock>(
        &'a self,
        n: u64,
        clock: &'a C,
    ) -> Wait<Acquire<WithClock<'a, L>>> {
        self.acquire_timeout(n, Duration::MAX, clock)
    }

    /// As [`acquire`](Self::acquire), if the tokens are there within `timeout` from the first poll;
    /// if they will not be, it fails at once.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire), and [`Denied::TooLong`]; nothing was taken.
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{AllOf, AtomicTokenBucket, Denied, Quota, SystemClock};
    ///
    /// let bucket = AtomicTokenBucket::new(Quota::per_hour(1)?)?;
    /// let (all, clock) = (AllOf::new([&bucket]), SystemClock::new());
    /// assert!(all.try_acquire(1).is_ok());
    /// let denied = all.acquire_timeout(1, Duration::from_secs(1), &clock).wait();
    /// assert!(matches!(denied, Err(Denied::TooLong { .. })));
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    pub fn acquire_timeout<'a, C: Clock>(
        &'a self,
        n: u64,
        timeout: Duration,
        clock: &'a C,
    ) -> Wait<Acquire<WithClock<'a, L>>> {
        Wait::new(Acquire::new(WithClock(self, clock), n, timeout))
    }
}

/// Limits with the clock to wait for them by.
#[expect(
    missing_debug_implementations,
    reason = "goes with the line of waiters"
)]
pub struct WithClock<'a, L>(&'a AllOf<L>, &'a dyn Clock);

impl<'a, L: Limits> Lender for WithClock<'a, L> {
    type Debt = Parts<'a>;

    fn clock(&self) -> &dyn Clock {
        self.1
    }

    fn lend(&self, n: u64, max_wait: Duration, now: Timestamp) -> Result<Self::Debt, Denied> {
        let members = self.0.members();
        let _held = members.enter();
        members.owe(n, max_wait, now)
    }

    fn ready_at(debt: &Self::Debt) -> Timestamp {
        debt.ready_at()
    }

    fn settle(&self, mut debt: Self::Debt) {
        debt.keep();
    }

    fn give_back(&self, mut debt: Self::Debt) {
        debt.give_back(None);
    }
}
