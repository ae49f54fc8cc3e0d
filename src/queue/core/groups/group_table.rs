//! The groups of the live keys, in stable slots.
//!
//! A group without keys stays in its slot, with its limiter and its name, until another group reuses
//! the slot: most groups return. A generation tells the groups of a slot apart.

use std::any::Any;

use hashbrown::HashTable;

use crate::arena::Arena;
use crate::clock::Timestamp;
use crate::list::{Index, Linked, Links, NIL};
use crate::queue::core::groups::grouping::{GroupBounds, GroupKey};
use crate::queue::core::throttle::Throttle;

pub(crate) struct GroupTable {
    pub(crate) slots: Arena<Group>,
    index: HashTable<Index>,
    /// See [`GroupName`](super::grouping::GroupName).
    pub(crate) names: Box<dyn Any + Send>,
    pub(crate) bounds: GroupBounds,
}

pub(crate) struct Group {
    links: Links,
    hash: u64,
    /// Incremented when another group reuses the slot.
    pub(crate) generation: u32,
    pub(crate) live: u32,
    pub(crate) processing: u32,
    pub(crate) ready: u32,
    /// Room promised to blocked adders that were woken.
    pub(crate) promised: u32,
    /// Adders that wait, and those of them that are blocked on this group and not on the queue.
    pub(crate) adders: u32,
    pub(crate) blocked_adders: u32,
    pub(crate) weight: u32,
    /// The first of its flows.
    pub(crate) flows: Index,
    /// How many of its ready keys may start.
    pub(crate) startable: u32,
    /// The instant until which its limiter has refused.
    pub(crate) parked: Option<Timestamp>,
    pub(crate) throttle: Option<Box<Throttle>>,
    pub(crate) is_used: bool,
}

impl Group {
    const fn new(hash: u64, generation: u32, flows: Index) -> Self {
        Self {
            links: Links::new(),
            hash,
            generation,
            live: 0,
            processing: 0,
            ready: 0,
            promised: 0,
            adders: 0,
            blocked_adders: 0,
            weight: 1,
            flows,
            startable: 0,
            parked: None,
            throttle: None,
            is_used: true,
        }
    }
}

impl Linked for Group {
    fn links(&self) -> &Links {
        &self.links
    }

    fn links_mut(&mut self) -> &mut Links {
        &mut self.links
    }
}

/// A group in its slot, or one that was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupId {
    pub(crate) at: Index,
    generation: u32,
}

impl GroupTable {
    pub(crate) fn new(names: Box<dyn Any + Send>, bounds: GroupBounds) -> Self {
        Self {
            slots: Arena::new(),
            index: HashTable::new(),
            names,
            bounds,
        }
    }

    pub(crate) fn id(&self, at: Index) -> GroupId {
        let generation = self.slots[at].generation;
        GroupId { at, generation }
    }

    /// Returns the group, if it is still in its slot.
    pub(crate) fn get_mut(&mut self, id: GroupId) -> Option<&mut Group> {
        let group = self.slots.slots_mut().get_mut(id.at as usize)?;
        (group.is_used && group.generation == id.generation).then_some(group)
    }

    /// Finds the slot of a group, in use or not; tries the hint first. Runs the `Eq` of groups.
    pub(crate) fn find(&self, key: &GroupKey<'_>, hint: Option<Index>) -> Option<Index> {
        let is = |at: Index| self.slots[at].hash == key.hash && key.name.is_in(&*self.names, at);
        let hint = hint.filter(|at| (*at as usize) < self.slots.slots().len() && is(*at));
        hint.or_else(|| self.index.find(key.hash, |at| is(*at)).copied())
    }

    /// Puts a new group into a slot. The name and the throttle of the last group there move to `key`,
    /// to be dropped without the lock.
    pub(crate) fn occupy(&mut self, key: &mut GroupKey<'_>) -> Index {
        let at = match self.slots.next_free() {
            Some(at) => {
                let old = &mut self.slots[at];
                let (hash, generation) = (old.hash, old.generation.wrapping_add(1));
                // Its only flow, which has no keys.
                let flows = old.flows;
                key.evicted = old.throttle.take();
                if let Ok(found) = self.index.find_entry(hash, |other| *other == at) {
                    found.remove();
                }
                self.slots
                    .reuse(at, Group::new(key.hash, generation, flows));
                at
            }
            None => self.slots.push(Group::new(key.hash, 0, NIL)),
        };
        key.name.swap_with(&mut *self.names, at);
        let slots = &self.slots;
        self.index.insert_unique(key.hash, at, |at| slots[*at].hash);
        at
    }

    /// Frees the slot of a group without live keys and waiting adders.
    pub(crate) fn release_if_empty(&mut self, at: Index) {
        let group = &mut self.slots[at];
        if group.is_used && group.live == 0 && group.adders == 0 {
            group.is_used = false;
            self.slots.release(at);
        }
    }

    /// Returns how many more keys a group has room for.
    pub(crate) fn room(&self, at: Index) -> u32 {
        let group = &self.slots[at];
        let taken = group.live.saturating_add(group.promised);
        self.bounds.live.saturating_sub(taken)
    }

    /// Iterates over the groups in use.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Index, &Group)> {
        let numbered = (0..).zip(self.slots.slots());
        numbered.filter(|(_, group)| group.is_used)
    }
}
