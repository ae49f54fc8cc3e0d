//! A limiter that counts its decisions, for metrics.

use std::task::Waker;
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::limiter::core::acquire_turn::{AcquireTurn, OnTurn};
use crate::limiter::core::denied::Denied;
use crate::limiter::core::reserved_part::Parts;
use crate::limiter::core::status::Status;
use crate::limiter::ops::limiter::{Limiter, forward, forward_uncounted};
use crate::limiter::ops::rate_limiter::RateLimiter;
use crate::limiter::shell::ordered_lock::OrderedLock;
use crate::sync::UnmodelledU64;
use crate::wait::Progress;

/// A limiter that counts what it admits and denies, and how long callers wait.
///
/// A `Metered` wraps any [`RateLimiter`] and is one itself. Each decision adds to a counter that all callers share:
/// one more contended cache line for many cores.
///
/// # Waiting
/// As in the wrapped limiter. A wait counts once, when it ends: as admitted, with its length; as
/// denied, if it ends with an error; as abandoned, if its future is dropped. A wait that has ended counts
/// when its waiter is polled.
///
/// # As a member of an `AllOf`
/// In an [`AllOf`](crate::AllOf) it counts what the `AllOf` takes from it, also tokens that go back because
/// another member denies. A metered `AllOf` in another `AllOf` counts nothing, since the outer one takes
/// from the members directly: meter the outer one.
///
/// # Examples
/// ```
/// use tollgate::{AtomicTokenBucket, Metered, Quota, RateLimiter};
///
/// let limiter = Metered::new(AtomicTokenBucket::new(Quota::per_hour(2)?)?);
/// limiter.acquire(2).wait()?;
/// assert!(limiter.try_acquire(1).is_err());
/// let meter = limiter.meter();
/// assert_eq!((meter.admitted, meter.denied, meter.waited()), (1, 1, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Metered<L> {
    limiter: L,
    admitted: UnmodelledU64,
    denied: UnmodelledU64,
    abandoned: UnmodelledU64,
    waits: [UnmodelledU64; Meter::BUCKETS],
    waited: UnmodelledU64,
}

/// The counts of a [`Metered`] limiter; from [`Metered::meter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Meter {
    /// Calls that took their tokens, at once or after a wait, and reservations.
    pub admitted: u64,
    /// Calls that were denied, and waits that ended with an error.
    pub denied: u64,
    /// Waits whose future was dropped.
    pub abandoned: u64,
    /// Calls that were admitted after a wait, by its length: entry i counts the waits up to
    /// [`Meter::bound`] of i that no earlier entry counts.
    pub waits: [u64; Meter::BUCKETS],
    /// The sum of these waits.
    pub total_wait: Duration,
}

impl Meter {
    /// The number of entries of the histogram.
    pub const BUCKETS: usize = 12;

    /// Returns the longest wait that an entry of the histogram counts: 1 µs for the first, ten times as
    /// much for each next one. The last entry has no bound.
    pub const fn bound(entry: usize) -> Duration {
        if entry >= Self::BUCKETS - 1 {
            return Duration::MAX;
        }
        let mut nanos = 1_000;
        let mut at = 0;
        while at < entry {
            nanos *= 10;
            at += 1;
        }
        Duration::from_nanos(nanos)
    }

    /// Returns the number of calls that were admitted after a wait.
    pub fn waited(&self) -> u64 {
        self.waits.iter().sum()
    }
}

impl<L> Metered<L> {
    /// Wraps a limiter.
    pub const fn new(limiter: L) -> Self {
        Self {
            limiter,
            admitted: UnmodelledU64::new(0),
            denied: UnmodelledU64::new(0),
            abandoned: UnmodelledU64::new(0),
            waits: [const { UnmodelledU64::new(0) }; Meter::BUCKETS],
            waited: UnmodelledU64::new(0),
        }
    }

    /// Returns the wrapped limiter. What a caller takes from that limiter directly is not counted.
    pub const fn inner(&self) -> &L {
        &self.limiter
    }

    /// Reads the counts, each by itself: they are not all of one instant.
    pub fn meter(&self) -> Meter {
        Meter {
            admitted: self.admitted.load_relaxed(),
            denied: self.denied.load_relaxed(),
            abandoned: self.abandoned.load_relaxed(),
            waits: self.waits.each_ref().map(UnmodelledU64::load_relaxed),
            total_wait: Duration::from_nanos(self.waited.load_relaxed()),
        }
    }

    fn count<T>(&self, decided: &Result<T, Denied>) {
        let count = match decided {
            Ok(_) => &self.admitted,
            Err(_) => &self.denied,
        };
        count.fetch_add_relaxed(1);
    }

    fn count_wait(&self, waited: Duration) {
        let longer = |entry: &usize| Meter::bound(*entry) >= waited;
        let entry = (0..Meter::BUCKETS).find(longer);
        self.waits[entry.unwrap_or(Meter::BUCKETS - 1)].fetch_add_relaxed(1);
        let nanos = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
        self.waited.fetch_add_relaxed(nanos);
    }
}

impl<L: RateLimiter> RateLimiter for Metered<L> {}

impl<L: RateLimiter> Limiter for Metered<L> {
    fn as_dyn(&self) -> &dyn Limiter {
        self
    }

    fn clock(&self) -> &dyn Clock {
        self.limiter.clock()
    }

    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a dyn Limiter)) {
        // An `AllOf` is visited member by member: a caller that takes from several limiters needs one
        // part of the tokens for each, and its turn stands in the line of one of them.
        if self.limiter.ordered_lock().is_some() {
            visit(self);
        } else {
            self.limiter.each(visit);
        }
    }

    fn ordered_lock(&self) -> Option<&OrderedLock> {
        self.limiter.ordered_lock()
    }

    forward_uncounted!(self => self.limiter);

    #[inline]
    fn try_acquire_above_at(&self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        let decided = self.limiter.try_acquire_above_at(n, floor, now);
        self.count(&decided);
        decided
    }

    #[inline]
    fn take_now(&self, n: u64) -> Result<(), Denied> {
        let decided = self.limiter.take_now(n);
        self.count(&decided);
        decided
    }

    fn take_at_once(&self, n: u64, floor: u64, now: Timestamp) -> bool {
        let taken = self.limiter.take_at_once(n, floor, now);
        // A caller that did not take waits, and counts when its wait ends.
        if taken {
            self.admitted.fetch_add_relaxed(1);
        }
        taken
    }

    fn try_acquire_with_status_at(&self, n: u64, now: Timestamp) -> (Result<(), Denied>, Status) {
        let (decided, status) = self.limiter.try_acquire_with_status_at(n, now);
        self.count(&decided);
        (decided, status)
    }

    /// Counts as one call, admitted if it took any token.
    fn try_acquire_up_to_at(&self, n: u64, now: Timestamp) -> u64 {
        let taken = self.limiter.try_acquire_up_to_at(n, now);
        let count = match taken {
            0 if n > 0 => &self.denied,
            _ => &self.admitted,
        };
        count.fetch_add_relaxed(1);
        taken
    }

    fn reserve_at(&self, n: u64, max_wait: Duration, now: Timestamp) -> Result<Parts, Denied> {
        let reserved = self.limiter.reserve_at(n, max_wait, now);
        self.count(&reserved);
        reserved
    }

    fn poll_turn(
        &self,
        turn: &mut AcquireTurn,
        now: Timestamp,
        waker: &Waker,
    ) -> Progress<Result<(), Denied>> {
        let progress = self.limiter.poll_turn(turn, now, waker);
        if let Progress::Done(decided) = &progress {
            // A wake-up takes nothing: the caller takes afterwards, and counts then.
            if turn.on_turn != OnTurn::Notify {
                self.count(decided);
            }
            let waited = turn.waited(now);
            if decided.is_ok() && !waited.is_zero() {
                self.count_wait(waited);
            }
        }
        progress
    }

    fn leave_turn(&self, turn: &mut AcquireTurn) {
        let count = if turn.is_refused {
            &self.denied
        } else {
            &self.abandoned
        };
        count.fetch_add_relaxed(1);
        self.limiter.leave_turn(turn);
    }
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_last_entry_and_all_after_it_have_no_bound() {
        assert_eq!(Meter::bound(0), Duration::from_micros(1));
        assert_eq!(Meter::bound(10), Duration::from_secs(10_000));
        for entry in [Meter::BUCKETS - 1, Meter::BUCKETS, usize::MAX] {
            assert_eq!(Meter::bound(entry), Duration::MAX);
        }
    }
}
