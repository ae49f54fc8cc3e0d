//! The wait for an event of the queue: what `drain`, `resync` and `dirtied` have in common; and the last
//! of these, which adds nothing but the key.

use std::fmt;
use std::sync::Arc;
use std::task::Waker;

use crate::clock::{Clock, SystemClock, Timestamp};
use crate::list::Index;
use crate::queue::core::hash::FastHash;
use crate::queue::core::waiting::queue_state::{Event, QueueState};
use crate::queue::shell::shared::Shared;
use crate::wait::{Progress, Step, WaitId};

/// A caller that may have to wait for an event.
pub(crate) struct EventWait<'a, K, C, S> {
    pub(crate) shared: &'a Arc<Shared<K, C, S>>,
    event: Event,
    /// The key of [`Event::Dirty`].
    key: Index,
    place: Option<WaitId>,
}

impl<'a, K, C, S> EventWait<'a, K, C, S> {
    pub(crate) const fn new(shared: &'a Arc<Shared<K, C, S>>, event: Event, key: Index) -> Self {
        Self {
            shared,
            event,
            key,
            place: None,
        }
    }

    /// Ends with what `poll` returns, or waits for the event, until an instant at most.
    pub(crate) fn step<T>(
        &mut self,
        waker: &Waker,
        until: Option<Timestamp>,
        poll: impl FnOnce(&mut QueueState<K>) -> Option<T>,
    ) -> Progress<T> {
        // Dropped once the lock is released: a waker's destructor may run any code.
        let mut stale = None;
        self.shared.with_state(|state| {
            if let Some(output) = poll(state) {
                let place = self.place.take();
                let listeners = state.listeners_of(self.event);
                stale = place.and_then(|place| listeners.leave(place).waker);
                return Progress::Done(output);
            }
            state.awaited = true;
            let listeners = state.listeners_of(self.event);
            stale = listeners.wait(&mut self.place, waker, self.key);
            Progress::Waiting(until)
        })
    }
}

impl<K, C, S> Drop for EventWait<'_, K, C, S> {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            let leave = |state: &mut QueueState<K>| state.listeners_of(self.event).leave(place);
            drop(self.shared.with_state(leave));
        }
    }
}

/// The operation of [`Work::dirtied`](crate::Work::dirtied), named so that a caller can store or
/// return it.
pub struct Dirtied<'a, K, C = SystemClock, S = FastHash>(pub(super) EventWait<'a, K, C, S>);

impl<K, C: Clock, S> Step for Dirtied<'_, K, C, S> {
    type Output = ();

    fn clock(&self) -> &dyn Clock {
        &self.0.shared.clock
    }

    fn step(&mut self, _: Timestamp, waker: &Waker) -> Progress<()> {
        // Its entry does not move while the key is in process.
        let key = self.0.key;
        self.0.step(waker, None, |state| {
            state.machine.is_dirty(key).then_some(())
        })
    }
}

impl<K, C, S> fmt::Debug for Dirtied<'_, K, C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dirtied").finish_non_exhaustive()
    }
}
