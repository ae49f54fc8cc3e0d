//! Why a limiter refused, and when to retry.

use std::fmt;
use std::time::Duration;

/// Why a limiter refused.
///
/// ```
/// use std::time::Duration;
/// use tollgate::{AtomicTokenBucket, Denied, Quota, RateLimiter, Timestamp};
///
/// let bucket = AtomicTokenBucket::new(Quota::per_second(2)?)?;
/// assert!(bucket.at(Timestamp::ZERO).try_acquire(2).is_ok());
/// let answer = bucket.at(Timestamp::ZERO).try_acquire(1);
/// assert_eq!(answer, Err(Denied::NotYet { retry_after: Duration::from_millis(500) }));
/// let answer = bucket.at(Timestamp::ZERO).try_acquire(3);
/// assert_eq!(answer, Err(Denied::ExceedsBurst { burst: 2 }));
/// # Ok::<(), tollgate::QuotaError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Denied {
    /// The tokens are not there now.
    NotYet {
        /// The tokens are there after this long, to the nanosecond, if no other caller takes them.
        retry_after: Duration,
    },
    /// The caller asked for more than the limiter can ever hold: do not retry.
    ExceedsBurst {
        /// The most that can be had at once.
        burst: u64,
    },
    /// The rate is zero, or so slow that the clock ends first: do not retry.
    Exhausted,
    /// The tokens can be had, but not within the wait that the caller or the limiter allows.
    TooLong {
        /// How long from now until they can be had.
        retry_after: Duration,
    },
    /// A [`KeyedLimiter`](crate::KeyedLimiter) is full of keys in use, and this is a new key. When one
    /// of them makes room depends on its callers.
    TooManyKeys,
    /// The line is full: see
    /// [`max_waiters`](crate::AtomicTokenBucket::max_waiters).
    TooManyWaiters,
    /// The limiter was closed: see [`close`](crate::AtomicTokenBucket::close).
    Closed,
}

impl Denied {
    /// Returns a denial whose tokens are there after `wait`; `None`: never.
    #[inline]
    pub(crate) fn after(wait: Option<Duration>) -> Self {
        wait.map_or(Self::Exhausted, |retry_after| Self::NotYet { retry_after })
    }

    /// Returns how long until a retry can succeed.
    ///
    /// `None` if no retry ever will. `None` also of [`TooManyKeys`](Self::TooManyKeys) and
    /// [`TooManyWaiters`](Self::TooManyWaiters), which end when another caller leaves.
    ///
    /// ```
    /// use tollgate::{AtomicTokenBucket, Quota, RateLimiter};
    ///
    /// let bucket = AtomicTokenBucket::new(Quota::per_second(1)?)?;
    /// assert_eq!(bucket.try_acquire(2).unwrap_err().retry_after(), None);
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NotYet { retry_after } | Self::TooLong { retry_after } => Some(*retry_after),
            _ => None,
        }
    }

    /// Returns [`retry_after`](Self::retry_after) in whole seconds, for a `Retry-After` header.
    ///
    /// Rounds up: a client that waits this long never comes back before the tokens are there.
    /// `None` where `retry_after` is `None`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{AtomicTokenBucket, ManualClock, Quota, RateLimiter};
    ///
    /// let clock = ManualClock::new();
    /// let bucket = AtomicTokenBucket::with_clock("5/s burst 1".parse()?, clock.clone())?;
    /// assert!(bucket.try_acquire(1).is_ok());
    /// let denied = bucket.try_acquire(1).unwrap_err();
    /// assert_eq!(denied.retry_after(), Some(Duration::from_millis(200)));
    /// assert_eq!(denied.retry_after_secs(), Some(1));
    /// clock.advance(Duration::from_secs(1));
    /// assert!(bucket.try_acquire(1).is_ok());
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    pub const fn retry_after_secs(&self) -> Option<u64> {
        match self.retry_after() {
            Some(wait) => Some(
                wait.as_secs()
                    .saturating_add((wait.subsec_nanos() > 0) as u64),
            ),
            None => None,
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
            Self::TooManyKeys => f.write_str("too many keys are in use"),
            Self::TooManyWaiters => f.write_str("too many callers wait already"),
            Self::Closed => f.write_str("the limiter is closed"),
        }
    }
}

impl std::error::Error for Denied {}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use super::*;

    #[test]
    fn retry_after_secs_rounds_up() {
        let secs = |retry_after| Denied::NotYet { retry_after }.retry_after_secs();
        assert_eq!(secs(Duration::ZERO), Some(0));
        assert_eq!(secs(Duration::from_nanos(1)), Some(1));
        assert_eq!(secs(Duration::from_secs(1)), Some(1));
        assert_eq!(secs(Duration::new(1, 1)), Some(2));
        assert_eq!(secs(Duration::MAX), Some(u64::MAX));
        let too_long = Denied::TooLong {
            retry_after: Duration::from_millis(2_001),
        };
        assert_eq!(too_long.retry_after_secs(), Some(3));
        for never in [
            Denied::ExceedsBurst { burst: 1 },
            Denied::Exhausted,
            Denied::TooManyKeys,
        ] {
            assert_eq!(never.retry_after_secs(), None);
        }
    }
}
