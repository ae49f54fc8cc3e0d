use std::fmt;
use std::sync::Arc;

use crate::limiter::core::denied::Denied;
use crate::limiter::ops::quota_limiter::QuotaLimiter;
use crate::unwind::Panics;

/// A limiter that leases carve their tokens out of: a bucket, or what points to one.
///
/// The buckets have [`lease`](Self::lease) without the trait too; it is for code that is generic over
/// them. How tokens are carved out is this crate's own business.
pub trait Leasable: QuotaLimiter {
    /// Carves `batch` tokens out of the burst, for a thread of its own: see [`TokenLease`].
    ///
    /// # Errors
    /// [`Denied::ExceedsBurst`], with the largest batch, if nothing of the burst would be left.
    ///
    /// ```
    /// use tollgate::{AtomicTokenBucket, Denied, Quota};
    ///
    /// let bucket = AtomicTokenBucket::new(Quota::per_hour(10)?)?;
    /// assert_eq!(bucket.lease(10).unwrap_err(), Denied::ExceedsBurst { burst: 9 });
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    fn lease(&self, batch: u64) -> Result<TokenLease<&Self>, Denied>
    where
        Self: Sized,
    {
        TokenLease::new(self, batch)
    }

    /// What is left of the burst beside what is carved out of it.
    #[doc(hidden)]
    fn burst_left(&self) -> u64;

    /// Takes `n` tokens out of the burst, as long as something is left of it.
    #[doc(hidden)]
    fn carve(&self, n: u64) -> Result<(), Denied>;

    /// Puts `n` carved tokens back into the burst.
    #[doc(hidden)]
    fn restore(&self, n: u64);
}

macro_rules! pointers {
    ($($pointer:ty),*) => {$(
        impl<L: Leasable + ?Sized> Leasable for $pointer {
            fn burst_left(&self) -> u64 {
                (**self).burst_left()
            }

            fn carve(&self, n: u64) -> Result<(), Denied> {
                (**self).carve(n)
            }

            fn restore(&self, n: u64) {
                (**self).restore(n);
            }
        }
    )*};
}

pointers!(&L, Arc<L>, Box<L>);

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
/// before, and can be spent after a [`drain`](crate::QuotaLimiter::drain) and during a
/// [pause](crate::RateLimiter::pause_until); drop the lease then.
///
/// # Waiting
/// A lease does not wait: it spends what it holds, or fetches what is there, or denies. While callers
/// wait for the limiter, it fetches only what a newcomer may take, so it overtakes none of them; wait
/// with them by [`acquire`](crate::RateLimiter::acquire) of the limiter. Carving a batch out leaves a
/// smaller burst to those who wait: one that asks for more than it ends with
/// [`Denied::ExceedsBurst`] when it is the first in line. Dropping the lease reaches them too.
///
/// # Panics
/// Only where the caller's clock does. A lease that is dropped then gives its batch back to the burst all
/// the same, unless the clock panics a second time.
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
pub struct TokenLease<L: Leasable> {
    limiter: L,
    batch: u64,
    held: u64,
}

/// Tokens that go back, unless a lease gets them: also if the caller's clock panics.
struct Refund<'a, L: Leasable>(&'a L, u64);

impl<L: Leasable> Drop for Refund<'_, L> {
    fn drop(&mut self) {
        // A panic may be on its way already, and the clock panic again.
        Panics::default().catch(|| self.0.refund(self.1));
    }
}

impl<L: Leasable> TokenLease<L> {
    pub(crate) fn new(limiter: L, batch: u64) -> Result<Self, Denied> {
        let burst = limiter.burst_left();
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
        let taken = Refund(&limiter, held);
        limiter.carve(batch)?;
        std::mem::forget(taken);
        Ok(Self {
            limiter,
            batch,
            held,
        })
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
            let next = missing.min(self.limiter.burst_left().max(1));
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

impl<L: Leasable> Drop for TokenLease<L> {
    fn drop(&mut self) {
        let mut panics = Panics::default();
        let mut restored = || panics.catch(|| self.limiter.restore(self.batch));
        if restored().is_none() {
            // The burst would be the smaller for ever, so the caller's clock is asked once more.
            restored();
        }
        panics.catch(|| self.limiter.refund(self.held));
    }
}

impl<L: Leasable> fmt::Debug for TokenLease<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenLease")
            .field("batch", &self.batch)
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}
