//! A clock that advances while the machine is suspended.

use std::time::Duration;

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
use super::MonotonicClock;
use super::deadlines::Sleep;
use super::{Clock, SystemClock, Timestamp};

/// A monotonic clock that advances while the machine is suspended.
///
/// Use it where another machine counts the same limit and this one is a laptop or a phone: by any
/// other clock, an hour of suspend refills nothing.
///
/// | target | clock |
/// |---|---|
/// | Linux, Android | `CLOCK_BOOTTIME` |
/// | macOS, iOS | `CLOCK_MONOTONIC`, which counts suspend there |
/// | Windows | [`std::time::Instant`], which counts suspend there |
/// | others | [`std::time::Instant`]; whether it counts suspend depends on the target |
///
/// The handle holds no data. The origin is the operating system's, mostly its boot. A waiter whose
/// deadline passes during a suspend notices within a second after the machine resumes: no timer of
/// a process counts suspend, so each waiter reads this clock once a second.
///
/// Needs the feature `boot-clock`.
///
/// ```
/// use tollgate::{AtomicTokenBucket, BootClock, Quota, RateLimiter};
///
/// let quota = Quota::per_second(20)?.burst(1)?;
/// let bucket = AtomicTokenBucket::with_clock(quota, BootClock::new())?;
/// bucket.acquire(1).wait().unwrap();
/// bucket.acquire(1).wait().unwrap(); // some 50 ms later
/// # Ok::<(), tollgate::QuotaError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct BootClock(());

/// The longest single sleep: a waiter reads the clock again at least this often.
const MAX_SLEEP: Duration = Duration::from_secs(1);

impl BootClock {
    /// Returns the clock of this machine.
    pub const fn new() -> Self {
        Self(())
    }

    /// Returns the instant of the system clock at which a waiter looks again.
    fn next_look(self, deadline: Timestamp) -> Timestamp {
        let left = deadline.saturating_since(self.now());
        SystemClock::new().now() + left.min(MAX_SLEEP)
    }
}

impl Clock for BootClock {
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    fn now(&self) -> Timestamp {
        #[cfg(not(target_vendor = "apple"))]
        let id = rustix::time::ClockId::Boottime;
        #[cfg(target_vendor = "apple")]
        let id = rustix::time::ClockId::Monotonic;
        // Never negative: the clock starts at boot.
        let since_boot = Duration::try_from(rustix::time::clock_gettime(id));
        Timestamp::ZERO + since_boot.unwrap_or_default()
    }

    #[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
    fn now(&self) -> Timestamp {
        MonotonicClock::new().now()
    }

    fn sleep_until(&self, deadline: Timestamp) -> Sleep {
        SystemClock::new().sleep_until(self.next_look(deadline))
    }

    fn park_until(&self, deadline: Option<Timestamp>) {
        SystemClock::new().park_until(deadline.map(|deadline| self.next_look(deadline)));
    }
}
