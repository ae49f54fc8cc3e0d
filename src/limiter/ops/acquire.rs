//! The wait for tokens, as a [`Step`].

use std::fmt;
use std::task::Waker;
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::limiter::core::acquire_turn::{AcquireTurn, OnTurn};
use crate::limiter::core::denied::Denied;
use crate::limiter::ops::limiter::Limiter;
use crate::wait::{Progress, Step, Wait};

/// The operation that [`RateLimiter::acquire`](crate::RateLimiter::acquire) waits for, on a limiter that it
/// borrows or owns.
///
/// Name the type to store a wait in a struct: `Wait<Acquire<Arc<AtomicTokenBucket>>>`.
///
/// ```
/// use std::sync::Arc;
/// use tollgate::limiter::Acquire;
/// use tollgate::{AtomicTokenBucket, Quota, RateLimiter, Wait};
///
/// /// A call whose turn owns a share of the limiter.
/// struct Call {
///     path: &'static str,
///     turn: Wait<Acquire<Arc<AtomicTokenBucket>>>,
/// }
///
/// let bucket = Arc::new(AtomicTokenBucket::new(Quota::per_hour(1)?)?);
/// let call = Call { path: "/users", turn: Acquire::of(bucket.clone(), 1) };
/// assert_eq!(bucket.available(), 1); // it takes nothing before it is polled
/// call.turn.wait()?;
/// assert_eq!((call.path, bucket.available()), ("/users", 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Acquire<L: Limiter> {
    pub(crate) limiter: L,
    pub(crate) turn: AcquireTurn,
}

impl<L: Limiter> Acquire<L> {
    fn new(limiter: L, turn: AcquireTurn) -> Wait<Self> {
        Wait::new(Self { limiter, turn })
    }

    /// Same as [`RateLimiter::acquire`](crate::RateLimiter::acquire), with the limiter by value: a
    /// reference, an `Arc`, or a handle.
    pub fn of(limiter: L, n: u64) -> Wait<Self> {
        Self::new(limiter, AcquireTurn::new(n, 0, OnTurn::Take, Duration::MAX))
    }

    /// Same as [`RateLimiter::acquire_timeout`](crate::RateLimiter::acquire_timeout).
    pub fn of_timeout(limiter: L, n: u64, timeout: Duration) -> Wait<Self> {
        Self::new(limiter, AcquireTurn::new(n, 0, OnTurn::Take, timeout))
    }

    /// Same as [`RateLimiter::acquire_above`](crate::RateLimiter::acquire_above).
    pub fn of_above(limiter: L, n: u64, floor: u64) -> Wait<Self> {
        Self::new(
            limiter,
            AcquireTurn::new(n, floor, OnTurn::Take, Duration::MAX),
        )
    }

    /// Same as [`RateLimiter::acquire_many`](crate::RateLimiter::acquire_many).
    pub fn of_many(limiter: L, n: u64) -> Wait<Self> {
        Self::new(
            limiter,
            AcquireTurn::new(n, 0, OnTurn::TakeInParts, Duration::MAX),
        )
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
        // The first step decides about a denial: it may end in a wait.
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
