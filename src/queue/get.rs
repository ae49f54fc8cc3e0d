use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::task::Waker;

use super::shared::{Leader, Shared, State};
use super::work::Work;
use crate::clock::{Clock, Timestamp};
use crate::wait::{Progress, Step, WaitId};

/// The operation of [`WorkQueue::get`](super::WorkQueue::get).
pub struct Get<'a, K, C> {
    shared: &'a Arc<Shared<K, C>>,
    place: Option<WaitId>,
}

impl<'a, K, C> Get<'a, K, C> {
    pub(super) fn new(shared: &'a Arc<Shared<K, C>>) -> Self {
        Self {
            shared,
            place: None,
        }
    }

    /// Leaves the line, and the lead to another; what it was woken for goes to another too, when
    /// the state settles.
    fn leave(&mut self, state: &mut State<K>) {
        let Some(place) = self.place.take() else {
            return;
        };
        if state.getters.was_woken(place) && !cfg!(tollgate_mutant = "no-pass-on") {
            state.woken -= 1;
        }
        state.getters.leave(place);
        let mutant = cfg!(tollgate_mutant = "no-hand-off");
        if !mutant && state.leader.is_some_and(|leader| leader.id == place) {
            state.leader = None;
        }
    }

    /// Joins the line or goes back to it; returns when to look again, if this is the one that
    /// leads.
    fn wait(&mut self, state: &mut State<K>, waker: &Waker) -> Option<Timestamp> {
        let place = match self.place {
            None => state.getters.join(waker.clone(), ()),
            Some(place) => {
                if state.getters.was_woken(place) {
                    state.woken -= 1;
                }
                state.getters.wait_on(place, waker);
                place
            }
        };
        self.place = Some(place);
        if state.leader.is_some_and(|leader| leader.id != place) {
            return None;
        }
        let armed = state.machine.next_due();
        state.leader = Some(Leader { id: place, armed });
        armed
    }
}

impl<K: Hash + Eq + Clone, C: Clock> Step for Get<'_, K, C> {
    type Output = Option<Work<K, C>>;

    fn step(&mut self, now: Timestamp, waker: &Waker) -> Progress<Self::Output> {
        let shared = self.shared;
        let progress = shared.with_state(|state| match state.start(now) {
            None if !state.machine.is_closed() => Progress::Waiting(self.wait(state, waker)),
            started => {
                self.leave(state);
                Progress::Done(started)
            }
        });
        match progress {
            Progress::Waiting(until) => Progress::Waiting(until),
            Progress::Done(started) => {
                Progress::Done(started.map(|started| shared.hand_out(started, now)))
            }
        }
    }
}

impl<K, C> Drop for Get<'_, K, C> {
    fn drop(&mut self) {
        if self.place.is_some() {
            let shared = self.shared;
            shared.with_state(|state| self.leave(state));
        }
    }
}

impl<K, C> fmt::Debug for Get<'_, K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Get")
            .field("in_line", &self.place.is_some())
            .finish_non_exhaustive()
    }
}
