use std::fmt;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::shared::{Shared, State};
use crate::clock::{Clock, Timestamp};
use crate::wait::{Progress, Step, WaitId};

/// How a drain ended: what the queue still held.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained<K> {
    /// Keys that waited for their time, or that a worker wanted again later: nobody will work on
    /// them.
    pub returned: Vec<K>,
    /// Keys that are still ready: the timeout came first.
    pub ready: usize,
    /// Keys that are still being processed: the timeout came first.
    pub processing: usize,
}

impl<K> Drained<K> {
    /// Whether everything that was ready has been worked on.
    pub const fn complete(&self) -> bool {
        self.ready == 0 && self.processing == 0
    }
}

/// The operation of [`WorkQueue::drain`](super::WorkQueue::drain).
pub struct Drain<'a, K, C> {
    shared: &'a Arc<Shared<K, C>>,
    timeout: Duration,
    deadline: Option<Timestamp>,
    place: Option<WaitId>,
}

impl<'a, K, C> Drain<'a, K, C> {
    pub(super) fn new(shared: &'a Arc<Shared<K, C>>, timeout: Duration) -> Self {
        Self {
            shared,
            timeout,
            deadline: None,
            place: None,
        }
    }

    fn leave(&mut self, state: &mut State<K>) {
        if let Some(place) = self.place.take() {
            state.drainers.leave(place);
        }
    }
}

impl<K, C: Clock> Step for Drain<'_, K, C> {
    type Output = Drained<K>;

    fn step(&mut self, now: Timestamp, waker: &Waker) -> Progress<Drained<K>> {
        let deadline = *self
            .deadline
            .get_or_insert_with(|| now.saturating_add(self.timeout));
        let shared = self.shared;
        shared.with_state(|state| {
            state.machine.close();
            if now < deadline && !state.machine.is_idle() {
                match self.place {
                    Some(place) => state.drainers.wait_on(place, waker),
                    None => self.place = Some(state.drainers.join(waker.clone(), ())),
                }
                return Progress::Waiting(Some(deadline));
            }
            self.leave(state);
            Progress::Done(Drained {
                returned: state.machine.take_left(),
                ready: state.machine.ready_len(),
                processing: state.machine.processing_len(),
            })
        })
    }
}

impl<K, C> Drop for Drain<'_, K, C> {
    fn drop(&mut self) {
        if self.place.is_some() {
            let shared = self.shared;
            shared.with_state(|state| self.leave(state));
        }
    }
}

impl<K, C> fmt::Debug for Drain<'_, K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain")
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
