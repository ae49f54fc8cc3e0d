//! What time it is, and how to wait for a later one.
//!
//! | clock | take it |
//! |---|---|
//! | [`SystemClock`] | by default: the fastest to read |
//! | [`MonotonicClock`] | where a server counts the same limit, to a few parts in a million from the start |
//! | `BootClock` (feature `boot-clock`) | where the machine sleeps, and a limit is refilled meanwhile |
//! | `TokioClock` (feature `tokio`) | in tests with tokio's paused time |
//! | [`ManualClock`] | in other tests: it moves only when told to, so an hour takes a microsecond |

#[cfg(feature = "boot-clock")]
mod boot;
#[cfg(all(target_arch = "x86_64", not(tollgate_loom)))]
mod counter;
mod deadlines;
mod manual;
mod monotonic;
mod system;
#[cfg(all(target_arch = "x86_64", any(not(tollgate_loom), test)))]
mod timeline;
mod timer;
mod timestamp;

#[cfg(feature = "boot-clock")]
pub use boot::BootClock;
pub use deadlines::Sleep;
pub use manual::ManualClock;
pub use monotonic::MonotonicClock;
pub use system::SystemClock;
pub use timestamp::Timestamp;
pub(crate) use timestamp::saturating_nanos;

use std::sync::Arc;
use std::time::Duration;

use crate::sync::thread;

/// The wall clock, for what outlives the process.
#[allow(clippy::disallowed_methods, reason = "this is where it comes in")]
pub(crate) fn wall_clock() -> std::time::SystemTime {
    std::time::SystemTime::now()
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
