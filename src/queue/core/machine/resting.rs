//! Resting keys: no work is pending, and the queue only remembers the last start (until the shortest
//! interval is over), or that the key was given up.
//!
//! A resting key keeps its slot until a new key needs the room: then the key whose rest ends first
//! is evicted. A resting key does not count toward the capacity, and belongs to no group.

use crate::clock::Timestamp;
use crate::list::Index;
use crate::queue::core::entry::{NEVER, Phase, tick_after};
use crate::queue::core::given_up::GivenUp;
use crate::queue::core::machine::Machine;
use crate::queue::core::priority::Priority;

impl<K> Machine<K> {
    /// Returns true if a key of this queue can rest.
    pub(super) const fn may_rest(&self) -> bool {
        !self.config.min_interval.is_zero() || self.config.given_up.is_some()
    }

    /// Returns the tick before which a key that was started at `since` must not start again; 0 if it
    /// may now.
    pub(super) fn earliest_start(&self, since: Timestamp) -> u64 {
        let interval = self.config.min_interval;
        if interval.is_zero() || since == Timestamp::MAX {
            return 0;
        }
        match tick_after(since.saturating_add(interval)) {
            tick if self.wheel.is_ahead(tick) => tick,
            _ => 0,
        }
    }

    /// Puts a key to rest that has no pending work; returns false if it becomes absent instead.
    pub(super) fn rest_after_run(
        &mut self,
        index: Index,
        gives_up: bool,
        earliest_start: u64,
        now: Timestamp,
    ) -> bool {
        let (phase, until) = match self.config.given_up {
            _ if self.is_closed() => return false,
            Some(GivenUp { remembered, .. }) if gives_up => {
                let until = tick_after(now.saturating_add(remembered));
                (Phase::GivenUp, until)
            }
            _ if earliest_start > 0 => (Phase::Resting, earliest_start),
            _ => return false,
        };
        let entry = &mut self.entries[index];
        (entry.phase, entry.due) = (phase, until);
        self.resting.insert((until, index));
        self.windows.set(index, NEVER);
        if let Some(groups) = &mut self.ready.groups {
            groups.leave(index);
        }
        true
    }

    /// Makes the resting key absent whose rest ends first, and the next, while `ends` returns true of
    /// its tick.
    pub(super) fn expire_resting(&mut self, ends: impl Fn(&Self, u64) -> bool) {
        while let Some((until, index)) = self.resting.first().copied()
            && ends(self, until)
        {
            let key = self.take_resting(index);
            // The caller's `Drop` must not run under the lock.
            self.expired.push(key);
        }
    }

    pub(super) fn take_resting(&mut self, index: Index) -> K {
        self.resting.remove(&(self.entries[index].due, index));
        // Not `forget`: the key left its group when it was put to rest.
        self.release_entry(index);
        self.keys.remove(index)
    }

    /// Schedules a resting key that was added.
    pub(super) fn reactivate(
        &mut self,
        index: Index,
        due: u64,
        priority: Priority,
        now: Timestamp,
    ) {
        let entry = &mut self.entries[index];
        self.resting.remove(&(entry.due, index));
        // A resting key has no priority to keep. If it was done it has no failures either, and the
        // backoff tick is 0.
        (entry.priority, entry.due) = (priority, NEVER);
        let (backoff, since) = (entry.recorded_failures().backoff_tick(), entry.since);
        let (due, window) = self.due_of_new(due, now);
        let due = due.max(backoff).max(self.earliest_start(since));
        self.windows.set(index, window);
        self.make_delayed_or_ready(index, due, now);
    }
}
