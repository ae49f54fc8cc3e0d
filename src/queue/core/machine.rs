//! The states of the keys: the queue as a sequential machine. `now` comes in, nothing is locked,
//! nobody is woken.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use crate::arena::Arena;
use crate::clock::Timestamp;
use crate::list::{Index, List};
use crate::queue::core::bands::Turn;
use crate::queue::core::debounce::{Debounce, Windows};
use crate::queue::core::entry::{Entry, NEVER, Phase, start_of, tick_after, tick_at};
use crate::queue::core::given_up::GivenUp;
use crate::queue::core::groups::ready::Ready;
use crate::queue::core::hash::FastHash;
use crate::queue::core::index::KeyIndex;
use crate::queue::core::keys::{KeyRef, Keys};
use crate::queue::core::run::{Failing, Outcome, Run, Started};
use crate::queue::core::wheel::Wheel;

/// What a queue is told when it is built, and never after.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) capacity: usize,
    /// The part of the capacity that only workers can use.
    pub(crate) reserve: usize,
    pub(crate) debounce: Option<Debounce>,
    /// Whether an add waits for the backoff of its key, unless it says otherwise.
    pub(crate) holds_backoff: bool,
    /// One in so many hand-outs that pass over a band is of that which was passed over longest; 0:
    /// none.
    pub(crate) aging: u32,
    /// Whether an add replaces the key that is there.
    pub(crate) keeps_newest: bool,
    /// Between two starts of a key.
    pub(crate) min_interval: Duration,
    /// What is remembered of keys that were given up.
    pub(crate) given_up: Option<GivenUp>,
}

#[derive(Debug)]
pub(crate) struct Machine<K> {
    pub(crate) entries: Arena<Entry>,
    /// Each at the place of its entry.
    pub(crate) keys: Keys<K>,
    pub(crate) index: KeyIndex,
    pub(crate) ready: Ready,
    /// In the order in which they were started.
    pub(crate) processing: List,
    /// As narrow as an index, as the bands' is.
    processing_len: Index,
    /// The sum of the instants at which they were started, modulo 2^64: so is what is computed from
    /// it, which is less.
    processing_since: u64,
    pub(crate) wheel: Wheel,
    /// When the wheel's next tick begins.
    next_tick: Timestamp,
    pub(crate) windows: Windows,
    pub(crate) limits: Limits,
    /// A key that is being processed was added again, and nobody has taken note yet.
    pub(crate) dirtied: bool,
    /// Room that is promised to blocked adders who have been woken.
    promised: usize,
    closing: Closing,
    /// Keys that a closed queue will not hand out, until somebody collects them.
    left: Vec<K>,
    /// Keys that were added while an equal one is being processed, for its next run; `None` if the key
    /// that was added first is kept.
    pub(crate) newest: Option<HashMap<Index, K, FastHash>>,
    /// By the tick until which they rest.
    pub(crate) resting: BTreeSet<(u64, Index)>,
    /// Keys whose rest is over, until somebody drops them without the lock.
    pub(crate) expired: Vec<K>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Closing {
    Open,
    /// Hands out what is ready, and takes no new key.
    Closed,
    /// Hands out nothing.
    ShutDown,
}

/// What the end of a run leaves for the caller, once the lock is released.
#[derive(Debug)]
pub(crate) struct Finished<K> {
    /// The key, if it is no longer live.
    pub(crate) forgotten: Option<K>,
    /// The key that a newer one has replaced.
    pub(crate) replaced: Option<K>,
    /// It was given up, and rests.
    pub(crate) is_given_up: bool,
}

impl<K> Finished<K> {
    #[inline]
    const fn forgotten(forgotten: Option<K>) -> Self {
        Self {
            forgotten,
            replaced: None,
            is_given_up: false,
        }
    }
}

impl<K> Machine<K> {
    pub(crate) fn new(limits: Limits, ready: Ready) -> Self {
        Self {
            newest: limits.keeps_newest.then(HashMap::default),
            resting: BTreeSet::new(),
            expired: Vec::new(),
            entries: Arena::new(),
            keys: Keys::new(limits.capacity),
            index: KeyIndex::new(),
            ready,
            processing: List::new(),
            processing_len: 0,
            processing_since: 0,
            wheel: Wheel::new(),
            next_tick: Timestamp::ZERO,
            windows: Windows::default(),
            limits,
            dirtied: false,
            promised: 0,
            closing: Closing::Open,
            left: Vec::new(),
        }
    }

    #[inline]
    pub(crate) fn ready_len(&self) -> usize {
        self.ready.len()
    }

    /// How many keys may start.
    #[inline]
    pub(crate) fn startable(&self) -> usize {
        self.ready.startable()
    }

    pub(crate) const fn delayed_len(&self) -> usize {
        self.wheel.len()
    }

    pub(crate) const fn processing_len(&self) -> usize {
        self.processing_len as usize
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.closing != Closing::Open
    }

    /// Whether there is nothing to work on and nobody at work.
    pub(crate) fn is_idle(&self) -> bool {
        self.ready.len() == 0 && self.processing_len == 0
    }

    /// Whether no key will ever be handed out again: none is ready, and none that is being
    /// processed can come back.
    pub(crate) fn is_over(&self) -> bool {
        match self.closing {
            Closing::Open => false,
            Closing::Closed => self.is_idle(),
            Closing::ShutDown => true,
        }
    }

    /// Whether there is room for a new key from without.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        self.has_room_in(self.limits.capacity - self.limits.reserve)
    }

    #[inline]
    pub(crate) fn has_room_in(&self, capacity: usize) -> bool {
        // A key at rest makes room.
        self.entries.len() - self.resting.len() + self.promised < capacity
    }

    /// Keeps room for a blocked adder, until it adds or calls it off.
    pub(crate) const fn promise_room(&mut self) {
        self.promised += 1;
    }

    pub(crate) const fn release_room(&mut self) {
        self.promised -= 1;
    }

    /// When [`advance`](Self::advance) should be called again.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.wheel.next_tick().map(start_of)
    }

    /// For how long the worker that began first has been at it.
    pub(crate) fn longest_running(&self, now: Timestamp) -> Duration {
        let first = self.processing.head();
        let since = first.map(|first| self.entries[first].since);
        since.map_or(Duration::ZERO, |since| now.saturating_since(since))
    }

    /// For how long all workers together have been at what they hold.
    pub(crate) fn unfinished(&self, now: Timestamp) -> Duration {
        let all = u64::from(self.processing_len).wrapping_mul(now.as_nanos());
        let nanos = all.wrapping_sub(self.processing_since).cast_signed();
        // Negative at a `now` before the starts, or after 292 years of work.
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
    }

    /// The latest time that was read, or up to a tick before it.
    pub(crate) fn time(&self) -> Timestamp {
        start_of(tick_at(self.next_tick).saturating_sub(1))
    }

    /// Makes ready what is due at `now`.
    #[inline]
    pub(crate) fn advance(&mut self, now: Timestamp) {
        if now >= self.next_tick {
            self.advance_to(now);
        }
    }

    fn advance_to(&mut self, now: Timestamp) {
        let tick = tick_at(now);
        self.next_tick = start_of(tick + 1);
        let mut due = List::new();
        self.wheel.advance(self.entries.slots_mut(), tick, &mut due);
        while let Some(index) = due.pop_front(self.entries.slots_mut()) {
            let entry = &self.entries[index];
            let since = start_of(entry.due);
            self.make_ready(index, since);
        }
    }

    #[inline]
    pub(crate) fn make_ready(&mut self, index: Index, since: Timestamp) {
        let slots = self.entries.slots_mut();
        let entry = &mut slots[index as usize];
        entry.phase = Phase::Ready;
        entry.due = NEVER;
        entry.since = since;
        let priority = entry.priority;
        self.windows.set(index, NEVER);
        self.ready.push(slots, index, priority);
    }

    /// Puts a key into the wheel, to wait for a tick that is ahead.
    pub(crate) fn make_delayed(&mut self, index: Index, due: u64) {
        let slots = self.entries.slots_mut();
        let entry = &mut slots[index as usize];
        entry.phase = Phase::Delayed;
        entry.due = due;
        self.wheel.insert(slots, index);
    }

    /// Takes a delayed key out of the wheel.
    pub(crate) fn undelay(&mut self, index: Index) {
        self.wheel.remove(self.entries.slots_mut(), index);
    }

    /// Takes a key out for good, and gives it back.
    #[expect(clippy::inline_always, reason = "a call costs more than it does")]
    #[inline(always)]
    pub(crate) fn forget(&mut self, index: Index) -> K {
        self.release(index);
        self.keys.remove(index)
    }

    fn release(&mut self, index: Index) {
        self.release_entry(index);
        if let Some(groups) = self.ready.groups_mut() {
            groups.leave(index);
        }
    }

    /// Frees the entry of a key. It stays in the index until another has its place: mostly the key
    /// comes back, and has it again.
    #[expect(clippy::inline_always, reason = "a call costs more than it does")]
    #[inline(always)]
    pub(crate) fn release_entry(&mut self, index: Index) {
        self.entries[index].phase = Phase::Free;
        self.entries.release(index);
    }

    /// Takes every waiting key out of a closed queue that will not be handed out.
    fn leave(&mut self) {
        while let Some(index) = self.wheel.pop_any(self.entries.slots_mut()) {
            let key = self.forget(index);
            self.left.push(key);
        }
        if self.closing == Closing::ShutDown {
            while let Some(index) = self.ready.pop_any(self.entries.slots_mut()) {
                let key = self.forget(index);
                self.left.push(key);
            }
        }
    }

    /// Takes the ready keys of a group out of a closed queue: its limiter is closed.
    pub(crate) fn leave_group(&mut self, group: Index) {
        while let Some(groups) = self.ready.groups_mut()
            && let Some(index) = groups.pop_of(self.entries.slots_mut(), group)
        {
            let key = self.forget(index);
            self.left.push(key);
        }
    }

    /// No key comes in any more, and no delayed key goes out: what waits for its time at `now` is
    /// left.
    pub(crate) fn close(&mut self, now: Timestamp) {
        self.advance(now);
        self.closing = self.closing.max(Closing::Closed);
        self.leave();
    }

    /// As [`close`](Self::close), and no ready key goes out either.
    pub(crate) fn shut_down(&mut self) {
        self.closing = Closing::ShutDown;
        self.leave();
    }

    /// The keys that were left, each once.
    pub(crate) fn take_left(&mut self) -> Vec<K> {
        std::mem::take(&mut self.left)
    }

    fn stop(&mut self, index: Index) {
        self.stop_entry(index);
        if let Some(groups) = self.ready.groups_mut() {
            groups.stop(index);
        }
    }

    /// Ends the processing of a key, which is in no list then.
    #[expect(clippy::inline_always, reason = "a call costs more than it does")]
    #[inline(always)]
    fn stop_entry(&mut self, index: Index) {
        let slots = self.entries.slots_mut();
        let since = slots[index as usize].since;
        self.processing_since = self.processing_since.wrapping_sub(since.as_nanos());
        self.processing.remove(slots, index);
        self.processing_len -= 1;
    }

    /// Ends the processing of a key that is done, unless somebody wants it again: then it stays
    /// borrowed.
    #[expect(clippy::inline_always, reason = "a call costs more than it does")]
    #[inline(always)]
    pub(crate) fn finish_done(&mut self, borrowed: &mut Option<KeyRef<K>>) -> Option<K> {
        let index = borrowed.as_ref()?.index();
        let entry = &self.entries[index];
        if entry.phase != Phase::Processing || entry.due != NEVER || self.has_memory() {
            return None;
        }
        self.stop_entry(index);
        self.release_entry(index);
        if let Some(groups) = self.ready.groups_mut() {
            groups.finish(index);
        }
        Some(self.keys.remove_borrowed(borrowed.take()?))
    }

    /// As [`finish`](Self::finish) with [`Outcome::Done`], and less if that will do.
    #[inline]
    pub(crate) fn finish_as_done(&mut self, key: KeyRef<K>, now: Timestamp) -> Finished<K> {
        let mut borrowed = Some(key);
        let forgotten = self.finish_done(&mut borrowed);
        match borrowed {
            Some(key) => self.finish(key, Outcome::Done, now),
            None => Finished::forgotten(forgotten),
        }
    }

    /// Ends the processing of a key.
    pub(crate) fn finish(
        &mut self,
        key: KeyRef<K>,
        outcome: Outcome,
        now: Timestamp,
    ) -> Finished<K> {
        // What has become due meanwhile was ready first, although nobody has asked for it yet.
        self.advance(now);
        let index = self.keys.release(key);
        self.stop(index);
        let next_start = self.next_start(self.entries[index].since);
        let entry = &mut self.entries[index];
        let (wish, failures) = outcome.wish(entry.had());
        (entry.failures, entry.until) = (failures.count, failures.until);
        // A debounced key that became dirty has its time; any other is due at once.
        let asked = match entry.phase {
            Phase::Dirty | Phase::DirtyHeld if self.windows.end(index) == NEVER => 0,
            _ => entry.due,
        };
        let is_held = match entry.phase {
            Phase::Dirty => false,
            Phase::DirtyHeld => true,
            _ => self.limits.holds_backoff && asked != NEVER,
        };
        // A run that did not fail has left no backoff.
        let asked = if is_held {
            asked.max(failures.tick())
        } else {
            asked
        };
        let gives_up = matches!(outcome, Outcome::GiveUp(_) | Outcome::Fail(_));
        let asked = if gives_up {
            self.asked_of_given_up(asked, failures)
        } else {
            asked
        };
        if wish < asked {
            self.windows.set(index, NEVER);
        }
        // A key that was added meanwhile is wanted, unless it was removed.
        let replaced = self.take_newest(index);
        let replaced = replaced.map(|newest| self.keys.replace(index, newest));
        let rests = match self.limits.given_up {
            _ if self.is_closed() => None,
            Some(GivenUp { remembered, .. }) if gives_up => {
                let until = tick_after(now.saturating_add(remembered));
                Some((Phase::GivenUp, until))
            }
            _ if next_start > 0 => Some((Phase::Resting, next_start)),
            _ => None,
        };
        match (asked.min(wish), rests) {
            (NEVER, Some((phase, until))) => self.rest(index, phase, until),
            (NEVER, None) => {
                let forgotten = Some(self.forget(index));
                return Finished {
                    forgotten,
                    replaced,
                    is_given_up: false,
                };
            }
            (due, _) if next_start > due => self.make_delayed(index, next_start),
            (due, _) if self.wheel.is_ahead(due) => self.make_delayed(index, due),
            _ => self.make_ready(index, now),
        }
        if self.is_closed() {
            self.leave();
        }
        Finished {
            forgotten: None,
            replaced,
            is_given_up: gives_up && self.entries[index].phase == Phase::GivenUp,
        }
    }

    /// The key that was added while this one is being processed, if that is kept.
    pub(crate) fn take_newest(&mut self, index: Index) -> Option<K> {
        self.newest.as_mut()?.remove(&index)
    }

    /// Whose turn it is.
    #[inline]
    pub(crate) fn turn(&self) -> Option<Turn> {
        self.ready.turn()
    }

    /// Hands out the key whose turn it is.
    #[expect(clippy::inline_always, reason = "a call costs more than it does")]
    #[inline(always)]
    pub(crate) fn start(&mut self, turn: Turn, now: Timestamp) -> Started<K> {
        let (index, slots) = (turn.index, self.entries.slots_mut());
        self.ready.take(slots, turn);
        self.processing.push_back(slots, index);
        self.processing_len += 1;
        self.processing_since = self.processing_since.wrapping_add(now.as_nanos());
        let entry = &mut slots[index as usize];
        let ready_since = std::mem::replace(&mut entry.since, now);
        entry.phase = Phase::Processing;
        let run = Run {
            priority: entry.priority,
            failures: entry.failures,
            // By the later one: of the clocks that were read without the lock this may be behind.
            failing: if now.max(ready_since) >= entry.until {
                Failing::Counts
            } else {
                Failing::Repeats
            },
            ready_since,
            started: now,
        };
        let key = self.keys.borrow(index);
        Started { key, run }
    }

    /// Whether a key that is being processed was added again.
    pub(crate) fn is_dirty(&self, index: Index) -> bool {
        matches!(self.entries[index].phase, Phase::Dirty | Phase::DirtyHeld)
    }
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use super::*;
    use crate::queue::core::admit::Room;
    use crate::queue::core::bands::AGING;
    use crate::queue::core::entry::{Hash, TICK};
    use crate::queue::core::options::AddOptions;

    #[test]
    fn a_live_key_costs_at_most_64_bytes_beside_itself() {
        // As much as they cost between two doublings of the index, and right after one.
        for capacity in [114_688_u64, 114_689, 200_000, 458_752, 458_753] {
            let limits = Limits {
                capacity: capacity as usize,
                reserve: 0,
                debounce: None,
                holds_backoff: false,
                aging: AGING,
                keeps_newest: false,
                min_interval: Duration::ZERO,
                given_up: None,
            };
            let mut machine = Machine::new(limits, Ready::new(AGING));
            for n in 0..capacity {
                let hash = Hash::new(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                let options = AddOptions::new();
                let added = machine.add(
                    hash,
                    &mut Some([n; 3]),
                    options,
                    Room::Free,
                    Timestamp::ZERO,
                );
                added.expect("there is room");
            }
            // What is at its place is a byte.
            let beside = size_of::<Entry>() + 1;
            assert!(machine.entries.capacity() <= capacity as usize);
            let index = machine.index.allocation_size().div_ceil(capacity as usize);
            println!("{capacity} keys: {beside} bytes for each, {index} in the index");
            assert!(beside + index <= 64, "{capacity}: {beside} + {index}");
        }
    }

    #[test]
    fn a_key_that_comes_back_has_its_place_until_another_has_it() {
        let limits = Limits {
            capacity: 2,
            reserve: 0,
            debounce: None,
            holds_backoff: false,
            aging: AGING,
            keeps_newest: false,
            min_interval: Duration::ZERO,
            given_up: None,
        };
        let mut machine = Machine::new(limits, Ready::new(AGING));
        let mut run = |key: u32| {
            let hash = Hash::new(key.into());
            let free = Room::Free;
            let added = machine.add(
                hash,
                &mut Some(key),
                AddOptions::new(),
                free,
                Timestamp::ZERO,
            );
            added.expect("there is room");
            let turn = machine.turn().expect("it is ready");
            let key = machine.start(turn, Timestamp::ZERO).key;
            let place = key.index();
            assert!(machine.finish_done(&mut Some(key)).is_some());
            (place, machine.index.len())
        };
        assert_eq!([run(7), run(8)], [(0, 1), (1, 2)]);
        assert_eq!([run(7), run(8), run(7)], [(0, 2), (1, 2), (0, 2)]);
        // Others take the place that was left last, and as many are found as there are places.
        for key in 10..1_000 {
            assert_eq!(run(key), (0, 2));
        }
        assert_eq!([run(8), run(7)], [(1, 2), (1, 2)]);
    }

    #[test]
    fn a_place_that_is_used_again_has_no_window() {
        let at = |milli| Timestamp::from_nanos(milli * TICK);
        let debounce = Some(Debounce {
            quiet: Duration::from_millis(50),
            max: Duration::from_millis(100),
        });
        let limits = Limits {
            capacity: 1,
            reserve: 0,
            debounce,
            holds_backoff: false,
            aging: AGING,
            keeps_newest: false,
            min_interval: Duration::ZERO,
            given_up: None,
        };
        let mut machine = Machine::new(limits, Ready::new(AGING));
        let hash = Hash::new(0);
        let add = |machine: &mut Machine<_>, key, now| {
            machine.add(hash, &mut Some(key), AddOptions::new(), Room::Free, now)
        };
        add(&mut machine, "a", at(0)).expect("there is room");
        assert!(machine.remove(hash, "a").is_some());
        machine.advance(at(1_000));
        // By a time of long ago its quiet time is over.
        add(&mut machine, "b", at(10)).expect("there is room");
        let turn = machine.turn().expect("it is ready");
        let key = machine.start(turn, at(1_000)).key;
        add(&mut machine, "b", at(1_000)).expect("it is live");
        assert!(
            machine
                .finish(key, Outcome::Done, at(1_000))
                .forgotten
                .is_none()
        );
        assert_eq!(
            (machine.delayed_len(), machine.ready_len()),
            (1, 0),
            "quiet first"
        );
    }
}
