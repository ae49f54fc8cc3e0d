//! The token bucket for many cores.

use std::fmt;
use std::thread::available_parallelism;

use crate::clock::{Clock, SystemClock};
use crate::limiter::core::word::WordQuota;
use crate::limiter::ops::bucket::bucket;
use crate::limiter::ops::single::limiter;
use crate::limiter::shell::bucket::{BucketOps, BucketShell};
use crate::limiter::shell::stripes::Stripes;
use crate::limiter::shell::word_cell::WordCell;
use crate::quota::{Quota, QuotaError};

/// An exact token bucket for many cores: each thread takes from a stripe of its own.
///
/// Far from its limit the bucket carves a quarter of its burst out for *stripes*, each on a cache line of
/// its own. A [`try_acquire`](crate::RateLimiter::try_acquire) decrements the stripe of its thread and reads
/// no clock; an empty stripe is refilled from the rest of the bucket in a batch. Near its limit all stripes
/// are swept back, and the bucket is an [`AtomicTokenBucket`](crate::AtomicTokenBucket). It is a
/// [`TokenLease`](crate::TokenLease) that no thread has to hold.
///
/// Choose it where many threads share one generous limit. Where the demand exceeds the rate, or a burst has
/// fewer than 32 tokens for each stripe, it is as fast as an
/// [`AtomicTokenBucket`](crate::AtomicTokenBucket), and no faster.
///
/// # Exactness
/// - Never over: at most burst + floor(T × rate) in any window of length T, as in every bucket.
/// - A denial is exact: before the first one all stripes are swept, and they stay empty until the bucket is
///   half full again. In saturation the bucket admits exactly burst + floor(T × rate). A call with a time
///   from before the sweep may find that what accrued since is lost: see the next point.
/// - Under by at most the carved part, and only by what would have accrued while the rest of the bucket was
///   full.
///
/// # Fairness between threads
/// A thread has its stripe by its number, which counts all threads of the process, so some share a stripe. No stripe holds more than
/// its equal part of the carved tokens; refills are served in the order in which the lock is taken. No thread
/// is denied while any stripe holds tokens.
///
/// # Waiting
/// While a caller waits, during a pause and once the bucket is closed, all stripes are empty. Waiters are
/// served by floor, then by arrival, as [every limiter](crate::RateLimiter#waiting) serves them. A waiter
/// holds nothing before its turn, so dropping it costs nothing; a pause, another quota, a refund, a charge, a
/// lease and `close` reach all waiters; a waiter that is not polled blocks no other.
///
/// # What sweeps the stripes
/// Only `try_acquire` and the first try of `acquire` go by the stripes. A take at the
/// [caller's time](crate::RateLimiter::at) or above a floor takes the lock, and sweeps if the rest of the
/// bucket does not suffice. Every read of tokens, every change, and every take as a member of an
/// [`AllOf`](crate::AllOf) or with a status sweeps. After a sweep the bucket has no stripes for 100 µs, so
/// callers that do nothing else have an [`AtomicTokenBucket`](crate::AtomicTokenBucket).
///
/// # Limits
/// As of an [`AtomicTokenBucket`](crate::AtomicTokenBucket). The stripes are 128 bytes each, as many as
/// there are cores, rounded up to a power of two. A take whose stripe is empty may wait for the lock.
///
/// # Memory ordering
/// Taking a token synchronises with nothing: do not use it to publish data.
///
/// # Examples
/// ```
/// use tollgate::{Quota, RateLimiter, StripedTokenBucket};
///
/// let bucket = StripedTokenBucket::new(Quota::per_hour(10_000)?)?;
/// std::thread::scope(|scope| {
///     for _ in 0..4 {
///         scope.spawn(|| (0..2_500).for_each(|_| bucket.try_acquire(1).unwrap()));
///     }
/// });
/// assert!(bucket.try_acquire(1).is_err());
/// # Ok::<(), tollgate::QuotaError>(())
/// ```
pub struct StripedTokenBucket<C = SystemClock> {
    stripes: Stripes,
    cell: WordCell,
    shell: BucketShell<C>,
}

impl StripedTokenBucket {
    /// Creates a full bucket on the [`SystemClock`], with a stripe for each core.
    ///
    /// # Errors
    /// As [`AtomicTokenBucket::new`](crate::AtomicTokenBucket::new).
    pub fn new(quota: Quota) -> Result<Self, QuotaError> {
        Self::with_clock(quota, SystemClock::new())
    }
}

impl<C> StripedTokenBucket<C> {
    /// Creates a full bucket on the given clock, with a stripe for each core.
    ///
    /// # Errors
    /// As [`AtomicTokenBucket::new`](crate::AtomicTokenBucket::new).
    pub fn with_clock(quota: Quota, clock: C) -> Result<Self, QuotaError> {
        let units = quota.units()?;
        let cores = available_parallelism().map_or(1, usize::from);
        Ok(Self {
            stripes: Stripes::new(cores, None),
            cell: WordCell::new(&WordQuota::new(units)?),
            shell: BucketShell::new((quota, units), clock, true),
        })
    }

    /// Sets the number of stripes, rounded up to a power of two, and at most 1,024.
    #[must_use]
    pub fn stripes(mut self, count: usize) -> Self {
        self.shell.set_stripes(&mut self.stripes, count);
        self
    }

    /// Sets how many tokens of the burst all stripes together may hold: at most half of it. With fewer
    /// than 8 for each stripe the bucket does without stripes.
    #[must_use]
    pub fn carve(mut self, tokens: u64) -> Self {
        self.stripes.set_share(tokens);
        self
    }
}

impl<C: Clock> StripedTokenBucket<C> {
    #[expect(clippy::inline_always, reason = "a call would cost as much as a take")]
    #[inline(always)]
    fn ops(&self) -> BucketOps<'_, C> {
        self.shell.with(Some(&self.cell), Some(&self.stripes))
    }
}

bucket!(
    StripedTokenBucket

    #[inline]
    fn take_now(&self, n: u64) -> Result<(), Denied> {
        self.ops().take_striped(&self.cell, &self.stripes, n)
    }

    #[inline]
    fn take_at_once(&self, n: u64, floor: u64, now: Timestamp) -> bool {
        // A wait goes by the bucket's clock, so `now` is of that.
        let taken = match floor {
            0 => self.ops().take_striped(&self.cell, &self.stripes, n),
            _ => self.ops().take(n, floor, now),
        };
        taken.is_ok()
    }
);

impl<C> fmt::Debug for StripedTokenBucket<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the quota, which is behind a lock: `Debug` never blocks.
        f.debug_struct("StripedTokenBucket")
            .field("stripes", &self.stripes)
            .field("cell", &self.cell)
            .finish_non_exhaustive()
    }
}
