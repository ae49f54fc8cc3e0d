//! tokio's clock and timer.

use crate::clock::{Clock, Sleep, Timestamp};

/// tokio's clock: the sleeps of tasks go to tokio's timer, and `tokio::time::pause` stops this
/// clock too.
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
