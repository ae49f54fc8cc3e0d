//! Which key a full queue gives up for one that matters more.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::Priority;
use super::entry::Entry;
use crate::list::Index;

/// The delayed keys, from the lowest priority and, of one priority, from the furthest due: O(log n)
/// a change. A queue that never evicts has none.
#[derive(Debug, Default)]
pub(super) struct Furthest(BTreeSet<(Priority, Reverse<u64>, Index)>);

/// A delayed key that could be evicted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) priority: Priority,
    pub(super) due: u64,
    pub(super) index: Index,
}

impl Furthest {
    pub(super) fn of<'a>(delayed: impl Iterator<Item = (Index, &'a Entry)>) -> Self {
        Self(delayed.map(|(index, entry)| key(entry, index)).collect())
    }

    pub(super) fn insert(&mut self, entry: &Entry, index: Index) {
        self.0.insert(key(entry, index));
    }

    pub(super) fn remove(&mut self, entry: &Entry, index: Index) {
        self.0.remove(&key(entry, index));
    }

    pub(super) fn first(&self) -> Option<Candidate> {
        let &(priority, Reverse(due), index) = self.0.first()?;
        Some(Candidate {
            priority,
            due,
            index,
        })
    }
}

fn key(entry: &Entry, index: Index) -> (Priority, Reverse<u64>, Index) {
    (entry.priority, Reverse(entry.due), index)
}
