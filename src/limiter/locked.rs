use std::convert::Infallible;
use std::fmt;
use std::task::Waker;
use std::time::Duration;

use super::bucket::Bucket;
use super::gate::Gate;
use super::lease::{carve, carve_as_before};
use super::line::Line;
use super::reservation::{Internal, Reservation, Taken};
use super::{CarryOver, Denied, RateLimiter};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::quota::{Quota, QuotaError, Units};
use crate::sync::Mutex;
use crate::wait::{Progress, Step, Wait, WaitId};
use crate::wake::Wakers;

/// An exact token bucket behind one lock: it takes every [`Quota`], and its waiters move up when
/// one before them gives up, and when the quota changes.
///
/// # Fairness
/// Waiters are served in the order in which they came. While somebody waits, every other taker is
/// denied unless there are tokens beyond those that are waited for, and a
/// [reservation](RateLimiter::reserve) that would have to stand in that line is refused with
/// [`Denied::TooLong`], however long it may wait.
///
/// # Memory ordering
/// Every operation takes the lock, and so synchronises with every other on the same bucket.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use tollgate::{LockedTokenBucket, Quota, RateLimiter};
///
/// // A million million tokens at once, and one a century after that: beyond any word of 64 bits.
/// let quota = Quota::new(1, Quota::MAX_PERIOD)?.burst(1_000_000_000_000)?;
/// let bucket = LockedTokenBucket::new(quota)?;
/// assert!(bucket.try_acquire(1_000_000_000_000).is_ok());
/// let retry_after = bucket.try_acquire(1).unwrap_err().retry_after().unwrap();
/// assert!(retry_after > Quota::MAX_PERIOD - Duration::from_secs(60));
/// # Ok::<(), tollgate::QuotaError>(())
/// ```
pub struct LockedTokenBucket<C = SystemClock> {
    state: Mutex<State>,
    clock: C,
    gate: Gate,
}

struct State {
    line: Line,
    /// As it was set, without what is carved out of it.
    quota: Quota,
}

impl LockedTokenBucket {
    /// A full bucket on the [`SystemClock`].
    ///
    /// # Errors
    /// [`QuotaError::ZeroBurst`].
    ///
    /// ```
    /// use tollgate::{LockedTokenBucket, Quota, QuotaError, RateLimiter};
    ///
    /// assert_eq!(LockedTokenBucket::new(Quota::per_second(5)?)?.available(), 5);
    /// let nothing = LockedTokenBucket::new(Quota::per_second(0)?);
    /// assert_eq!(nothing.unwrap_err(), QuotaError::ZeroBurst);
    /// # Ok::<(), QuotaError>(())
    /// ```
    pub fn new(quota: Quota) -> Result<Self, QuotaError> {
        Self::with_clock(quota, SystemClock::new())
    }
}

impl<C> LockedTokenBucket<C> {
    /// A full bucket on the given clock.
    ///
    /// # Errors
    /// [`QuotaError::ZeroBurst`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{LockedTokenBucket, ManualClock, Quota, RateLimiter};
    ///
    /// let clock = ManualClock::new();
    /// let bucket = LockedTokenBucket::with_clock(Quota::per_second(10)?.burst(1)?, clock.clone())?;
    /// assert!(bucket.try_acquire(1).is_ok());
    /// clock.advance(Duration::from_millis(100));
    /// assert!(bucket.try_acquire(1).is_ok());
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    pub fn with_clock(quota: Quota, clock: C) -> Result<Self, QuotaError> {
        let state = State {
            line: Line::new(Bucket::new(quota.units()?)),
            quota,
        };
        Ok(Self {
            state: Mutex::new(state),
            clock,
            gate: Gate::new(),
        })
    }
}

impl<C: Clock> LockedTokenBucket<C> {
    /// Runs `change` under the lock, at the time that the clock says there, so that no taker before
    /// has used a later one. Then serves those whose turn has come by it, and has the first of the
    /// others look at its timer.
    fn change<T>(&self, change: impl FnOnce(&mut State, Timestamp) -> T) -> T {
        self.change_at(None, change)
    }

    /// As [`change`](Self::change), at the caller's time if there is one.
    fn change_at<T>(
        &self,
        now: Option<Timestamp>,
        change: impl FnOnce(&mut State, Timestamp) -> T,
    ) -> T {
        let mut wakers = Wakers::default();
        let output = {
            let mut state = self.state.lock();
            let now = now.unwrap_or_else(|| self.clock.now());
            let output = change(&mut state, now);
            state.line.grant(None, now, &mut wakers, &mut None);
            wakers.extend(state.line.nudge_first(now));
            output
        };
        drop(wakers);
        output
    }

    /// Changes the quota, in force since `since`, or since now.
    fn configure(
        &self,
        quota: Quota,
        carry: CarryOver,
        since: Option<Timestamp>,
    ) -> Result<(), QuotaError> {
        self.change(|state, now| {
            let bucket = &mut state.line.bucket;
            let units = carve_as_before(quota, state.quota, bucket.units())?;
            let carved = quota.max_burst() - units.burst;
            bucket.configure(units, carry, carved, since.unwrap_or(now));
            state.quota = quota;
            Ok(())
        })
    }

    /// Changes the burst, for a lease that comes or goes.
    fn resize<T>(&self, burst: impl FnOnce(Units) -> Result<u64, T>) -> Result<(), T> {
        self.change(|state, now| {
            let bucket = &mut state.line.bucket;
            bucket.resize(burst(bucket.units())?, now);
            Ok(())
        })
    }
}

impl<C: Clock> RateLimiter for LockedTokenBucket<C> {
    #[inline]
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn quota(&self) -> Quota {
        self.state.lock().quota
    }

    #[expect(clippy::inline_always, reason = "a call would cost a third of it")]
    #[inline(always)]
    fn try_acquire_above_at(&self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        if n == 0 {
            return Ok(());
        }
        let mut state = self.state.lock();
        match state.line.wait_for(n, floor, now)? {
            Duration::ZERO => {
                state.line.bucket.take(n, now);
                Ok(())
            }
            retry_after => Err(Denied::NotYet { retry_after }),
        }
    }

    fn try_acquire_up_to_at(&self, n: u64, now: Timestamp) -> u64 {
        let mut state = self.state.lock();
        let free = state.line.free(now).min(n);
        state.line.bucket.take(free, now);
        free
    }

    fn reserve_at(
        &self,
        n: u64,
        max_wait: Duration,
        now: Timestamp,
    ) -> Result<Reservation<'_>, Denied> {
        self.owe(n, max_wait, now)
            .map(|taken| Reservation::new(self, taken))
    }

    fn refund_at(&self, n: u64, now: Timestamp) {
        self.change_at(Some(now), |state, now| state.line.bucket.refund(n, now));
    }

    fn pause_until_at(&self, until: Timestamp, now: Timestamp) -> Result<(), Denied> {
        self.change_at(Some(now), |state, now| {
            state.line.bucket.pause_until(until, now)
        })
    }

    fn sync_remaining_at(&self, remaining: u64, now: Timestamp) {
        self.state.lock().line.bucket.tighten(remaining, now);
    }

    fn set_quota_at(
        &self,
        quota: Quota,
        carry: CarryOver,
        now: Timestamp,
    ) -> Result<(), QuotaError> {
        self.configure(quota, carry, Some(now))
    }

    fn set_quota(&self, quota: Quota, carry: CarryOver) -> Result<(), QuotaError> {
        self.configure(quota, carry, None)
    }

    fn available_at(&self, now: Timestamp) -> u64 {
        self.state.lock().line.bucket.available(now)
    }
}

impl<C: Clock> Internal for LockedTokenBucket<C> {
    fn gate(&self) -> &Gate {
        &self.gate
    }

    fn ask(&self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        match self.state.lock().line.wait_for(n, floor, now)? {
            Duration::ZERO => Ok(()),
            retry_after => Err(Denied::NotYet { retry_after }),
        }
    }

    fn owe(&self, n: u64, max_wait: Duration, now: Timestamp) -> Result<Taken, Denied> {
        let mut state = self.state.lock();
        let retry_after = state.line.wait_for(n, 0, now)?;
        // Those who wait have not taken yet: a reservation behind them would be ready too soon.
        let behind = !state.line.is_empty() && !retry_after.is_zero();
        if retry_after > max_wait || behind {
            return Err(Denied::TooLong { retry_after });
        }
        let ready_at = now.saturating_add(retry_after);
        Ok(state.line.bucket.owe(n, now, ready_at))
    }

    fn give_back(&self, taken: &Taken, now: Option<Timestamp>) {
        self.change_at(now, |state, now| state.line.bucket.give_back(taken, now));
    }

    fn keep(&self, taken: &Taken) {
        self.state.lock().line.bucket.keep(taken);
    }

    fn uncarved(&self) -> u64 {
        self.state.lock().line.bucket.units().burst
    }

    fn carve(&self, n: u64) -> Result<(), Denied> {
        self.resize(|units| Ok(carve(units, n)?.burst))
    }

    fn restore(&self, n: u64) {
        let Ok(()) = self.resize(|units| Ok::<_, Infallible>(units.burst.saturating_add(n)));
    }
}

impl<C: Clock> LockedTokenBucket<C> {
    /// Takes `n` tokens, as soon as those who came before have theirs: `.await` it, or `.wait()`
    /// for it on a thread.
    ///
    /// Each waiter has a timer for its own turn, so that one that is not polled holds nobody up: its
    /// tokens wait for it. A cancellation moves up everybody behind it and wakes at most one.
    ///
    /// # Errors
    /// With nothing taken: [`Denied::ExceedsBurst`] and [`Denied::Exhausted`], at once, or when the
    /// burst or the rate has become too small for it and it is the first in line.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the line; those behind move up. Tokens that it had already been
    /// granted go back, as far as no later taker has built on them.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{LockedTokenBucket, Quota, RateLimiter};
    ///
    /// let bucket = LockedTokenBucket::new(Quota::per_second(1_000)?.burst(1)?)?;
    /// let start = bucket.now();
    /// for _ in 0..3 {
    ///     bucket.acquire(1).wait()?; // `bucket.acquire(1).await?` in a task
    /// }
    /// assert!(bucket.now().saturating_since(start) >= Duration::from_millis(2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn acquire(&self, n: u64) -> Wait<LockedAcquire<'_, C>> {
        self.acquire_timeout(n, Duration::MAX)
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
    /// use tollgate::{Denied, LockedTokenBucket, Quota};
    ///
    /// let bucket = LockedTokenBucket::new(Quota::per_hour(1)?)?;
    /// assert!(bucket.acquire_timeout(1, Duration::ZERO).wait().is_ok());
    /// let denied = bucket.acquire_timeout(1, Duration::from_secs(1)).wait(); // does not wait a second
    /// assert!(matches!(denied, Err(Denied::TooLong { .. })));
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    pub fn acquire_timeout(&self, n: u64, timeout: Duration) -> Wait<LockedAcquire<'_, C>> {
        Wait::new(LockedAcquire {
            bucket: self,
            n,
            timeout,
            deadline: None,
            place: None,
        })
    }
}

/// The operation of [`LockedTokenBucket::acquire`].
///
/// ```
/// use tollgate::limiter::LockedAcquire;
/// use tollgate::{LockedTokenBucket, Quota, RateLimiter, SystemClock, Wait};
///
/// /// For the caller to `.await`, or to `.wait()` for.
/// fn turn(bucket: &LockedTokenBucket) -> Wait<LockedAcquire<'_, SystemClock>> {
///     bucket.acquire(2)
/// }
///
/// let bucket = LockedTokenBucket::new(Quota::per_hour(3)?)?;
/// turn(&bucket).wait()?;
/// assert_eq!(bucket.available(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct LockedAcquire<'a, C: Clock> {
    bucket: &'a LockedTokenBucket<C>,
    n: u64,
    timeout: Duration,
    /// From the first step on.
    deadline: Option<Timestamp>,
    place: Option<WaitId>,
}

impl<C: Clock> LockedAcquire<'_, C> {
    fn look(
        &mut self,
        line: &mut Line,
        deadline: Timestamp,
        now: Timestamp,
        waker: &Waker,
        stale: &mut Option<Waker>,
    ) -> Option<Result<(), Denied>> {
        if let Some(place) = self.place {
            let decided = line.look(place, deadline, now, waker, stale);
            if decided.is_some() {
                self.place = None;
            }
            return decided;
        }
        self.place = match line.join(self.n, deadline, now, waker) {
            Ok(place) => place,
            Err(denied) => return Some(Err(denied)),
        };
        if self.place.is_none() {
            Some(Ok(()))
        } else {
            None
        }
    }
}

impl<C: Clock> Step for LockedAcquire<'_, C> {
    type Output = Result<(), Denied>;

    fn clock(&self) -> &dyn Clock {
        &self.bucket.clock
    }

    fn step(&mut self, now: Timestamp, waker: &Waker) -> Progress<Self::Output> {
        if self.n == 0 {
            return Progress::Done(Ok(()));
        }
        let deadline = *self
            .deadline
            .get_or_insert_with(|| now.saturating_add(self.timeout));
        // Woken, and dropped, once the lock is released.
        let (mut wakers, mut stale) = (Wakers::default(), None);
        let line = &mut self.bucket.state.lock().line;
        line.grant(self.place, now, &mut wakers, &mut stale);
        let decided = self.look(line, deadline, now, waker, &mut stale);
        let progress = match (decided, self.place) {
            (None, Some(place)) => Progress::Waiting(line.arm(place, deadline, now)),
            (decided, _) => Progress::Done(decided.unwrap_or(Ok(()))),
        };
        wakers.extend(line.nudge_first(now));
        progress
    }
}

impl<C: Clock> Drop for LockedAcquire<'_, C> {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else {
            return;
        };
        let left = self.bucket.change(|state, now| {
            let left = state.line.leave(place);
            if let Some(taken) = &left.wanted {
                state.line.bucket.give_back(taken, now);
            }
            left
        });
        drop(left);
    }
}

impl<C: Clock> fmt::Debug for LockedAcquire<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockedAcquire")
            .field("n", &self.n)
            .field("in_line", &self.place.is_some())
            .finish_non_exhaustive()
    }
}

impl<C> fmt::Debug for LockedTokenBucket<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the lock: `Debug` never blocks.
        f.debug_struct("LockedTokenBucket").finish_non_exhaustive()
    }
}
