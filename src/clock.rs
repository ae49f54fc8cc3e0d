//! Clocks: a source of [`Timestamp`]s, and how a thread or a task waits for a later one.
//!
//! | clock | when to use it |
//! |---|---|
//! | [`SystemClock`] | by default: the cheapest to read |
//! | [`MonotonicClock`] | a server counts the same limit, and its clock and ours must agree to a few parts in a million from the start |
//! | `BootClock` (feature `boot-clock`) | the machine suspends, and a limit refills meanwhile |
//! | `TokioClock` (feature `tokio`) | tests with tokio's paused time |
//! | [`ManualClock`] | other tests and simulations: it moves only when told to, so an hour takes a microsecond |

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

/// A source of time, and the ways to wait for a later one.
///
/// Only [`now`](Self::now) is required. The default waits sleep in real time: a waiter sleeps for
/// the time that this clock says is left, reads the clock again, and sleeps again if the deadline
/// is not reached. `TokioClock` (feature `tokio`) waits on tokio's timer instead.
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
pub trait Clock: Send + Sync {
    /// Reads the time.
    ///
    /// A reading may be older than one that another thread has taken. With a stale reading a
    /// limiter mints no token and a queue loses no key. For its effect on tokens that are given
    /// back see [`Reservation::cancel_at`](crate::Reservation::cancel_at).
    fn now(&self) -> Timestamp;

    /// Returns a future that completes once the clock reads `deadline` or more, or earlier.
    ///
    /// The caller reads the clock again when the future completes, and sleeps again if it was
    /// early.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the wait.
    fn sleep_until(&self, deadline: Timestamp) -> Sleep {
        let system = SystemClock::new();
        let left = deadline.saturating_since(self.now());
        system.sleep_until(system.now().saturating_add(left))
    }

    /// Blocks the thread until it is unparked or the clock reads `deadline`; `None` is no deadline.
    ///
    /// Returns at once if the deadline has passed. May return early for no reason, as
    /// [`std::thread::park`] may: call it in a loop that checks its condition.
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
