//! Leases: tokens that one thread takes in batches and spends without an atomic.

use std::fmt;
use std::sync::Arc;

use crate::limiter::core::denied::Denied;
use crate::limiter::core::rate::burst_without;
use crate::limiter::ops::limiter::forward;
use crate::limiter::ops::quota_limiter::QuotaLimiter;
use crate::unwind::Panics;

/// A limiter whose burst leases can be carved out of: a bucket, or a pointer to one.
///
/// The buckets have [`lease`](Self::lease) without the trait too; import it for code that is generic over
/// them. The trait is sealed.
pub trait Leasable: QuotaLimiter {
    /// Carves `batch` tokens out of the burst, for one thread: see [`TokenLease`].
    ///
    /// # Errors
    /// [`Denied::ExceedsBurst`], with the largest batch, if nothing of the burst would be left.
    fn lease(&self, batch: u64) -> Result<TokenLease<&Self>, Denied>
    where
        Self: Sized,
    {
        TokenLease::new(self, batch)
    }

    /// Returns the burst without what is carved out of it.
    #[doc(hidden)]
    fn burst_left(&self) -> u64;

    /// Carves `n` tokens out of the burst, if at least one is left.
    #[doc(hidden)]
    fn carve(&self, n: u64) -> Result<(), Denied>;

    /// Puts `n` carved tokens back into the burst.
    #[doc(hidden)]
    fn restore(&self, n: u64);
}

macro_rules! pointers {
    ($($pointer:ty),*) => {$(
        impl<L: Leasable + ?Sized> Leasable for $pointer {
            forward! { self => (**self);
                fn burst_left() -> u64;
                fn carve(n: u64) -> Result<(), Denied>;
                fn restore(n: u64);
            }
        }
    )*};
}

pointers!(&L, Arc<L>, Box<L>);

/// A handle with tokens of its own, which one thread spends without a clock read or an atomic.
///
/// While the lease lives, its batch is carved out of the limiter's burst, so the limiter and all its
/// leases together stay within the quota. A lease fetches tokens in batches, smaller ones when tokens are
/// scarce, and spends them by counting down. Dropping it returns the rest.
///
/// Choose it for many threads that take single tokens from one generous limiter. Not a fit:
/// - Small bursts. Other callers cannot use what a lease holds, and the limiter admits no more at once than
///   the rest of its burst.
/// - Limiters that follow a server's answers. A lease can spend what it holds after a
///   [`drain`](crate::QuotaLimiter::drain) and during a [pause](crate::RateLimiter::pause_until): drop the
///   lease then.
///
/// # Waiting
/// A lease does not wait: it spends what it holds, or fetches what is there, or denies. While callers wait
/// for the limiter, it fetches only what a newcomer may take, so it overtakes no waiter. To wait, call
/// [`acquire`](crate::RateLimiter::acquire) on the limiter.
///
/// A lease leaves the waiters a smaller burst: a waiter that wants more than that ends with
/// [`Denied::ExceedsBurst`] when it is the first in line. Dropping the lease reaches the waiters too.
///
/// # Panics
/// If the caller's clock does. A lease that is dropped gives its batch back all the same, unless the clock
/// panics a second time.
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

/// Tokens that go back when the guard is dropped, also by a panic of the caller's clock.
struct RefundOnDrop<'a, L: Leasable>(&'a L, u64);

impl<L: Leasable> Drop for RefundOnDrop<'_, L> {
    fn drop(&mut self) {
        // The thread may be unwinding already: a second panic of the clock would abort.
        Panics::default().catch(|| self.0.refund(self.1));
    }
}

impl<L: Leasable> TokenLease<L> {
    pub(crate) fn new(limiter: L, batch: u64) -> Result<Self, Denied> {
        // Checked before anything is taken.
        let left = burst_without(limiter.burst_left(), batch)?;
        // The lease starts with the tokens that the smaller burst cannot hold any more.
        let held = limiter.try_acquire_up_to(limiter.available().saturating_sub(left).min(batch));
        let taken = RefundOnDrop(&limiter, held);
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
    /// [`Denied`]; tokens that were fetched stay with the lease. [`Denied::ExceedsBurst`] if `n` is more
    /// than the batch. [`Denied::NotYet`] says when the missing tokens can be fetched, or, of more than the
    /// rest of the burst, the first part of them.
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
            // At most half of what is there, so that scarce tokens are shared with other callers.
            let fair = self.limiter.available_at(now) / 2;
            let wanted = fair.clamp(missing, self.batch - self.held);
            self.held += self.limiter.try_acquire_up_to_at(wanted, now);
            if let Some(left) = self.held.checked_sub(n) {
                self.held = left;
                return Ok(());
            }
            // Usually denies, since nothing is left; if a caller has returned tokens meanwhile, the loop
            // fetches again. More than the rest of the burst would be denied for ever.
            let missing = n - self.held;
            let next = missing.min(self.limiter.burst_left().max(1));
            self.limiter.ask(next, 0, now)?;
        }
    }

    /// Returns the tokens that the lease holds.
    pub const fn held(&self) -> u64 {
        self.held
    }
}

impl<L: Leasable> Drop for TokenLease<L> {
    fn drop(&mut self) {
        let mut panics = Panics::default();
        let mut restored = || panics.catch(|| self.limiter.restore(self.batch));
        if restored().is_none() {
            // Without its batch the burst would stay smaller for ever, so a clock that panicked is asked
            // once more.
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
