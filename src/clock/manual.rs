use std::fmt;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::deadlines::{Alarm, Deadlines, Place, Sleep};
use super::{Clock, Timestamp};
use crate::sync::{AtomicU64, Mutex, Ordering, thread};
use crate::wake::{thread_waker, wake_all};

/// A clock that moves only when told to. Clones share the time.
///
/// Threads and tasks that wait on it are woken by [`advance`](Self::advance), in the order of their
/// deadlines.
///
/// ```
/// use std::time::Duration;
/// use tollgate::{Clock, ManualClock, Timestamp};
///
/// let clock = ManualClock::new();
/// let twin = clock.clone();
/// clock.advance(Duration::from_nanos(7));
/// assert_eq!(twin.now(), Timestamp::from_nanos(7));
/// ```
#[derive(Clone)]
pub struct ManualClock(Arc<Shared>);

struct Shared {
    now: AtomicU64,
    deadlines: Mutex<Deadlines>,
}

impl ManualClock {
    /// A clock that reads zero.
    ///
    /// ```
    /// use tollgate::{Clock, ManualClock, Timestamp};
    ///
    /// assert_eq!(ManualClock::new().now(), Timestamp::ZERO);
    /// ```
    pub fn new() -> Self {
        Self(Arc::new(Shared {
            now: AtomicU64::new(0),
            deadlines: Mutex::new(Deadlines::default()),
        }))
    }

    /// Moves the time forward and wakes whoever waited for it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{Clock, ManualClock};
    ///
    /// let clock = ManualClock::new();
    /// clock.advance(Duration::from_micros(2));
    /// assert_eq!(clock.now().as_nanos(), 2_000);
    /// ```
    pub fn advance(&self, by: Duration) {
        self.change(|now| now.saturating_add(by));
    }

    /// Sets the time, also backwards, and wakes whoever waited for it.
    ///
    /// ```
    /// use tollgate::{Clock, ManualClock, Timestamp};
    ///
    /// let clock = ManualClock::new();
    /// clock.set(Timestamp::from_nanos(10));
    /// clock.set(Timestamp::from_nanos(4));
    /// assert_eq!(clock.now().as_nanos(), 4);
    /// ```
    pub fn set(&self, now: Timestamp) {
        self.change(|_| now);
    }

    fn change(&self, change: impl FnOnce(Timestamp) -> Timestamp) {
        let due = {
            let mut deadlines = self.0.deadlines.lock();
            let now = change(self.now());
            // Release, with the lock held: a waiter that arms after this sees the new time.
            self.0.now.store(now.as_nanos(), Ordering::Release);
            deadlines.due(now)
        };
        wake_all(due);
    }

    /// The deadline that is next, if anyone waits for one: where a simulation should advance to.
    ///
    /// ```
    /// let clock = tollgate::ManualClock::new();
    /// assert_eq!(clock.next_deadline(), None);
    /// ```
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.0.deadlines.lock().next()
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        // Acquire pairs with the Release in `set`: what the setter did before is visible to who
        // reads the new time.
        Timestamp::from_nanos(self.0.now.load(Ordering::Acquire))
    }

    fn sleep_until(&self, deadline: Timestamp) -> Sleep {
        Sleep::on(self.0.clone(), deadline)
    }

    fn park_until(&self, deadline: Option<Timestamp>) {
        let Some(deadline) = deadline else {
            return thread::park();
        };
        if let Some(place) = self.0.arm(deadline, &thread_waker()) {
            thread::park();
            self.0.disarm(place);
        }
    }
}

impl Alarm for Shared {
    fn arm(&self, deadline: Timestamp, waker: &Waker) -> Option<Place> {
        let mut deadlines = self.deadlines.lock();
        // Acquire, with the lock held: see `set`.
        let now = self.now.load(Ordering::Acquire);
        (now < deadline.as_nanos()).then(|| deadlines.insert(deadline, waker.clone()))
    }

    fn disarm(&self, place: Place) {
        let removed = self.deadlines.lock().remove(place);
        drop(removed);
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ManualClock").field(&self.now()).finish()
    }
}
