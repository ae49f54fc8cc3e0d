//! Keys at rest: no work is pending, and only memory stays, of a last start (until the shortest interval
//! is over) or of a key that was given up.
//!
//! A resting key gives way to a new key that needs the room, the soonest first.

use crate::queue::core::given_up::Revive;

use crate::clock::Timestamp;
use crate::list::Index;
use crate::queue::core::admit::Added;
use crate::queue::core::entry::{Failures, NEVER, Phase, tick_after, tick_at};
use crate::queue::core::machine::Machine;
use crate::queue::core::options::AddOptions;

impl<K> Machine<K> {
    /// Whether keys may rest.
    pub(crate) const fn has_memory(&self) -> bool {
        !self.limits.min_interval.is_zero() || self.limits.given_up.is_some()
    }

    /// The tick at which a key may start again that was started at `since`; 0 if at any.
    pub(crate) fn next_start(&self, since: Timestamp) -> u64 {
        let interval = self.limits.min_interval;
        if interval.is_zero() || since == Timestamp::MAX {
            return 0;
        }
        match tick_after(since.saturating_add(interval)) {
            tick if self.wheel.is_ahead(tick) => tick,
            _ => 0,
        }
    }

    /// When a key is asked for again that is given up: not in vain.
    pub(crate) fn asked_of_given_up(&self, asked: u64, failures: Failures) -> u64 {
        match self.limits.given_up.map(|given_up| given_up.revive) {
            Some(Revive::Never) => NEVER,
            Some(Revive::Once) if asked != NEVER => asked.max(failures.tick()),
            _ => asked,
        }
    }

    /// Puts a key to rest.
    pub(crate) fn rest(&mut self, index: Index, phase: Phase, until: u64) {
        let entry = &mut self.entries[index];
        (entry.phase, entry.due) = (phase, until);
        self.resting.insert((until, index));
        self.windows.set(index, NEVER);
        if let Some(groups) = self.ready.groups_mut() {
            groups.leave(index);
        }
    }

    /// Forgets the resting keys whose time has come.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        let tick = tick_at(now);
        while let Some((until, index)) = self.resting.first().copied()
            && until <= tick
        {
            self.forget_resting(index);
        }
    }

    /// Makes room in the arena, if it is full.
    pub(crate) fn evict_resting(&mut self) {
        while self.entries.len() >= self.limits.capacity
            && let Some((_, index)) = self.resting.first().copied()
        {
            self.forget_resting(index);
        }
    }

    fn forget_resting(&mut self, index: Index) {
        let key = self.take_resting(index);
        self.expired.push(key);
    }

    /// Takes a resting key out.
    pub(crate) fn take_resting(&mut self, index: Index) -> K {
        self.resting.remove(&(self.entries[index].due, index));
        // Its group has left already.
        self.release_entry(index);
        self.keys.remove(index)
    }

    /// An event finds a key at rest: whether it wakes it.
    pub(crate) fn is_woken(&self, index: Index) -> bool {
        let given_up = self.limits.given_up.map(|given_up| given_up.revive);
        let phase = self.entries[index].phase;
        phase == Phase::Resting || given_up != Some(Revive::Never)
    }
}

impl<K: Eq> Machine<K> {
    /// Wakes a key that is at rest.
    pub(crate) fn wake(
        &mut self,
        index: Index,
        due: u64,
        options: AddOptions,
        now: Timestamp,
    ) -> Added {
        let entry = &mut self.entries[index];
        self.resting.remove(&(entry.due, index));
        // Its priority is forgotten. Of a key that was done there are no failures.
        (entry.priority, entry.due) = (options.priority, NEVER);
        let (backoff, since) = (entry.had().tick(), entry.since);
        let (due, window) = self.due_of_new(due, now);
        let due = due.max(backoff).max(self.next_start(since));
        if self.wheel.is_ahead(due) {
            self.windows.set(index, window);
            self.make_delayed(index, due);
        } else {
            self.make_ready(index, now);
        }
        Added::Updated
    }
}
