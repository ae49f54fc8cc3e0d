//! The trait of the limiters that have one quota.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::limiter::core::carry::CarryOver;
use crate::limiter::ops::at::At;
use crate::limiter::ops::limiter::forward;
use crate::limiter::ops::rate_limiter::RateLimiter;
use crate::quota::{Quota, QuotaError};

/// A limiter with one quota, which can be changed and can follow a server's answers.
///
/// The buckets have these methods without the trait too; import it for code that is generic over them.
/// [`AllOf`](crate::AllOf) has several quotas and is none: change those of its members.
///
/// ```
/// use tollgate::{AtomicTokenBucket, CarryOver, LockedTokenBucket, QuotaLimiter};
///
/// /// Puts the quota of a configuration file in force.
/// fn reload(limits: &[&dyn QuotaLimiter], text: &str) -> Result<(), tollgate::QuotaError> {
///     let quota = text.parse()?;
///     limits.iter().try_for_each(|limit| limit.set_quota(quota, CarryOver::Tokens))
/// }
///
/// let atomic = AtomicTokenBucket::new("10/s".parse()?)?;
/// let locked = LockedTokenBucket::new("10/s".parse()?)?;
/// reload(&[&atomic, &locked], "20/s")?;
/// assert_eq!([atomic.quota(), locked.quota()], ["20/s".parse()?, "20/s".parse()?]);
/// # Ok::<(), tollgate::QuotaError>(())
/// ```
pub trait QuotaLimiter: RateLimiter {
    /// Returns the quota in force.
    fn quota(&self) -> Quota;

    /// Changes the quota from now on; `carry` says how the fill carries over. Reservations keep their
    /// instants; waiters are re-timed.
    ///
    /// Takes that come before the change are charged at the old rate, whatever time their callers have
    /// read, so nothing is minted.
    ///
    /// # Errors
    /// [`QuotaError`] if the limiter cannot have this quota; it keeps the one it has.
    /// [`QuotaError::ZeroBurst`] also if leases hold all of the new burst.
    fn set_quota(&self, quota: Quota, carry: CarryOver) -> Result<(), QuotaError> {
        self.set_quota_from(quota, carry, None)
    }

    /// Takes all tokens: the server said that none is left. Debt stays.
    fn drain(&self) {
        self.tighten_at(0, self.now());
    }

    /// Leaves at most `remaining` tokens: the server said `X-RateLimit-Remaining`. It only tightens.
    fn sync_remaining(&self, remaining: u64) {
        self.tighten_at(remaining, self.now());
    }

    /// Changes the quota, in force since `now`; `None` reads the clock.
    #[doc(hidden)]
    fn set_quota_from(
        &self,
        quota: Quota,
        carry: CarryOver,
        now: Option<Timestamp>,
    ) -> Result<(), QuotaError>;

    /// Leaves at most `remaining` tokens at `now`.
    #[doc(hidden)]
    fn tighten_at(&self, remaining: u64, now: Timestamp);
}

impl<L: QuotaLimiter + ?Sized> At<'_, L> {
    /// Same as [`QuotaLimiter::set_quota`], with the new quota in force since this instant: tokens accrue at
    /// its rate from then on.
    ///
    /// The instant must be no earlier than those of the takers before. A
    /// [`LockedTokenBucket`](crate::LockedTokenBucket) knows the latest of them and counts from it, so it
    /// mints nothing. An [`AtomicTokenBucket`](crate::AtomicTokenBucket) does not know it: from a stale
    /// instant, a faster quota refills at its own rate what was taken since. [`QuotaLimiter::set_quota`] has
    /// no such gap.
    ///
    /// # Errors
    /// [`QuotaError`]; the limiter keeps its quota.
    pub fn set_quota(self, quota: Quota, carry: CarryOver) -> Result<(), QuotaError> {
        self.limiter.set_quota_from(quota, carry, Some(self.now))
    }

    /// Same as [`QuotaLimiter::drain`].
    pub fn drain(self) {
        self.limiter.tighten_at(0, self.now);
    }

    /// Same as [`QuotaLimiter::sync_remaining`].
    pub fn sync_remaining(self, remaining: u64) {
        self.limiter.tighten_at(remaining, self.now);
    }
}

macro_rules! pointers {
    ($($pointer:ty),*) => {$(
        impl<L: QuotaLimiter + ?Sized> QuotaLimiter for $pointer {
            forward! { self => (**self);
                fn quota() -> Quota;
                fn set_quota_from(quota: Quota, carry: CarryOver, now: Option<Timestamp>) -> Result<(), QuotaError>;
                fn tighten_at(remaining: u64, now: Timestamp);
            }
        }
    )*};
}

pointers!(&L, Arc<L>, Box<L>);

/// The methods of [`QuotaLimiter`], for callers that have not imported it.
macro_rules! quota_methods {
    () => {
        /// See [`QuotaLimiter::quota`].
        pub fn quota(&self) -> Quota {
            QuotaLimiter::quota(self)
        }

        /// See [`QuotaLimiter::set_quota`].
        ///
        /// # Errors
        /// [`QuotaError`] if the limiter cannot have this quota; it keeps the one it has.
        pub fn set_quota(&self, quota: Quota, carry: CarryOver) -> Result<(), QuotaError> {
            QuotaLimiter::set_quota(self, quota, carry)
        }

        /// See [`QuotaLimiter::drain`].
        pub fn drain(&self) {
            QuotaLimiter::drain(self);
        }

        /// See [`QuotaLimiter::sync_remaining`].
        pub fn sync_remaining(&self, remaining: u64) {
            QuotaLimiter::sync_remaining(self, remaining);
        }
    };
}

pub(crate) use quota_methods;
