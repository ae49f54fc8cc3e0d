use std::fmt;

use super::{Denied, RateLimiter};
use crate::quota::{Quota, QuotaError, Units};

/// What is left of a quota when `n` tokens are carved out of its burst.
pub(super) fn carve(units: Units, n: u64) -> Result<Units, Denied> {
    let left = units.burst.checked_sub(n).filter(|left| *left > 0);
    let burst = left.ok_or(Denied::ExceedsBurst {
        burst: units.burst.saturating_sub(1),
    })?;
    Ok(Units { burst, ..units })
}

/// A new quota, with what leases have carved out of the old one's burst carved out of its own.
pub(super) fn carve_as_before(
    new: Quota,
    old: Quota,
    old_units: Units,
) -> Result<Units, QuotaError> {
    let carved = old.max_burst() - old_units.burst;
    carve(new.units()?, carved).map_err(|_| QuotaError::ZeroBurst)
}

/// A handle that one thread owns, with tokens of its own: about a nanosecond each, without a clock
/// or an atomic.
///
/// While it lives its batch is carved out of the limiter's burst, so that what the limiter and all
/// its leases admit together stays within the quota. It fetches tokens in batches, smaller ones
/// when they are scarce, and spends them by counting down. Dropping it returns what is left.
///
/// For many threads that take single tokens from one generous limiter. Not for small bursts: a
/// batch that one lease holds is missing to everybody else, and the limiter admits no more at once
/// than what is left of its burst. Nor for following a server's word: what a lease holds was taken
/// before, and can be spent after a [`drain`](RateLimiter::drain) and during a
/// [pause](RateLimiter::pause_until); drop the lease then.
///
/// # Examples
/// ```
/// use tollgate::{AtomicTokenBucket, Quota, RateLimiter};
///
/// let bucket = AtomicTokenBucket::new(Quota::per_hour(1_000)?)?;
/// let mut lease = bucket.lease(100)?;
/// for _ in 0..1_000 {
///     lease.try_acquire(1)?;
/// }
/// assert!(lease.try_acquire(1).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TokenLease<'a, L: RateLimiter + ?Sized> {
    limiter: &'a L,
    batch: u64,
    held: u64,
}

impl<'a, L: RateLimiter + ?Sized> TokenLease<'a, L> {
    pub(super) fn new(limiter: &'a L, batch: u64) -> Result<Self, Denied> {
        let burst = limiter.uncarved();
        if batch >= burst {
            // Before anything is taken.
            return Err(Denied::ExceedsBurst {
                burst: burst.saturating_sub(1),
            });
        }
        // What the smaller burst will not hold any more is the lease's.
        let held = limiter.try_acquire_up_to(
            limiter
                .available()
                .saturating_sub(burst.saturating_sub(batch))
                .min(batch),
        );
        match limiter.carve(batch) {
            Ok(()) => Ok(Self {
                limiter,
                batch,
                held,
            }),
            Err(denied) => {
                limiter.refund(held);
                Err(denied)
            }
        }
    }

    /// Takes `n` tokens now, or none.
    ///
    /// # Errors
    /// [`Denied`]. Tokens that were fetched in vain stay with the lease. More than the batch is
    /// [`Denied::ExceedsBurst`]. [`Denied::NotYet`] says when the next can be fetched: all that is
    /// missing, or as much as the burst beside the leases holds.
    ///
    /// ```
    /// use tollgate::{AtomicTokenBucket, Denied, Quota, RateLimiter};
    ///
    /// let bucket = AtomicTokenBucket::new(Quota::per_hour(10)?)?;
    /// let mut lease = bucket.lease(4)?;
    /// assert!(lease.try_acquire(3).is_ok());
    /// assert_eq!(lease.try_acquire(5), Err(Denied::ExceedsBurst { burst: 4 }));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn try_acquire(&mut self, n: u64) -> Result<(), Denied> {
        match self.held.checked_sub(n) {
            Some(left) => {
                self.held = left;
                Ok(())
            }
            None => self.fetch(n),
        }
    }

    #[cold]
    fn fetch(&mut self, n: u64) -> Result<(), Denied> {
        if n > self.batch {
            return Err(Denied::ExceedsBurst { burst: self.batch });
        }
        loop {
            let now = self.limiter.now();
            let missing = n - self.held;
            // Half of what there is, when that is less than a batch: the others want some too.
            let fair = self.limiter.available_at(now) / 2;
            let wanted = fair.clamp(missing, self.batch - self.held);
            self.held += self.limiter.try_acquire_up_to_at(wanted, now);
            if let Some(left) = self.held.checked_sub(n) {
                self.held = left;
                return Ok(());
            }
            // Nothing is left to take, so this denies, unless somebody has returned tokens meanwhile.
            // It asks for no more than the burst beside the leases can hold.
            let missing = n - self.held;
            let next = missing.min(self.limiter.uncarved().max(1));
            self.limiter.ask(next, 0, now)?;
        }
    }

    /// Tokens that it holds.
    ///
    /// ```
    /// use tollgate::{LockedTokenBucket, Quota, RateLimiter};
    ///
    /// let bucket = LockedTokenBucket::new(Quota::per_hour(10)?)?;
    /// let lease = bucket.lease(4)?;
    /// assert_eq!((lease.held(), bucket.available()), (4, 6));
    /// drop(lease);
    /// assert_eq!(bucket.available(), 10);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn held(&self) -> u64 {
        self.held
    }
}

impl<L: RateLimiter + ?Sized> Drop for TokenLease<'_, L> {
    fn drop(&mut self) {
        self.limiter.restore(self.batch);
        self.limiter.refund(self.held);
    }
}

impl<L: RateLimiter + ?Sized> fmt::Debug for TokenLease<'_, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenLease")
            .field("batch", &self.batch)
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}
