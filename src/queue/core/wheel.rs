//! A hierarchical timing wheel (Varghese and Lauck, 1987): O(1) insert and cancel, for any delay.
//!
//! Level 0 has a slot for each of the next 64 ticks, level 1 one for each 64 of those, and so on.
//! Invariant: an entry lies in the level of the highest group of 6 bits in which its tick differs
//! from `now`. The level is a function of these two alone, so all entries of one tick are in one
//! list, in the order of their inserts.

use crate::list::{Index, List};
use crate::queue::core::entry::KeyEntry;

const BITS: usize = 6;
const SLOTS: usize = 1 << BITS;
/// 48 bits of ticks, which at 1 ms outlast the clock.
const LEVELS: usize = 8;

/// The entries that wait, by the tick at which each is due.
pub(crate) struct Wheel {
    /// No entry of this tick or an earlier one is in the wheel.
    now: u64,
    /// Bit `s` of word `l`: slot `s` of level `l` is not empty.
    occupied: [u64; LEVELS],
    slots: Box<[[List; SLOTS]; LEVELS]>,
    pub(crate) len: usize,
}

impl Wheel {
    pub(crate) fn new() -> Self {
        let slots = Box::new([[List::new(); SLOTS]; LEVELS]);
        Self {
            now: 0,
            occupied: [0; LEVELS],
            slots,
            len: 0,
        }
    }

    /// Returns true if `tick` has not come yet.
    #[inline]
    pub(crate) const fn is_ahead(&self, tick: u64) -> bool {
        tick > self.now
    }

    /// Inserts an entry, whose tick must be ahead.
    #[inline]
    pub(crate) fn insert(&mut self, entries: &mut [KeyEntry], index: Index) {
        let (level, slot) = self.position(entries[index as usize].due);
        self.slots[level][slot].push_back(entries, index);
        self.occupied[level] |= 1 << slot;
        self.len += 1;
    }

    /// Removes an entry before it is due.
    #[inline]
    pub(crate) fn remove(&mut self, entries: &mut [KeyEntry], index: Index) {
        let (level, slot) = self.position(entries[index as usize].due);
        self.slots[level][slot].remove(entries, index);
        if self.slots[level][slot].is_empty() {
            self.occupied[level] &= !(1 << slot);
        }
        self.len -= 1;
    }

    /// Moves the time to `to`, and each entry that is due by then to the tail of `due`, in order of
    /// tick and insert.
    #[inline]
    pub(crate) fn advance(&mut self, entries: &mut [KeyEntry], to: u64, due: &mut List) {
        if to <= self.now {
            return;
        }
        while let Some((level, slot, start)) = self.next_slot().filter(|next| next.2 <= to) {
            // Before the entries are inserted again: their new level depends on it.
            self.now = start;
            self.occupied[level] &= !(1 << slot);
            let mut list = std::mem::replace(&mut self.slots[level][slot], List::new());
            while let Some(index) = list.pop_front(entries) {
                self.len -= 1;
                if entries[index as usize].due <= start {
                    due.push_back(entries, index);
                } else {
                    // Cascades to a lower level.
                    self.insert(entries, index);
                }
            }
        }
        self.now = self.now.max(to);
    }

    /// Returns the tick at which [`advance`](Self::advance) must be called next: that of the first
    /// entry, or an earlier one at which entries cascade.
    pub(crate) fn next_tick(&self) -> Option<u64> {
        self.next_slot().map(|(_, _, start)| start)
    }

    /// Removes any entry.
    pub(crate) fn pop_any(&mut self, entries: &mut [KeyEntry]) -> Option<Index> {
        let (level, slot, _) = self.next_slot()?;
        let index = self.slots[level][slot].head()?;
        self.remove(entries, index);
        Some(index)
    }

    /// Returns the first occupied slot, and the tick at which it starts. No entry of a higher level
    /// is due before one of a lower level.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        let level = self.occupied.iter().position(|slots| *slots != 0)?;
        let slot = self.occupied[level].trailing_zeros() as usize;
        let shift = BITS * level;
        // The bits above are those of `now`: an entry that differs there lies in a higher level.
        let above = self.now >> (shift + BITS) << (shift + BITS);
        Some((level, slot, above | (slot as u64) << shift))
    }

    /// Returns the level and the slot of a tick.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "only the low bits of the tick select a slot"
    )]
    fn position(&self, tick: u64) -> (usize, usize) {
        debug_assert!(tick > self.now);
        let level = (tick ^ self.now).ilog2() as usize / BITS;
        let slot = (tick >> (BITS * level)) as usize % SLOTS;
        (level, slot)
    }
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::arena::Arena;
    use crate::backoff::Random;
    use crate::clock::Timestamp;
    use crate::queue::core::entry::{KeyHash, TICK, tick_after};
    use crate::queue::core::priority::Priority;
    use proptest::prelude::*;

    /// Creates an entry whose hash is its name.
    fn entry(due: u64, name: usize) -> KeyEntry {
        let entry = KeyEntry::new(
            KeyHash::new(name as u64),
            Priority::DEFAULT,
            Timestamp::ZERO,
        );
        KeyEntry { due, ..entry }
    }

    fn tick_and_name(entry: &KeyEntry) -> (u64, usize) {
        (entry.due, entry.hash.bits() as usize)
    }

    const MILLI: Duration = Duration::from_millis(1);
    const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

    #[derive(Clone, Debug)]
    enum Op {
        Insert(Duration),
        Remove(usize),
        Advance(Duration),
    }

    /// The wheel and its model: a map sorted by tick, and by insert within a tick.
    struct Checked {
        wheel: Wheel,
        arena: Arena<KeyEntry>,
        sorted: BTreeMap<(u64, usize), Index>,
        now: Timestamp,
        named: usize,
    }

    impl Checked {
        fn new() -> Self {
            Self {
                wheel: Wheel::new(),
                arena: Arena::new(),
                sorted: BTreeMap::new(),
                now: Timestamp::ZERO,
                named: 0,
            }
        }

        fn run(&mut self, op: &Op) {
            match *op {
                Op::Insert(delay) => self.insert(tick_after(self.now.saturating_add(delay))),
                Op::Remove(pick) => {
                    let index = (pick % self.arena.slots().len().max(1)) as Index;
                    // The name of a free entry is no longer in the model.
                    let entry = self.arena.slots().get(index as usize);
                    let name = entry.map(tick_and_name);
                    if name.and_then(|name| self.sorted.remove(&name)) == Some(index) {
                        self.wheel.remove(self.arena.slots_mut(), index);
                        self.arena.release(index);
                    }
                }
                Op::Advance(by) => self.advance(by),
            }
            self.check();
        }

        fn insert(&mut self, tick: u64) {
            if !self.wheel.is_ahead(tick) {
                assert!(tick * TICK <= self.now.as_nanos(), "not due yet");
                return;
            }
            let name = self.named;
            self.named += 1;
            let index = self.arena.insert(entry(tick, name));
            self.wheel.insert(self.arena.slots_mut(), index);
            self.sorted.insert((tick, name), index);
        }

        /// All due entries come out in order, and no others.
        fn advance(&mut self, by: Duration) {
            self.now = self.now.saturating_add(by);
            let tick = self.now.as_nanos() / TICK;
            let mut due = List::new();
            self.wheel.advance(self.arena.slots_mut(), tick, &mut due);
            while let Some(first) = self.sorted.first_entry()
                && first.key().0 <= tick
            {
                let index = first.remove();
                assert_eq!(due.pop_front(self.arena.slots_mut()), Some(index));
                self.arena.release(index);
            }
            assert!(due.is_empty(), "an entry is early");
        }

        fn check(&self) {
            assert_eq!(self.wheel.len, self.sorted.len());
            let first = self.sorted.first_key_value().map(|((tick, _), _)| *tick);
            let next = self.wheel.next_tick();
            assert_eq!(next.is_some(), first.is_some());
            assert!(next <= first, "the next tick is late");
            assert!(
                next.is_none_or(|next| self.wheel.is_ahead(next)),
                "the next tick is over"
            );
        }

        /// Removes the other entries, in any order.
        fn empty(mut self) {
            while let Some(index) = self.wheel.pop_any(self.arena.slots_mut()) {
                let name = tick_and_name(&self.arena[index]);
                self.arena.release(index);
                assert_eq!(self.sorted.remove(&name), Some(index));
                self.check();
            }
            assert!(self.sorted.is_empty(), "an entry is lost");
        }
    }

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let delay = prop_oneof![
            4 => (0..200u64).prop_map(Duration::from_millis),
            2 => (0..100_000u64).prop_map(Duration::from_millis),
            2 => any::<u64>().prop_map(Duration::from_nanos),
            1 => Just(Duration::ZERO),
            1 => Just(MILLI),
            1 => Just(YEAR),
            1 => Just(Duration::MAX),
        ];
        let op = prop_oneof![
            4 => delay.clone().prop_map(Op::Insert),
            1 => any::<usize>().prop_map(Op::Remove),
            2 => delay.prop_map(Op::Advance),
        ];
        prop::collection::vec(op, 1..200)
    }

    proptest! {
        #[test]
        fn agrees_with_a_sorted_list(ops in ops()) {
            let mut checked = Checked::new();
            ops.iter().for_each(|op| checked.run(op));
            checked.empty();
        }
    }

    /// A delay of any magnitude, often one at an edge.
    fn delay(random: u64) -> Duration {
        let (kind, random) = (random % 16, random / 16);
        match kind {
            0 => Duration::ZERO,
            1 => MILLI,
            2 => YEAR,
            3 => Duration::MAX,
            4 => Duration::from_nanos(random),
            // At the ends of slots and levels, and one tick beside them.
            5 | 6 => Duration::from_millis((1 << (random % 37)) + random / 37 % 3 - 1),
            _ => Duration::from_nanos(random % (1 << 20 << (kind % 8 * 2))),
        }
    }

    /// The next operation. Time passes slowly, so that few entries are due at `Timestamp::MAX`.
    fn next(random: &Random) -> Op {
        let pick = random.next();
        match pick % 8 {
            0..=3 => Op::Insert(delay(random.next())),
            4 => Op::Remove(random.next() as usize),
            _ if pick % 4_096 == 5 => Op::Advance(YEAR),
            _ => Op::Advance(Duration::from_nanos((pick >> 32) % (1 << (pick / 8 % 32)))),
        }
    }

    #[test]
    fn agrees_with_a_sorted_list_for_ten_million_operations() {
        for seed in 0..100 {
            let (random, mut checked) = (Random::new(seed), Checked::new());
            for _ in 0..100_000 {
                checked.run(&next(&random));
            }
            checked.run(&Op::Advance(Duration::MAX));
            checked.empty();
        }
    }
}
