//! The operations of a limiter at the caller's time.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::limiter::core::denied::Denied;
use crate::limiter::core::status::Status;
use crate::limiter::ops::limiter::Limiter;
use crate::limiter::ops::reservation::{LimiterRef, Reservation};

/// A limiter at the caller's time: from [`RateLimiter::at`](crate::RateLimiter::at).
///
/// No operation reads the clock. The clock read is most of the cost of a decision, so a caller that decides
/// several times at once, or has a timestamp in hand, reads it once. There are no waits here: a wait goes
/// by the limiter's clock.
///
/// Any instant is legal: a stale one mints no token. Only a change of the quota and a cancelled reservation
/// ask for one that is no earlier than those of the takers before; see [`set_quota`](At::set_quota) and
/// [`Reservation::cancel_at`].
///
/// ```
/// use tollgate::{AtomicTokenBucket, Quota, RateLimiter};
///
/// let bucket = AtomicTokenBucket::new(Quota::per_hour(10)?)?;
/// let now = bucket.now();
/// for request in ["first", "second"] {
///     println!("{request}: {:?}", bucket.at(now).try_acquire(1));
/// }
/// assert_eq!(bucket.at(now).available(), 8);
/// # Ok::<(), tollgate::QuotaError>(())
/// ```
#[derive(Debug)]
#[must_use = "it only binds a time"]
pub struct At<'a, L: ?Sized> {
    pub(crate) limiter: &'a L,
    pub(crate) now: Timestamp,
}

impl<L: ?Sized> Clone for At<'_, L> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<L: ?Sized> Copy for At<'_, L> {}

impl<'a, L: ?Sized> At<'a, L> {
    /// Binds a time to a limiter.
    #[inline]
    pub const fn new(limiter: &'a L, now: Timestamp) -> Self {
        Self { limiter, now }
    }
}

impl<'a, L: Limiter + ?Sized> At<'a, L> {
    /// Same as [`RateLimiter::try_acquire`](crate::RateLimiter::try_acquire).
    ///
    /// # Errors
    /// [`Denied`]; nothing was taken.
    #[inline]
    pub fn try_acquire(self, n: u64) -> Result<(), Denied> {
        self.limiter.try_acquire_above_at(n, 0, self.now)
    }

    /// Same as [`RateLimiter::try_acquire_above`](crate::RateLimiter::try_acquire_above).
    ///
    /// # Errors
    /// [`Denied`]; nothing was taken.
    #[inline]
    pub fn try_acquire_above(self, n: u64, floor: u64) -> Result<(), Denied> {
        self.limiter.try_acquire_above_at(n, floor, self.now)
    }

    /// Same as [`RateLimiter::try_acquire_with_status`](crate::RateLimiter::try_acquire_with_status).
    pub fn try_acquire_with_status(self, n: u64) -> (Result<(), Denied>, Status) {
        self.limiter.try_acquire_with_status_at(n, self.now)
    }

    /// Same as [`RateLimiter::try_acquire_up_to`](crate::RateLimiter::try_acquire_up_to).
    pub fn try_acquire_up_to(self, n: u64) -> u64 {
        self.limiter.try_acquire_up_to_at(n, self.now)
    }

    /// Same as [`RateLimiter::reserve`](crate::RateLimiter::reserve).
    ///
    /// # Errors
    /// [`Denied`]; nothing was taken.
    pub fn reserve(self, n: u64, max_wait: Duration) -> Result<Reservation<'a>, Denied> {
        Reservation::of(
            LimiterRef::Borrowed(self.limiter.as_dyn()),
            n,
            max_wait,
            self.now,
        )
    }

    /// Same as [`RateLimiter::refund`](crate::RateLimiter::refund).
    pub fn refund(self, n: u64) {
        self.limiter.refund_at(n, self.now);
    }

    /// Same as [`RateLimiter::charge`](crate::RateLimiter::charge).
    pub fn charge(self, n: u64) {
        self.limiter.charge_at(n, self.now);
    }

    /// Same as [`RateLimiter::pause_until`](crate::RateLimiter::pause_until).
    ///
    /// # Errors
    /// [`Denied::Exhausted`] if the rate is zero; nothing was changed.
    pub fn pause_until(self, until: Timestamp) -> Result<(), Denied> {
        self.limiter.pause_until_at(until, self.now)
    }

    /// Same as [`RateLimiter::available`](crate::RateLimiter::available).
    pub fn available(self) -> u64 {
        self.limiter.available_at(self.now)
    }

    /// Same as [`RateLimiter::status`](crate::RateLimiter::status).
    pub fn status(self, n: u64) -> Status {
        self.limiter.status_at(n, self.now)
    }
}
