//! Token buckets: who may pass now, and how long the others wait.
//!
//! | type | state | choose it for |
//! |---|---|---|
//! | [`AtomicTokenBucket`] | one atomic word | the hot path: no lock, no allocation, scales with cores |
//! | [`LockedTokenBucket`] | a lock | any quota at all, however large; waiters that move up when one before them gives up |
//!
//! Both make the same decisions: the same arithmetic, exact to the nanosecond.

mod atomic;
mod bucket;
mod locked;
mod word;

use std::fmt;
use std::time::Duration;

#[cfg(feature = "tower")]
pub(crate) use atomic::Debt;
pub use atomic::{AtomicAcquire, AtomicTokenBucket};
pub use locked::{LockedAcquire, LockedTokenBucket};

use crate::clock::Timestamp;
use crate::quota::Quota;

/// What every limiter can do, as an object: `Arc<dyn RateLimiter>`.
///
/// # Promises
/// - Never over: what is admitted in any window of length T is at most B + floor(T * N / P).
/// - Never under: while the bucket is not full, tokens accrue exactly, however often it is asked.
/// - Honest wait: denied with `retry_after` w at `now` means denied until 1 ns before `now + w` and admitted then, if
///   nobody else took.
/// - A denial writes nothing. Zero tokens always pass.
/// - A `now` older than what the bucket has seen is legal, at any skew, and never mints a token.
///
/// ```
/// use std::sync::Arc;
/// use tollgate::{AtomicTokenBucket, LockedTokenBucket, Quota, RateLimiter};
///
/// let quota = Quota::per_hour(2)?;
/// let limiters: [Arc<dyn RateLimiter>; 2] =
///     [Arc::new(AtomicTokenBucket::new(quota)?), Arc::new(LockedTokenBucket::new(quota)?)];
/// for limiter in limiters {
///     assert!(limiter.try_acquire(2).is_ok());
///     assert!(limiter.try_acquire(1).is_err());
/// }
/// # Ok::<(), tollgate::QuotaError>(())
/// ```
pub trait RateLimiter: fmt::Debug + Send + Sync {
    /// The quota in force.
    fn quota(&self) -> Quota;

    /// Takes `n` tokens now, or none.
    ///
    /// # Errors
    /// [`Denied`]; nothing was written.
    fn try_acquire(&self, n: u64) -> Result<(), Denied>;

    /// As [`try_acquire`](Self::try_acquire), at the caller's time: saves the clock read, which is most of the cost.
    ///
    /// # Errors
    /// [`Denied`]; nothing was written.
    fn try_acquire_at(&self, n: u64, now: Timestamp) -> Result<(), Denied>;

    /// The whole tokens in the bucket now; [`u64::MAX`] if unlimited.
    fn available(&self) -> u64;

    /// The whole tokens in the bucket at `now`.
    fn available_at(&self, now: Timestamp) -> u64;
}

/// Why no token was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Denied {
    /// Not now.
    NotYet {
        /// The tokens are there after this long, to the nanosecond, if nobody else takes them.
        retry_after: Duration,
    },
    /// More was asked for than the bucket can ever hold: do not retry.
    ExceedsBurst {
        /// The most that can be had at once.
        burst: u64,
    },
    /// The quota's rate is zero, or so slow that the clock ends first: do not retry.
    Exhausted,
    /// The tokens could be had, but not within the wait that was allowed, or further in the future than the bucket
    /// can promise.
    TooLong {
        /// When they could be had, from now.
        retry_after: Duration,
    },
}

impl Denied {
    /// How long until a retry can succeed; `None` if none ever will.
    ///
    /// ```
    /// use tollgate::{AtomicTokenBucket, Quota};
    ///
    /// let bucket = AtomicTokenBucket::new(Quota::per_second(1)?)?;
    /// assert_eq!(bucket.try_acquire(2).unwrap_err().retry_after(), None);
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NotYet { retry_after } | Self::TooLong { retry_after } => Some(*retry_after),
            Self::ExceedsBurst { .. } | Self::Exhausted => None,
        }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotYet { retry_after } => write!(f, "rate limited: retry after {retry_after:?}"),
            Self::ExceedsBurst { burst } => write!(f, "more tokens than the burst of {burst}"),
            Self::Exhausted => f.write_str("the quota is used up and gains no more tokens"),
            Self::TooLong { retry_after } => write!(f, "the wait of {retry_after:?} is too long"),
        }
    }
}

impl std::error::Error for Denied {}

/// Implements [`RateLimiter`] by the inherent methods of the same names.
macro_rules! delegate_rate_limiter {
    ($bucket:ident) => {
        impl<C: crate::clock::Clock + Send + Sync> crate::limiter::RateLimiter for $bucket<C> {
            fn quota(&self) -> crate::quota::Quota {
                self.quota()
            }

            fn try_acquire(&self, n: u64) -> Result<(), crate::limiter::Denied> {
                self.try_acquire(n)
            }

            fn try_acquire_at(
                &self,
                n: u64,
                now: crate::clock::Timestamp,
            ) -> Result<(), crate::limiter::Denied> {
                self.try_acquire_at(n, now)
            }

            fn available(&self) -> u64 {
                self.available()
            }

            fn available_at(&self, now: crate::clock::Timestamp) -> u64 {
                self.available_at(now)
            }
        }
    };
}
pub(crate) use delegate_rate_limiter;
