use crate::limiter::core::reserved_part::Parts;
use crate::limiter::core::reserved_part::ready_at;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::limiter::core::denied::Denied;
use crate::limiter::ops::limiter::Limiter;
use crate::unwind::Panics;

/// Whose tokens they are.
enum Lender<'a> {
    Borrowed(&'a dyn Limiter),
    Owned(Arc<dyn Limiter + 'a>),
}

impl Lender<'_> {
    fn get(&self) -> &dyn Limiter {
        match self {
            Self::Borrowed(limiter) => *limiter,
            Self::Owned(limiter) => &**limiter,
        }
    }
}

/// Tokens that were taken ahead of their time: from
/// [`RateLimiter::reserve`](crate::RateLimiter::reserve), or, to be kept without a borrow, from
/// [`reserve_owned`](crate::RateLimiter::reserve_owned).
///
/// They may be used from [`ready_at`](Self::ready_at) on. Dropping a reservation before then gives
/// it back, as [`cancel`](Self::cancel) does: a task that is cancelled while it sleeps costs nobody
/// anything. From then on a drop counts as use. [`commit`](Self::commit) says earlier that the
/// tokens will be used.
///
/// While others wait, a reservation stands in line with a fixed instant: making it delays none of
/// them, and neither a pause, a lower quota nor a charge moves it.
///
/// ```
/// use std::time::Duration;
/// use tollgate::{AtomicTokenBucket, ManualClock, Quota, RateLimiter};
///
/// let clock = ManualClock::new();
/// let bucket = AtomicTokenBucket::with_clock("10/s burst 1".parse()?, clock.clone())?;
/// assert!(bucket.try_acquire(1).is_ok());
///
/// let reservation = bucket.reserve(1, Duration::from_secs(1))?;
/// assert_eq!(reservation.ready_at().as_nanos(), 100_000_000);
/// assert_eq!(bucket.try_acquire(1).unwrap_err().retry_after(), Some(Duration::from_millis(200)));
///
/// drop(reservation);
/// assert_eq!(bucket.try_acquire(1).unwrap_err().retry_after(), Some(Duration::from_millis(100)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping it before its time gives its tokens back"]
pub struct Reservation<'a> {
    limiter: Lender<'a>,
    ready_at: Timestamp,
    parts: Parts,
}

impl<'a> Reservation<'a> {
    pub(crate) fn of(
        limiter: &'a dyn Limiter,
        n: u64,
        max_wait: Duration,
        now: Timestamp,
    ) -> Result<Self, Denied> {
        let parts = limiter.reserve_at(n, max_wait, now)?;
        Ok(Self {
            limiter: Lender::Borrowed(limiter),
            ready_at: ready_at(&parts, now),
            parts,
        })
    }

    pub(crate) fn of_owned(
        limiter: Arc<dyn Limiter + 'a>,
        n: u64,
        max_wait: Duration,
    ) -> Result<Self, Denied> {
        let now = limiter.clock_now();
        let parts = limiter.reserve_at(n, max_wait, now)?;
        Ok(Self {
            limiter: Lender::Owned(limiter),
            ready_at: ready_at(&parts, now),
            parts,
        })
    }

    /// When the tokens can be used.
    pub const fn ready_at(&self) -> Timestamp {
        self.ready_at
    }

    /// How long after `now` the tokens can be used.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{LockedTokenBucket, Quota, RateLimiter, Timestamp};
    ///
    /// let bucket = LockedTokenBucket::new(Quota::per_second(1)?)?;
    /// let now = Timestamp::from_nanos(5);
    /// bucket.reserve_at(1, Duration::ZERO, now)?.commit();
    /// let next = bucket.reserve_at(1, Duration::MAX, now)?;
    /// assert_eq!(next.wait_from(now), Duration::from_secs(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn wait_from(&self, now: Timestamp) -> Duration {
        self.ready_at.saturating_since(now)
    }

    /// Says that the tokens are used, or will be at [`ready_at`](Self::ready_at): for a start that is
    /// scheduled ahead.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{LockedTokenBucket, Quota, RateLimiter};
    ///
    /// let bucket = LockedTokenBucket::new(Quota::per_hour(1)?)?;
    /// bucket.reserve(1, Duration::ZERO)?.commit();
    /// assert_eq!(bucket.available(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn commit(mut self) {
        self.keep();
    }

    fn keep(&mut self) {
        let parts = std::mem::take(&mut self.parts);
        if !parts.is_empty() {
            self.limiter.get().commit(&parts);
        }
    }

    fn give_back(&mut self, now: Option<Timestamp>) {
        let parts = std::mem::take(&mut self.parts);
        if !parts.is_empty() {
            self.limiter.get().give_back(&parts, now);
        }
    }

    /// Gives the tokens back, before they are used, also after [`ready_at`](Self::ready_at):
    /// exactly what no later taker has built on, and the rest once those have given back theirs.
    /// After the quota has changed, that is nothing; leases that come and go do not matter. Nothing
    /// comes back before a [pause](crate::RateLimiter::pause_until) ends.
    ///
    /// What has been used by now goes by the limiter's own clock; if takers have times of their own,
    /// [`cancel_at`](Self::cancel_at) does by one of these.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{LockedTokenBucket, Quota, RateLimiter};
    ///
    /// let bucket = LockedTokenBucket::new(Quota::per_second(1)?)?;
    /// bucket.reserve(1, Duration::ZERO)?.cancel();
    /// assert_eq!(bucket.available(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cancel(mut self) {
        self.give_back(None);
    }

    /// As [`cancel`](Self::cancel), at the caller's time, which must be no earlier than those of the
    /// takers before: a token that has come again by now is not to be given back. A
    /// [`LockedTokenBucket`](crate::LockedTokenBucket) remembers the latest of them and goes by that;
    /// takers leave no time behind in the word of an
    /// [`AtomicTokenBucket`](crate::AtomicTokenBucket), so there an older one gives back what others
    /// have been given meanwhile, at most what was reserved.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{AtomicTokenBucket, Quota, RateLimiter, Timestamp};
    ///
    /// let bucket = AtomicTokenBucket::new(Quota::per_second(1)?.burst(10)?)?;
    /// let reservation = bucket.reserve_at(3, Duration::ZERO, Timestamp::ZERO)?;
    /// let later = Timestamp::from_nanos(5_000_000_000);
    /// assert!(bucket.try_acquire_at(5, later).is_ok());
    /// reservation.cancel_at(later); // by now, others have gained what it took
    /// assert_eq!(bucket.available_at(later), 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cancel_at(mut self, now: Timestamp) {
        self.give_back(Some(now));
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if self.parts.is_empty() {
            return;
        }
        // Should the caller's clock panic, they count as used.
        let mut panics = Panics::default();
        let now = panics.catch(|| self.limiter.get().clock_now());
        if now.is_some_and(|now| now < self.ready_at) {
            self.give_back(None);
        } else {
            self.keep();
        }
    }
}

impl fmt::Debug for Reservation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation")
            .field("ready_at", &self.ready_at)
            .finish_non_exhaustive()
    }
}
