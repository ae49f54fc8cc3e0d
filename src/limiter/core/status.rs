//! The status of a limiter, for headers and dashboards: one consistent read that takes nothing.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::limiter::core::rate::View;

/// How full a limiter is, and how long tokens take: from
/// [`RateLimiter::status`](crate::RateLimiter::status).
///
/// All fields are of one instant. To read them takes no token.
///
/// ```
/// use std::time::Duration;
/// use tollgate::{AtomicTokenBucket, ManualClock, RateLimiter};
///
/// let clock = ManualClock::new();
/// let bucket = AtomicTokenBucket::with_clock("7/min burst 7".parse()?, clock.clone())?;
/// bucket.try_acquire(7)?;
/// clock.advance(Duration::from_secs(20));
/// let status = bucket.status(5);
/// assert_eq!((status.limit, status.remaining), (7, 2));
/// assert_eq!(status.full_after, Some(Duration::from_secs(40)));
/// assert_eq!(status.retry_after, Some(Duration::from_nanos(22_857_142_858)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The most tokens that can be had at once.
    pub limit: u64,
    /// Whole tokens that are there, whether callers wait for them or not.
    pub remaining: u64,
    /// How long until the tokens that were asked about can be had, if all waiters stay; `None`: never.
    pub retry_after: Option<Duration>,
    /// How long until the limiter is full, if no caller takes; `None`: never.
    pub full_after: Option<Duration>,
    /// Waiters in line.
    pub waiting: usize,
}

impl Status {
    /// The status of no limit at all.
    pub(crate) const NO_LIMIT: Self = Self {
        limit: u64::MAX,
        remaining: u64::MAX,
        retry_after: Some(Duration::ZERO),
        full_after: Some(Duration::ZERO),
        waiting: 0,
    };

    /// Returns the status of a bucket without waiters; `retry_after` is that of no tokens.
    pub(crate) fn of(view: &View, now: Timestamp) -> Self {
        Self {
            limit: view.rate.units.burst,
            remaining: view.available(now),
            retry_after: Some(Duration::ZERO),
            full_after: view.full_after(now),
            waiting: 0,
        }
    }

    /// Returns the tighter of two in each field.
    pub(crate) fn tighter(self, other: Self) -> Self {
        Self {
            limit: self.limit.min(other.limit),
            remaining: self.remaining.min(other.remaining),
            retry_after: longer(self.retry_after, other.retry_after),
            full_after: longer(self.full_after, other.full_after),
            waiting: self.waiting.max(other.waiting),
        }
    }
}

/// Returns the longer of two waits; `None` is never.
fn longer(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    Some(one?.max(other?))
}
