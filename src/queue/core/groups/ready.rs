//! The ready keys: in bands, or, in a queue with groups, in the flows of its scheduler.

use crate::list::{Index, Linked, NIL};
use crate::queue::core::bands::{Bands, NextKey};
use crate::queue::core::groups::grouping::GroupKey;
use crate::queue::core::groups::scheduler::GroupScheduler;
use crate::queue::core::priority::Priority;
use crate::queue::core::waiting::adders::AdderGroup;

pub(crate) struct ReadyKeys {
    /// All ready keys of a queue without groups.
    pub(crate) bands: Bands,
    pub(crate) groups: Option<Box<GroupScheduler>>,
}

impl ReadyKeys {
    pub(crate) fn new(aging: u32, groups: Option<GroupScheduler>) -> Self {
        Self {
            bands: Bands::new(aging),
            groups: groups.map(Box::new),
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        match &self.groups {
            None => self.bands.len(),
            Some(groups) => groups.len,
        }
    }

    /// Returns how many of them may start.
    #[inline]
    pub(crate) fn startable(&self) -> usize {
        match &self.groups {
            None => self.bands.len(),
            Some(groups) => groups.startable(),
        }
    }

    #[inline]
    pub(crate) fn push<T: Linked>(&mut self, slots: &mut [T], index: Index, priority: Priority) {
        match &mut self.groups {
            None => self.bands.push(slots, index, priority),
            Some(groups) => groups.push(slots, index, priority),
        }
    }

    #[inline]
    pub(crate) fn remove<T: Linked>(&mut self, slots: &mut [T], index: Index, priority: Priority) {
        match &mut self.groups {
            None => self.bands.remove(slots, index, priority),
            Some(groups) => groups.remove(slots, index, priority),
        }
    }

    /// Returns the key to hand out next.
    pub(crate) fn peek(&self) -> Option<NextKey> {
        match &self.groups {
            None => self.bands.peek(),
            Some(groups) => groups.peek(),
        }
    }

    /// Removes the key that was peeked, to be processed.
    #[inline]
    pub(crate) fn pop<T: Linked>(&mut self, slots: &mut [T], next: NextKey) {
        match &mut self.groups {
            Some(groups) if next.flow != NIL => groups.pop(slots, next),
            _ => self.bands.pop(slots, next),
        }
    }

    /// Returns all keys, in order.
    pub(crate) fn list<T: Linked>(&self, slots: &[T]) -> Vec<Index> {
        match &self.groups {
            None => self.bands.iter(slots).collect(),
            Some(groups) => groups.list(slots),
        }
    }

    /// Finds the slot of the group of a key that was last, or will be, at `entry`. Runs the `Eq` of
    /// groups.
    pub(crate) fn find_group(&self, key: &GroupKey<'_>, entry: Option<Index>) -> Option<Index> {
        let groups = self.groups.as_ref()?;
        groups.groups.find(key, groups.last_group(entry))
    }

    /// Returns true if a group has room for a new key.
    pub(crate) fn group_has_room(&self, group: Option<Index>) -> bool {
        let groups = self.groups.as_ref().zip(group);
        groups.is_none_or(|(groups, at)| groups.groups.room(at) > 0)
    }

    /// Returns the group of an adder that begins to wait. Runs the `Eq` of groups.
    pub(crate) fn adder_group(&self, key: &GroupKey<'_>) -> AdderGroup {
        let (found, hash) = (self.find_group(key, None), key.hash);
        let groups = self.groups.as_ref().zip(found);
        let group = groups.filter(|(groups, at)| groups.groups.slots[*at].is_used);
        let id = group.map(|(groups, at)| groups.groups.id(at));
        AdderGroup { hash, id }
    }
}
