use std::time::Duration;

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
use super::MonotonicClock;
use super::deadlines::Sleep;
use super::{Clock, SystemClock, Timestamp};
use crate::sync::thread;

/// A monotonic clock that goes on while the machine sleeps.
///
/// Take it where a limit is counted by another machine, and this one is a laptop or a phone: by any
/// other clock, an hour asleep refills nothing.
///
/// | target | clock |
/// |---|---|
/// | Linux, Android | `CLOCK_BOOTTIME` |
/// | macOS, iOS | `CLOCK_MONOTONIC`, which counts sleep there |
/// | Windows | [`std::time::Instant`], which counts sleep there |
/// | others | [`std::time::Instant`]; whether it counts sleep is the target's |
///
/// A handle without data; its origin is the system's, mostly its start. A waiter whose deadline
/// passes while the machine sleeps notices within a second of its waking: no timer of the process
/// counts sleep, so each waiter reads this clock once a second.
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

/// So long a waiter sleeps at most.
const LOOK: Duration = Duration::from_secs(1);

impl BootClock {
    /// The clock of this machine.
    ///
    /// ```
    /// use tollgate::{BootClock, Clock};
    ///
    /// static CLOCK: BootClock = BootClock::new();
    /// assert!(CLOCK.now() <= CLOCK.now());
    /// ```
    pub const fn new() -> Self {
        Self(())
    }

    fn left(self, deadline: Timestamp) -> Duration {
        deadline.saturating_since(self.now()).min(LOOK)
    }
}

impl Clock for BootClock {
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    fn now(&self) -> Timestamp {
        #[cfg(not(target_vendor = "apple"))]
        let id = rustix::time::ClockId::Boottime;
        #[cfg(target_vendor = "apple")]
        let id = rustix::time::ClockId::Monotonic;
        let time = rustix::time::clock_gettime(id);
        // Neither is negative: a system does not start before it starts.
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
        Timestamp::ZERO + Duration::from_secs(seconds) + Duration::from_nanos(nanos)
    }

    #[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
    fn now(&self) -> Timestamp {
        MonotonicClock::new().now()
    }

    fn sleep_until(&self, deadline: Timestamp) -> Sleep {
        let system = SystemClock::new();
        system.sleep_until(system.now() + self.left(deadline))
    }

    fn park_until(&self, deadline: Option<Timestamp>) {
        match deadline.map(|deadline| self.left(deadline)) {
            None => thread::park(),
            Some(Duration::ZERO) => {}
            Some(left) => thread::park_timeout(left),
        }
    }
}
