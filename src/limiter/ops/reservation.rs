//! Tokens that are taken ahead of time, and can be given back.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::limiter::core::denied::Denied;
use crate::limiter::core::reserved_part::Parts;
use crate::limiter::ops::limiter::Limiter;
use crate::unwind::Panics;

/// The limiter of a reservation, borrowed or shared.
pub(crate) enum LimiterRef<'a> {
    Borrowed(&'a dyn Limiter),
    Owned(Arc<dyn Limiter + 'a>),
}

impl LimiterRef<'_> {
    fn get(&self) -> &dyn Limiter {
        match self {
            Self::Borrowed(limiter) => *limiter,
            Self::Owned(limiter) => &**limiter,
        }
    }
}

/// Tokens that were taken ahead of time: from [`RateLimiter::reserve`](crate::RateLimiter::reserve), or,
/// to be stored without a borrow, from [`reserve_owned`](crate::RateLimiter::reserve_owned).
///
/// The tokens may be used from [`ready_at`](Self::ready_at) on. Dropping a reservation before then gives
/// it back, as [`cancel`](Self::cancel) does, so a task that is cancelled while it sleeps costs no tokens.
/// From then on a drop counts as use. [`commit`](Self::commit) marks the tokens as used earlier.
///
/// While callers wait, a reservation stands in line with a fixed instant. It delays no waiter, and no
/// pause, lower quota or charge moves it.
///
/// Choose it when the caller sleeps by itself or schedules a start; to wait for tokens,
/// [`acquire`](crate::RateLimiter::acquire) is simpler.
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
    limiter: LimiterRef<'a>,
    ready_at: Timestamp,
    parts: Parts,
}

impl<'a> Reservation<'a> {
    pub(crate) fn of(
        limiter: LimiterRef<'a>,
        n: u64,
        max_wait: Duration,
        now: Timestamp,
    ) -> Result<Self, Denied> {
        let parts = limiter.get().reserve_at(n, max_wait, now)?;
        Ok(Self {
            limiter,
            ready_at: parts.ready_at(now),
            parts,
        })
    }

    /// Returns when the tokens can be used.
    pub const fn ready_at(&self) -> Timestamp {
        self.ready_at
    }

    /// Returns how long after `now` the tokens can be used.
    pub const fn wait_from(&self, now: Timestamp) -> Duration {
        self.ready_at.saturating_since(now)
    }

    /// Marks the tokens as used: for a start that is scheduled at [`ready_at`](Self::ready_at).
    pub fn commit(mut self) {
        self.mark_used();
    }

    fn mark_used(&mut self) {
        let parts = std::mem::take(&mut self.parts);
        self.limiter.get().commit(&parts);
    }

    fn give_back(&mut self, now: Option<Timestamp>) {
        let parts = std::mem::take(&mut self.parts);
        self.limiter.get().give_back(&parts, now);
    }

    /// Gives unused tokens back, also after [`ready_at`](Self::ready_at).
    ///
    /// What no later taker has built on comes back at once and exactly; the rest when those takers give
    /// theirs back. After a change of the quota nothing comes back. A cancellation does not shorten a
    /// [pause](crate::RateLimiter::pause_until).
    ///
    /// The limiter's clock gives the time. If the takers go by times of their own, use
    /// [`cancel_at`](Self::cancel_at) with one of these.
    pub fn cancel(mut self) {
        self.give_back(None);
    }

    /// Same as [`cancel`](Self::cancel), at the caller's time, which must be no earlier than the times of
    /// the takers before: what has accrued again by now must not be given back as well.
    ///
    /// A [`LockedTokenBucket`](crate::LockedTokenBucket) remembers the latest of these times and goes by it.
    /// An [`AtomicTokenBucket`](crate::AtomicTokenBucket) does not: an earlier time there gives back tokens
    /// that later takers have got already, at most what was reserved.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{AtomicTokenBucket, Quota, RateLimiter, Timestamp};
    ///
    /// let bucket = AtomicTokenBucket::new(Quota::per_second(1)?.burst(10)?)?;
    /// let reservation = bucket.at(Timestamp::ZERO).reserve(3, Duration::ZERO)?;
    /// let later = Timestamp::from_nanos(5_000_000_000);
    /// assert!(bucket.at(later).try_acquire(5).is_ok());
    /// reservation.cancel_at(later); // its tokens have accrued again by now
    /// assert_eq!(bucket.at(later).available(), 5);
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
        // If the caller's clock panics, the tokens count as used.
        let mut panics = Panics::default();
        let now = panics.catch(|| self.limiter.get().clock_now());
        if now.is_some_and(|now| now < self.ready_at) {
            self.give_back(None);
        } else {
            self.mark_used();
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
