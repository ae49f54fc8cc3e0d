//! The token bucket that refills at intervals.

use std::fmt;
use std::time::Duration;

use crate::clock::{Clock, SystemClock, Timestamp};
use crate::limiter::core::history::History;
use crate::limiter::core::interval::{IntervalBucket, Refill};
use crate::limiter::ops::at::At;
use crate::limiter::ops::single::limiter;
use crate::limiter::shell::locked_line::LockedLine;
use crate::quota::QuotaError;

/// A bucket of B tokens that gains N at each boundary and none between: for a server that refills at
/// once, at each full minute.
///
/// The boundaries are the instants `anchor` + k × P, for every whole k. From s to e it admits at most
/// B + N for each boundary in (s, e]. With N = B it is a fixed window. For a server that refills
/// continuously, choose a token bucket.
///
/// - An older `now` counts as the time of the latest take.
/// - A reservation is debited at its `ready_at`. It never stands in line, and takes fit around it.
/// - `pause_until` blocks all admissions, and tokens accrue meanwhile. With N = 0 it is no error.
/// - `acquire_many` of more than the burst is denied with
///   [`Denied::ExceedsBurst`](crate::Denied::ExceedsBurst).
///
/// # Waiting
/// Waiters are served by floor, then by arrival, as [every limiter](crate::RateLimiter#waiting) serves them: at
/// each boundary as many as it brings tokens for. A waiter holds nothing before its turn, so dropping it
/// costs nothing; a pause, [`set_refill`](Self::set_refill), a refund, a charge and `close` reach all
/// waiters; a waiter that is not polled blocks no other.
///
/// # Cost
/// Every operation takes the lock. A take is a few divisions; it is linear in the reservations ahead and
/// in the waiters ahead.
///
/// # Memory ordering
/// Every operation takes the lock, and so synchronises with every other on the same bucket.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use tollgate::{IntervalTokenBucket, ManualClock, RateLimiter, Timestamp};
///
/// let clock = ManualClock::new();
/// let minute = Duration::from_secs(60);
/// let bucket =
///     IntervalTokenBucket::with_clock(5, minute, 5, Timestamp::ZERO, clock.clone())?;
/// let mut admitted = vec![];
/// for _ in 0..5 {
///     admitted.push(bucket.try_acquire_up_to(100));
///     clock.advance(Duration::from_secs(15));
/// }
/// assert_eq!(admitted, [5, 0, 0, 0, 5]);
/// # Ok::<(), tollgate::QuotaError>(())
/// ```
pub struct IntervalTokenBucket<C = SystemClock> {
    shell: LockedLine<IntervalBucket, C>,
}

impl IntervalTokenBucket {
    /// Creates a full bucket of `burst` tokens that gains `tokens` at `anchor` and at each whole `period`
    /// before and after it, on the [`SystemClock`].
    ///
    /// If a server says that its minute ends in 20 seconds, the anchor is 20 seconds from now on the
    /// clock of the bucket.
    ///
    /// # Errors
    /// [`QuotaError`], with the bound that was broken.
    pub fn new(
        tokens: u64,
        period: Duration,
        burst: u64,
        anchor: Timestamp,
    ) -> Result<Self, QuotaError> {
        Self::with_clock(tokens, period, burst, anchor, SystemClock::new())
    }
}

impl<C> IntervalTokenBucket<C> {
    /// Same as [`new`](IntervalTokenBucket::new), on the given clock.
    ///
    /// # Errors
    /// [`QuotaError`], with the bound that was broken.
    pub fn with_clock(
        tokens: u64,
        period: Duration,
        burst: u64,
        anchor: Timestamp,
        clock: C,
    ) -> Result<Self, QuotaError> {
        let interval = IntervalBucket::new(Refill {
            tokens,
            period,
            burst,
            anchor,
        })?;
        let shell = LockedLine::new(interval, clock);
        Ok(Self { shell })
    }
}

impl<C: Clock> IntervalTokenBucket<C> {
    fn ops(&self) -> &LockedLine<IntervalBucket, C> {
        &self.shell
    }

    /// Changes how the bucket refills, from now on. Reservations keep their instants; waiters are re-timed,
    /// and those that want more than the new burst end with
    /// [`Denied::ExceedsBurst`](crate::Denied::ExceedsBurst).
    ///
    /// [`History::Kept`] keeps the debt, and the tokens that the new burst can hold;
    /// [`History::Forgotten`] starts full, and ends a pause.
    ///
    /// # Errors
    /// [`QuotaError`], with the bound that was broken; nothing was changed.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{History, IntervalTokenBucket, ManualClock, RateLimiter, Timestamp};
    ///
    /// let (minute, clock) = (Duration::from_secs(60), ManualClock::new());
    /// let bucket = IntervalTokenBucket::with_clock(5, minute, 5, Timestamp::ZERO, clock.clone())?;
    /// bucket.try_acquire(2)?;
    /// // The server's reset is 10 s past the minute.
    /// let anchor = Timestamp::from_nanos(10_000_000_000);
    /// bucket.set_refill(5, minute, 5, anchor, History::Kept)?;
    /// assert_eq!(bucket.available(), 3);
    /// clock.advance(Duration::from_secs(10));
    /// assert_eq!(bucket.available(), 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_refill(
        &self,
        tokens: u64,
        period: Duration,
        burst: u64,
        anchor: Timestamp,
        history: History,
    ) -> Result<(), QuotaError> {
        let refill = Refill {
            tokens,
            period,
            burst,
            anchor,
        };
        self.shell.change_tokens(None, |interval, now| {
            interval.set_refill(refill, history, now)
        })
    }

    /// Leaves at most `remaining` tokens: the server said `X-RateLimit-Remaining`. It only tightens.
    pub fn sync_remaining(&self, remaining: u64) {
        self.shell.tighten_at(remaining, self.shell.clock.now());
    }
}

impl<C: Clock> At<'_, IntervalTokenBucket<C>> {
    /// Same as [`IntervalTokenBucket::sync_remaining`].
    pub fn sync_remaining(self, remaining: u64) {
        self.limiter.shell.tighten_at(remaining, self.now);
    }
}

limiter!(IntervalTokenBucket);

impl<C> fmt::Debug for IntervalTokenBucket<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the lock: `Debug` never blocks.
        f.debug_struct("IntervalTokenBucket")
            .finish_non_exhaustive()
    }
}
