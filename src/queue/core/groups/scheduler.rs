//! The ready keys of a queue with groups, and the deficit round robin (Shreedhar and Varghese, 1995)
//! that picks the next; each key costs one.
//!
//! A *flow* is the FIFO list of the ready keys of one group and one priority. Invariant: the ring of
//! a band holds exactly the flows with keys of the groups that may run; [`refresh`] restores it. The
//! flow at the head hands out as many keys as its group weighs, and goes to the tail: between two
//! turns of a flow every other flow of its ring has at most one, and flows that join stand behind it.
//!
//! [`refresh`]: GroupScheduler::refresh

mod limits;
mod rings;
mod room;

use std::any::Any;
use std::collections::BTreeSet;
use std::task::Waker;

use crate::arena::Arena;
use crate::clock::Timestamp;
use crate::list::{Index, Linked, NIL};
use crate::queue::core::bands::{Bands, NextKey};
use crate::queue::core::groups::flow::Flow;
use crate::queue::core::groups::group_table::{Group, GroupId, GroupTable};
use crate::queue::core::groups::grouping::GroupBounds;
use crate::queue::core::priority::Priority;

/// Makes the waker that the limiter of a group, or the queue's own, wakes when it may have a token.
pub(crate) type MakeLimiterWaker = Box<dyn Fn(Option<GroupId>) -> Waker + Send>;

pub(crate) struct GroupScheduler {
    pub(crate) groups: GroupTable,
    pub(crate) flows: Arena<Flow>,
    /// The flows with keys of the groups that may run: a ring for each band.
    rings: Bands,
    /// The group of each key, at the index of its entry.
    group_of: Vec<Index>,
    /// The number of ready keys.
    pub(crate) len: usize,
    /// Whether a group can be held back by a bound or a limiter. If not, `startable` is not counted.
    may_hold: bool,
    startable: usize,
    /// Groups whose limiters have refused, by the instant until which they have.
    parked: BTreeSet<(Timestamp, Index)>,
    /// Groups that may stand in a limiter's line without a ready key.
    idle: Vec<Index>,
    /// Groups in which room has come free that blocked adders wait for.
    groups_with_room: Vec<Index>,
    /// Whether a full group has refused a key for which a resync is requested, and no room has come
    /// free in any group since.
    pub(crate) missed_in_full_group: bool,
    make_waker: MakeLimiterWaker,
}

// The methods that other modules call are out of line, so that they cost queues without groups no
// instruction cache.
impl GroupScheduler {
    pub(crate) fn new(
        names: Box<dyn Any + Send>,
        bounds: GroupBounds,
        make_waker: MakeLimiterWaker,
        aging: u32,
    ) -> Self {
        Self {
            groups: GroupTable::new(names, bounds),
            flows: Arena::new(),
            rings: Bands::new(aging),
            group_of: Vec::new(),
            len: 0,
            may_hold: bounds.limited || bounds.processing < u32::MAX,
            startable: 0,
            parked: BTreeSet::new(),
            idle: Vec::new(),
            groups_with_room: Vec::new(),
            missed_in_full_group: false,
            make_waker,
        }
    }

    /// Returns how many keys may start.
    pub(crate) const fn startable(&self) -> usize {
        if self.may_hold {
            self.startable
        } else {
            self.len
        }
    }

    pub(crate) fn grow(&mut self, entries: usize) {
        self.group_of.resize(entries, NIL);
    }

    #[inline(never)]
    pub(crate) fn push<T: Linked>(&mut self, slots: &mut [T], entry: Index, priority: Priority) {
        let at = self.group_of[entry as usize];
        let flow = self.flow_for(at, priority);
        self.flows[flow].keys.push_back(slots, entry);
        self.groups.slots[at].ready += 1;
        self.len += 1;
        self.refresh(at);
        // `refresh` moves flows only when the group begins to run; one that runs may lack this flow.
        if !self.may_hold || self.groups.slots[at].startable > 0 {
            self.join_ring(at, flow);
        }
    }

    #[inline(never)]
    pub(crate) fn remove<T: Linked>(&mut self, slots: &mut [T], entry: Index, priority: Priority) {
        let at = self.group_of[entry as usize];
        let mut flow = self.groups.slots[at].flows;
        while self.flows[flow].priority != priority {
            flow = self.flows[flow].next;
        }
        self.flows[flow].keys.remove(slots, entry);
        self.removed_key(at, flow);
    }

    /// Returns the key to hand out next.
    #[inline(never)]
    pub(crate) fn peek(&self) -> Option<NextKey> {
        let mut next = self.rings.peek()?;
        next.flow = next.index;
        next.index = self.flows[next.flow].keys.head()?;
        Some(next)
    }

    /// Removes the key that was peeked, to be processed.
    #[inline(never)]
    pub(crate) fn pop<T: Linked>(&mut self, slots: &mut [T], next: NextKey) {
        self.rings.count_hand_out(next);
        let flow = &mut self.flows[next.flow];
        let at = flow.group;
        flow.keys.pop_front(slots);
        flow.credit = flow.credit.saturating_sub(1);
        // The end of its turn. A flow without keys leaves the ring below.
        if flow.credit == 0 && !flow.keys.is_empty() {
            flow.credit = self.groups.slots[at].weight;
            self.rings.rotate(self.flows.slots_mut(), next);
        }
        self.groups.slots[at].processing += 1;
        self.removed_key(at, next.flow);
    }

    /// A key is no longer in process.
    #[inline(never)]
    pub(crate) fn stop(&mut self, entry: Index) {
        let at = self.group_of[entry as usize];
        self.groups.slots[at].processing -= 1;
        self.refresh(at);
    }

    /// A key in process is absent now.
    #[inline(never)]
    pub(crate) fn finish(&mut self, entry: Index) {
        self.stop(entry);
        self.leave(entry);
    }

    /// Returns the ready keys of a group.
    pub(crate) fn list_of<T: Linked>(&self, slots: &[T], at: Index) -> Vec<Index> {
        let flows = self.flows_of(at);
        flows
            .flat_map(|flow| self.flows[flow].keys.iter(slots))
            .collect()
    }

    /// Returns all ready keys: those of the rings in order, then those of groups that are held back.
    pub(crate) fn list<T: Linked>(&self, slots: &[T]) -> Vec<Index> {
        let is_held = |group: &Group| self.may_hold && group.startable == 0;
        let held = self.groups.iter().filter(|(_, group)| is_held(group));
        let held = held.flat_map(|(at, _)| self.flows_of(at));
        let all = self.rings.iter(self.flows.slots()).chain(held);
        all.flat_map(|flow| self.flows[flow].keys.iter(slots))
            .collect()
    }

    /// Restores the invariants after a key of a flow was removed.
    fn removed_key(&mut self, at: Index, flow: Index) {
        self.len -= 1;
        self.groups.slots[at].ready -= 1;
        if self.flows[flow].keys.is_empty() {
            self.leave_ring(flow);
            self.free_flow(at, flow);
        }
        self.refresh(at);
        if self.groups.bounds.limited && self.groups.slots[at].ready == 0 {
            self.idle.push(at);
        }
    }

    /// Restores, after any change to a group: `startable` counts the keys of it that may start, and
    /// its flows are in the rings if any may.
    #[inline]
    fn refresh(&mut self, at: Index) {
        if self.may_hold {
            self.refresh_held(at);
        }
    }

    fn refresh_held(&mut self, at: Index) {
        let bounds = self.groups.bounds;
        let group = &mut self.groups.slots[at];
        let free = bounds.processing.saturating_sub(group.processing);
        let most = match (&group.parked, &group.throttle) {
            (None, None) => free,
            // Only a take shows whether the limiter has a token. Waking one consumer for each ready
            // key would be a thundering herd for each token.
            (None, Some(_)) => free.min(1),
            (Some(_), _) => 0,
        };
        let startable = group.ready.min(most);
        let before = std::mem::replace(&mut group.startable, startable);
        self.startable = self.startable - before as usize + startable as usize;
        // A group without ready keys has no flow to move: `removed_key` has taken it out.
        if (before > 0) != (startable > 0) && group.ready > 0 {
            self.move_flows(at, startable > 0);
        }
    }
}
