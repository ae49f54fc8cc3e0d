use std::fmt;
use std::time::Duration;

/// Why no token was taken.
///
/// ```
/// use std::time::Duration;
/// use tollgate::{AtomicTokenBucket, Denied, Quota, RateLimiter, Timestamp};
///
/// let bucket = AtomicTokenBucket::new(Quota::per_second(2)?)?;
/// assert!(bucket.try_acquire_at(2, Timestamp::ZERO).is_ok());
/// let answer = bucket.try_acquire_at(1, Timestamp::ZERO);
/// assert_eq!(answer, Err(Denied::NotYet { retry_after: Duration::from_millis(500) }));
/// assert_eq!(bucket.try_acquire_at(3, Timestamp::ZERO), Err(Denied::ExceedsBurst { burst: 2 }));
/// # Ok::<(), tollgate::QuotaError>(())
/// ```
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
    /// The tokens could be had, but not within the wait that was allowed, or further in the future
    /// than the bucket can promise, or (a reservation) behind those who wait in line.
    TooLong {
        /// When they could be had, from now.
        retry_after: Duration,
    },
    /// A [`KeyedLimiter`](super::KeyedLimiter) is full of keys that are in use, and this is a new one. Nobody can tell
    /// when one of them makes room.
    TooManyKeys,
}

impl Denied {
    /// Not before this long from now; `None`, never.
    #[inline]
    pub(super) fn after(wait: Option<Duration>) -> Self {
        wait.map_or(Self::Exhausted, |retry_after| Self::NotYet { retry_after })
    }

    /// How long until a retry can succeed; `None` if none ever will, or, of
    /// [`TooManyKeys`](Self::TooManyKeys), if nobody can tell.
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
            Self::ExceedsBurst { .. } | Self::Exhausted | Self::TooManyKeys => None,
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
        }
    }
}

impl std::error::Error for Denied {}
