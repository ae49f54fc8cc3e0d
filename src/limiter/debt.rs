//! Waiting in debt: the tokens are taken at once, and used when they are there.

use std::fmt;
use std::task::Waker;
use std::time::Duration;

use super::Denied;
use crate::clock::{Clock, Timestamp};
use crate::wait::{Progress, Step};

/// A limiter whose tokens can be taken ahead of their time, and given back.
pub trait Lender {
    /// What was taken.
    type Debt;

    /// The clock to wait by.
    fn clock(&self) -> &dyn Clock;

    /// Takes `n` tokens into debt, if they are there after at most `max_wait`.
    fn lend(&self, n: u64, max_wait: Duration, now: Timestamp) -> Result<Self::Debt, Denied>;
    /// When they can be used.
    fn ready_at(debt: &Self::Debt) -> Timestamp;
    /// They will be used.
    fn settle(&self, debt: Self::Debt);
    /// They will not be.
    fn give_back(&self, debt: Self::Debt);
}

/// The operation of `acquire`: of [`AtomicTokenBucket`](super::AtomicTokenBucket::acquire),
/// [`KeyHandle`](super::KeyHandle::acquire) and [`AllOf`](super::AllOf::acquire).
///
/// ```
/// use tollgate::limiter::Acquire;
/// use tollgate::{KeyHandle, KeyedLimiter, Quota, RateLimiter, SystemClock, Wait};
///
/// /// For the caller to `.await`, or to `.wait()` for.
/// type Turn<'a> = Wait<Acquire<KeyHandle<'a, u64, u64>>>;
///
/// fn turn<'a>(limiter: &'a KeyedLimiter<u64>, tenant: &'a u64) -> Turn<'a> {
///     limiter.key(tenant).acquire(1)
/// }
///
/// let limiter = KeyedLimiter::new(Quota::per_hour(1)?, 100)?;
/// turn(&limiter, &7).wait()?;
/// assert_eq!(limiter.key(&7).available(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Acquire<L: Lender> {
    lender: L,
    n: u64,
    max_wait: Duration,
    /// Taken, and not yet handed over.
    debt: Option<L::Debt>,
}

impl<L: Lender> Acquire<L> {
    pub(super) fn new(lender: L, n: u64, max_wait: Duration) -> Self {
        Self {
            lender,
            n,
            max_wait,
            debt: None,
        }
    }
}

impl<L: Lender> Step for Acquire<L> {
    type Output = Result<(), Denied>;

    fn clock(&self) -> &dyn Clock {
        self.lender.clock()
    }

    #[inline]
    fn step(&mut self, now: Timestamp, _: &Waker) -> Progress<Self::Output> {
        let debt = match self.debt.take() {
            Some(debt) => debt,
            None => match self.lender.lend(self.n, self.max_wait, now) {
                Ok(debt) => debt,
                Err(denied) => return Progress::Done(Err(denied)),
            },
        };
        let ready_at = L::ready_at(&debt);
        if ready_at > now {
            self.debt = Some(debt);
            return Progress::Waiting(Some(ready_at));
        }
        self.lender.settle(debt);
        Progress::Done(Ok(()))
    }

    #[inline]
    fn at_once(&mut self, now: Timestamp) -> Option<Self::Output> {
        if self.debt.is_some() {
            return None;
        }
        // Nobody is to wake it: it waits for its time.
        match self.step(now, Waker::noop()) {
            Progress::Done(output) => Some(output),
            Progress::Waiting(_) => None,
        }
    }
}

impl<L: Lender> Drop for Acquire<L> {
    fn drop(&mut self) {
        if let Some(debt) = self.debt.take() {
            self.lender.give_back(debt);
        }
    }
}

impl<L: Lender> fmt::Debug for Acquire<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire")
            .field("n", &self.n)
            .field("waiting", &self.debt.is_some())
            .finish_non_exhaustive()
    }
}
