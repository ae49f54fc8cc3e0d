//! The ready keys of a queue with groups, and which of them is served next.
//!
//! A lane is the FIFO list of the ready keys of one group and one priority. The lanes of the groups
//! that may run stand in the ring of their band, if they have keys. A group keeps its last lane. The
//! lane at the head of a ring hands out as many keys as its group weighs, and goes to the tail: between
//! two turns of a lane every other lane of its ring has one turn at most, and lanes that join the ring
//! stand behind it.

use std::collections::BTreeSet;
use std::task::Waker;

use crate::arena::Arena;
use crate::clock::Timestamp;
use crate::list::{Index, Linked, Links, List, NIL};
use crate::queue::core::bands::{Bands, Turn};
use crate::queue::core::groups::group_table::{Group, GroupId, GroupTable};
use crate::queue::core::groups::grouping::{GroupBounds, GroupKey, Names};
use crate::queue::core::priority::Priority;
use crate::queue::core::throttle::Throttle;
use crate::wake::Wakers;

/// Makes what a limiter wakes when it may have a token for a group.
pub(crate) type Bell = Box<dyn Fn(GroupId) -> Waker + Send>;

pub(crate) struct Lanes {
    pub(crate) groups: GroupTable,
    slots: Arena<Lane>,
    /// The lanes with keys of the groups that may run.
    rings: Bands,
    /// No group before this one has keys, while all are taken out.
    cursor: Index,
    /// The group of each key, at the place of its entry.
    group_of: Vec<Index>,
    len: usize,
    /// Whether a group may be held back, so that what may start is counted.
    may_hold: bool,
    startable: usize,
    /// Groups whose limiters refuse, by the time until when.
    parked: BTreeSet<(Timestamp, Index)>,
    /// Groups that may stand in a limiter's line for nothing.
    idle: Vec<Index>,
    /// Groups in which there is room that blocked adders wait for.
    pub(crate) freed: Vec<Index>,
    bell: Bell,
}

#[derive(Debug)]
struct Lane {
    links: Links,
    keys: List,
    group: Index,
    priority: Priority,
    /// How many keys it may still hand out in its turn.
    credit: u32,
    /// The next lane of its group.
    next: Index,
    in_ring: bool,
}

impl Linked for Lane {
    fn links(&self) -> &Links {
        &self.links
    }

    fn links_mut(&mut self) -> &mut Links {
        &mut self.links
    }
}

/// What others call is out of line, so that queues without groups do not pay for it.
impl Lanes {
    pub(crate) fn new(names: Box<dyn Names>, bounds: GroupBounds, bell: Bell, aging: u32) -> Self {
        Self {
            groups: GroupTable::new(names, bounds),
            slots: Arena::new(),
            rings: Bands::new(aging),
            cursor: 0,
            group_of: Vec::new(),
            len: 0,
            may_hold: bounds.limited || bounds.processing < u32::MAX,
            startable: 0,
            parked: BTreeSet::new(),
            idle: Vec::new(),
            freed: Vec::new(),
            bell,
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// How many keys may start.
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

    /// The group that was last at a place.
    pub(crate) fn hint(&self, entry: Option<Index>) -> Option<Index> {
        let group = *self.group_of.get(entry? as usize)?;
        (group != NIL).then_some(group)
    }

    /// A new key is of a group.
    pub(crate) fn enter(&mut self, entry: Index, found: Option<Index>, key: &mut GroupKey<'_>) {
        let bell = &self.bell;
        let throttle = |id: GroupId, key: &mut GroupKey<'_>| {
            let limiter = key.limiter.take()?;
            Some(Box::new(Throttle::new(limiter, bell(id))))
        };
        let at = self.groups.enter(found, key, throttle);
        self.groups[at].live += 1;
        self.group_of[entry as usize] = at;
    }

    /// A key is no longer live.
    #[inline(never)]
    pub(crate) fn leave(&mut self, entry: Index) {
        let at = self.group_of[entry as usize];
        let group = &mut self.groups[at];
        group.live -= 1;
        if group.blocked > 0 {
            self.freed.push(at);
        }
        self.groups.leave(at);
    }

    /// Keeps room in a group for a blocked adder, if there is any.
    pub(crate) fn promise_room(&mut self, id: GroupId) -> bool {
        let has_room = self.groups.room(id.at) > 0;
        match self.groups.of_id(id) {
            Some(group) if has_room => {
                group.promised += 1;
                true
            }
            // It finds a new group when it comes.
            None => true,
            Some(group) => {
                group.blocked += 1;
                false
            }
        }
    }

    /// Calls that off.
    pub(crate) fn release_room(&mut self, id: GroupId) {
        if let Some(group) = self.groups.of_id(id) {
            group.promised -= 1;
            if group.blocked > 0 {
                self.freed.push(id.at);
            }
        }
    }

    /// An adder of a group that is there waits for room, from now on or again.
    pub(crate) fn adder_waits(&mut self, id: GroupId, joins: bool) {
        if let Some(group) = self.groups.of_id(id) {
            group.adders += u32::from(joins);
            // While it was awake nobody brought it back.
            self.freed.push(id.at);
        }
    }

    /// It has left, and does not stand apart any more.
    pub(crate) fn adder_left(&mut self, id: GroupId, was_apart: bool) {
        if let Some(group) = self.groups.of_id(id) {
            group.adders -= 1;
            group.blocked -= u32::from(was_apart);
            self.groups.leave(id.at);
        }
    }

    /// Has as many of those who wait for room in a group take their turn again as there is room for.
    pub(crate) fn bring_back(&mut self, mut bring_back: impl FnMut(GroupId) -> bool) {
        while let Some(at) = self.freed.pop() {
            let id = self.groups.id(at);
            let mut room = self.groups.room(at);
            while room > 0 && self.groups[at].blocked > 0 && bring_back(id) {
                self.groups[at].blocked -= 1;
                room -= 1;
            }
        }
    }

    #[inline(never)]
    pub(crate) fn push<T: Linked>(&mut self, slots: &mut [T], entry: Index, priority: Priority) {
        let at = self.group_of[entry as usize];
        let lane = self.lane_for(at, priority);
        self.slots[lane].keys.push_back(slots, entry);
        self.groups[at].ready += 1;
        self.len += 1;
        self.refresh(at);
        if !self.may_hold || self.groups[at].startable > 0 {
            self.join_ring(at, lane);
        }
    }

    #[inline(never)]
    pub(crate) fn remove<T: Linked>(&mut self, slots: &mut [T], entry: Index, priority: Priority) {
        let at = self.group_of[entry as usize];
        let mut lane = self.groups[at].lanes;
        while self.slots[lane].priority != priority {
            lane = self.slots[lane].next;
        }
        self.slots[lane].keys.remove(slots, entry);
        self.is_one_less(at, lane);
    }

    /// Whose turn it is.
    #[inline(never)]
    pub(crate) fn turn(&self) -> Option<Turn> {
        let mut turn = self.rings.turn()?;
        turn.lane = turn.index;
        turn.index = self.slots[turn.lane].keys.head()?;
        Some(turn)
    }

    /// Takes out whose turn it is, to be processed.
    #[inline(never)]
    pub(crate) fn take<T: Linked>(&mut self, slots: &mut [T], turn: Turn) {
        self.rings.count(turn);
        let lane = &mut self.slots[turn.lane];
        let at = lane.group;
        lane.keys.pop_front(slots);
        lane.credit = lane.credit.saturating_sub(1);
        if lane.credit == 0 && !lane.keys.is_empty() {
            lane.credit = self.groups[at].weight;
            self.rings.rotate(self.slots.slots_mut(), turn);
        }
        self.groups[at].processing += 1;
        self.is_one_less(at, turn.lane);
    }

    /// A key is no longer processed.
    #[inline(never)]
    pub(crate) fn stop(&mut self, entry: Index) {
        let at = self.group_of[entry as usize];
        self.groups[at].processing -= 1;
        self.refresh(at);
    }

    /// A key is done.
    #[inline(never)]
    pub(crate) fn finish(&mut self, entry: Index) {
        self.stop(entry);
        self.leave(entry);
    }

    /// A token for the group whose turn it is. If its limiter refuses, it is passed over until then.
    pub(crate) fn admit(&mut self, turn: Turn, now: Timestamp, wakers: &mut Wakers) -> Admitted {
        let at = self.slots[turn.lane].group;
        let group = &mut self.groups[at];
        let Some(throttle) = &mut group.throttle else {
            return Admitted::Yes;
        };
        let was_closed = throttle.is_closed();
        if throttle.take(now, true, wakers) {
            return Admitted::Yes;
        }
        let (until, is_closed) = (throttle.refused(), throttle.is_closed());
        let until = until.unwrap_or(now);
        group.parked = Some(until);
        self.parked.insert((until, at));
        self.refresh(at);
        if is_closed {
            Admitted::Closed {
                group: at,
                is_news: !was_closed,
            }
        } else {
            Admitted::No
        }
    }

    /// When a parked group is to be asked again.
    pub(crate) fn next_look(&self) -> Option<Timestamp> {
        self.parked.first().map(|(until, _)| *until)
    }

    /// Asks those again whose time has come.
    pub(crate) fn pass_time(&mut self, now: Timestamp) {
        while let Some(&(until, at)) = self.parked.first()
            && until <= now
        {
            self.unpark(at, None);
        }
    }

    /// The limiter of a group may have a token.
    pub(crate) fn ring(&mut self, id: GroupId, now: Option<Timestamp>) {
        if self.groups.of_id(id).is_some() {
            self.unpark(id.at, now);
        }
    }

    fn unpark(&mut self, at: Index, rung: Option<Timestamp>) {
        let group = &mut self.groups[at];
        if let Some(until) = group.parked.take() {
            self.parked.remove(&(until, at));
        }
        if let Some(throttle) = &mut group.throttle {
            throttle.ring(rung);
        }
        self.refresh(at);
    }

    /// Groups without ready keys leave their limiters' lines, and ask again when they have some.
    pub(crate) fn leave_limiters(&mut self, wakers: &mut Wakers) {
        while let Some(at) = self.idle.pop() {
            let group = &mut self.groups[at];
            if group.ready > 0 {
                continue;
            }
            if let Some(throttle) = &mut group.throttle {
                throttle.leave(wakers);
            }
            self.unpark(at, None);
        }
    }

    /// The groups whose limiters are closed: it asks them.
    pub(crate) fn closed(&mut self, wakers: &mut Wakers) -> Vec<Index> {
        let ready = self.groups.iter().filter(|(_, group)| group.ready > 0);
        let mut ready: Vec<Index> = ready.map(|(at, _)| at).collect();
        ready.retain(|at| {
            let throttle = self.groups[*at].throttle.as_mut();
            throttle.is_some_and(|throttle| throttle.ask_closed(wakers))
        });
        ready
    }

    /// Takes out a ready key of a group.
    pub(crate) fn pop_of<T: Linked>(&mut self, slots: &mut [T], at: Index) -> Option<Index> {
        let lane = self.lanes_of(at).next()?;
        let index = self.slots[lane].keys.pop_front(slots)?;
        self.is_one_less(at, lane);
        Some(index)
    }

    /// Takes out any ready key.
    pub(crate) fn pop_any<T: Linked>(&mut self, slots: &mut [T]) -> Option<Index> {
        while self.len > 0 {
            let Some(group) = self.groups.get(self.cursor) else {
                self.cursor = 0;
                continue;
            };
            if group.ready > 0 {
                return self.pop_of(slots, self.cursor);
            }
            self.cursor += 1;
        }
        None
    }

    /// All ready keys: those of the rings in their order, then those of groups that may not run.
    pub(crate) fn list<T: Linked>(&self, slots: &[T]) -> Vec<Index> {
        let is_held = |group: &Group| self.may_hold && group.startable == 0;
        let held = self.groups.iter().filter(|(_, group)| is_held(group));
        let held = held.flat_map(|(at, _)| self.lanes_of(at));
        let all = self.rings.iter(self.slots.slots()).chain(held);
        all.flat_map(|lane| self.slots[lane].keys.iter(slots))
            .collect()
    }

    /// The lanes of a group that have keys.
    fn lanes_of(&self, at: Index) -> impl Iterator<Item = Index> {
        let some = |lane: Index| (lane != NIL).then_some(lane);
        let next = move |lane: &Index| some(self.slots[*lane].next);
        let all = std::iter::successors(some(self.groups[at].lanes), next);
        all.filter(|lane| !self.slots[*lane].keys.is_empty())
    }

    /// A key of a lane is no longer ready.
    fn is_one_less(&mut self, at: Index, lane: Index) {
        self.len -= 1;
        self.groups[at].ready -= 1;
        if self.slots[lane].keys.is_empty() {
            self.leave_ring(lane);
            self.drop_lane(at, lane);
        }
        self.refresh(at);
        if self.groups.bounds.limited && self.groups[at].ready == 0 {
            self.idle.push(at);
        }
    }

    /// Restores, after any change of a group: as many of its keys count as startable as may start, and its
    /// lanes are in the rings if any may.
    #[inline]
    fn refresh(&mut self, at: Index) {
        if self.may_hold {
            self.refresh_held(at);
        }
    }

    fn refresh_held(&mut self, at: Index) {
        let bounds = self.groups.bounds;
        let group = &mut self.groups[at];
        let free = bounds.processing.saturating_sub(group.processing);
        let most = match (&group.parked, &group.throttle) {
            (None, None) => free,
            // Whether there is a token shows when it is asked for.
            (None, Some(_)) => free.min(1),
            (Some(_), _) => 0,
        };
        let startable = group.ready.min(most);
        let before = std::mem::replace(&mut group.startable, startable);
        self.startable = self.startable - before as usize + startable as usize;
        // A lane without keys has left its ring already.
        if (before > 0) != (startable > 0) && group.ready > 0 {
            self.move_lanes(at, startable > 0);
        }
    }

    /// Moves the lanes of a group into the rings, or out of them.
    fn move_lanes(&mut self, at: Index, into_rings: bool) {
        let mut lane = self.groups[at].lanes;
        while lane != NIL {
            if !into_rings {
                self.leave_ring(lane);
            } else if !self.slots[lane].keys.is_empty() {
                self.join_ring(at, lane);
            }
            lane = self.slots[lane].next;
        }
    }

    fn join_ring(&mut self, at: Index, lane: Index) {
        let one = &mut self.slots[lane];
        if !one.in_ring {
            (one.in_ring, one.credit) = (true, self.groups[at].weight);
            let priority = one.priority;
            self.rings.push(self.slots.slots_mut(), lane, priority);
        }
    }

    fn leave_ring(&mut self, lane: Index) {
        let one = &mut self.slots[lane];
        if std::mem::take(&mut one.in_ring) {
            let priority = one.priority;
            self.rings.remove(self.slots.slots_mut(), lane, priority);
        }
    }

    /// The lane of a group and a priority: that one, one without keys, or another.
    fn lane_for(&mut self, at: Index, priority: Priority) -> Index {
        // A group has as many lanes as priorities of its ready keys: one, mostly.
        let mut lane = self.groups[at].lanes;
        while lane != NIL {
            let one = &mut self.slots[lane];
            if one.keys.is_empty() {
                // It is the only one.
                one.priority = priority;
            }
            if one.priority == priority {
                return lane;
            }
            lane = one.next;
        }
        let group = &mut self.groups[at];
        let lane = self.slots.insert(Lane {
            links: Links::new(),
            keys: List::new(),
            group: at,
            priority,
            credit: 0,
            next: group.lanes,
            in_ring: false,
        });
        group.lanes = lane;
        lane
    }

    /// Frees a lane without keys, unless it is the last of its group.
    fn drop_lane(&mut self, at: Index, lane: Index) {
        let next = self.slots[lane].next;
        let group = &mut self.groups[at];
        if group.lanes == lane {
            if next == NIL {
                return;
            }
            group.lanes = next;
        } else {
            let mut before = group.lanes;
            while self.slots[before].next != lane {
                before = self.slots[before].next;
            }
            self.slots[before].next = next;
        }
        self.slots.release(lane);
    }
}

/// Whether a group has a token for a key that is about to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admitted {
    Yes,
    No,
    /// Nor will it ever: its limiter is closed.
    Closed {
        group: Index,
        /// It was not known yet.
        is_news: bool,
    },
}

impl std::fmt::Debug for Lanes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lanes")
            .field("len", &self.len)
            .field("startable", &self.startable)
            .finish_non_exhaustive()
    }
}
