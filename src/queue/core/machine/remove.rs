//! Removing a key. A key in process stays live until its run ends; only its next run is cancelled.

use std::borrow::Borrow;

use crate::queue::core::entry::{KeyHash, NEVER, Phase};
use crate::queue::core::index::Found;
use crate::queue::core::machine::Machine;

/// What [`Machine::remove`] has removed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Removed<K> {
    /// A key that was ready or delayed.
    Waiting(K),
    /// A key that was resting, without pending work.
    Resting(K),
    /// The next run of a key in process, with the newest equal key if one was kept for it.
    NextRun(Option<K>),
}

impl<K> Machine<K> {
    /// Removes a waiting key, or cancels the next run of a key in process.
    pub(crate) fn remove<Q>(&mut self, hash: KeyHash, key: &Q) -> Option<Removed<K>>
    where
        K: Eq + Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let same = |slot| self.keys.get(slot).map(K::borrow) == Some(key);
        let Found::Live(index) = self.index.find(self.entries.slots(), hash, same) else {
            return None;
        };
        let entry = &mut self.entries[index];
        match entry.phase {
            Phase::Free => unreachable!("a live key was found"),
            Phase::Ready => {
                let priority = entry.priority;
                self.ready.remove(self.entries.slots_mut(), index, priority);
                Some(Removed::Waiting(self.forget(index)))
            }
            Phase::Delayed => {
                self.cancel_timer(index);
                Some(Removed::Waiting(self.forget(index)))
            }
            Phase::Resting | Phase::GivenUp => Some(Removed::Resting(self.take_resting(index))),
            Phase::Processing | Phase::Dirty | Phase::DirtyHoldBackoff => {
                let had_next_run = entry.phase != Phase::Processing || entry.due != NEVER;
                entry.phase = Phase::Processing;
                entry.due = NEVER;
                self.windows.set(index, NEVER);
                had_next_run.then(|| Removed::NextRun(self.take_newest(index)))
            }
        }
    }
}
