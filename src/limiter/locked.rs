use std::fmt;
use std::task::Waker;
use std::time::Duration;

use super::bucket::{Bucket, Taken};
use super::{Denied, delegate_rate_limiter};
use crate::clock::{Clock, SystemClock, Timer, Timestamp};
use crate::quota::{Quota, QuotaError};
use crate::sync::Mutex;
use crate::wait::{Progress, Step, Wait, WaitId, WaitList};

/// An exact token bucket behind one lock: it takes every [`Quota`], and its waiters move up when one before them gives
/// up.
///
/// # Fairness
/// Waiters are served in the order in which they came. While somebody waits, [`try_acquire`](Self::try_acquire) is
/// denied unless there are tokens beyond those that are waited for.
///
/// # Memory ordering
/// Every operation takes the lock, and so synchronises with every other on the same bucket.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use tollgate::{LockedTokenBucket, Quota};
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
    quota: Quota,
    clock: C,
}

struct State {
    bucket: Bucket,
    line: WaitList<Waiter>,
    /// Tokens that those in line wait for.
    wanted: u128,
}

struct Waiter {
    n: u64,
    /// Set when its tokens have been taken for it.
    granted: Option<Taken>,
}

/// Collected under the lock, woken after it.
type Wakers = Vec<Waker>;

impl State {
    /// Gives every waiter whose turn has come its tokens, and has the one who is now first set its timer.
    fn grant(&mut self, now: Timestamp, wakers: &mut Wakers) {
        let mut granted = false;
        while let Some((_, waiter)) = self.line.first_mut() {
            if self.bucket.wait_for(waiter.n.into(), now) != Ok(Duration::ZERO) {
                break;
            }
            waiter.granted = Some(self.bucket.take(waiter.n, now));
            self.wanted -= u128::from(waiter.n);
            wakers.extend(self.line.wake_first());
            granted = true;
        }
        if granted {
            wakers.extend(self.nudge_first());
        }
    }

    fn nudge_first(&self) -> Option<Waker> {
        self.line.nudge(self.line.first()?.0)
    }

    /// Takes `n` that nobody waits for.
    fn try_acquire(&mut self, n: u64, now: Timestamp) -> Result<(), Denied> {
        self.bucket.check_burst(n)?;
        match self
            .bucket
            .wait_for(self.wanted.saturating_add(n.into()), now)?
        {
            Duration::ZERO => {
                self.bucket.take(n, now);
                Ok(())
            }
            retry_after => Err(Denied::NotYet { retry_after }),
        }
    }

    /// When the first in line gets its tokens, if `id` is the first: only the first has a timer.
    fn due(&self, id: WaitId, now: Timestamp) -> Option<Timestamp> {
        let (first, waiter) = self.line.first().filter(|(first, _)| *first == id)?;
        debug_assert_eq!(first, id);
        let wait = self
            .bucket
            .wait_for(waiter.n.into(), now)
            .unwrap_or(Duration::MAX);
        Some(now.saturating_add(wait))
    }

    /// Takes a waiter out, with its tokens if it has got them.
    fn leave(&mut self, id: WaitId, wakers: &mut Wakers) -> Waiter {
        let first = self.line.first().is_some_and(|(first, _)| first == id);
        let waiter = self.line.leave(id);
        if waiter.granted.is_none() {
            self.wanted -= u128::from(waiter.n);
        }
        if first {
            wakers.extend(self.nudge_first());
        }
        waiter
    }
}

impl LockedTokenBucket {
    /// A full bucket on the [`SystemClock`].
    ///
    /// # Errors
    /// [`QuotaError::ZeroBurst`].
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
    /// use tollgate::{LockedTokenBucket, ManualClock, Quota};
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
            bucket: Bucket::new(quota.units()?),
            line: WaitList::new(),
            wanted: 0,
        };
        Ok(Self {
            state: Mutex::new(state),
            quota,
            clock,
        })
    }

    /// The quota in force.
    pub fn quota(&self) -> Quota {
        self.quota
    }

    /// Takes `n` tokens at `now`, or none.
    ///
    /// # Errors
    /// [`Denied`]; nothing was written.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{Denied, LockedTokenBucket, Quota, Timestamp};
    ///
    /// let bucket = LockedTokenBucket::new(Quota::per_second(3)?.burst(1)?)?;
    /// assert!(bucket.try_acquire_at(1, Timestamp::ZERO).is_ok());
    /// let retry_after = Duration::from_nanos(333_333_334);
    /// assert_eq!(bucket.try_acquire_at(1, Timestamp::ZERO), Err(Denied::NotYet { retry_after }));
    /// assert!(bucket.try_acquire_at(1, Timestamp::from_nanos(333_333_334)).is_ok());
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    pub fn try_acquire_at(&self, n: u64, now: Timestamp) -> Result<(), Denied> {
        if n == 0 {
            return Ok(());
        }
        self.state.lock().try_acquire(n, now)
    }

    /// The whole tokens in the bucket at `now`, those that are waited for included; [`u64::MAX`] if unlimited.
    pub fn available_at(&self, now: Timestamp) -> u64 {
        self.state.lock().bucket.available(now)
    }

    /// Runs `change` under the lock, and wakes after it.
    fn with_state<T>(&self, change: impl FnOnce(&mut State, &mut Wakers) -> T) -> T {
        let mut wakers = Wakers::new();
        let output = change(&mut self.state.lock(), &mut wakers);
        wakers.into_iter().for_each(Waker::wake);
        output
    }
}

impl<C: Clock> LockedTokenBucket<C> {
    /// Takes `n` tokens now, or none.
    ///
    /// # Errors
    /// [`Denied`]; nothing was written.
    pub fn try_acquire(&self, n: u64) -> Result<(), Denied> {
        self.try_acquire_at(n, self.clock.now())
    }

    /// The whole tokens in the bucket now, those that are waited for included; [`u64::MAX`] if unlimited.
    ///
    /// ```
    /// use tollgate::{LockedTokenBucket, Quota};
    ///
    /// let bucket = LockedTokenBucket::new(Quota::per_day(5)?)?;
    /// assert!(bucket.try_acquire(2).is_ok());
    /// assert_eq!(bucket.available(), 3);
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    pub fn available(&self) -> u64 {
        self.available_at(self.clock.now())
    }
}

impl<C: Timer> LockedTokenBucket<C> {
    /// Takes `n` tokens, as soon as those who came before have theirs: `.await` it, or `.wait()` for it on a thread.
    ///
    /// Only the first in line has a timer, so a cancellation re-times everybody behind it and wakes at most one.
    ///
    /// # Errors
    /// At once, with nothing taken: [`Denied::ExceedsBurst`] and [`Denied::Exhausted`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves the line; those behind move up. Tokens that it had already been granted go back, as
    /// far as no later taker has built on them.
    ///
    /// ```
    /// use tollgate::{LockedTokenBucket, Quota};
    ///
    /// let bucket = LockedTokenBucket::new(Quota::per_second(1_000)?.burst(1)?)?;
    /// for _ in 0..3 {
    ///     bucket.acquire(1).wait()?; // `bucket.acquire(1).await?` in a task
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn acquire(&self, n: u64) -> Wait<'_, LockedAcquire<'_, C>, C> {
        self.acquire_within(n, Duration::MAX)
    }

    /// As [`acquire`](Self::acquire), if the tokens are there within `timeout` from the first poll; if, as the line
    /// stands, they will not be, it fails at once.
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
    pub fn acquire_timeout(&self, n: u64, timeout: Duration) -> Wait<'_, LockedAcquire<'_, C>, C> {
        self.acquire_within(n, timeout)
    }

    fn acquire_within(&self, n: u64, max_wait: Duration) -> Wait<'_, LockedAcquire<'_, C>, C> {
        Wait::new(
            &self.clock,
            LockedAcquire {
                bucket: self,
                n,
                max_wait,
                place: None,
            },
        )
    }
}

delegate_rate_limiter!(LockedTokenBucket);

/// The operation of [`LockedTokenBucket::acquire`].
#[derive(Debug)]
pub struct LockedAcquire<'a, C: Clock> {
    bucket: &'a LockedTokenBucket<C>,
    n: u64,
    max_wait: Duration,
    place: Option<WaitId>,
}

impl<C: Clock> LockedAcquire<'_, C> {
    /// Takes the tokens if nobody is before us, else joins the line.
    fn join(
        &mut self,
        state: &mut State,
        now: Timestamp,
        waker: &Waker,
    ) -> Progress<Result<(), Denied>> {
        let retry_after = match state.try_acquire(self.n, now) {
            Err(Denied::NotYet { retry_after }) => retry_after,
            decided => return Progress::Done(decided),
        };
        if retry_after > self.max_wait {
            return Progress::Done(Err(Denied::TooLong { retry_after }));
        }
        state.wanted += u128::from(self.n);
        let place = state.line.join(
            waker.clone(),
            Waiter {
                n: self.n,
                granted: None,
            },
        );
        self.place = Some(place);
        Progress::Waiting(state.due(place, now))
    }
}

impl<C: Clock> Step for LockedAcquire<'_, C> {
    type Output = Result<(), Denied>;

    fn step(&mut self, now: Timestamp, waker: &Waker) -> Progress<Self::Output> {
        if self.n == 0 {
            return Progress::Done(Ok(()));
        }
        self.bucket.with_state(|state, wakers| {
            state.grant(now, wakers);
            let Some(place) = self.place else {
                return self.join(state, now, waker);
            };
            if state.line.was_woken(place) {
                self.place = None;
                state.line.leave(place);
                return Progress::Done(Ok(()));
            }
            state.line.wait_on(place, waker);
            Progress::Waiting(state.due(place, now))
        })
    }
}

impl<C: Clock> Drop for LockedAcquire<'_, C> {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else {
            return;
        };
        self.bucket.with_state(|state, wakers| {
            // Read with the lock held, so that no taker before us has used a later time.
            let now = self.bucket.clock.now();
            if let Some(taken) = state.leave(place, wakers).granted {
                state.bucket.give_back(taken, now);
                state.grant(now, wakers);
            }
        });
    }
}

impl<C> fmt::Debug for LockedTokenBucket<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the lock: `Debug` never blocks.
        f.debug_struct("LockedTokenBucket")
            .field("quota", &self.quota)
            .finish_non_exhaustive()
    }
}
