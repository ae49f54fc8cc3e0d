//! The wait for a key in process to become dirty.

use std::fmt;
use std::sync::Arc;
use std::task::Waker;

use crate::clock::{Clock, SystemClock, Timestamp};
use crate::list::Index;
use crate::queue::core::hash::FastHash;
use crate::queue::shell::shared::Shared;
use crate::wait::{Progress, Step, WaitId};

/// The operation of [`Work::dirtied`](crate::Work::dirtied), named so that a caller can store or
/// return it.
pub struct Dirtied<'a, K, C = SystemClock, S = FastHash> {
    shared: &'a Arc<Shared<K, C, S>>,
    /// The key's entry, which does not move while the key is in process.
    key: Index,
    place: Option<WaitId>,
}

impl<'a, K, C, S> Dirtied<'a, K, C, S> {
    pub(crate) const fn new(shared: &'a Arc<Shared<K, C, S>>, key: Index) -> Self {
        let place = None;
        Self { shared, key, place }
    }
}

impl<K, C: Clock, S> Step for Dirtied<'_, K, C, S> {
    type Output = ();

    fn clock(&self) -> &dyn Clock {
        &self.shared.clock
    }

    fn step(&mut self, _: Timestamp, waker: &Waker) -> Progress<()> {
        // Dropped once the lock is released: a waker's destructor may run any code.
        let mut stale = None;
        self.shared.with_state(|state| {
            if state.machine.is_dirty(self.key) {
                return Progress::Done(());
            }
            state.awaited = true;
            stale = state.watchers.wait(&mut self.place, waker, self.key);
            Progress::Waiting(None)
        })
    }
}

impl<K, C, S> Drop for Dirtied<'_, K, C, S> {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            drop(self.shared.with_state(|state| state.watchers.leave(place)));
        }
    }
}

impl<K, C, S> fmt::Debug for Dirtied<'_, K, C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dirtied").finish_non_exhaustive()
    }
}
