//! The machine with those who wait for it, and who of them is to be woken.

mod consumers;
mod throttle;

use std::mem;
use std::task::Waker;

use super::adders::Adders;
use super::admit::{Added, Refused, Room};
use super::entry::Hash;
use super::machine::Machine;
use super::options::AddOptions;
use super::run::Started;
use crate::clock::Timestamp;
use crate::list::Index;
use crate::wait::{WaitId, WaitList};
use crate::wake::{Wakers, thread_waker};
use consumers::{Consumers, Kind};
pub(super) use throttle::Throttle;

#[derive(Debug)]
pub(super) struct State<K> {
    pub(super) machine: Machine<K>,
    /// In line for a key.
    consumers: Consumers,
    /// Nothing is handed out.
    pub(super) paused: bool,
    /// Of which each key that is handed out needs a token.
    throttle: Option<Throttle>,
    /// The limiter was found closed, and the observer has not been told.
    limiter_closed: bool,
    /// To be woken with whom the next change wakes.
    wakers: Wakers,
    pub(super) adders: Adders,
    /// Keys that were refused since the last resync; those who wait for room for one.
    pub(super) missed: u64,
    pub(super) resyncers: WaitList<()>,
    /// Those who want to know when a key that is being processed becomes dirty.
    pub(super) watchers: WaitList<Index>,
    pub(super) drainers: WaitList<()>,
    /// Whoever begins to wait says so, since the last of the lists was found empty.
    pub(super) awaited: bool,
}

impl<K> State<K> {
    pub(super) fn new(machine: Machine<K>, throttle: Option<Throttle>) -> Self {
        Self {
            machine,
            consumers: Consumers::new(),
            paused: false,
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

    /// Whether nobody waits: then there is nothing to settle.
    #[inline]
    pub(super) fn is_quiet(&self) -> bool {
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
    pub(super) fn settle(&mut self, wakers: &mut Wakers) {
        wakers.append(mem::take(&mut self.wakers));
        let (closed, over) = (self.machine.is_closed(), self.machine.is_over());
        let (keys, next_look, now) = (self.startable(), self.next_look(), self.machine.time());
        self.consumers.settle(keys, over, next_look, now, wakers);
        wakers.extend(self.adders.waking());
        while closed && let Some(waker) = self.adders.wake_first() {
            wakers.extend([waker]);
        }
        while self.machine.has_room()
            && let Some(waker) = self.adders.promise_first()
        {
            self.machine.promise_room();
            wakers.extend([waker]);
        }
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
        self.awaited = self.waiters() > 0;
        self.leave_limiter(wakers);
    }

    /// Leaves the limiter's line, unless a consumer waits for a key that the limiter holds back.
    fn leave_limiter(&mut self, wakers: &mut Wakers) {
        let is_of_use = self.consumers.len() > 0 && !self.paused && self.machine.ready_len() > 0;
        if let Some(throttle) = &mut self.throttle
            && !is_of_use
        {
            throttle.leave(wakers);
        }
    }

    /// The limiter may have a token.
    pub(super) fn ring(&mut self) {
        if let Some(throttle) = &mut self.throttle {
            throttle.ring();
        }
    }

    /// Until when the limiter holds back what is ready.
    fn refused(&self) -> Option<Timestamp> {
        self.throttle.as_ref()?.refused()
    }

    /// What is due becomes ready, and the limiter is asked again if its time has come.
    pub(super) fn pass_time(&mut self, now: Timestamp) {
        self.machine.advance(now);
        if let Some(throttle) = &mut self.throttle {
            throttle.pass_time(now);
        }
    }

    /// Whether a consumer that looks may take a key, if there is one. A newcomer may.
    pub(super) fn may_take(&mut self, place: Option<WaitId>, now: Timestamp) -> bool {
        place.is_none_or(|place| {
            self.pass_time(now);
            self.consumers.may_take(place, self.startable())
        })
    }

    /// Lets a consumer wait in line. Returns when to look again, if it is to set a timer, and a waker
    /// to be dropped once the lock is released.
    pub(super) fn wait(
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
    pub(super) fn leave(&mut self, place: WaitId) -> Option<Waker> {
        self.consumers.leave(place)
    }

    /// As [`leave`](Self::leave), if the consumer is dropped.
    pub(super) fn cancel(&mut self, place: WaitId) -> Option<Waker> {
        self.consumers.cancel(place)
    }

    /// How many consumers a key might be handed to now.
    pub(super) fn startable(&self) -> usize {
        match self.machine.ready_len() {
            _ if self.paused || self.refused().is_some() => 0,
            // Whether there is a token shows when it is asked for.
            ready if self.throttle.is_some() => ready.min(1),
            ready => ready,
        }
    }

    /// How many keys are ready, and how many are being processed.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.machine.ready_len(), self.machine.processing_len())
    }

    /// Whether keys were missed and there is room for them again.
    pub(super) fn resync_due(&self) -> bool {
        self.missed > 0 && self.machine.has_room()
    }

    /// When a waiting consumer should look again.
    pub(super) fn next_look(&self) -> Option<Timestamp> {
        if self.paused {
            return None;
        }
        // After the end of time nobody can look.
        let refused = self.refused().filter(|at| *at < Timestamp::MAX);
        let refused = refused.filter(|_| self.machine.ready_len() > 0);
        self.machine.next_due().into_iter().chain(refused).min()
    }
}

impl<K: Eq> State<K> {
    /// As [`Machine::add`], for those who wait for room for the same key too: it is live now.
    #[inline]
    pub(super) fn add(
        &mut self,
        hash: Hash,
        key: &mut Option<K>,
        options: AddOptions,
        room: Room,
        now: Timestamp,
    ) -> Result<Added, Refused> {
        let added = self.machine.add(hash, key, options, room, now);
        if self.adders.len() > 0 && matches!(added, Ok(Added::New)) {
            self.adders.came_in(hash);
        }
        added
    }
}

impl<K> State<K> {
    /// Hands out the key whose turn it is, if there is one and it may start, to a consumer that `waits`
    /// otherwise.
    #[expect(clippy::inline_always, reason = "a call costs more than it does")]
    #[inline(always)]
    pub(super) fn start(&mut self, now: Timestamp, waits: bool) -> Option<Started<K>> {
        self.machine.advance(now);
        if self.paused {
            return None;
        }
        let turn = self.machine.turn()?;
        if self.throttle.is_some() && !self.take_token(now, waits) {
            return None;
        }
        Some(self.machine.start(turn, now))
    }

    /// A token for a key that is about to start: one that is added again while it waits costs none.
    #[cold]
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
    pub(super) fn close(&mut self, now: Timestamp) {
        self.machine.close(now);
        if self.machine.ready_len() > 0
            && let Some(throttle) = &mut self.throttle
            && throttle.ask_closed()
        {
            self.machine.shut_down();
        }
    }

    /// Whether the limiter has been found closed, once.
    pub(super) const fn take_limiter_closed(&mut self) -> bool {
        mem::replace(&mut self.limiter_closed, false)
    }
}
