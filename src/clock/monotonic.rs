//! The operating system's monotonic clock.

use std::sync::OnceLock;
#[allow(clippy::disallowed_types, reason = "`Instant` enters here")]
use std::time::Instant;

use super::{Clock, Timestamp};

/// The operating system's monotonic clock, as [`std::time::Instant`] reads it.
///
/// Use it where a server counts the same limit, and the server's clock and this one must agree to a few
/// parts in a million from the first second on: both operating systems discipline their clocks to one
/// rate. A reading costs a few times one of [`SystemClock`](crate::SystemClock), which needs up to ten
/// seconds to get as near.
///
/// The handle holds no data. All monotonic clocks of a process share one origin, the first reading.
/// On Linux, Android and macOS this clock stands still while the machine is suspended. Waiters
/// sleep in real time and read this clock when they wake.
///
/// ```
/// use tollgate::{AtomicTokenBucket, MonotonicClock, Quota, RateLimiter};
///
/// let bucket = AtomicTokenBucket::with_clock(Quota::per_second(5_000)?, MonotonicClock::new())?;
/// bucket.try_acquire(1).unwrap();
/// # Ok::<(), tollgate::QuotaError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct MonotonicClock(());

impl MonotonicClock {
    /// Returns the clock of this process.
    pub const fn new() -> Self {
        Self(())
    }
}

impl Clock for MonotonicClock {
    #[allow(
        clippy::disallowed_types,
        clippy::disallowed_methods,
        reason = "`Instant` enters here"
    )]
    fn now(&self) -> Timestamp {
        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        let origin = ORIGIN.get_or_init(Instant::now);
        Timestamp::ZERO.saturating_add(origin.elapsed())
    }
}
