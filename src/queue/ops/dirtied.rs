//! The wait for a key in process to become dirty.

use std::fmt;
use std::sync::Arc;
use std::task::Waker;

use crate::clock::{Clock, SystemClock, Timestamp};
use crate::list::Index;
use crate::queue::core::hash::FastHash;
use crate::queue::core::waiting::queue_state::Event;
use crate::queue::ops::event_wait::EventWait;
use crate::queue::shell::shared::Shared;
use crate::wait::{Progress, Step};

/// The operation of [`Work::dirtied`](crate::Work::dirtied), named so that a caller can store or
/// return it.
pub struct Dirtied<'a, K, C = SystemClock, S = FastHash> {
    wait: EventWait<'a, K, C, S>,
    /// The key's entry, which does not move while the key is in process.
    key: Index,
}

impl<'a, K, C, S> Dirtied<'a, K, C, S> {
    pub(crate) const fn new(shared: &'a Arc<Shared<K, C, S>>, key: Index) -> Self {
        let wait = EventWait::new(shared);
        Self { wait, key }
    }
}

impl<K, C: Clock, S> Step for Dirtied<'_, K, C, S> {
    type Output = ();

    fn clock(&self) -> &dyn Clock {
        &self.wait.shared.clock
    }

    fn step(&mut self, _: Timestamp, waker: &Waker) -> Progress<()> {
        let key = self.key;
        self.wait.step(waker, Event::Dirty(key), None, |state| {
            state.machine.is_dirty(key).then_some(())
        })
    }
}

impl<K, C, S> fmt::Debug for Dirtied<'_, K, C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dirtied").finish_non_exhaustive()
    }
}
