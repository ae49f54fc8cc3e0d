//! tokio's clock and timer.

use std::panic::catch_unwind;

use crate::clock::{Clock, Sleep, Timestamp};

/// tokio's clock: the sleeps of tasks go to tokio's timer, and `tokio::time::pause` stops this
/// clock too.
///
/// Take it in tests with paused time. The default [`SystemClock`](crate::SystemClock) goes on in real
/// time there: a bucket on it refills while tokio's time stands, does not when tokio's time is
/// advanced, and a wait for it lasts as long as it says, although every `tokio::time::sleep` ends at
/// once.
///
/// Outside of a runtime it tells the time, but tasks cannot wait on it.
///
/// ```
/// use std::time::Duration;
/// use tollgate::integrations::tokio::TokioClock;
/// use tollgate::{LockedTokenBucket, Quota};
///
/// #[tokio::main(flavor = "current_thread", start_paused = true)]
/// async fn main() {
///     let quota = Quota::per_hour(1).unwrap();
///     let bucket = LockedTokenBucket::with_clock(quota, TokioClock::new()).unwrap();
///     let start = tokio::time::Instant::now();
///     bucket.acquire(1).await.unwrap();
///     bucket.acquire(1).await.unwrap(); // an hour later, and at once: time is paused
///     assert_eq!(start.elapsed().as_secs(), 3600);
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TokioClock {
    origin: tokio::time::Instant,
}

impl TokioClock {
    /// A clock whose origin is now.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::integrations::tokio::TokioClock;
    /// use tollgate::{Clock, Timestamp};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let clock = TokioClock::new();
    /// assert_eq!(clock.now(), Timestamp::ZERO);
    /// tokio::time::advance(Duration::from_micros(3)).await;
    /// assert_eq!(clock.now(), Timestamp::from_nanos(3_000));
    /// # }
    /// ```
    pub fn new() -> Self {
        Self {
            origin: tokio::time::Instant::now(),
        }
    }
}

impl Default for TokioClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        Timestamp::ZERO.saturating_add(self.origin.elapsed())
    }

    fn sleep_until(&self, deadline: Timestamp) -> Sleep {
        Sleep::new(tokio::time::sleep(deadline.saturating_since(self.now())))
    }
}

/// Whether the calling thread drives no runtime, or is one that tokio gave to block on.
///
/// tokio asks itself the same before it blocks, and panics: there is no other way to ask it. Its line
/// is printed before that of the caller.
pub(crate) fn may_block() -> bool {
    catch_unwind(|| drop(tokio::sync::Mutex::new(()).blocking_lock())).is_ok()
}
