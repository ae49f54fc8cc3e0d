//! Adding a live key: the add is coalesced with the run that the key waits for, or makes a key in
//! process dirty, so that it runs once more.
//!
//! Of two due ticks the earlier wins, unless [`Merge`] says otherwise; a backoff that is held and
//! the shortest interval are lower bounds to both.

use crate::clock::Timestamp;
use crate::list::Index;
use crate::queue::core::entry::{NEVER, Phase};
use crate::queue::core::machine::Machine;
use crate::queue::core::machine::add::Added;
use crate::queue::core::options::{AddOptions, Merge};
use crate::queue::core::priority::Priority;

impl<K> Machine<K> {
    /// Adds a live key with pending work or in process, with a delay until `due`, or 0.
    #[inline(never)]
    pub(super) fn add_live(
        &mut self,
        index: Index,
        due: u64,
        options: AddOptions,
        now: Timestamp,
    ) -> Added {
        if self.entries[index].priority < options.priority {
            self.promote(index, options.priority);
        }
        let holds_backoff = options.holds_backoff.unwrap_or(self.config.holds_backoff);
        let (entry, mut floor) = (&self.entries[index], 0);
        if entry.phase == Phase::Delayed {
            floor = self.earliest_start(entry.since);
            let backoff = entry.recorded_failures().backoff_tick();
            if holds_backoff && self.wheel.is_ahead(backoff) {
                floor = floor.max(backoff);
            }
        }
        // By `due` and not by the wheel: a delay that is over by now is a delay all the same.
        if due > 0 {
            self.add_live_delayed(index, due.max(floor), options.merge, now)
        } else {
            self.add_live_undelayed(index, floor, holds_backoff, now)
        }
    }

    /// Makes a delayed key ready, not before the tick `floor`, and a key in process dirty; with a
    /// debounce, once the key has been quiet. With `holds_backoff` a dirty key waits for its backoff if
    /// its run fails.
    fn add_live_undelayed(
        &mut self,
        index: Index,
        floor: u64,
        holds_backoff: bool,
        now: Timestamp,
    ) -> Added {
        let (entry, debounce) = (&mut self.entries[index], self.config.debounce);
        let (phase, due) = (entry.phase, entry.due);
        if phase == Phase::Ready || phase == Phase::Dirty && debounce.is_none() {
            return Added::Coalesced;
        }
        let window = self.windows.end(index);
        let (next, window_end) = match debounce {
            Some(debounce) => {
                let (next, window_end) = debounce.next(due, window, now);
                (next.max(floor), window_end)
            }
            None if phase == Phase::Delayed => (floor.min(due), NEVER),
            // Without a debounce a dirty key has no tick.
            None => (NEVER, NEVER),
        };
        self.windows.set(index, window_end);
        match phase {
            Phase::Free | Phase::Ready | Phase::Resting | Phase::GivenUp => {
                unreachable!("work is pending, and the key is not ready")
            }
            Phase::Dirty => entry.due = next,
            // An add that does not hold the backoff ends it, whichever came first.
            Phase::Processing | Phase::DirtyHoldBackoff => {
                entry.phase = if holds_backoff {
                    Phase::DirtyHoldBackoff
                } else {
                    Phase::Dirty
                };
                entry.due = next;
            }
            Phase::Delayed if next != due => {
                self.wheel.remove(self.entries.slots_mut(), index);
                self.make_delayed_or_ready(index, next, now);
            }
            Phase::Delayed => {}
        }
        self.became_dirty |= phase == Phase::Processing;
        // The first add of a window schedules the run; later ones only put it off.
        let is_scheduled = match debounce {
            Some(_) => window != NEVER,
            None => next == due,
        };
        if is_scheduled && phase != Phase::Processing {
            Added::Coalesced
        } else {
            Added::Updated
        }
    }

    /// Schedules a delayed key, or the next run of a key in process, for `due`, if that wins over
    /// its tick.
    fn add_live_delayed(&mut self, index: Index, due: u64, merge: Merge, now: Timestamp) -> Added {
        let entry = &mut self.entries[index];
        let wins = match merge {
            Merge::Earlier => due < entry.due,
            Merge::Keep => entry.due == NEVER,
        };
        match entry.phase {
            Phase::Delayed if wins => {
                self.windows.set(index, NEVER);
                self.wheel.remove(self.entries.slots_mut(), index);
                self.make_delayed_or_ready(index, due, now);
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
        let (old, phase) = (entry.priority, entry.phase);
        entry.priority = new;
        if phase == Phase::Ready {
            let slots = self.entries.slots_mut();
            self.ready.remove(slots, index, old);
            self.ready.push(slots, index, new);
        }
    }
}
