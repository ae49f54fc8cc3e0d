//! How keys come in: what an add does in each state of its key, and what a remove does.

use std::borrow::Borrow;

use crate::clock::Timestamp;
use crate::list::Index;
use crate::queue::core::entry::{Entry, Hash, NEVER, Phase, tick_of};
use crate::queue::core::groups::grouping::GroupKey;
use crate::queue::core::index::Found;
use crate::queue::core::machine::Machine;
use crate::queue::core::options::{AddOptions, Merge};
use crate::queue::core::priority::Priority;

/// Why a key was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Full,
    Closed,
    /// The limiter of a new group is to be made first.
    NeedsLimiter,
}

/// What became of an added key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Added {
    /// It has an entry now.
    New,
    /// It had one, which was not waiting to run, or not so soon.
    Updated,
    /// It was waiting already.
    Coalesced,
}

/// What a new key may do to get in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// Use none: others are before it.
    None,
    /// Use what is free.
    Free,
    /// Use what is kept for workers too.
    Reserve,
}

/// What [`Machine::remove`] took.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Removed<K> {
    /// The key, which was waiting.
    Key(K),
    /// A key at rest.
    Memory(K),
    /// The wish to run it again, and the key for that run if there is one; it is being processed.
    Wish(Option<K>),
}

/// A key that is added.
enum Looked {
    /// It was live.
    Live(Added),
    /// It rests.
    Resting { index: Index, due: u64 },
    Absent {
        /// Where a key of its hash was.
        left: Option<Index>,
        due: u64,
    },
}

/// Of a key that was added while it was being processed.
const fn dirty(holds: bool) -> Phase {
    if holds {
        Phase::DirtyHeld
    } else {
        Phase::Dirty
    }
}

impl<K: Eq> Machine<K> {
    /// Adds a key, which is taken if it gets an entry. What is left in its place is for the caller,
    /// once the lock is released.
    #[inline]
    pub(crate) fn add(
        &mut self,
        hash: Hash,
        key: &mut Option<K>,
        options: AddOptions,
        room: Room,
        now: Timestamp,
    ) -> Result<Added, Refused> {
        let (left, due) = match self.add_if_live::<false>(hash, key, options, now)? {
            Looked::Live(added) => return Ok(added),
            Looked::Absent { left, due } => (left, due),
            Looked::Resting { .. } => unreachable!("none rests"),
        };
        if !self.has_room_for(room) {
            return Err(Refused::Full);
        }
        let index = self.take_place(left, hash, options.priority, now);
        self.admit::<false>(index, key.take(), due, options.priority, now);
        Ok(Added::New)
    }

    /// As [`add`](Self::add), where there are groups or the newest of equal keys is kept. Runs the `Eq`
    /// of groups too, before anything has changed.
    pub(crate) fn add_special(
        &mut self,
        hash: Hash,
        key: &mut Option<K>,
        options: AddOptions,
        room: Room,
        now: Timestamp,
        mut group: Option<&mut GroupKey<'_>>,
    ) -> Result<Added, Refused> {
        let looked = self.add_if_live::<true>(hash, key, options, now)?;
        let place = match looked {
            Looked::Live(added) => return Ok(added),
            Looked::Resting { index, .. } => Some(index),
            Looked::Absent { left, .. } => left,
        };
        let found = group
            .as_ref()
            .and_then(|group| self.ready.find_group(group, place));
        let is_new = matches!(looked, Looked::Absent { .. });
        if is_new && !(self.has_room_for(room) && self.ready.has_room_in(found)) {
            return Err(Refused::Full);
        }
        if found.is_none() && group.as_ref().is_some_and(|group| !group.is_ready()) {
            return Err(Refused::NeedsLimiter);
        }
        if let Looked::Resting { index, due } = looked {
            if let (Some(groups), Some(group)) = (self.ready.groups_mut(), &mut group) {
                groups.enter(index, found, group);
            }
            return Ok(self.wake(index, due, options, now));
        }
        self.evict_resting();
        let Looked::Absent { left, due } = looked else {
            unreachable!("the others have gone")
        };
        let index = self.take_place(left, hash, options.priority, now);
        if let (Some(groups), Some(group)) = (self.ready.groups_mut(), &mut group) {
            groups.enter(index, found, group);
        }
        self.admit::<true>(index, key.take(), due, options.priority, now);
        Ok(Added::New)
    }

    /// Adds a key that is live already.
    #[expect(clippy::inline_always, reason = "it is most of two functions")]
    #[inline(always)]
    fn add_if_live<const SPECIAL: bool>(
        &mut self,
        hash: Hash,
        key: &mut Option<K>,
        options: AddOptions,
        now: Timestamp,
    ) -> Result<Looked, Refused> {
        if self.is_closed() {
            return Err(Refused::Closed);
        }
        // What has become due meanwhile was ready first, although nobody has asked for it yet.
        self.advance(now);
        if SPECIAL {
            self.expire(now);
        }
        let due = tick_of(options.delay, now);
        // The caller's `Eq` runs here, before anything has changed.
        let same = |place| self.keys.get(place) == key.as_ref();
        let left = match self.index.find(self.entries.slots(), hash, same) {
            Found::Live(index) => {
                if SPECIAL && self.limits.keeps_newest {
                    self.keep_newest(index, key);
                }
                let entry = &self.entries[index];
                if SPECIAL && matches!(entry.phase, Phase::Resting | Phase::GivenUp) {
                    return Ok(if self.is_woken(index) {
                        Looked::Resting { index, due }
                    } else {
                        Looked::Live(Added::Coalesced)
                    });
                }
                let waits = entry.phase == Phase::Ready && entry.priority >= options.priority;
                return Ok(Looked::Live(if waits {
                    Added::Coalesced
                } else {
                    self.add_again(index, due, options, now)
                }));
            }
            Found::Left(index) => Some(index),
            Found::Nowhere => None,
        };
        Ok(Looked::Absent { left, due })
    }

    /// Whether there is room for a new key.
    #[inline]
    fn has_room_for(&self, room: Room) -> bool {
        match room {
            Room::None => false,
            Room::Free => self.has_room(),
            Room::Reserve => self.has_room_in(self.limits.capacity),
        }
    }

    /// A place for a new key, where a key of its hash has `left`, or another.
    #[inline]
    fn take_place(
        &mut self,
        left: Option<Index>,
        hash: Hash,
        priority: Priority,
        now: Timestamp,
    ) -> Index {
        match left {
            Some(index) => {
                self.entries.reuse(index, Entry::new(hash, priority, now));
                index
            }
            None => self.occupy(hash, priority, now),
        }
    }

    /// Lets a new key wait for its time, or for its turn.
    #[inline]
    fn admit<const SPECIAL: bool>(
        &mut self,
        index: Index,
        key: Option<K>,
        due: u64,
        priority: Priority,
        now: Timestamp,
    ) {
        let Some(key) = key else { return };
        self.keys.insert(index, key);
        let (due, window) = self.due_of_new(due, now);
        if self.wheel.is_ahead(due) {
            if SPECIAL {
                // It was never started.
                self.entries[index].since = Timestamp::MAX;
            }
            self.windows.set(index, window);
            self.make_delayed(index, due);
        } else {
            // Whoever had the place before may have left a window open.
            self.windows.set(index, NEVER);
            let slots = self.entries.slots_mut();
            if SPECIAL {
                self.ready.push(slots, index, priority);
            } else {
                self.ready.bands.push(slots, index, priority);
            }
        }
    }

    /// A place for a key that has none. Who left it last is found no more.
    #[inline]
    fn occupy(&mut self, hash: Hash, priority: Priority, now: Timestamp) -> Index {
        if self.entries.len() == self.entries.capacity() {
            self.grow();
        }
        let index = match self.entries.next_free() {
            Some(index) => {
                self.index.remove(self.entries[index].hash, index);
                self.entries.reuse(index, Entry::new(hash, priority, now));
                index
            }
            None => self.entries.push(Entry::new(hash, priority, now)),
        };
        self.index.insert(self.entries.slots(), hash, index);
        index
    }

    /// When a new key is due, and until when its window is open, if it has one.
    #[inline]
    pub(crate) fn due_of_new(&self, due: u64, now: Timestamp) -> (u64, u64) {
        match self.limits.debounce {
            Some(debounce) if due == 0 => debounce.next(NEVER, NEVER, now),
            _ => (due, NEVER),
        }
    }

    fn delay_or_ready(&mut self, index: Index, due: u64, now: Timestamp) {
        if self.wheel.is_ahead(due) {
            self.make_delayed(index, due);
        } else {
            self.make_ready(index, now);
        }
    }

    /// Puts a key into the place of its equal, and that into `key`.
    #[cold]
    fn keep_newest(&mut self, index: Index, key: &mut Option<K>) {
        let Some(new) = key.take() else { return };
        *key = match self.entries[index].phase {
            Phase::Free => unreachable!("it is live"),
            Phase::Ready | Phase::Delayed | Phase::Resting | Phase::GivenUp => {
                Some(self.keys.replace(index, new))
            }
            Phase::Processing | Phase::Dirty | Phase::DirtyHeld => {
                let newest = self.newest.get_or_insert_default();
                newest.insert(index, new)
            }
        };
    }

    /// Adds a live key, for which that may change something.
    #[inline(never)]
    fn add_again(&mut self, index: Index, due: u64, options: AddOptions, now: Timestamp) -> Added {
        if self.entries[index].priority < options.priority {
            self.promote(index, options.priority);
        }
        let holds = options.holds_backoff.unwrap_or(self.limits.holds_backoff);
        let floor = if holds { self.backoff_of(index) } else { 0 };
        let floor = floor.max(self.interval_of(index));
        // That its time may be over by the wheel does not make it an add without a delay.
        if due > 0 {
            self.add_live_later(index, due.max(floor), options.merge, now)
        } else if self.limits.debounce.is_some() {
            self.add_debounced(index, floor, holds, now)
        } else if floor > 0 {
            self.add_live_later(index, floor, Merge::Earlier, now)
        } else {
            self.add_live(index, holds, now)
        }
    }

    /// The tick at which the backoff of a delayed key is over; 0: no backoff holds it.
    fn backoff_of(&self, index: Index) -> u64 {
        let entry = &self.entries[index];
        match entry.had().tick() {
            tick if entry.phase == Phase::Delayed && self.wheel.is_ahead(tick) => tick,
            _ => 0,
        }
    }

    /// The tick at which the shortest interval of a delayed key is over; 0: none holds it.
    fn interval_of(&self, index: Index) -> u64 {
        let entry = &self.entries[index];
        if entry.phase == Phase::Delayed {
            self.next_start(entry.since)
        } else {
            0
        }
    }

    /// Adds a live key, to be handed out as soon as may be; if it is being processed and `holds`, not
    /// before the backoff, should that run fail.
    fn add_live(&mut self, index: Index, holds: bool, now: Timestamp) -> Added {
        let entry = &mut self.entries[index];
        match entry.phase {
            Phase::Free | Phase::Resting | Phase::GivenUp => unreachable!("work is pending"),
            Phase::Ready | Phase::Dirty => Added::Coalesced,
            Phase::DirtyHeld => {
                entry.phase = dirty(holds);
                Added::Coalesced
            }
            Phase::Delayed => {
                self.undelay(index);
                self.make_ready(index, now);
                Added::Updated
            }
            Phase::Processing => {
                entry.phase = dirty(holds);
                entry.due = NEVER;
                self.dirtied = true;
                Added::Updated
            }
        }
    }

    /// As [`add_live`](Self::add_live), once the key has been quiet.
    fn add_debounced(&mut self, index: Index, floor: u64, holds: bool, now: Timestamp) -> Added {
        let entry = &mut self.entries[index];
        let (phase, due, window) = (entry.phase, entry.due, self.windows.end(index));
        let Some(debounce) = self.limits.debounce.filter(|_| phase != Phase::Ready) else {
            return Added::Coalesced;
        };
        let (next, window_end) = debounce.next(due, window, now);
        let next = next.max(floor);
        self.windows.set(index, window_end);
        match phase {
            Phase::Free | Phase::Ready | Phase::Resting | Phase::GivenUp => {
                unreachable!("work is pending, and it is not ready")
            }
            Phase::Processing => {
                entry.phase = dirty(holds);
                entry.due = next;
                self.dirtied = true;
                return Added::Updated;
            }
            Phase::Dirty => entry.due = next,
            Phase::DirtyHeld => {
                entry.phase = dirty(holds);
                entry.due = next;
            }
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

    /// Adds a live key, to be handed out not before a tick.
    fn add_live_later(&mut self, index: Index, due: u64, merge: Merge, now: Timestamp) -> Added {
        let entry = &mut self.entries[index];
        let wins = match merge {
            Merge::Earlier => due < entry.due,
            Merge::Keep => entry.due == NEVER,
        };
        match entry.phase {
            Phase::Delayed if wins => {
                self.windows.set(index, NEVER);
                self.undelay(index);
                self.delay_or_ready(index, due, now);
            }
            Phase::Processing if wins => entry.due = due,
            _ => return Added::Coalesced,
        }
        Added::Updated
    }

    /// Raises the priority of a live key; a ready one goes to the tail of its new band.
    #[cold]
    fn promote(&mut self, index: Index, new: Priority) {
        let entry = &mut self.entries[index];
        let old = entry.priority;
        match entry.phase {
            Phase::Free | Phase::Resting | Phase::GivenUp => unreachable!("work is pending"),
            Phase::Ready => {
                entry.priority = new;
                let slots = self.entries.slots_mut();
                self.ready.remove(slots, index, old);
                self.ready.push(slots, index, new);
            }
            Phase::Delayed | Phase::Processing | Phase::Dirty | Phase::DirtyHeld => {
                entry.priority = new;
            }
        }
    }

    /// Makes room for more entries, and in the index with them.
    #[cold]
    fn grow(&mut self) {
        let capacity = self.keys.grow();
        self.entries.reserve_exact(capacity - self.entries.len());
        if self.limits.debounce.is_some() {
            self.windows.grow(capacity);
        }
        if let Some(groups) = self.ready.groups_mut() {
            groups.grow(capacity);
        }
        // All are in use.
        self.index.grow(self.entries.slots(), capacity);
    }

    /// Takes a waiting key out.
    fn take_out(&mut self, index: Index) -> K {
        let entry = &self.entries[index];
        match entry.phase {
            Phase::Ready => {
                let priority = entry.priority;
                self.ready.remove(self.entries.slots_mut(), index, priority);
            }
            Phase::Delayed => self.undelay(index),
            Phase::Resting | Phase::GivenUp => return self.take_resting(index),
            Phase::Free | Phase::Processing | Phase::Dirty | Phase::DirtyHeld => {
                unreachable!("it waits")
            }
        }
        self.forget(index)
    }
}

impl<K> Machine<K> {
    /// Takes a waiting key out, or the wish for another run of one that is being processed.
    pub(crate) fn remove<Q>(&mut self, hash: Hash, key: &Q) -> Option<Removed<K>>
    where
        K: Eq + Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let same = |place| self.keys.get(place).map(K::borrow) == Some(key);
        let Found::Live(index) = self.index.find(self.entries.slots(), hash, same) else {
            return None;
        };
        let entry = &mut self.entries[index];
        match entry.phase {
            Phase::Free => unreachable!("it is live"),
            Phase::Ready | Phase::Delayed => Some(Removed::Key(self.take_out(index))),
            Phase::Resting | Phase::GivenUp => Some(Removed::Memory(self.take_out(index))),
            Phase::Processing | Phase::Dirty | Phase::DirtyHeld => {
                let wished = entry.phase != Phase::Processing || entry.due != NEVER;
                entry.phase = Phase::Processing;
                entry.due = NEVER;
                self.windows.set(index, NEVER);
                wished.then(|| Removed::Wish(self.take_newest(index)))
            }
        }
    }
}
