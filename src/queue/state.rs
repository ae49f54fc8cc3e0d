//! The machine with those who wait for it, and who of them is to be woken.

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
use crate::wake::Wakers;

#[derive(Debug)]
pub(super) struct State<K> {
    pub(super) machine: Machine<K>,
    /// Consumers, in line for a key.
    pub(super) getters: WaitList<()>,
    /// Consumers that have been woken and have not looked yet.
    pub(super) woken: usize,
    /// The one waiting consumer that sleeps until the next key may be due.
    pub(super) leader: Option<Leader>,
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

#[derive(Clone, Copy, Debug)]
pub(super) struct Leader {
    pub(super) id: WaitId,
    /// When it will look.
    pub(super) armed: Option<Timestamp>,
}

impl<K> State<K> {
    pub(super) fn new(machine: Machine<K>, limited: bool) -> Self {
        Self {
            machine,
            getters: WaitList::new(),
            woken: 0,
            leader: None,
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
        self.getters.len()
            + self.adders.len()
            + self.drainers.len()
            + self.resyncers.len()
            + self.watchers.len()
    }

    /// Restores, after any change, what those who wait rely on:
    /// - as many consumers are awake as there are keys to hand out, or all of them; where each
    ///   needs a token one is, and wakes the next when it has one;
    /// - if keys are delayed or held back and a consumer waits, one is set to look in time;
    /// - if there is room, no adder waits, and then nobody who waits for a resync;
    /// - no adder waits for room for a key that has come in meanwhile;
    /// - who watches a key knows that it is dirty;
    /// - once the queue is closed no adder waits, and once it is over no consumer does.
    pub(super) fn settle(&mut self, wakers: &mut Wakers) {
        let (closed, over) = (self.machine.is_closed(), self.machine.is_over());
        while over || self.woken < self.startable() {
            let Some(waker) = self.getters.wake_first() else {
                break;
            };
            self.woken += 1;
            wakers.extend([waker]);
        }
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
        wakers.extend(self.rearm());
        self.awaited = self.waiters() > 0;
    }

    /// What is due becomes ready, and the limiter is asked again if its time has come.
    pub(super) fn pass_time(&mut self, now: Timestamp) {
        self.machine.advance(now);
        self.throttled = self.throttled.filter(|at| now < *at);
    }

    /// Whether this consumer is the first of those who sleep.
    pub(super) fn is_first(&self, place: WaitId) -> bool {
        let first = self.getters.first();
        first.is_some_and(|(first, ())| first == place)
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

    /// Makes sure that somebody looks in time.
    fn rearm(&mut self) -> Option<Waker> {
        let at = self.next_look()?;
        match &mut self.leader {
            Some(Leader {
                armed: Some(armed), ..
            }) if *armed <= at => None,
            Some(leader) => {
                leader.armed = Some(at);
                self.getters.nudge(leader.id)
            }
            None => {
                let (id, ()) = self.getters.first()?;
                self.leader = Some(Leader {
                    id,
                    armed: Some(at),
                });
                self.getters.nudge(id)
            }
        }
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
        if self.adders.len() > 0 && matches!(added, Ok(Added::New | Added::Evicted)) {
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
