//! How keys come in: what an add does in each state of its key, and what a remove does.

use std::borrow::Borrow;

use hashbrown::HashTable;

use super::Priority;
use super::entry::{Entry, Hash, NEVER, Phase, tick_after};
use super::machine::Machine;
use super::options::{AddOptions, Merge};
use super::overflow::Furthest;
use crate::clock::Timestamp;
use crate::list::Index;

/// Why a key was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Full,
    Closed,
}

/// What became of an added key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// It has an entry now.
    New,
    /// It has one now, in place of another.
    Evicted,
    /// It had one, which was not waiting to run, or not so soon.
    Updated,
    /// It was waiting already.
    Coalesced,
}

/// What a new key may do to get in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// Use what is free.
    Free,
    /// Use what is kept for workers too.
    Reserve,
    /// Take the place of a key that matters less.
    Evict,
}

/// What [`Machine::remove`] took.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Removed<K> {
    /// The key, which was waiting.
    Key(K),
    /// The wish to run it again; it is being processed.
    Wish,
}

impl<K: Eq> Machine<K> {
    /// Adds a key, which is taken if it gets an entry. What is left in its place is for the caller,
    /// once the lock is released: the key, or the one that was evicted for it.
    #[inline]
    pub(super) fn add(
        &mut self,
        hash: Hash,
        key: &mut Option<K>,
        options: AddOptions,
        room: Room,
        now: Timestamp,
    ) -> Result<Added, Refused> {
        if self.is_closed() {
            return Err(Refused::Closed);
        }
        // What has become due meanwhile was ready first, although nobody has asked for it yet.
        self.advance(now);
        let due = if options.delay.is_zero() {
            0
        } else {
            tick_after(now.saturating_add(options.delay))
        };
        if let Some(index) = self.find(hash, key.as_ref()) {
            if self.entries[index as usize].priority < options.priority {
                self.promote(index, options.priority);
            }
            return Ok(if self.wheel.is_ahead(due) {
                self.add_live_later(index, due, options.merge)
            } else {
                self.add_live(index, now)
            });
        }
        let capacity = self.limits.capacity;
        let has_room = match room {
            Room::Free | Room::Evict => self.has_room(),
            Room::Reserve => self.has_room_in(capacity),
        };
        let victim = match room {
            _ if has_room => None,
            Room::Evict => Some(self.evict(options, due).ok_or(Refused::Full)?),
            Room::Free | Room::Reserve => return Err(Refused::Full),
        };
        let added = if victim.is_none() {
            Added::New
        } else {
            Added::Evicted
        };
        if let Some(key) = std::mem::replace(key, victim) {
            let index = self.insert(hash, key, options.priority);
            self.admit(index, due, now);
        }
        Ok(added)
    }

    /// Lets a new key wait for its time, or for its turn.
    #[inline]
    fn admit(&mut self, index: Index, due: u64, now: Timestamp) {
        match self.limits.debounce {
            Some(debounce) if due == 0 => {
                let (due, window) = debounce.next(NEVER, NEVER, now);
                self.entries[index as usize].window = window;
                self.delay_or_ready(index, due, now);
            }
            _ => self.delay_or_ready(index, due, now),
        }
    }

    #[inline]
    fn delay_or_ready(&mut self, index: Index, due: u64, now: Timestamp) {
        if self.wheel.is_ahead(due) {
            self.make_delayed(index, due);
        } else {
            self.make_ready(index, now);
        }
    }

    /// Adds a live key, to be handed out as soon as may be.
    #[inline]
    fn add_live(&mut self, index: Index, now: Timestamp) -> Added {
        if self.limits.debounce.is_some() {
            return self.add_debounced(index, now);
        }
        let entry = &mut self.entries[index as usize];
        match entry.phase {
            Phase::Ready | Phase::Dirty => Added::Coalesced,
            Phase::Delayed => {
                self.undelay(index);
                self.make_ready(index, now);
                Added::Updated
            }
            Phase::Processing => {
                entry.phase = Phase::Dirty;
                entry.due = NEVER;
                self.dirtied = true;
                Added::Updated
            }
        }
    }

    /// As [`add_live`](Self::add_live), once the key has been quiet.
    fn add_debounced(&mut self, index: Index, now: Timestamp) -> Added {
        let entry = &mut self.entries[index as usize];
        let (phase, due, window) = (entry.phase, entry.due, entry.window);
        let Some(debounce) = self.limits.debounce.filter(|_| phase != Phase::Ready) else {
            return Added::Coalesced;
        };
        let (next, window_end) = debounce.next(due, window, now);
        entry.window = window_end;
        match phase {
            Phase::Ready => unreachable!("returned above"),
            Phase::Processing => {
                (entry.phase, entry.due) = (Phase::Dirty, next);
                self.dirtied = true;
                return Added::Updated;
            }
            Phase::Dirty => entry.due = next,
            Phase::Delayed if next != due => {
                self.undelay(index);
                self.delay_or_ready(index, next, now);
            }
            Phase::Delayed => {}
        }
        if window == NEVER {
            Added::Updated
        } else {
            Added::Coalesced
        }
    }

    /// Adds a live key, to be handed out not before a tick that is ahead.
    fn add_live_later(&mut self, index: Index, due: u64, merge: Merge) -> Added {
        let entry = &mut self.entries[index as usize];
        let wins = match merge {
            Merge::Earlier => due < entry.due,
            Merge::Replace => due != entry.due,
            Merge::Keep => entry.due == NEVER,
        };
        match entry.phase {
            Phase::Delayed if wins => {
                entry.window = NEVER;
                self.undelay(index);
                self.make_delayed(index, due);
            }
            Phase::Processing if wins => entry.due = due,
            _ => return Added::Coalesced,
        }
        Added::Updated
    }

    /// Raises the priority of a live key; a ready one goes to the tail of its new band.
    #[cold]
    fn promote(&mut self, index: Index, new: Priority) {
        let entry = &mut self.entries[index as usize];
        let old = entry.priority;
        match entry.phase {
            Phase::Ready => {
                entry.priority = new;
                self.ready.remove(&mut self.entries, index, old);
                self.ready.push(&mut self.entries, index, new);
            }
            Phase::Delayed => {
                if let Some(furthest) = &mut self.furthest {
                    furthest.remove(entry, index);
                    entry.priority = new;
                    furthest.insert(entry, index);
                }
                entry.priority = new;
            }
            Phase::Processing | Phase::Dirty => entry.priority = new,
        }
    }

    /// Finds the entry of a key.
    #[inline]
    fn find(&self, hash: Hash, key: Option<&K>) -> Option<Index> {
        let entries = &self.entries;
        let same = |&at: &Index| {
            let entry = &entries[at as usize];
            // The caller's `Eq` runs here, before anything has changed.
            entry.hash == hash && key == Some(&*entry.key)
        };
        self.index.find(hash.spread(), same).copied()
    }

    /// Makes an entry that is in no list yet.
    #[inline]
    fn insert(&mut self, hash: Hash, key: K, priority: Priority) -> Index {
        if self.entries.len() == self.entries.capacity() {
            self.grow();
        }
        let entry = Entry::new(key, hash, priority);
        let index = Index::try_from(self.entries.insert(entry)).expect("a capacity below 2^32");
        let entries = &self.entries;
        self.index.insert_unique(hash.spread(), index, |&at| {
            entries[at as usize].hash.spread()
        });
        index
    }

    /// Doubles the slab, but never beyond what can be used, and the index with it.
    #[cold]
    fn grow(&mut self) {
        let more = self.entries.len().max(4);
        let most = self.limits.capacity - self.entries.len();
        self.entries.reserve_exact(more.min(most));
        let capacity = self.entries.capacity();
        if self.index.capacity() < capacity {
            // Made anew in the order of the slab: if the index grew by itself, it would ask for the
            // hashes in its own order, and each would be a miss of the cache.
            self.index = HashTable::with_capacity(capacity);
            for (index, entry) in &self.entries {
                #[expect(clippy::cast_possible_truncation, reason = "a capacity below 2^32")]
                let index = index as Index;
                let room = |_: &Index| unreachable!("it has room for all");
                self.index.insert_unique(entry.hash.spread(), index, room);
            }
        }
    }

    /// Takes out the key that matters least, if that is less than a new one.
    fn evict(&mut self, options: AddOptions, due: u64) -> Option<K> {
        let entries = &self.entries;
        let furthest = self.furthest.get_or_insert_with(|| {
            let delayed = entries
                .iter()
                .filter(|(_, entry)| entry.phase == Phase::Delayed);
            #[expect(clippy::cast_possible_truncation, reason = "a capacity below 2^32")]
            Furthest::of(delayed.map(|(index, entry)| (index as Index, entry)))
        });
        let ready = self.ready.last();
        let ready = ready.map(|index| (entries[index as usize].priority, index));
        let victim = match (furthest.first(), ready) {
            // Of the same priority, what is delayed matters less than what is ready.
            (Some(delayed), ready) if ready.is_none_or(|(band, _)| delayed.priority <= band) => {
                let later = delayed.priority == options.priority && due < delayed.due;
                (delayed.priority < options.priority || later).then_some(delayed.index)
            }
            (_, ready) => {
                ready.and_then(|(band, index)| (band < options.priority).then_some(index))
            }
        }?;
        Some(self.take_out(victim))
    }

    /// Takes a waiting key out.
    fn take_out(&mut self, index: Index) -> K {
        let entry = &self.entries[index as usize];
        match entry.phase {
            Phase::Ready => {
                let priority = entry.priority;
                self.ready.remove(&mut self.entries, index, priority);
            }
            Phase::Delayed => self.undelay(index),
            Phase::Processing | Phase::Dirty => unreachable!("it waits"),
        }
        self.forget(index)
    }
}

impl<K> Machine<K> {
    /// Takes a waiting key out, or the wish for another run of one that is being processed.
    pub(super) fn remove<Q>(&mut self, hash: Hash, key: &Q) -> Option<Removed<K>>
    where
        K: Eq + Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let entries = &mut self.entries;
        let index = *self.index.find(hash.spread(), |&at| {
            let entry = &entries[at as usize];
            entry.hash == hash && K::borrow(&entry.key) == key
        })?;
        let entry = &mut entries[index as usize];
        match entry.phase {
            Phase::Ready | Phase::Delayed => Some(Removed::Key(self.take_out(index))),
            Phase::Processing | Phase::Dirty => {
                let wished = entry.phase == Phase::Dirty || entry.due != NEVER;
                entry.phase = Phase::Processing;
                (entry.due, entry.window) = (NEVER, NEVER);
                wished.then_some(Removed::Wish)
            }
        }
    }
}
