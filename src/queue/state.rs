//! The machine with those who wait for it, and who of them is to be woken.

mod consumers;

use std::task::Waker;
use std::time::Duration;

use super::adders::Adders;
use super::admit::{Added, Refused, Room};
use super::entry::Hash;
use super::machine::Machine;
use super::options::AddOptions;
use super::run::Started;
use crate::clock::Timestamp;
use crate::limiter::RateLimiter;
use crate::list::Index;
use crate::wait::{WaitId, WaitList};
use crate::wake::{Wakers, thread_waker};
use consumers::{Consumers, Kind};

#[derive(Debug)]
pub(super) struct State<K> {
    pub(super) machine: Machine<K>,
    /// In line for a key.
    consumers: Consumers,
    /// Nothing is handed out.
    pub(super) paused: bool,
    /// Each key that is handed out needs a token.
    limited: bool,
    /// The rate limiter has refused, and says that it will until then.
    pub(super) throttled: Option<Timestamp>,
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
    pub(super) fn new(machine: Machine<K>, limited: bool) -> Self {
        Self {
            machine,
            consumers: Consumers::new(),
            paused: false,
            limited,
            throttled: None,
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
        if std::mem::take(&mut self.machine.dirtied) {
            let machine = &self.machine;
            self.watchers
                .wake_where(|&key| machine.is_dirty(key), wakers);
        }
        self.awaited = self.waiters() > 0;
    }

    /// What is due becomes ready, and the limiter is asked again if its time has come.
    pub(super) fn pass_time(&mut self, now: Timestamp) {
        self.machine.advance(now);
        self.throttled = self.throttled.filter(|at| now < *at);
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
            _ if self.paused || self.throttled.is_some() => 0,
            // Whether there is a token shows when it is asked for.
            ready if self.limited => ready.min(1),
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
        let throttled = self.throttled.filter(|at| *at < Timestamp::MAX);
        let throttled = throttled.filter(|_| self.machine.ready_len() > 0);
        self.machine.next_due().into_iter().chain(throttled).min()
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
    /// Hands out the key whose turn it is, if there is one and it may start.
    #[expect(clippy::inline_always, reason = "a call costs more than it does")]
    #[inline(always)]
    pub(super) fn start(
        &mut self,
        now: Timestamp,
        limiter: Option<&dyn RateLimiter>,
    ) -> Option<Started<K>> {
        self.machine.advance(now);
        if self.paused {
            return None;
        }
        let turn = self.machine.turn()?;
        if let Some(limiter) = limiter
            && !self.take_token(now, limiter)
        {
            return None;
        }
        Some(self.machine.start(turn, now))
    }

    /// A token for a key that is about to start: one that is added again while it waits costs none.
    fn take_token(&mut self, now: Timestamp, limiter: &dyn RateLimiter) -> bool {
        // On the limiter's own clock, which may be another than the queue's.
        match limiter.try_acquire(1) {
            Ok(()) => {
                self.throttled = None;
                true
            }
            Err(denied) => {
                let wait = denied.retry_after().unwrap_or(PATIENCE).min(PATIENCE);
                self.throttled = Some(now.saturating_add(wait));
                false
            }
        }
    }
}

/// How long a limiter is believed that has no token: its quota may have been raised.
const PATIENCE: Duration = Duration::from_secs(1);
