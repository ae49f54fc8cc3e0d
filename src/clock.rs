//! What time it is, and how to wait for a later one.
//!
//! [`SystemClock`] is the default of every type in this crate; [`ManualClock`] moves only when told
//! to, and makes a test of an hour run in a microsecond.

#[cfg(all(target_arch = "x86_64", not(tollgate_loom)))]
mod counter;
mod deadlines;
mod manual;
mod monotonic;
mod system;
#[cfg(target_arch = "x86_64")]
mod timeline;
mod timer;

use std::sync::Arc;
use std::time::Duration;

pub use deadlines::Sleep;
pub use manual::ManualClock;
pub use monotonic::MonotonicClock;
pub use system::SystemClock;

use crate::sync::thread;

/// An instant: nanoseconds since the origin of the clock that it was read from.
///
/// Timestamps of different clocks have nothing to do with each other. All [`SystemClock`]s of a
/// process share one origin. Arithmetic saturates: 64 bits of nanoseconds last 584 years.
///
/// ```
/// use std::time::Duration;
/// use tollgate::Timestamp;
///
/// let start = Timestamp::from_nanos(1_000);
/// let later = start.saturating_add(Duration::from_micros(2));
/// assert_eq!(later.as_nanos(), 3_000);
/// assert_eq!(later.saturating_since(start), Duration::from_micros(2));
/// assert_eq!(start.saturating_since(later), Duration::ZERO);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The clock's origin.
    ///
    /// ```
    /// use tollgate::{Clock, ManualClock, Timestamp};
    ///
    /// assert_eq!(ManualClock::new().now(), Timestamp::ZERO);
    /// ```
    pub const ZERO: Self = Self(0);
    /// The last instant that can be named, 584 years after the origin.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::Timestamp;
    ///
    /// assert_eq!(Timestamp::ZERO.saturating_add(Duration::MAX), Timestamp::MAX);
    /// ```
    pub const MAX: Self = Self(u64::MAX);

    /// The instant `nanos` nanoseconds after the origin.
    ///
    /// ```
    /// assert!(tollgate::Timestamp::from_nanos(1) > tollgate::Timestamp::ZERO);
    /// ```
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    ///
    /// ```
    /// assert_eq!(tollgate::Timestamp::MAX.as_nanos(), u64::MAX);
    /// ```
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The instant `duration` later, or [`Timestamp::MAX`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::Timestamp;
    ///
    /// assert_eq!(Timestamp::ZERO.saturating_add(Duration::from_nanos(3)).as_nanos(), 3);
    /// assert_eq!(Timestamp::ZERO.saturating_add(Duration::MAX), Timestamp::MAX);
    /// ```
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(saturating_nanos(duration)))
    }

    /// How long after `earlier` this is; zero if it is not.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::Timestamp;
    ///
    /// let (earlier, later) = (Timestamp::from_nanos(1), Timestamp::from_nanos(4));
    /// assert_eq!(later.saturating_since(earlier), Duration::from_nanos(3));
    /// assert_eq!(earlier.saturating_since(later), Duration::ZERO);
    /// ```
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A duration in nanoseconds; what does not fit is "for ever".
pub(crate) fn saturating_nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A source of time, and how to wait for a later one.
///
/// Only [`now`](Self::now) is required. A clock that brings no timer of its own is waited for in
/// real time: a waiter sleeps for as long as the clock says is left, reads it again, and sleeps
/// again if it is not there yet. The `tokio` feature has `TokioClock`, which waits on tokio's timer.
///
/// ```
/// use std::time::Duration;
/// use tollgate::{Clock, ManualClock, Timestamp};
///
/// let clock = ManualClock::new();
/// let deadline = Timestamp::from_nanos(60_000_000_000);
/// let _sleep = clock.sleep_until(deadline); // a future
/// clock.advance(Duration::from_secs(60));
/// clock.park_until(Some(deadline)); // returns at once: the deadline has passed
/// assert_eq!(clock.now(), deadline);
/// ```
pub trait Clock: Send + Sync {
    /// The time now. It may lag behind what another thread has seen: nothing in this crate loses a
    /// key because of that, and no take mints a token. (What a late reading can do where tokens are
    /// given back is told at [`Reservation::cancel_at`](crate::Reservation::cancel_at).)
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU64, Ordering};
    /// use tollgate::{AtomicTokenBucket, Clock, Quota, RateLimiter, Timestamp};
    ///
    /// /// The frames that a game has drawn, at 60 a second.
    /// struct Frames(AtomicU64);
    ///
    /// impl Clock for Frames {
    ///     fn now(&self) -> Timestamp {
    ///         Timestamp::from_nanos(self.0.load(Ordering::Relaxed) * 1_000_000_000 / 60)
    ///     }
    /// }
    ///
    /// let frames = Frames(AtomicU64::new(120));
    /// let bucket = AtomicTokenBucket::with_clock(Quota::per_second(5)?, frames)?;
    /// assert_eq!(bucket.now(), Timestamp::from_nanos(2_000_000_000));
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    fn now(&self) -> Timestamp;

    /// A future that completes once the clock reads `deadline` or more, or earlier: the caller reads
    /// the clock again. Dropping it cancels the wait.
    ///
    /// ```
    /// use std::future::Future;
    /// use std::pin::pin;
    /// use std::task::{Context, Waker};
    /// use tollgate::{Clock, ManualClock, Timestamp};
    ///
    /// let (clock, deadline) = (ManualClock::new(), Timestamp::from_nanos(5));
    /// let mut sleep = pin!(clock.sleep_until(deadline));
    /// let mut context = Context::from_waker(Waker::noop());
    /// assert!(sleep.as_mut().poll(&mut context).is_pending());
    /// clock.set(deadline);
    /// assert!(sleep.as_mut().poll(&mut context).is_ready());
    /// ```
    fn sleep_until(&self, deadline: Timestamp) -> Sleep {
        let system = SystemClock::new();
        let left = deadline.saturating_since(self.now());
        system.sleep_until(system.now().saturating_add(left))
    }

    /// Blocks the thread until it is unparked or the clock reads `deadline`; `None` is no deadline.
    /// It may return early for no reason, as [`std::thread::park`] may.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{Clock, SystemClock};
    ///
    /// let clock = SystemClock::new();
    /// let deadline = clock.now().saturating_add(Duration::from_millis(1));
    /// while clock.now() < deadline {
    ///     clock.park_until(Some(deadline)); // until then, or another thread unparks this one
    /// }
    /// clock.park_until(Some(deadline)); // has passed: returns at once
    /// assert!(clock.now() >= deadline);
    /// ```
    fn park_until(&self, deadline: Option<Timestamp>) {
        match deadline.map(|deadline| deadline.saturating_since(self.now())) {
            None => thread::park(),
            Some(Duration::ZERO) => {}
            Some(left) => thread::park_timeout(left),
        }
    }
}

macro_rules! forward {
    ($($pointer:ty),*) => {$(
        impl<T: Clock + ?Sized> Clock for $pointer {
            #[inline]
            fn now(&self) -> Timestamp {
                (**self).now()
            }

            fn sleep_until(&self, deadline: Timestamp) -> Sleep {
                (**self).sleep_until(deadline)
            }

            fn park_until(&self, deadline: Option<Timestamp>) {
                (**self).park_until(deadline);
            }
        }
    )*};
}

forward!(&T, Arc<T>, Box<T>);
