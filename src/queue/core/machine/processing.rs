//! Start and finish: how a key gets into process, and what becomes of it at the end of its run.

use crate::clock::Timestamp;
use crate::list::Index;
use crate::queue::core::bands::NextKey;
use crate::queue::core::entry::{Failures, NEVER, Phase};
use crate::queue::core::given_up::Revive;
use crate::queue::core::keys::KeyRef;
use crate::queue::core::machine::Machine;
use crate::queue::core::run::{OnFailure, Outcome, Run, Started};

/// What the end of a run leaves for the caller to drop or return, once the lock is released.
pub(crate) struct Finished<K> {
    /// The key, if it is absent now.
    pub(crate) forgotten: Option<K>,
    /// The key that a newer equal one has replaced.
    pub(crate) replaced: Option<K>,
    /// Whether the key was given up and is remembered.
    pub(crate) is_given_up: bool,
}

impl<K> Machine<K> {
    /// Hands out the key that was peeked.
    #[expect(clippy::inline_always, reason = "a call costs more than the body")]
    #[inline(always)]
    pub(crate) fn start(&mut self, next: NextKey, now: Timestamp) -> Started<K> {
        let (index, slots) = (next.index, self.entries.slots_mut());
        self.ready.pop(slots, next);
        self.processing.push_back(slots, index);
        self.processing_len += 1;
        self.started_sum = self.started_sum.wrapping_add(now.as_nanos());
        let entry = &mut slots[index as usize];
        let ready_since = std::mem::replace(&mut entry.since, now);
        entry.phase = Phase::Processing;
        let run = Run {
            priority: entry.priority,
            failures: entry.failures,
            // Clocks are read without the lock, so `now` may be behind the time at which the key
            // became ready: the later of the two decides whether the backoff was over.
            on_failure: if now.max(ready_since) >= entry.backoff_until {
                OnFailure::Count
            } else {
                OnFailure::KeepCount
            },
            ready_since,
            started: now,
        };
        (self.keys.borrow(index), run)
    }

    /// Takes a key out of the processing list; its entry is in no list then.
    #[expect(clippy::inline_always, reason = "a call costs more than the body")]
    #[inline(always)]
    fn stop_entry(&mut self, index: Index) {
        let slots = self.entries.slots_mut();
        let since = slots[index as usize].since;
        self.started_sum = self.started_sum.wrapping_sub(since.as_nanos());
        self.processing.remove(slots, index);
        self.processing_len -= 1;
    }

    /// Finishes a key that is done, if that needs no clock: it is not dirty, not requeued by an add,
    /// and does not rest. Otherwise changes nothing, and the key stays borrowed.
    #[expect(clippy::inline_always, reason = "a call costs more than the body")]
    #[inline(always)]
    pub(crate) fn finish_done(&mut self, borrowed: &mut Option<KeyRef<K>>) -> Option<K> {
        let index = borrowed.as_ref()?.index();
        let entry = &self.entries[index];
        if entry.phase != Phase::Processing || entry.due != NEVER || self.may_rest() {
            return None;
        }
        self.stop_entry(index);
        self.release_entry(index);
        if let Some(groups) = &mut self.ready.groups {
            groups.finish(index);
        }
        let index = self.keys.release(borrowed.take()?);
        Some(self.keys.remove(index))
    }

    /// Same as [`finish`](Self::finish) with [`Outcome::Done`], by the shorter path if possible.
    #[inline]
    pub(crate) fn finish_as_done(&mut self, key: KeyRef<K>, now: Timestamp) -> Finished<K> {
        let mut borrowed = Some(key);
        let forgotten = self.finish_done(&mut borrowed);
        match borrowed {
            Some(key) => self.finish(key, Outcome::Done, now),
            None => Finished {
                forgotten,
                replaced: None,
                is_given_up: false,
            },
        }
    }

    /// Finishes a key: it becomes ready, delayed, resting or absent.
    pub(crate) fn finish(
        &mut self,
        key: KeyRef<K>,
        outcome: Outcome,
        now: Timestamp,
    ) -> Finished<K> {
        // Keys that are due by now became ready before this one is requeued.
        self.advance(now);
        let index = self.keys.release(key);
        self.stop_entry(index);
        if let Some(groups) = &mut self.ready.groups {
            groups.stop(index);
        }
        let earliest_start = self.earliest_start(self.entries[index].since);
        let entry = &mut self.entries[index];
        let (requeue, failures) = outcome.next_run(entry.recorded_failures());
        (entry.failures, entry.backoff_until) = (failures.count, failures.backoff_until);
        let gives_up = matches!(outcome, Outcome::GiveUp(_) | Outcome::Fail(_));
        let added = self.due_of_adds(index, failures, gives_up);
        if requeue < added {
            self.windows.set(index, NEVER);
        }
        // An equal key that was added meanwhile takes the place of this one, unless it was removed.
        let newest = self.take_newest(index);
        let replaced = newest.map(|newest| self.keys.replace(index, newest));
        let mut forgotten = None;
        match added.min(requeue) {
            NEVER if self.rest_after_run(index, gives_up, earliest_start, now) => {}
            NEVER => forgotten = Some(self.forget(index)),
            due => self.make_delayed_or_ready(index, due.max(earliest_start), now),
        }
        // A closed queue hands out no key that was delayed.
        if self.is_closed() {
            self.return_waiting();
        }
        Finished {
            forgotten,
            replaced,
            is_given_up: gives_up && self.entries[index].phase == Phase::GivenUp,
        }
    }

    /// Returns the tick of the run that adds have asked for while the key was in process; `NEVER` if
    /// none has.
    fn due_of_adds(&self, index: Index, failures: Failures, gives_up: bool) -> u64 {
        let entry = &self.entries[index];
        // A debounced key that became dirty has its tick in `due`; any other is due at once.
        let due = match entry.phase {
            Phase::Dirty | Phase::DirtyHoldBackoff if self.windows.end(index) == NEVER => 0,
            _ => entry.due,
        };
        let holds_backoff = match entry.phase {
            Phase::Dirty => false,
            Phase::DirtyHoldBackoff => true,
            _ => self.config.holds_backoff && due != NEVER,
        };
        // After a run that did not fail the backoff tick is 0, and changes nothing.
        let due = if holds_backoff {
            due.max(failures.backoff_tick())
        } else {
            due
        };
        match self.config.given_up.map(|given_up| given_up.revive) {
            Some(Revive::Never) if gives_up => NEVER,
            Some(Revive::Once) if gives_up && due != NEVER => due.max(failures.backoff_tick()),
            _ => due,
        }
    }
}
