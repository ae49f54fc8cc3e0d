//! Removing a key. A key in process stays live until its run ends; only its next run is cancelled.

use std::borrow::Borrow;

use crate::queue::core::entry::{KeyHash, NEVER, Phase};
use crate::queue::core::index::Found;
use crate::queue::core::machine::Machine;

impl<K> Machine<K> {
    /// Removes a waiting key, or cancels the next run of a key in process. Returns true if there was
    /// one, and a key to be dropped once the lock is released.
    pub(crate) fn remove<Q>(&mut self, hash: KeyHash, key: &Q) -> (bool, Option<K>)
    where
        K: Eq + Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let same = |slot| self.keys.get(slot).map(K::borrow) == Some(key);
        let Found::Live(index) = self.index.find(self.entries.slots(), hash, same) else {
            return (false, None);
        };
        let entry = &mut self.entries[index];
        match entry.phase {
            Phase::Free => unreachable!("a live key was found"),
            Phase::Ready => {
                let priority = entry.priority;
                self.ready.remove(self.entries.slots_mut(), index, priority);
            }
            Phase::Delayed => self.wheel.remove(self.entries.slots_mut(), index),
            Phase::Resting | Phase::GivenUp => return (false, Some(self.take_resting(index))),
            Phase::Processing | Phase::Dirty | Phase::DirtyHoldBackoff => {
                let had_next_run = entry.phase != Phase::Processing || entry.due != NEVER;
                entry.phase = Phase::Processing;
                entry.due = NEVER;
                self.windows.set(index, NEVER);
                return (had_next_run, self.take_newest(index));
            }
        }
        (true, Some(self.forget(index)))
    }
}
