//! The machine under its lock, with those who wait for it.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::add::AddError;
use super::machine::{Added, Failures, Machine, Outcome, Refused, Started};
use super::work::Work;
use crate::backoff::{Backoff, ExponentialBackoff, Random};
use crate::clock::{Clock, Timestamp};
use crate::list::Index;
use crate::observe::Observer;
use crate::sync::Mutex;
use crate::wait::{WaitId, WaitList};

pub(super) struct Shared<K, C> {
    pub(super) state: Mutex<State<K>>,
    pub(super) clock: C,
    pub(super) hasher: RandomState,
    pub(super) backoff: Box<dyn Backoff>,
    pub(super) random: Random,
    pub(super) observer: Arc<dyn Observer>,
}

pub(super) struct State<K> {
    pub(super) machine: Machine<K>,
    /// Consumers, in line for a key.
    pub(super) getters: WaitList<()>,
    /// Consumers that have been woken and have not looked yet.
    pub(super) woken: usize,
    /// The one waiting consumer that sleeps until the next delayed key is due.
    pub(super) leader: Option<Leader>,
    /// Adders, in line for room; the flag says that room is promised.
    pub(super) adders: WaitList<bool>,
    pub(super) drainers: WaitList<()>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Leader {
    pub(super) id: WaitId,
    /// When it will look.
    pub(super) armed: Option<Timestamp>,
}

impl<K> State<K> {
    pub(super) fn new(machine: Machine<K>) -> Self {
        let (getters, adders, drainers) = (WaitList::new(), WaitList::new(), WaitList::new());
        Self {
            machine,
            getters,
            woken: 0,
            leader: None,
            adders,
            drainers,
        }
    }

    /// Restores, after any change, what those who wait rely on:
    /// - as many consumers are awake as there are ready keys, or all of them;
    /// - if keys are delayed and a consumer waits, one is set to look in time;
    /// - if there is room, no adder waits;
    /// - once the queue is closed, only drainers wait, and those only while there is work.
    fn settle(&mut self, wakers: &mut Vec<Waker>) {
        let closed = self.machine.is_closed();
        while closed || self.woken < self.machine.ready_len() {
            let Some(waker) = self.getters.wake_first() else {
                break;
            };
            self.woken += 1;
            wakers.push(waker);
        }
        while closed || self.machine.has_room() {
            let Some((_, promised)) = self.adders.first_mut() else {
                break;
            };
            if !closed {
                *promised = true;
                self.machine.promise_room();
            }
            wakers.extend(self.adders.wake_first());
        }
        if closed && self.machine.is_idle() {
            wakers.extend(std::iter::from_fn(|| self.drainers.wake_first()));
        }
        wakers.extend(self.rearm());
    }

    /// Makes sure that somebody looks when the next delayed key is due.
    fn rearm(&mut self) -> Option<Waker> {
        let due = self.machine.next_due()?;
        match &mut self.leader {
            Some(Leader {
                armed: Some(armed), ..
            }) if *armed <= due => None,
            Some(leader) => {
                leader.armed = Some(due);
                self.getters.nudge(leader.id)
            }
            None => {
                let (id, ()) = self.getters.first()?;
                self.leader = Some(Leader {
                    id,
                    armed: Some(due),
                });
                self.getters.nudge(id)
            }
        }
    }
}

impl<K, C> Shared<K, C> {
    /// Runs `change` under the lock, settles, and wakes after it.
    pub(super) fn with_state<T>(&self, change: impl FnOnce(&mut State<K>) -> T) -> T {
        let mut wakers = Vec::new();
        let output = {
            let mut state = self.state.lock();
            let output = change(&mut state);
            state.settle(&mut wakers);
            output
        };
        wakers.into_iter().for_each(Waker::wake);
        output
    }

    pub(super) fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u64 {
        self.hasher.hash_one(key)
    }
}

impl<K, C: Clock> Shared<K, C> {
    /// Ends the processing of a key that was started with `failures` at `started`.
    pub(super) fn finish(
        &self,
        index: Index,
        outcome: Outcome,
        started: Timestamp,
        now: Timestamp,
    ) {
        let forgotten = self.with_state(|state| state.machine.finish(index, outcome, now));
        drop(forgotten);
        self.observer.finished(now.saturating_since(started));
        if outcome != Outcome::Done {
            self.observer.retried();
        }
    }

    /// The failures of a key whose run, begun at `started`, has failed too.
    pub(super) fn failed(
        &self,
        before: Failures,
        started: Timestamp,
        now: Timestamp,
        panicked: bool,
    ) -> Failures {
        // A run that began before the last backoff was over was brought on by an event: it does not
        // raise the exponent.
        let count = if started >= before.until {
            before.count.saturating_add(1)
        } else {
            before.count
        };
        let backoff: &dyn Backoff = if panicked {
            &ExponentialBackoff::DEFAULT
        } else {
            &*self.backoff
        };
        let delay = backoff.delay(count.max(1), self.random.next());
        Failures {
            count,
            until: now.saturating_add(delay),
        }
    }
}

impl<K: Hash + Eq + Clone, C: Clock> Shared<K, C> {
    pub(super) fn add(&self, key: K, delay: Option<Duration>) -> Result<(), AddError<K>> {
        let hash = self.hash(&key);
        let now = self.clock.now();
        let added = self.with_state(|state| state.add(hash, key, delay, now));
        self.observe_add(added)
    }

    /// Reports an attempt to add, and drops a spare key, outside the lock.
    pub(super) fn observe_add(
        &self,
        added: Result<Added<K>, Refused<K>>,
    ) -> Result<(), AddError<K>> {
        match added {
            Ok(Added::New | Added::Updated(_)) => self.observer.added(),
            Ok(Added::Coalesced(_)) => self.observer.coalesced(),
            Err(refused) => {
                self.observer.rejected();
                return Err(refused.into());
            }
        }
        Ok(())
    }

    pub(super) fn try_start(self: &Arc<Self>) -> Option<Work<K, C>> {
        let now = self.clock.now();
        let started = self.with_state(|state| state.start(now))?;
        Some(self.hand_out(started, now))
    }

    pub(super) fn hand_out(self: &Arc<Self>, started: Started<K>, now: Timestamp) -> Work<K, C> {
        let queued = started.queued;
        // Made before the observer is called: should that panic, dropping it releases the key.
        let work = Work::new(Arc::clone(self), started, now);
        self.observer.started(queued);
        work
    }
}

impl<K: Eq + Clone> State<K> {
    pub(super) fn add(
        &mut self,
        hash: u64,
        key: K,
        delay: Option<Duration>,
        now: Timestamp,
    ) -> Result<Added<K>, Refused<K>> {
        // What has become due meanwhile was ready first, although nobody has asked for it yet.
        self.machine.advance(now);
        match delay {
            None => self.machine.add(hash, key, now),
            Some(delay) => self
                .machine
                .add_at(hash, key, now.saturating_add(delay), now),
        }
    }

    pub(super) fn start(&mut self, now: Timestamp) -> Option<Started<K>> {
        self.machine.advance(now);
        self.machine.start(now)
    }
}
