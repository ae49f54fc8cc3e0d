//! The states of the keys: the queue as a sequential machine. `now` comes in, nothing is locked,
//! nobody is woken.

use std::time::Duration;

use hashbrown::HashTable;
use slab::Slab;

use super::wheel::{Timed, Wheel};
use crate::clock::Timestamp;
use crate::list::{Index, Linked, Links, List};

/// Delays are counted in ticks of a millisecond, rounded up: never early.
const TICK: u64 = 1_000_000;
/// No delay is wanted.
const NEVER: u64 = u64::MAX;

/// The tick at whose beginning `at` has passed.
const fn tick_after(at: Timestamp) -> u64 {
    at.as_nanos().div_ceil(TICK)
}

const fn start_of(tick: u64) -> Timestamp {
    Timestamp::from_nanos(tick.saturating_mul(TICK))
}

#[derive(Debug)]
pub(super) struct Machine<K> {
    entries: Slab<Entry<K>>,
    /// Finds the entry of a key.
    index: HashTable<Index>,
    ready: List,
    ready_len: usize,
    /// In the order in which they were started.
    processing: List,
    processing_len: usize,
    /// The sum of the instants at which they were started.
    processing_since: u128,
    wheel: Wheel,
    capacity: usize,
    /// Room that is promised to blocked adders who have been woken.
    promised: usize,
    closed: bool,
    /// Keys that a closed queue will not hand out, until somebody collects them.
    left: Vec<K>,
}

#[derive(Debug)]
struct Entry<K> {
    key: K,
    hash: u64,
    links: Links,
    phase: Phase,
    /// Delayed: the tick at which it becomes ready. Processing: the same, for when it is finished,
    /// or `NEVER`.
    due: u64,
    /// Ready: since when. Processing: when it was started.
    since: Timestamp,
    failures: Failures,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Ready,
    Delayed,
    Processing { dirty: bool },
}

/// A key's failures in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Failures {
    pub(super) count: u32,
    /// When the backoff after the last of them is over.
    pub(super) until: Timestamp,
}

impl<K> Linked for Entry<K> {
    fn links(&mut self) -> &mut Links {
        &mut self.links
    }
}

impl<K> Timed for Entry<K> {
    fn tick(&self) -> u64 {
        self.due
    }
}

/// Why a key was not taken; it comes back.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused<K> {
    Full(K),
    Closed(K),
}

/// What became of an added key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Added<K> {
    /// It has an entry now.
    New,
    /// It had one, which was not waiting to run, or not so soon. The spare key is for the caller to
    /// drop.
    Updated(K),
    /// It was waiting already.
    Coalesced(K),
}

/// A key that was handed out.
#[derive(Debug)]
pub(super) struct Started<K> {
    pub(super) index: Index,
    pub(super) key: K,
    pub(super) queued: Duration,
    pub(super) failures: Failures,
}

/// What a worker says of the key it held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nothing more to do.
    Done,
    /// Once more, behind those that are ready.
    Requeue,
    /// Once more, not before this tick.
    After(u64),
    /// It failed; once more when the backoff is over.
    Retry(Failures),
}

impl Outcome {
    /// Once more after `delay`.
    pub(super) fn after(delay: Duration, now: Timestamp) -> Self {
        if delay.is_zero() {
            Self::Requeue
        } else {
            Self::After(tick_after(now.saturating_add(delay)))
        }
    }
}

impl<K> Machine<K> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            entries: Slab::new(),
            index: HashTable::new(),
            ready: List::new(),
            ready_len: 0,
            processing: List::new(),
            processing_len: 0,
            processing_since: 0,
            wheel: Wheel::new(),
            capacity,
            promised: 0,
            closed: false,
            left: Vec::new(),
        }
    }

    pub(super) const fn ready_len(&self) -> usize {
        self.ready_len
    }

    pub(super) const fn delayed_len(&self) -> usize {
        self.wheel.len()
    }

    pub(super) const fn processing_len(&self) -> usize {
        self.processing_len
    }

    pub(super) const fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) const fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) const fn is_idle(&self) -> bool {
        self.ready_len == 0 && self.processing_len == 0
    }

    pub(super) fn has_room(&self) -> bool {
        self.entries.len() + self.promised < self.capacity
    }

    /// Keeps room for a blocked adder, until it adds or calls it off.
    pub(super) const fn promise_room(&mut self) {
        self.promised += 1;
    }

    pub(super) const fn release_room(&mut self) {
        self.promised -= 1;
    }

    /// When [`advance`](Self::advance) should be called again.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.wheel.next_tick().map(start_of)
    }

    /// For how long the worker that began first has been at it.
    pub(super) fn longest_running(&self, now: Timestamp) -> Duration {
        let first = self
            .processing
            .head()
            .map(|first| self.entries[first as usize].since);
        first.map_or(Duration::ZERO, |since| now.saturating_since(since))
    }

    /// For how long all workers together have been at what they hold.
    pub(super) fn unfinished(&self, now: Timestamp) -> Duration {
        let all = self.processing_len as u128 * u128::from(now.as_nanos());
        let nanos = all.saturating_sub(self.processing_since);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Makes ready what is due at `now`.
    pub(super) fn advance(&mut self, now: Timestamp) {
        let mut due = List::new();
        self.wheel
            .advance(&mut self.entries, now.as_nanos() / TICK, &mut due);
        while let Some(index) = due.pop_front(&mut self.entries) {
            let since = start_of(self.entries[index as usize].due);
            self.make_ready(index, since);
        }
    }

    fn make_ready(&mut self, index: Index, since: Timestamp) {
        let entry = &mut self.entries[index as usize];
        entry.phase = Phase::Ready;
        entry.due = NEVER;
        entry.since = since;
        self.ready.push_back(&mut self.entries, index);
        self.ready_len += 1;
    }

    fn make_delayed(&mut self, index: Index, due: u64) {
        let entry = &mut self.entries[index as usize];
        entry.phase = Phase::Delayed;
        entry.due = due;
        self.wheel.insert(&mut self.entries, index);
    }

    /// Takes a key out for good.
    fn forget(&mut self, index: Index) -> K {
        let entry = self.entries.remove(index as usize);
        match self.index.find_entry(entry.hash, |&at| at == index) {
            Ok(slot) => drop(slot.remove()),
            Err(_) => unreachable!("every entry is in the index"),
        }
        entry.key
    }

    /// Takes every waiting key out of a closed queue that will not be handed out.
    fn leave_delayed(&mut self) {
        while let Some(index) = self.wheel.pop_any(&mut self.entries) {
            let key = self.forget(index);
            self.left.push(key);
        }
    }

    /// No key comes in any more, and no delayed key goes out: what waits for its time is left.
    pub(super) fn close(&mut self) {
        self.closed = true;
        self.leave_delayed();
    }

    /// As [`close`](Self::close), and no ready key goes out either.
    pub(super) fn shut_down(&mut self) {
        self.close();
        while let Some(index) = self.ready.pop_front(&mut self.entries) {
            self.ready_len -= 1;
            let key = self.forget(index);
            self.left.push(key);
        }
    }

    /// The keys that were left, each once.
    pub(super) fn take_left(&mut self) -> Vec<K> {
        std::mem::take(&mut self.left)
    }

    /// Ends the processing of a key. The key comes back if it is no longer live.
    pub(super) fn finish(&mut self, index: Index, outcome: Outcome, now: Timestamp) -> Option<K> {
        // What has become due meanwhile was ready first, although nobody has asked for it yet.
        self.advance(now);
        self.processing.remove(&mut self.entries, index);
        self.processing_len -= 1;
        let entry = &mut self.entries[index as usize];
        self.processing_since -= u128::from(entry.since.as_nanos());
        let Phase::Processing { dirty } = entry.phase else {
            unreachable!("only a worker finishes")
        };
        let dirty = dirty && !cfg!(tollgate_mutant = "done-before-dirty");
        let asked = std::mem::replace(&mut entry.due, NEVER);
        entry.failures = Failures::default();
        let due = match outcome {
            Outcome::Done => asked,
            Outcome::Requeue => 0,
            Outcome::After(tick) => asked.min(tick),
            Outcome::Retry(failures) => {
                entry.failures = failures;
                asked.min(tick_after(failures.until))
            }
        };
        if dirty || !(due == NEVER || self.wheel.is_ahead(due)) {
            self.make_ready(index, now);
            return None;
        }
        if due == NEVER {
            return Some(self.forget(index));
        }
        self.make_delayed(index, due);
        if self.closed {
            self.leave_delayed();
        }
        None
    }

    /// Whether a key that is being processed was added again.
    pub(super) fn is_dirty(&self, index: Index) -> bool {
        self.entries[index as usize].phase == Phase::Processing { dirty: true }
    }
}

impl<K: Eq> Machine<K> {
    /// Finds the entry of a key, or makes one that is in no list yet.
    fn entry(&mut self, hash: u64, key: K) -> Result<Found<K>, Refused<K>> {
        if self.closed {
            return Err(Refused::Closed(key));
        }
        let entries = &mut self.entries;
        let has_room = entries.len() + self.promised < self.capacity;
        // The caller's `Eq` runs here, before anything has changed.
        let vacant = match self
            .index
            .find_entry(hash, |&at| entries[at as usize].key == key)
        {
            Ok(slot) => return Ok(Found::Live(*slot.get(), key)),
            Err(_) if !has_room => return Err(Refused::Full(key)),
            Err(_) => entries.vacant_entry(),
        };
        let index = Index::try_from(vacant.key()).expect("fewer than 2^32 keys");
        let (due, since, failures) = (NEVER, Timestamp::ZERO, Failures::default());
        vacant.insert(Entry {
            key,
            hash,
            links: Links::new(),
            phase: Phase::Ready,
            due,
            since,
            failures,
        });
        self.index
            .insert_unique(hash, index, |&at| self.entries[at as usize].hash);
        Ok(Found::New(index))
    }

    /// Adds a key, to be handed out as soon as may be.
    pub(super) fn add(
        &mut self,
        hash: u64,
        key: K,
        now: Timestamp,
    ) -> Result<Added<K>, Refused<K>> {
        let (index, spare) = match self.entry(hash, key)? {
            Found::New(index) => {
                self.make_ready(index, now);
                return Ok(Added::New);
            }
            Found::Live(index, spare) => (index, spare),
        };
        let entry = &mut self.entries[index as usize];
        match &mut entry.phase {
            Phase::Ready | Phase::Processing { dirty: true } => return Ok(Added::Coalesced(spare)),
            Phase::Delayed => {
                self.wheel.remove(&mut self.entries, index);
                self.make_ready(index, now);
            }
            Phase::Processing { dirty } => {
                *dirty = true;
                entry.due = NEVER;
            }
        }
        Ok(Added::Updated(spare))
    }

    /// Adds a key, to be handed out not before `at`. Of two delays the earlier wins.
    pub(super) fn add_at(
        &mut self,
        hash: u64,
        key: K,
        at: Timestamp,
        now: Timestamp,
    ) -> Result<Added<K>, Refused<K>> {
        let due = tick_after(at);
        if at <= now || !self.wheel.is_ahead(due) {
            return self.add(hash, key, now);
        }
        let (index, spare) = match self.entry(hash, key)? {
            Found::New(index) => {
                self.make_delayed(index, due);
                return Ok(Added::New);
            }
            Found::Live(index, spare) => (index, spare),
        };
        let entry = &mut self.entries[index as usize];
        match entry.phase {
            Phase::Delayed if due < entry.due => {
                self.wheel.remove(&mut self.entries, index);
                self.make_delayed(index, due);
            }
            Phase::Processing { dirty: false } if due < entry.due => entry.due = due,
            _ => return Ok(Added::Coalesced(spare)),
        }
        Ok(Added::Updated(spare))
    }

    /// Takes a waiting key out, or the wish for another run of one that is being processed.
    pub(super) fn remove<Q>(&mut self, hash: u64, key: &Q) -> Option<Removed<K>>
    where
        K: std::borrow::Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let entries = &mut self.entries;
        let index = *self
            .index
            .find(hash, |&at| entries[at as usize].key.borrow() == key)?;
        let entry = &mut entries[index as usize];
        match &mut entry.phase {
            Phase::Ready => {
                self.ready.remove(entries, index);
                self.ready_len -= 1;
            }
            Phase::Delayed => self.wheel.remove(entries, index),
            Phase::Processing { dirty } => {
                let wished = *dirty || entry.due != NEVER;
                *dirty = false;
                entry.due = NEVER;
                return wished.then_some(Removed::Wish);
            }
        }
        Some(Removed::Key(self.forget(index)))
    }
}

impl<K: Clone> Machine<K> {
    /// Hands out the key that has been ready longest.
    pub(super) fn start(&mut self, now: Timestamp) -> Option<Started<K>> {
        let index = self.ready.head()?;
        // The caller's `Clone` runs here, before anything has changed.
        let key = self.entries[index as usize].key.clone();
        self.ready.remove(&mut self.entries, index);
        self.ready_len -= 1;
        let entry = &mut self.entries[index as usize];
        let queued = now.saturating_since(entry.since);
        entry.phase = Phase::Processing { dirty: false };
        entry.since = now;
        let failures = entry.failures;
        self.processing.push_back(&mut self.entries, index);
        self.processing_len += 1;
        self.processing_since += u128::from(now.as_nanos());
        Some(Started {
            index,
            key,
            queued,
            failures,
        })
    }
}

/// What [`Machine::remove`] took.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Removed<K> {
    /// The key, which was waiting.
    Key(K),
    /// The wish to run it again; it is being processed.
    Wish,
}

enum Found<K> {
    New(Index),
    Live(Index, K),
}
