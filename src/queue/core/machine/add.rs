//! Adding a key: a live key is coalesced ([`add_live`](super::add_live)), a new key gets an entry.
//!
//! The caller's `Eq` runs before anything has changed, so a panic in it leaves the machine as it was.

use crate::clock::Timestamp;
use crate::list::Index;
use crate::queue::core::entry::{KeyEntry, KeyHash, NEVER, Phase, tick_at, tick_of};
use crate::queue::core::given_up::Revive;
use crate::queue::core::groups::grouping::GroupKey;
use crate::queue::core::index::Found;
use crate::queue::core::machine::Machine;
use crate::queue::core::options::AddOptions;
use crate::queue::core::priority::Priority;

/// Why a key was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AddRefusal {
    Full,
    Closed,
    /// The key's group is new: the caller must make its limiter without the lock, and add again.
    NeedsLimiter,
}

/// What an add has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Added {
    /// The key was absent.
    New,
    /// The key was live, and is scheduled to run, or to run sooner, because of this add.
    Updated,
    /// The key was scheduled already.
    Coalesced,
}

/// Which part of the capacity a new key may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// None: blocked adders are ahead.
    None,
    /// All but the reserve.
    Unreserved,
    /// All.
    WithReserve,
}

impl<K> Machine<K> {
    /// Adds a key. Takes it if it gets an entry; the caller drops what is left in `key` once the
    /// lock is released. Unless `GENERAL`, the queue has no groups, does not keep the newest of equal
    /// keys and lets no key rest. The arguments come one by one, in registers: passed as one value
    /// they would go through memory.
    #[inline]
    pub(crate) fn add<const GENERAL: bool>(
        &mut self,
        hash: KeyHash,
        key: &mut Option<K>,
        options: AddOptions,
        room: Room,
        now: Timestamp,
        mut group: Option<&mut GroupKey<'_>>,
    ) -> Result<Added, AddRefusal>
    where
        K: Eq,
    {
        if self.is_closed() {
            return Err(AddRefusal::Closed);
        }
        // Keys that are due by now became ready before this one is added.
        self.advance(now);
        if GENERAL {
            let tick = tick_at(now);
            self.expire_resting(|_, until| until <= tick);
        }
        let due = tick_of(options.delay, now);
        // The caller's `Eq` runs here, before anything of this add has changed.
        let same = |slot| self.keys.get(slot) == key.as_ref();
        let (resting, tombstone) = match self.index.find(self.entries.slots(), hash, same) {
            Found::Live(index) => {
                if GENERAL && self.config.keeps_newest {
                    self.keep_newest(index, key);
                }
                let entry = &self.entries[index];
                if !GENERAL || !matches!(entry.phase, Phase::Resting | Phase::GivenUp) {
                    // The hot case, a duplicate of a ready key, changes nothing.
                    let is_scheduled =
                        entry.phase == Phase::Ready && entry.priority >= options.priority;
                    return Ok(if is_scheduled {
                        Added::Coalesced
                    } else {
                        self.add_live(index, due, options, now)
                    });
                }
                let revive = self.config.given_up.map(|given_up| given_up.revive);
                if entry.phase == Phase::GivenUp && revive == Some(Revive::Never) {
                    return Ok(Added::Coalesced);
                }
                (Some(index), None)
            }
            Found::Tombstone(index) => (None, Some(index)),
            Found::Nowhere => (None, None),
        };
        let mut found = None;
        if GENERAL && let Some(group) = &group {
            // Runs the `Eq` of groups, also before anything has changed.
            found = self.ready.find_group(group, resting.or(tombstone));
        }
        if resting.is_none()
            && !(self.has_room_for(room) && (!GENERAL || self.ready.group_has_room(found)))
        {
            return Err(AddRefusal::Full);
        }
        if GENERAL && found.is_none() && group.as_ref().is_some_and(|group| group.needs_limiter) {
            return Err(AddRefusal::NeedsLimiter);
        }
        // From here on the add succeeds.
        let index = resting.unwrap_or_else(|| {
            if GENERAL {
                // The room was granted without the resting keys; their slots must be freed before
                // one is claimed, or the arena would outgrow the capacity.
                self.expire_resting(|this, _| this.entries.len() >= this.config.capacity);
            }
            let Some(index) = tombstone else {
                return self.allocate_slot(hash, options.priority, now);
            };
            // The index has this slot under this hash already.
            let entry = KeyEntry::new(hash, options.priority, now);
            self.entries.reuse(index, entry);
            index
        });
        if GENERAL && let (Some(groups), Some(group)) = (self.ready.groups.as_mut(), &mut group) {
            groups.enter(index, found, group);
        }
        if GENERAL && resting.is_some() {
            self.reactivate(index, due, options.priority, now);
            return Ok(Added::Updated);
        }
        self.insert_new::<GENERAL>(index, key.take(), due, options.priority, now);
        Ok(Added::New)
    }

    /// Returns true if a producer may add a new key.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        self.has_room_for(Room::Unreserved)
    }

    #[inline]
    fn has_room_for(&self, room: Room) -> bool {
        let capacity = match room {
            Room::None => return false,
            Room::Unreserved => self.config.capacity - self.config.reserve,
            Room::WithReserve => self.config.capacity,
        };
        // Resting keys do not count: an add evicts them. Promised slots do, or a newcomer could
        // take the slot for which a blocked adder was woken.
        self.entries.len() - self.resting.len() + self.promised < capacity
    }

    /// Schedules a new key: into the wheel, or to the tail of its band.
    #[inline]
    fn insert_new<const GENERAL: bool>(
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
            if GENERAL {
                // It was never started, so no shortest interval applies.
                self.entries[index].since = Timestamp::MAX;
            }
            self.windows.set(index, window);
            self.make_delayed(index, due);
        } else {
            // The last key of this slot may have left its debounce window open.
            self.windows.set(index, NEVER);
            let slots = self.entries.slots_mut();
            if GENERAL {
                self.ready.push(slots, index, priority);
            } else {
                self.ready.bands.push(slots, index, priority);
            }
        }
    }

    /// Returns a slot for a hash without a tombstone. The tombstone of the slot's last key is lost.
    #[inline]
    fn allocate_slot(&mut self, hash: KeyHash, priority: Priority, now: Timestamp) -> Index {
        if self.entries.len() == self.entries.capacity() {
            self.grow();
        }
        let index = match self.entries.next_free() {
            Some(index) => {
                self.index.remove(self.entries[index].hash, index);
                self.entries
                    .reuse(index, KeyEntry::new(hash, priority, now));
                index
            }
            None => self.entries.push(KeyEntry::new(hash, priority, now)),
        };
        self.index.insert(self.entries.slots(), hash, index);
        index
    }

    /// Returns the tick at which a new key is due and the end of its debounce window, `NEVER`
    /// without one. An add with a delay of its own is not debounced.
    #[inline]
    pub(crate) fn due_of_new(&self, due: u64, now: Timestamp) -> (u64, u64) {
        match self.config.debounce {
            Some(debounce) if due == 0 => debounce.next(NEVER, NEVER, now),
            _ => (due, NEVER),
        }
    }

    /// Replaces a live key by the equal one that is added, and leaves the old one in `key`. Workers
    /// borrow the key in process, so its replacement waits for the next run.
    #[cold]
    fn keep_newest(&mut self, index: Index, key: &mut Option<K>) {
        let Some(new) = key.take() else { return };
        *key = match self.entries[index].phase {
            Phase::Free => unreachable!("a live key was found"),
            Phase::Ready | Phase::Delayed | Phase::Resting | Phase::GivenUp => {
                Some(self.keys.replace(index, new))
            }
            Phase::Processing | Phase::Dirty | Phase::DirtyHoldBackoff => {
                let newest = self.newest.get_or_insert_default();
                newest.insert(index, new)
            }
        };
    }

    /// Allocates more slots, and room in the index for as many.
    #[cold]
    fn grow(&mut self) {
        let capacity = self.keys.grow();
        self.entries.reserve_exact(capacity - self.entries.len());
        if self.config.debounce.is_some() {
            self.windows.grow(capacity);
        }
        if let Some(groups) = &mut self.ready.groups {
            groups.grow(capacity);
        }
        // No slot is free when the arena grows, so the index holds no tombstone.
        self.index.grow(self.entries.slots(), capacity);
    }
}
