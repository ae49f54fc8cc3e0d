use std::fmt;
use std::time::Duration;

use super::Denied;
use super::ledger::DebtId;
use crate::clock::Timestamp;

/// Tokens that were taken ahead of their time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// When they can be used.
    pub(crate) ready_at: Timestamp,
    /// To give them back.
    pub(crate) debt: DebtId,
}

/// What only the limiters of this crate can do: it seals [`RateLimiter`](super::RateLimiter).
pub trait Internal {
    /// Gives back what no later taker has built on. Reads the clock itself.
    fn give_back(&self, taken: &Taken);

    /// The tokens will be used: they do not come back.
    fn keep(&self, taken: &Taken);

    /// What is left of the burst beside what is carved out of it.
    fn uncarved(&self) -> u64;

    /// Takes `n` tokens out of the burst, as long as something is left of it.
    fn carve(&self, n: u64) -> Result<(), Denied>;

    /// Puts `n` carved tokens back into the burst.
    fn restore(&self, n: u64);
}

/// Tokens that were taken ahead of their time: from
/// [`RateLimiter::reserve`](super::RateLimiter::reserve).
///
/// They may be used from [`ready_at`](Self::ready_at) on. Dropping a reservation uses it;
/// [`cancel`](Self::cancel) gives it back.
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
/// reservation.cancel();
/// assert_eq!(bucket.try_acquire(1).unwrap_err().retry_after(), Some(Duration::from_millis(100)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping it uses its tokens"]
pub struct Reservation<'a> {
    limiter: &'a (dyn Internal + Send + Sync),
    taken: Taken,
}

impl<'a> Reservation<'a> {
    pub(super) fn new(limiter: &'a (dyn Internal + Send + Sync), taken: Taken) -> Self {
        Self { limiter, taken }
    }

    /// When the tokens can be used.
    pub const fn ready_at(&self) -> Timestamp {
        self.taken.ready_at
    }

    /// How long after `now` the tokens can be used.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{LockedTokenBucket, Quota, RateLimiter, Timestamp};
    ///
    /// let bucket = LockedTokenBucket::new(Quota::per_second(1)?)?;
    /// let now = Timestamp::from_nanos(5);
    /// let _used = bucket.reserve_at(1, Duration::ZERO, now)?;
    /// let next = bucket.reserve_at(1, Duration::MAX, now)?;
    /// assert_eq!(next.wait_from(now), Duration::from_secs(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn wait_from(&self, now: Timestamp) -> Duration {
        self.taken.ready_at.saturating_since(now)
    }

    /// Gives the tokens back, before they are used, also after [`ready_at`](Self::ready_at):
    /// exactly what no later taker has built on, and the rest once those have given back theirs.
    /// After the quota has changed, that is nothing.
    pub fn cancel(self) {
        self.limiter.give_back(&self.taken);
        // Not used as well.
        std::mem::forget(self);
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.limiter.keep(&self.taken);
    }
}

impl fmt::Debug for Reservation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation")
            .field("ready_at", &self.taken.ready_at)
            .finish_non_exhaustive()
    }
}
