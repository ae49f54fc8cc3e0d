//! The machine with those who wait for it, and who of them is to be woken.

use std::mem;
use std::task::Waker;

use crate::clock::Timestamp;
use crate::list::Index;
use crate::queue::core::admit::{Added, Refused, Room};
use crate::queue::core::bands::Turn;
use crate::queue::core::entry::Hash;
use crate::queue::core::groups::group_table::GroupId;
use crate::queue::core::groups::grouping::GroupKey;
use crate::queue::core::groups::lanes::{Admitted, Lanes};
use crate::queue::core::machine::Machine;
use crate::queue::core::options::AddOptions;
use crate::queue::core::run::Started;
use crate::queue::core::throttle::Throttle;
use crate::queue::core::waiting::adders::Adders;
use crate::queue::core::waiting::consumers::{Consumers, Kind};
use crate::wait::{WaitId, WaitList};
use crate::wake::{Wakers, thread_waker};

#[expect(clippy::struct_excessive_bools, reason = "each is for itself")]
#[derive(Debug)]
pub(crate) struct State<K> {
    pub(crate) machine: Machine<K>,
    /// In line for a key.
    consumers: Consumers,
    /// Nothing is handed out.
    paused: bool,
    /// It is paused, or limited, or has groups.
    is_special: bool,
    /// Of which each key that is handed out needs a token.
    throttle: Option<Throttle>,
    /// Or also of its group's limiter.
    has_limited_groups: bool,
    /// The limiter was found closed, and the observer has not been told.
    limiter_closed: bool,
    /// To be woken with whom the next change wakes.
    wakers: Wakers,
    pub(crate) adders: Adders,
    /// Keys that were refused since the last resync; those who wait for room for one.
    pub(crate) missed: u64,
    pub(crate) resyncers: WaitList<()>,
    /// Those who want to know when a key that is being processed becomes dirty.
    pub(crate) watchers: WaitList<Index>,
    pub(crate) drainers: WaitList<()>,
    /// Whoever begins to wait says so, since the last of the lists was found empty.
    pub(crate) awaited: bool,
}

impl<K> State<K> {
    pub(crate) fn new(machine: Machine<K>, throttle: Option<Throttle>) -> Self {
        let groups = machine.ready.groups();
        let is_special = throttle.is_some() || groups.is_some();
        let has_limited_groups = groups.is_some_and(|lanes| lanes.groups.bounds.limited);
        Self {
            has_limited_groups,
            machine,
            consumers: Consumers::new(),
            paused: false,
            is_special,
            throttle,
            limiter_closed: false,
            wakers: Wakers::default(),
            adders: Adders::new(),
            missed: 0,
            resyncers: WaitList::new(),
            watchers: WaitList::new(),
            drainers: WaitList::new(),
            awaited: false,
        }
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    pub(crate) fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
        let is_grouped = self.machine.ready.groups().is_some();
        self.is_special = paused || self.throttle.is_some() || is_grouped;
    }

    /// Whether nobody waits: then there is nothing to settle.
    #[inline]
    pub(crate) fn is_quiet(&self) -> bool {
        debug_assert!(self.awaited || self.waiters() == 0, "somebody waits");
        !self.awaited
    }

    fn waiters(&self) -> usize {
        self.consumers.len()
            + self.adders.len()
            + self.drainers.len()
            + self.resyncers.len()
            + self.watchers.len()
    }

    /// Restores, after any change, what those who wait rely on:
    /// - as many consumers are awake and not late as there are keys to hand out, or all of them; where
    ///   each needs a token one is, and wakes the next when it has one;
    /// - if keys are delayed or held back and a consumer waits, one is set to look in time;
    /// - if a future is to look and another consumer waits, one is set to look when it is late;
    /// - if there is room, no adder waits, and then nobody who waits for a resync;
    /// - no adder waits for room for a key that has come in meanwhile;
    /// - who watches a key knows that it is dirty;
    /// - once the queue is closed no adder waits, and once it is over no consumer does.
    pub(crate) fn settle(&mut self, wakers: &mut Wakers) {
        wakers.append(mem::take(&mut self.wakers));
        let (closed, over) = (self.machine.is_closed(), self.machine.is_over());
        let (keys, next_look, now) = (self.startable(), self.next_look(), self.machine.time());
        self.consumers.settle(keys, over, next_look, now, wakers);
        wakers.extend(self.adders.waking());
        while closed && let Some(waker) = self.adders.wake_first() {
            wakers.extend([waker]);
        }
        self.promise_room(wakers);
        if closed || self.resync_due() {
            wakers.extend(std::iter::from_fn(|| self.resyncers.wake_first()));
        }
        if closed && self.machine.is_idle() {
            wakers.extend(std::iter::from_fn(|| self.drainers.wake_first()));
        }
        if mem::take(&mut self.machine.dirtied) {
            let machine = &self.machine;
            self.watchers
                .wake_where(|&key| machine.is_dirty(key), wakers);
        }
        self.awaited = self.waiters() > 0 || self.has_limited_groups;
        self.leave_limiters(wakers);
    }

    /// Promises what room there is to blocked adders.
    fn promise_room(&mut self, wakers: &mut Wakers) {
        if let Some(groups) = self.machine.ready.groups_mut() {
            groups.bring_back(|group| self.adders.bring_back(group));
        }
        while self.machine.has_room()
            && let Some((adder, group)) = self.adders.next()
        {
            if let Some(group) = group
                && let Some(groups) = self.machine.ready.groups_mut()
                && !groups.promise_room(group)
            {
                self.adders.set_apart(adder, group);
                continue;
            }
            self.machine.promise_room();
            wakers.extend(self.adders.promise(adder));
        }
    }

    /// Leaves the limiter's line, unless a consumer waits for a key that the limiter holds back; and those
    /// of groups without ready keys.
    fn leave_limiters(&mut self, wakers: &mut Wakers) {
        if let Some(groups) = self.machine.ready.groups_mut() {
            groups.leave_limiters(wakers);
        }
        let is_of_use = self.consumers.len() > 0 && !self.paused && self.machine.startable() > 0;
        if let Some(throttle) = &mut self.throttle
            && !is_of_use
        {
            throttle.leave(wakers);
        }
    }

    /// The limiter may have a token, or that of a group.
    pub(crate) fn ring(&mut self, group: Option<GroupId>, now: Option<Timestamp>) {
        match group {
            None => {
                if let Some(throttle) = &mut self.throttle {
                    throttle.ring(now);
                }
            }
            Some(group) => {
                if let Some(groups) = self.machine.ready.groups_mut() {
                    groups.ring(group, now);
                }
            }
        }
    }

    /// Until when the limiter holds back what is ready.
    fn refused(&self) -> Option<Timestamp> {
        self.throttle.as_ref()?.refused()
    }

    /// What is due becomes ready, and the limiter is asked again if its time has come.
    pub(crate) fn pass_time(&mut self, now: Timestamp) {
        self.machine.advance(now);
        if let Some(throttle) = &mut self.throttle {
            throttle.pass_time(now);
        }
        if let Some(groups) = self.machine.ready.groups_mut() {
            groups.pass_time(now);
        }
    }

    /// Whether a consumer that looks may take a key, if there is one. A newcomer may.
    pub(crate) fn may_take(&mut self, place: Option<WaitId>, now: Timestamp) -> bool {
        place.is_none_or(|place| {
            self.pass_time(now);
            self.consumers.may_take(place, self.startable())
        })
    }

    /// Lets a consumer wait in line. Returns when to look again, if it is to set a timer, and a waker
    /// to be dropped once the lock is released.
    pub(crate) fn wait(
        &mut self,
        place: &mut Option<WaitId>,
        waker: &Waker,
    ) -> (Option<Timestamp>, Option<Waker>) {
        self.awaited = true;
        let kind = if waker.will_wake(&thread_waker()) {
            Kind::Thread
        } else {
            Kind::Future
        };
        let (next_look, now) = (self.next_look(), self.machine.time());
        self.consumers.wait(place, waker, kind, next_look, now)
    }

    /// A consumer leaves the line. Returns a waker to be dropped once the lock is released.
    pub(crate) fn leave(&mut self, place: WaitId) -> Option<Waker> {
        self.consumers.leave(place)
    }

    /// As [`leave`](Self::leave), if the consumer is dropped.
    pub(crate) fn cancel(&mut self, place: WaitId) -> Option<Waker> {
        self.consumers.cancel(place)
    }

    /// How many consumers a key might be handed to now.
    pub(crate) fn startable(&self) -> usize {
        match self.machine.startable() {
            _ if self.paused || self.refused().is_some() => 0,
            // Whether there is a token shows when it is asked for.
            ready if self.throttle.is_some() => ready.min(1),
            ready => ready,
        }
    }

    /// How many keys are ready, and how many are being processed.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.machine.ready_len(), self.machine.processing_len())
    }

    /// Whether keys were missed and there is room for them again.
    pub(crate) fn resync_due(&self) -> bool {
        self.missed > 0 && self.machine.has_room()
    }

    /// When a waiting consumer should look again.
    pub(crate) fn next_look(&self) -> Option<Timestamp> {
        if self.paused {
            return None;
        }
        // After the end of time nobody can look.
        let refused = self.refused().filter(|at| *at < Timestamp::MAX);
        let refused = refused.filter(|_| self.machine.startable() > 0);
        let parked = self.machine.ready.groups().and_then(Lanes::next_look);
        let parked = parked.filter(|at| *at < Timestamp::MAX);
        let next = self.machine.next_due().into_iter();
        next.chain(refused).chain(parked).min()
    }
}

impl<K: Eq> State<K> {
    /// As [`Machine::add`], for those who wait for room for the same key too: it is live now.
    #[inline]
    pub(crate) fn add(
        &mut self,
        hash: Hash,
        key: &mut Option<K>,
        options: AddOptions,
        room: Room,
        now: Timestamp,
    ) -> Result<Added, Refused> {
        let added = self.machine.add(hash, key, options, room, now);
        self.came_in(hash, added);
        added
    }

    /// As [`Machine::add_special`].
    pub(crate) fn add_special(
        &mut self,
        hash: Hash,
        key: &mut Option<K>,
        options: AddOptions,
        room: Room,
        now: Timestamp,
        group: Option<&mut GroupKey<'_>>,
    ) -> Result<Added, Refused> {
        let machine = &mut self.machine;
        let added = machine.add_special(hash, key, options, room, now, group);
        self.came_in(hash, added);
        added
    }

    #[inline]
    fn came_in(&mut self, hash: Hash, added: Result<Added, Refused>) {
        if self.adders.len() > 0 && matches!(added, Ok(Added::New)) {
            self.adders.came_in(hash);
        }
    }
}

impl<K> State<K> {
    /// Hands out the key whose turn it is, if there is one and it may start, to a consumer that `waits`
    /// otherwise.
    #[expect(clippy::inline_always, reason = "a call costs more than it does")]
    #[inline(always)]
    pub(crate) fn start(&mut self, now: Timestamp, waits: bool) -> Option<Started<K>> {
        self.machine.advance(now);
        if self.is_special {
            return self.start_special(now, waits);
        }
        let turn = self.machine.ready.bands.turn()?;
        Some(self.machine.start(turn, now))
    }

    /// As [`start`](Self::start), of a key for which there are tokens: of the queue's limiter first, then
    /// of its group's. Groups whose limiters refuse are passed over.
    #[inline(never)]
    fn start_special(&mut self, now: Timestamp, waits: bool) -> Option<Started<K>> {
        if self.paused {
            return None;
        }
        if self.throttle.is_none() && !self.has_limited_groups {
            let turn = self.machine.turn()?;
            return Some(self.machine.start(turn, now));
        }
        self.pass_time(now);
        let mut has_token = self.throttle.is_none();
        while let Some(turn) = self.machine.turn() {
            if !has_token && !self.take_token(now, waits) {
                return None;
            }
            has_token = true;
            if self.admit(turn, now) {
                return Some(self.machine.start(turn, now));
            }
        }
        if has_token && let Some(throttle) = &mut self.throttle {
            throttle.give_back(&mut self.wakers);
            self.awaited = true;
        }
        None
    }

    /// Whether there is a token for the group whose turn it is.
    fn admit(&mut self, turn: Turn, now: Timestamp) -> bool {
        let Some(groups) = self.machine.ready.groups_mut() else {
            return true;
        };
        let admitted = groups.admit(turn, now, &mut self.wakers);
        self.awaited = true;
        if let Admitted::Closed { group, is_news } = admitted {
            self.limiter_closed |= is_news;
            if self.machine.is_closed() {
                self.machine.leave_group(group);
            }
        }
        admitted == Admitted::Yes
    }

    /// A token for a key that is about to start: one that is added again while it waits costs none.
    fn take_token(&mut self, now: Timestamp, waits: bool) -> bool {
        let Some(throttle) = &mut self.throttle else {
            return true;
        };
        let was_closed = throttle.is_closed();
        let taken = throttle.take(now, waits, &mut self.wakers);
        let is_closed = throttle.is_closed();
        self.awaited |= !self.wakers.is_empty();
        self.limiter_closed |= is_closed && !was_closed;
        if is_closed && self.machine.is_closed() {
            self.machine.shut_down();
            // Those who wait for the end.
            self.awaited = true;
        }
        taken
    }

    /// Closes the queue. Keys that a closed limiter holds back are left too.
    pub(crate) fn close(&mut self, now: Timestamp) {
        self.machine.close(now);
        self.awaited |= self.throttle.is_some();
        if self.machine.ready_len() > 0
            && let Some(throttle) = &mut self.throttle
            && throttle.ask_closed(&mut self.wakers)
        {
            self.machine.shut_down();
        }
        if self.has_limited_groups
            && let Some(groups) = self.machine.ready.groups_mut()
        {
            for group in groups.closed(&mut self.wakers) {
                self.machine.leave_group(group);
            }
        }
    }

    /// Whether the limiter has been found closed, once.
    pub(crate) const fn take_limiter_closed(&mut self) -> bool {
        mem::replace(&mut self.limiter_closed, false)
    }
}
