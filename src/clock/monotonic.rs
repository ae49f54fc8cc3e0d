use std::sync::OnceLock;
#[allow(clippy::disallowed_types, reason = "this is where it comes in")]
use std::time::Instant;

use super::{Clock, Timestamp};

/// The operating system's monotonic clock, as [`std::time::Instant`] reads it.
///
/// Take it where a server counts the same limit and the two must agree to a few parts in a million
/// from the first second on: the server counts by such a clock, and the operating systems of both
/// keep theirs at one rate. A reading costs about three times as much as one of the
/// [`SystemClock`](crate::SystemClock), which takes up to ten seconds to get as near.
///
/// A handle without data: all clocks of a process share one origin, the first reading. On Linux,
/// Android and macOS this clock stands while the machine sleeps. Waiters sleep in real time and read
/// this clock when they wake.
///
/// ```
/// use tollgate::{AtomicTokenBucket, Clock, MonotonicClock, Quota, RateLimiter};
///
/// static CLOCK: MonotonicClock = MonotonicClock::new();
/// let earlier = CLOCK.now();
/// assert!(CLOCK.now() >= earlier);
///
/// // As many as the server has promised, by a clock that goes as the server's does.
/// let bucket = AtomicTokenBucket::with_clock(Quota::per_second(5_000)?, CLOCK)?;
/// bucket.try_acquire(1).unwrap();
/// # Ok::<(), tollgate::QuotaError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct MonotonicClock(());

impl MonotonicClock {
    /// The clock of this process.
    ///
    /// ```
    /// use tollgate::{Clock, MonotonicClock};
    ///
    /// assert!(MonotonicClock::new().now() <= MonotonicClock::new().now());
    /// ```
    pub const fn new() -> Self {
        Self(())
    }
}

impl Clock for MonotonicClock {
    #[allow(
        clippy::disallowed_types,
        clippy::disallowed_methods,
        reason = "this is where it comes in"
    )]
    fn now(&self) -> Timestamp {
        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        let origin = ORIGIN.get_or_init(Instant::now);
        Timestamp::ZERO.saturating_add(origin.elapsed())
    }
}
