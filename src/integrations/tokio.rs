//! [`TokioClock`]: tokio's clock and timer.

use crate::clock::{Clock, Sleep, Timestamp};

/// tokio's clock: tasks sleep on tokio's timer, and `tokio::time::pause` stops this clock too.
///
/// Use it in tests with paused time. The default [`SystemClock`](crate::SystemClock) advances in
/// real time there: a bucket refills while tokio's time stands and does not when tokio's time is
/// advanced, and a wait lasts its real time although every `tokio::time::sleep` ends at once.
///
/// Outside a runtime the clock can be read, but tasks cannot wait on it.
///
/// # Panics
/// A task that waits outside a runtime, or in one without a timer, panics as `tokio::time::sleep`
/// does.
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
    /// Creates a clock whose origin is now.
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
