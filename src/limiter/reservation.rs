use std::fmt;
use std::time::Duration;

use smallvec::SmallVec;

use super::Denied;
use super::gate::Gate;
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
pub trait Internal: Send + Sync {
    /// What those who take from several limiters at once go through.
    fn gate(&self) -> &Gate;

    /// What `try_acquire_above_at` would say. Writes nothing.
    fn ask(&self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied>;

    /// Takes `n` tokens into debt, if they are there after at most `max_wait`.
    fn owe(&self, n: u64, max_wait: Duration, now: Timestamp) -> Result<Taken, Denied>;

    /// Gives back what no later taker has built on, at `now`, or at what the clock says then.
    fn give_back(&self, taken: &Taken, now: Option<Timestamp>);

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
    ready_at: Timestamp,
    parts: Parts<'a>,
}

/// What was taken, and from whom: of one limiter, or of several.
#[derive(Default)]
pub struct Parts<'a>(SmallVec<[(&'a dyn Internal, Taken); 2]>);

impl fmt::Debug for Parts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let taken = self.0.iter().map(|(_, taken)| taken);
        f.debug_list().entries(taken).finish()
    }
}

impl<'a> Parts<'a> {
    pub(super) fn push(&mut self, limiter: &'a dyn Internal, taken: Taken) {
        self.0.push((limiter, taken));
    }

    /// When the last of them can be used; of none, at any time.
    pub(super) fn ready_at(&self) -> Timestamp {
        let ready_at = self.0.iter().map(|(_, taken)| taken.ready_at).max();
        ready_at.unwrap_or(Timestamp::ZERO)
    }

    /// They will be used.
    pub(super) fn keep(&mut self) {
        for (limiter, taken) in self.0.drain(..) {
            limiter.keep(&taken);
        }
    }

    /// They will not be.
    pub(super) fn give_back(&mut self, now: Option<Timestamp>) {
        for (limiter, taken) in self.0.drain(..).rev() {
            limiter.give_back(&taken, now);
        }
    }
}

impl<'a> Reservation<'a> {
    pub(super) fn new(limiter: &'a dyn Internal, taken: Taken) -> Self {
        let mut parts = Parts::default();
        parts.push(limiter, taken);
        Self {
            ready_at: taken.ready_at,
            parts,
        }
    }

    /// Of several limiters, taken at `now`: all of it can be used when the last part can.
    pub(super) fn of_all(parts: Parts<'a>, now: Timestamp) -> Self {
        Self {
            ready_at: parts.ready_at().max(now),
            parts,
        }
    }

    /// When the tokens can be used.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{LockedTokenBucket, Quota, RateLimiter, Timestamp};
    ///
    /// let bucket = LockedTokenBucket::new(Quota::per_second(1)?)?;
    /// let now = Timestamp::from_nanos(5);
    /// assert_eq!(bucket.reserve_at(1, Duration::ZERO, now)?.ready_at(), now);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
    /// let _used = bucket.reserve_at(1, Duration::ZERO, now)?;
    /// let next = bucket.reserve_at(1, Duration::MAX, now)?;
    /// assert_eq!(next.wait_from(now), Duration::from_secs(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn wait_from(&self, now: Timestamp) -> Duration {
        self.ready_at.saturating_since(now)
    }

    /// Gives the tokens back, before they are used, also after [`ready_at`](Self::ready_at):
    /// exactly what no later taker has built on, and the rest once those have given back theirs.
    /// After the quota has changed, that is nothing; leases that come and go do not matter. Nothing
    /// comes back before a [pause](super::RateLimiter::pause_until) ends.
    ///
    /// What has been used by now goes by the limiter's own clock; if takers have times of their own,
    /// [`cancel_at`](Self::cancel_at) does by one of these.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{LockedTokenBucket, Quota, RateLimiter, Timestamp};
    ///
    /// let bucket = LockedTokenBucket::new(Quota::per_second(1)?)?;
    /// bucket.reserve(1, Duration::ZERO)?.cancel();
    /// assert_eq!(bucket.available(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cancel(mut self) {
        // What is not there any more is not used as well.
        self.parts.give_back(None);
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
        self.parts.give_back(Some(now));
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.parts.keep();
    }
}

impl fmt::Debug for Reservation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation")
            .field("ready_at", &self.ready_at)
            .finish_non_exhaustive()
    }
}
