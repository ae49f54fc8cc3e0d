//! The wait for an event of the queue: what `dirtied`, `drain` and `resync` have in common.

use std::sync::Arc;
use std::task::Waker;

use crate::clock::Timestamp;
use crate::queue::core::waiting::queue_state::{Event, QueueState};
use crate::queue::shell::shared::Shared;
use crate::wait::{Progress, WaitId};

/// A caller that may have to wait for an event.
pub(crate) struct EventWait<'a, K, C, S> {
    pub(crate) shared: &'a Arc<Shared<K, C, S>>,
    place: Option<WaitId>,
}

impl<'a, K, C, S> EventWait<'a, K, C, S> {
    pub(crate) const fn new(shared: &'a Arc<Shared<K, C, S>>) -> Self {
        let place = None;
        Self { shared, place }
    }

    /// Ends with what `poll` returns, or waits for `event`, until an instant at most.
    pub(crate) fn step<T>(
        &mut self,
        waker: &Waker,
        event: Event,
        until: Option<Timestamp>,
        poll: impl FnOnce(&mut QueueState<K>) -> Option<T>,
    ) -> Progress<T> {
        // Dropped once the lock is released: a waker's destructor may run any code.
        let mut stale = None;
        self.shared.with_state(|state| {
            if let Some(output) = poll(state) {
                let place = self.place.take();
                stale = place.and_then(|place| state.listeners.leave(place).waker);
                return Progress::Done(output);
            }
            state.awaited = true;
            stale = state.listeners.wait(&mut self.place, waker, event);
            Progress::Waiting(until)
        })
    }
}

impl<K, C, S> Drop for EventWait<'_, K, C, S> {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            drop(self.shared.with_state(|state| state.listeners.leave(place)));
        }
    }
}
