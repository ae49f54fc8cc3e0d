//! Wakers ordered by deadline: shared by [`ManualClock`](super::ManualClock) and the timer thread
//! of [`SystemClock`](super::SystemClock).

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::Timestamp;

/// Identifies a registered waker: by its deadline, and by its arrival among those of that deadline.
pub(super) type DeadlineId = (Timestamp, u64);

#[derive(Debug, Default)]
pub(super) struct Deadlines {
    wakers: BTreeMap<DeadlineId, Waker>,
    /// The number of the next arrival.
    pub(super) arrivals: u64,
}

impl Deadlines {
    pub(super) fn insert(&mut self, deadline: Timestamp, waker: Waker) -> DeadlineId {
        let id = (deadline, self.arrivals);
        self.arrivals += 1;
        self.wakers.insert(id, waker);
        id
    }

    pub(super) fn remove(&mut self, id: DeadlineId) -> Option<Waker> {
        self.wakers.remove(&id)
    }

    pub(super) fn next(&self) -> Option<Timestamp> {
        self.wakers.first_key_value().map(|(id, _)| id.0)
    }

    /// Removes and returns every waker whose deadline is at most `now`, in order.
    pub(super) fn due(&mut self, now: Timestamp) -> impl Iterator<Item = Waker> + use<> {
        let later = self.wakers.split_off(&(now, u64::MAX));
        std::mem::replace(&mut self.wakers, later).into_values()
    }
}

/// A timer that a [`Sleep`] registers with.
pub(super) trait Alarm: Send + Sync {
    /// Registers `waker` for `deadline`; returns `None` if the deadline has passed.
    fn arm(&self, deadline: Timestamp, waker: &Waker) -> Option<DeadlineId>;
    fn disarm(&self, id: DeadlineId);
}

/// The future of [`Clock::sleep_until`](super::Clock::sleep_until): completes at its deadline.
///
/// # Cancel safety
/// Dropping it removes its waker from the clock and has no other effect.
///
/// ```
/// use std::future::Future;
/// use std::pin::Pin;
/// use std::task::{Context, Waker};
/// use tollgate::clock::Sleep;
/// use tollgate::{Clock, ManualClock, Timestamp};
///
/// struct Session {
///     expires: Sleep,
/// }
///
/// let (clock, noon) = (ManualClock::new(), Timestamp::from_nanos(43_200_000_000_000));
/// let mut session = Session { expires: clock.sleep_until(noon) };
/// let expires = Pin::new(&mut session.expires);
/// assert!(expires.poll(&mut Context::from_waker(Waker::noop())).is_pending());
/// assert_eq!(clock.next_deadline(), Some(noon));
/// drop(session);
/// assert_eq!(clock.next_deadline(), None);
/// ```
pub struct Sleep(Kind);

enum Kind {
    /// The timer, the deadline, and the registered waker.
    Alarm(Arc<dyn Alarm>, Timestamp, Option<DeadlineId>),
    Foreign(Pin<Box<dyn Future<Output = ()> + Send + Sync>>),
}

impl Sleep {
    /// Wraps the sleep of another timer, for a user's own [`Clock`](super::Clock).
    ///
    /// ```
    /// use tollgate::clock::Sleep;
    ///
    /// let at_once = Sleep::new(std::future::ready(()));
    /// futures_executor::block_on(at_once);
    /// ```
    pub fn new(future: impl Future<Output = ()> + Send + Sync + 'static) -> Self {
        Self(Kind::Foreign(Box::pin(future)))
    }

    pub(super) fn on(alarm: Arc<dyn Alarm>, deadline: Timestamp) -> Self {
        Self(Kind::Alarm(alarm, deadline, None))
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Kind::Foreign(future) => future.as_mut().poll(cx),
            Kind::Alarm(alarm, deadline, armed) => {
                // Registers anew at each poll: the alarm decides whether the deadline has passed,
                // and the waker may differ from the last poll's.
                if let Some(id) = armed.take() {
                    alarm.disarm(id);
                }
                *armed = alarm.arm(*deadline, cx.waker());
                armed.map_or(Poll::Ready(()), |_| Poll::Pending)
            }
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Kind::Alarm(alarm, _, armed) = &mut self.0
            && let Some(id) = armed.take()
        {
            alarm.disarm(id);
        }
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let deadline = match &self.0 {
            Kind::Alarm(_, deadline, _) => Some(deadline),
            Kind::Foreign(_) => None,
        };
        f.debug_struct("Sleep")
            .field("deadline", &deadline)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use super::*;

    #[test]
    fn due_takes_what_is_due_in_order_and_leaves_the_rest() {
        let mut deadlines = Deadlines::default();
        for at in [5, 1, 9, 5] {
            deadlines.insert(Timestamp::from_nanos(at), Waker::noop().clone());
        }
        assert_eq!(deadlines.due(Timestamp::ZERO).count(), 0);
        assert_eq!(deadlines.next(), Some(Timestamp::from_nanos(1)));
        assert_eq!(deadlines.due(Timestamp::from_nanos(5)).count(), 3);
        assert_eq!(deadlines.next(), Some(Timestamp::from_nanos(9)));
        assert_eq!(deadlines.due(Timestamp::MAX).count(), 1);
        assert_eq!(deadlines.next(), None);
    }
}
