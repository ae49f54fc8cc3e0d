use std::fmt;
use std::task::Waker;
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::limiter::core::acquire_turn::{AcquireTurn, OnTurn};
use crate::limiter::core::denied::Denied;
use crate::limiter::ops::limiter::Limiter;
use crate::wait::{Progress, Step, Wait};

/// The operation of [`RateLimiter::acquire`](crate::RateLimiter::acquire), of a limiter that it
/// borrows or owns.
///
/// ```
/// use std::sync::Arc;
/// use tollgate::limiter::Acquire;
/// use tollgate::{AtomicTokenBucket, Quota, RateLimiter, Wait};
///
/// /// A turn that can be stored beside anything, for it owns its share of the limiter.
/// struct Call {
///     path: &'static str,
///     turn: Wait<Acquire<Arc<AtomicTokenBucket>>>,
/// }
///
/// let bucket = Arc::new(AtomicTokenBucket::new(Quota::per_hour(1)?)?);
/// let call = Call { path: "/users", turn: Acquire::of(bucket.clone(), 1) };
/// assert_eq!((call.path, bucket.available()), ("/users", 1)); // nothing happens before it is polled
/// call.turn.wait()?;
/// assert_eq!(bucket.available(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Acquire<L: Limiter> {
    limiter: L,
    turn: AcquireTurn,
}

impl<L: Limiter> Acquire<L> {
    pub(crate) fn new(limiter: L, n: u64, timeout: Duration) -> Self {
        Self {
            limiter,
            turn: AcquireTurn::new(n, 0, OnTurn::Take, timeout),
        }
    }

    /// Takes `n` tokens of any limiter, and waits for them: as
    /// [`acquire`](crate::RateLimiter::acquire), without a borrow.
    pub fn of(limiter: L, n: u64) -> Wait<Self> {
        Wait::new(Self::new(limiter, n, Duration::MAX))
    }

    /// As [`of`](Self::of), if the tokens are there within `timeout`.
    pub fn of_timeout(limiter: L, n: u64, timeout: Duration) -> Wait<Self> {
        Wait::new(Self::new(limiter, n, timeout))
    }

    /// As [`of`](Self::of), while `floor` tokens remain.
    pub fn of_above(limiter: L, n: u64, floor: u64) -> Wait<Self> {
        Wait::new(Self {
            limiter,
            turn: AcquireTurn::new(n, floor, OnTurn::Take, Duration::MAX),
        })
    }

    /// As [`of`](Self::of), also of more than the burst.
    pub fn of_many(limiter: L, n: u64) -> Wait<Self> {
        Wait::new(Self {
            limiter,
            turn: AcquireTurn::new(n, 0, OnTurn::TakeInParts, Duration::MAX),
        })
    }
}

impl<L: Limiter> Step for Acquire<L> {
    type Output = Result<(), Denied>;

    fn clock(&self) -> &dyn Clock {
        self.limiter.clock()
    }

    #[inline]
    fn now(&self) -> Timestamp {
        self.limiter.clock_now()
    }

    fn step(&mut self, now: Timestamp, waker: &Waker) -> Progress<Self::Output> {
        self.limiter.poll_turn(&mut self.turn, now, waker)
    }

    #[inline]
    fn at_once(&mut self, now: Timestamp) -> Option<Self::Output> {
        if !self.turn.is_new() {
            return None;
        }
        let (n, floor) = (self.turn.n, self.turn.floor);
        // A denial may be one that can be waited out: the first step finds out.
        self.limiter.take_at_once(n, floor, now).then_some(Ok(()))
    }
}

impl<L: Limiter> Drop for Acquire<L> {
    #[inline]
    fn drop(&mut self) {
        if self.turn.is_in_line() {
            self.limiter.leave_turn(&mut self.turn);
        }
    }
}

impl<L: Limiter> fmt::Debug for Acquire<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire")
            .field("n", &self.turn.n)
            .field("in_line", &self.turn.is_in_line())
            .finish_non_exhaustive()
    }
}
