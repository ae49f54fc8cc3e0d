//! The live keys of a group, and the room in it that blocked adders wait for.
//!
//! Invariant: if a group has room and an adder is blocked on it, the group is in `groups_with_room`,
//! until `unblock_adders` has let as many adders take their turns as there is room for.

use crate::list::{Index, NIL};
use crate::queue::core::groups::group_table::GroupId;
use crate::queue::core::groups::grouping::GroupKey;
use crate::queue::core::groups::scheduler::GroupScheduler;
use crate::queue::core::throttle::Throttle;

impl GroupScheduler {
    /// Returns the group of the last key in a slot: a hint for the lookup of a key that returns.
    pub(crate) fn last_group(&self, entry: Option<Index>) -> Option<Index> {
        let group = *self.group_of.get(entry? as usize)?;
        (group != NIL).then_some(group)
    }

    /// A new key enters its group, at `found` if the group has a slot.
    pub(crate) fn enter(&mut self, entry: Index, found: Option<Index>, key: &mut GroupKey<'_>) {
        let at = found.unwrap_or_else(|| {
            let at = self.groups.occupy(key);
            let waker = || (self.make_waker)(Some(self.groups.id(at)));
            let limiter = key.limiter.take();
            let throttle = limiter.map(|limiter| Box::new(Throttle::new(limiter, waker())));
            self.groups.slots[at].throttle = throttle;
            at
        });
        // A group without keys and adders has left its slot to others, but none has come.
        if !std::mem::replace(&mut self.groups.slots[at].is_used, true) {
            self.groups.slots.revive(at);
        }
        let group = &mut self.groups.slots[at];
        group.weight = key.weight;
        group.live += 1;
        self.group_of[entry as usize] = at;
    }

    /// A key leaves its group: it is absent, or rests.
    #[inline(never)]
    pub(crate) fn leave(&mut self, entry: Index) {
        let at = self.group_of[entry as usize];
        self.missed_in_full_group = false;
        let group = &mut self.groups.slots[at];
        group.live -= 1;
        if group.blocked_adders > 0 {
            self.groups_with_room.push(at);
        }
        self.groups.release_if_empty(at);
    }

    /// Reserves room in a group for an adder that was in line; returns false if there is none, and
    /// the adder is blocked on the group.
    pub(crate) fn promise_room(&mut self, id: GroupId) -> bool {
        let has_room = self.groups.room(id.at) > 0;
        match self.groups.get_mut(id) {
            Some(group) if has_room => {
                group.promised += 1;
                true
            }
            // The group is gone: the adder will make a new one, which has room.
            None => true,
            Some(group) => {
                group.blocked_adders += 1;
                false
            }
        }
    }

    /// Releases the room that was promised.
    pub(crate) fn release_room(&mut self, id: GroupId) {
        self.missed_in_full_group = false;
        if let Some(group) = self.groups.get_mut(id) {
            group.promised -= 1;
            if group.blocked_adders > 0 {
                self.groups_with_room.push(id.at);
            }
        }
    }

    /// An adder waits for room: `joins` the line, or goes back to its place.
    pub(crate) fn adder_waits(&mut self, id: GroupId, joins: bool) {
        if let Some(group) = self.groups.get_mut(id) {
            group.adders += u32::from(joins);
            // Room may have come free while it was awake, when it could not be unblocked.
            self.groups_with_room.push(id.at);
        }
    }

    /// An adder has left the line.
    pub(crate) fn adder_left(&mut self, id: GroupId, was_blocked: bool) {
        if let Some(group) = self.groups.get_mut(id) {
            group.adders -= 1;
            group.blocked_adders -= u32::from(was_blocked);
            self.groups.release_if_empty(id.at);
        }
    }

    /// Lets as many adders that are blocked on a group take their turns as there is room for.
    /// `unblock` returns false if none of them is in line.
    pub(crate) fn unblock_adders(&mut self, mut unblock: impl FnMut(GroupId) -> bool) {
        while let Some(at) = self.groups_with_room.pop() {
            let id = self.groups.id(at);
            let mut room = self.groups.room(at);
            while room > 0 && self.groups.slots[at].blocked_adders > 0 && unblock(id) {
                self.groups.slots[at].blocked_adders -= 1;
                room -= 1;
            }
        }
    }
}
