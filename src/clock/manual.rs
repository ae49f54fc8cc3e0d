//! A clock that moves only when told to, for tests and simulations.

use std::fmt;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::deadlines::{Alarm, DeadlineId, Deadlines, Sleep};
use super::{Clock, Timestamp};
use crate::sync::{AtomicU64, Mutex, Ordering, thread};
use crate::wake::{thread_waker, wake_all};

/// A clock that moves only when told to. Clones share the time.
///
/// [`advance`](Self::advance) and [`set`](Self::set) wake the threads and tasks whose deadlines
/// have passed, in the order of the deadlines.
///
/// # Memory ordering
/// A thread that reads a new time sees what the thread that set it did before.
///
/// ```
/// use std::time::Duration;
/// use tollgate::{AtomicTokenBucket, ManualClock, Quota, RateLimiter};
///
/// let clock = ManualClock::new();
/// let bucket = AtomicTokenBucket::with_clock(Quota::per_hour(1)?, clock.clone())?;
/// bucket.try_acquire(1).unwrap();
/// clock.advance(Duration::from_secs(3_600)); // no test waits an hour
/// bucket.try_acquire(1).unwrap();
/// # Ok::<(), tollgate::QuotaError>(())
/// ```
#[derive(Clone, Default)]
pub struct ManualClock(Arc<ManualTime>);

#[derive(Default)]
struct ManualTime {
    now: AtomicU64,
    deadlines: Mutex<Deadlines>,
}

impl ManualClock {
    /// Creates a clock that reads [`Timestamp::ZERO`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the time forward and wakes every waiter whose deadline is reached.
    pub fn advance(&self, by: Duration) {
        self.change(|now| now.saturating_add(by));
    }

    /// Sets the time, which may go backwards, and wakes every waiter whose deadline is reached.
    pub fn set(&self, now: Timestamp) {
        self.change(|_| now);
    }

    fn change(&self, change: impl FnOnce(Timestamp) -> Timestamp) {
        let due = {
            let mut deadlines = self.0.deadlines.lock();
            let now = change(self.now());
            // Release pairs with the Acquire in `now`. Stored under the lock that `arm` takes: a
            // waiter that arms later sees the new time, one that armed earlier is in `due`, so no
            // wake-up is lost.
            self.0.now.store(now.as_nanos(), Ordering::Release);
            deadlines.due(now)
        };
        // After the lock is released: a waker may run code that takes it again.
        wake_all(due);
    }

    /// Returns the earliest deadline that a waiter has registered: a simulation advances to it.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.0.deadlines.lock().next()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        // Acquire pairs with the Release in `change`: what the setter did before is visible to a
        // thread that reads the new time.
        Timestamp::from_nanos(self.0.now.load(Ordering::Acquire))
    }

    fn sleep_until(&self, deadline: Timestamp) -> Sleep {
        Sleep::on(self.0.clone(), deadline)
    }

    fn park_until(&self, deadline: Option<Timestamp>) {
        let Some(deadline) = deadline else {
            return thread::park();
        };
        if let Some(id) = self.0.arm(deadline, &thread_waker()) {
            thread::park();
            self.0.disarm(id);
        }
    }
}

impl Alarm for ManualTime {
    fn arm(&self, deadline: Timestamp, waker: &Waker) -> Option<DeadlineId> {
        let mut deadlines = self.deadlines.lock();
        // Read under the lock: `change` stores the time under it, so the time cannot pass the
        // deadline between this check and the insert.
        let now = self.now.load(Ordering::Acquire);
        (now < deadline.as_nanos()).then(|| deadlines.insert(deadline, waker.clone()))
    }

    fn disarm(&self, id: DeadlineId) {
        // The waker is dropped after the lock is released: dropping a waker may run a task's
        // destructor.
        let _removed = self.deadlines.lock().remove(id);
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ManualClock").field(&self.now()).finish()
    }
}
