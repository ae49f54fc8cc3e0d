//! The state under the queue's lock: the machine of the keys, with all that wait for it.
//!
//! Invariant: after each change the shell calls [`QueueState::settle`], which wakes the callers that
//! the change concerns. [`QueueState::start`], with the rate limits, is in the file `start`.

mod start;

use std::mem;
use std::task::Waker;

use crate::clock::Timestamp;
use crate::list::Index;
use crate::queue::core::entry::{KeyHash, start_of};
use crate::queue::core::groups::group_table::GroupId;
use crate::queue::core::groups::grouping::GroupKey;
use crate::queue::core::groups::scheduler::GroupScheduler;
use crate::queue::core::machine::Machine;
use crate::queue::core::machine::add::{AddRefusal, Added, Room};
use crate::queue::core::options::AddOptions;
use crate::queue::core::throttle::Throttle;
use crate::queue::core::waiting::adders::Adders;
use crate::queue::core::waiting::consumers::Consumers;
use crate::wait::{WaitId, WaitList};
use crate::wake::{Wakers, thread_waker};

/// What a listener waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// A resync is due, or never will be.
    Resync,
    /// The closed queue is idle.
    Idle,
    /// The listener's key, which is in process, is dirty.
    Dirty,
}

#[expect(clippy::struct_excessive_bools, reason = "they are independent")]
pub(crate) struct QueueState<K> {
    pub(crate) machine: Machine<K>,
    pub(crate) consumers: Consumers,
    /// A paused queue hands out nothing.
    pub(crate) paused: bool,
    /// Whether the queue is paused, has a rate limit or groups: then a start takes the general path.
    needs_general_start: bool,
    /// The rate limit on all hand-outs.
    throttle: Option<Throttle>,
    /// Whether groups may have limiters of their own.
    has_limited_groups: bool,
    /// A limiter was found closed, and the observer has not been told.
    pub(crate) limiter_closed: bool,
    /// Wakers that limiters have woken under the lock, for the next `settle`.
    wakers: Wakers,
    pub(crate) adders: Adders,
    /// Keys that were refused since the last resync.
    missed: u64,
    /// Callers that wait for an event, and take neither a key nor room: a line for each [`Event`], so
    /// that an event walks no other's listeners. They want a key, of [`Event::Dirty`] only.
    pub(crate) listeners: [WaitList<Index>; 3],
    /// Whether `settle` may have something to do. Each caller that begins to wait sets it; `settle`
    /// clears it when no caller waits.
    pub(crate) awaited: bool,
}

impl<K> QueueState<K> {
    pub(crate) fn new(machine: Machine<K>, throttle: Option<Throttle>) -> Self {
        let groups = machine.ready.groups.as_ref();
        let needs_general_start = throttle.is_some() || groups.is_some();
        let has_limited_groups = groups.is_some_and(|groups| groups.groups.bounds.limited);
        Self {
            has_limited_groups,
            machine,
            consumers: Consumers::default(),
            paused: false,
            needs_general_start,
            throttle,
            limiter_closed: false,
            wakers: Wakers::default(),
            adders: Adders::default(),
            missed: 0,
            listeners: [const { WaitList::new() }; 3],
            awaited: false,
        }
    }

    pub(crate) fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
        let is_grouped = self.machine.ready.groups.is_some();
        self.needs_general_start = paused || self.throttle.is_some() || is_grouped;
    }

    /// Returns true if no caller waits, so that there is nothing to settle.
    #[inline]
    pub(crate) fn is_quiet(&self) -> bool {
        debug_assert!(self.awaited || self.waiters() == 0, "a caller waits");
        !self.awaited
    }

    fn waiters(&self) -> usize {
        self.consumers.line.len()
            + self.adders.line.len()
            + self.listeners.iter().map(WaitList::len).sum::<usize>()
    }

    pub(crate) fn listeners_of(&mut self, event: Event) -> &mut WaitList<Index> {
        &mut self.listeners[event as usize]
    }

    /// Restores, after any change, what the waiters rely on. A missing line here is a lost wake-up.
    /// - As many consumers are awake and not late as there are keys to hand out, or all; where each
    ///   key needs a token one is awake, and wakes the next when it has a token.
    /// - If keys are delayed or held back and a consumer waits, the leader polls in time.
    /// - If a future is to poll and another consumer waits, a watchdog polls when it is late.
    /// - If there is room, no adder waits for it, and then no caller waits for a resync.
    /// - No adder waits for room for a key that is live.
    /// - The listeners of a dirty key are woken.
    /// - Once the queue is closed no adder waits, and once it is over no consumer does.
    pub(crate) fn settle(&mut self, wakers: &mut Wakers) {
        wakers.append(mem::take(&mut self.wakers));
        let (closed, over) = (self.machine.is_closed(), self.machine.is_over());
        let (keys, next_poll, now) = (self.startable(), self.next_poll(), self.machine.time());
        self.consumers.settle(keys, over, next_poll, now, wakers);
        wakers.extend(self.adders.to_wake.drain(..));
        while closed && let Some(waker) = self.adders.line.wake_first() {
            wakers.extend([waker]);
        }
        self.promise_room(wakers);
        if closed || self.resync_due() {
            self.listeners_of(Event::Resync)
                .wake_where(|_| true, wakers);
        }
        if closed && self.machine.is_idle() {
            self.listeners_of(Event::Idle).wake_where(|_| true, wakers);
        }
        if mem::take(&mut self.machine.became_dirty) {
            let machine = &self.machine;
            let is_dirty = |key: &Index| machine.is_dirty(*key);
            self.listeners[Event::Dirty as usize].wake_where(is_dirty, wakers);
        }
        // Limiters of groups may wake the queue while no caller waits.
        self.awaited = self.waiters() > 0 || self.has_limited_groups;
        self.leave_limiters(wakers);
    }

    /// Promises what room there is to blocked adders, in turn.
    fn promise_room(&mut self, wakers: &mut Wakers) {
        if let Some(groups) = &mut self.machine.ready.groups {
            groups.unblock_adders(|group| self.adders.unblock(group));
        }
        while self.machine.has_room()
            && let Some((adder, group)) = self.adders.next()
        {
            if let Some(group) = group
                && let Some(groups) = &mut self.machine.ready.groups
                && !groups.promise_room(group)
            {
                self.adders.block_on_group(adder, group);
                continue;
            }
            self.machine.promised += 1;
            wakers.extend(self.adders.promise(adder));
        }
    }

    /// Leaves the limiter's line unless a consumer waits for a key that the limiter holds back, so
    /// that no token is kept from others in that line. The same for groups without ready keys.
    fn leave_limiters(&mut self, wakers: &mut Wakers) {
        if let Some(groups) = &mut self.machine.ready.groups {
            groups.leave_limiters(wakers);
        }
        let is_of_use =
            self.consumers.line.len() > 0 && !self.paused && self.machine.ready.startable() > 0;
        if let Some(throttle) = &mut self.throttle
            && !is_of_use
        {
            throttle.leave(wakers);
        }
    }

    /// The queue's limiter, or that of a group, has woken the queue: it may have a token.
    pub(crate) fn on_limiter_wake(&mut self, group: Option<GroupId>, now: Option<Timestamp>) {
        if let (Some(group), Some(groups)) = (group, self.machine.ready.groups.as_mut()) {
            groups.on_limiter_wake(group, now);
        } else if let Some(throttle) = &mut self.throttle {
            throttle.on_wake(now);
        }
    }

    /// Returns the instant until which the queue's limiter holds back all ready keys.
    fn refused_until(&self) -> Option<Timestamp> {
        self.throttle.as_ref()?.refused_until
    }

    /// Makes the keys ready that are due, and drops the refusals of limiters that are over.
    pub(crate) fn pass_time(&mut self, now: Timestamp) {
        self.machine.advance(now);
        if let Some(throttle) = &mut self.throttle {
            throttle.pass_time(now);
        }
        if let Some(groups) = &mut self.machine.ready.groups {
            groups.pass_time(now);
        }
    }

    /// Returns true if a consumer that polls may take a key, if there is one. A newcomer may
    /// (barging).
    pub(crate) fn may_take(&mut self, place: Option<WaitId>, now: Timestamp) -> bool {
        place.is_none_or(|place| {
            self.pass_time(now);
            self.consumers.may_take(place, self.startable())
        })
    }

    /// Puts a consumer in line. Returns the instant for which it must arm a timer, if any, and a
    /// waker to be dropped once the lock is released.
    pub(crate) fn wait(
        &mut self,
        place: &mut Option<WaitId>,
        waker: &Waker,
    ) -> (Option<Timestamp>, Option<Waker>) {
        self.awaited = true;
        let is_future = !waker.will_wake(&thread_waker());
        let (next_poll, now) = (self.next_poll(), self.machine.time());
        self.consumers.wait(place, waker, is_future, next_poll, now)
    }

    /// Returns how many consumers are to be awake for the keys that may start.
    pub(crate) fn startable(&self) -> usize {
        match self.machine.ready.startable() {
            _ if self.paused || self.refused_until().is_some() => 0,
            // Only a take shows whether there is a token. Waking one consumer for each ready key
            // would be a thundering herd for each token.
            ready if self.throttle.is_some() => ready.min(1),
            ready => ready,
        }
    }

    /// Requests a resync for a key that was refused for want of room.
    pub(crate) fn miss_key(&mut self) {
        self.missed = self.missed.saturating_add(1);
        // The queue has room: it was the key's group that refused the key. Without this note the
        // resync would be due at once, and again after each resync.
        if self.machine.has_room()
            && let Some(groups) = &mut self.machine.ready.groups
        {
            // Until room comes free in a group a resync would be in vain.
            groups.missed_in_full_group = true;
        }
    }

    /// Takes the number of keys that were missed since the last resync, if one is due.
    pub(crate) fn take_missed(&mut self) -> Option<u64> {
        self.resync_due().then(|| mem::take(&mut self.missed))
    }

    /// Returns true if keys were missed and there is room for them again.
    fn resync_due(&self) -> bool {
        let groups = self.machine.ready.groups.as_ref();
        let is_in_vain = groups.is_some_and(|groups| groups.missed_in_full_group);
        self.missed > 0 && self.machine.has_room() && !is_in_vain
    }

    /// Returns when the leader must poll: a key is due, or a limiter is to be asked again.
    pub(crate) fn next_poll(&self) -> Option<Timestamp> {
        if self.paused {
            return None;
        }
        // `MAX` stands for a refusal without an end, for which no timer helps.
        let refused = self.refused_until().filter(|at| *at < Timestamp::MAX);
        let refused = refused.filter(|_| self.machine.ready.startable() > 0);
        let groups = self.machine.ready.groups.as_deref();
        let parked = groups.and_then(GroupScheduler::next_poll);
        let parked = parked.filter(|at| *at < Timestamp::MAX);
        let due = self.machine.wheel.next_tick().map(start_of);
        due.into_iter().chain(refused).chain(parked).min()
    }

    /// Closes the queue. Keys that a closed limiter holds back are returned too.
    pub(crate) fn close(&mut self, now: Timestamp) {
        self.machine.close(now);
        self.awaited |= self.throttle.is_some();
        if self.machine.ready.len() > 0
            && let Some(throttle) = &mut self.throttle
            && throttle.check_closed(&mut self.wakers)
        {
            self.machine.shut_down();
        }
        if self.has_limited_groups
            && let Some(groups) = &mut self.machine.ready.groups
        {
            for group in groups.closed(&mut self.wakers) {
                self.machine.return_group(group);
            }
        }
    }
}

impl<K: Eq> QueueState<K> {
    /// Same as [`Machine::add`]; also wakes the adders that wait for room for the same key.
    #[inline]
    pub(crate) fn add<const GENERAL: bool>(
        &mut self,
        hash: KeyHash,
        key: &mut Option<K>,
        options: AddOptions,
        room: Room,
        now: Timestamp,
        group: Option<&mut GroupKey<'_>>,
    ) -> Result<Added, AddRefusal> {
        let machine = &mut self.machine;
        let added = machine.add::<GENERAL>(hash, key, options, room, now, group);
        if self.adders.line.len() > 0 && matches!(added, Ok(Added::New)) {
            self.adders.key_added(hash);
        }
        added
    }
}
