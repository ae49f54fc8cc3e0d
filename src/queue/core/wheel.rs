//! A hierarchical timing wheel (Varghese and Lauck, 1987): O(1) insert and cancel, any delay.
//!
//! Time is counted in ticks. Level 0 has a slot for each of the next 64 ticks, level 1 one for each
//! 64 of those, and so on. An entry lies in the level of the highest group of 6 bits in which its
//! tick differs from now; which level that is depends on nothing else, so entries of one tick are
//! always in one list, in the order in which they came.

use crate::list::{Index, Linked, List};

const BITS: usize = 6;
const SLOTS: usize = 1 << BITS;
/// 48 bits of ticks: at 1 ms, past the end of the clock.
const LEVELS: usize = 8;

/// An entry that waits in a wheel.
pub(crate) trait Timed: Linked {
    /// When it is due.
    fn tick(&self) -> u64;
}

#[derive(Debug)]
pub(crate) struct Wheel {
    /// Everything up to this tick has been taken out.
    now: u64,
    /// Bit s of level l: slot s has entries.
    occupied: [u64; LEVELS],
    slots: Box<[[List; SLOTS]; LEVELS]>,
    len: usize,
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

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Whether an entry for `tick` would have to wait.
    pub(crate) const fn is_ahead(&self, tick: u64) -> bool {
        tick > self.now
    }

    /// Puts an entry in; its tick must be ahead.
    pub(crate) fn insert<T: Timed>(&mut self, entries: &mut [T], index: Index) {
        let (level, slot) = self.place(entries[index as usize].tick());
        self.slots[level][slot].push_back(entries, index);
        self.occupied[level] |= 1 << slot;
        self.len += 1;
    }

    /// Takes an entry out before it is due.
    pub(crate) fn remove<T: Timed>(&mut self, entries: &mut [T], index: Index) {
        let (level, slot) = self.place(entries[index as usize].tick());
        self.slots[level][slot].remove(entries, index);
        if self.slots[level][slot].is_empty() {
            self.occupied[level] &= !(1 << slot);
        }
        self.len -= 1;
    }

    /// Moves the time to `to`, and every entry that is due by then to the end of `due`, in order.
    pub(crate) fn advance<T: Timed>(&mut self, entries: &mut [T], to: u64, due: &mut List) {
        if to <= self.now {
            return;
        }
        while let Some((level, slot, start)) = self.next_slot().filter(|next| next.2 <= to) {
            self.now = start;
            self.occupied[level] &= !(1 << slot);
            let mut list = std::mem::replace(&mut self.slots[level][slot], List::new());
            while let Some(index) = list.pop_front(entries) {
                self.len -= 1;
                if entries[index as usize].tick() <= start {
                    due.push_back(entries, index);
                } else {
                    self.insert(entries, index);
                }
            }
        }
        self.now = self.now.max(to);
    }

    /// A tick by which [`advance`](Self::advance) should be called again: that of the next entry,
    /// or an earlier one at which entries move down a level.
    pub(crate) fn next_tick(&self) -> Option<u64> {
        self.next_slot().map(|(_, _, start)| start)
    }

    /// Empties the wheel, in no particular order.
    pub(crate) fn pop_any<T: Timed>(&mut self, entries: &mut [T]) -> Option<Index> {
        let (level, slot, _) = self.next_slot()?;
        let index = self.slots[level][slot].head()?;
        self.remove(entries, index);
        Some(index)
    }

    /// The first slot that holds anything: no entry of a higher level can be due before one of a
    /// lower.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        let level = self.occupied.iter().position(|slots| *slots != 0)?;
        let slot = self.occupied[level].trailing_zeros() as usize;
        let shift = BITS * level;
        // The bits above are those of `now`: an entry that differs in one of them lies in a higher
        // level.
        let above = self.now >> (shift + BITS) << (shift + BITS);
        Some((level, slot, above | (slot as u64) << shift))
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the low bits of the tick are meant"
    )]
    fn place(&self, tick: u64) -> (usize, usize) {
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
    use crate::list::Links;
    use crate::queue::core::entry::{TICK, tick_after};
    use proptest::prelude::*;

    struct Entry {
        links: Links,
        tick: u64,
        name: usize,
    }

    impl Linked for Entry {
        fn links(&self) -> &Links {
            &self.links
        }

        fn links_mut(&mut self) -> &mut Links {
            &mut self.links
        }
    }

    impl Timed for Entry {
        fn tick(&self) -> u64 {
            self.tick
        }
    }

    const MILLI: Duration = Duration::from_millis(1);
    const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

    #[derive(Clone, Debug)]
    enum Op {
        Insert(Duration),
        Remove(usize),
        Advance(Duration),
    }

    /// The wheel beside a list sorted by tick, and by age within a tick.
    struct Pair {
        wheel: Wheel,
        arena: Arena<Entry>,
        sorted: BTreeMap<(u64, usize), Index>,
        now: Timestamp,
        named: usize,
    }

    impl Pair {
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
                    // One that is free has a name that the list does not know.
                    let entry = self.arena.slots().get(index as usize);
                    let name = entry.map(|entry| (entry.tick, entry.name));
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
                assert!(tick * TICK <= self.now.as_nanos(), "only what is due");
                return;
            }
            let name = self.named;
            self.named += 1;
            let links = Links::new();
            let index = self.arena.insert(Entry { links, tick, name });
            self.wheel.insert(self.arena.slots_mut(), index);
            self.sorted.insert((tick, name), index);
        }

        /// Everything that is due comes out, in order, and nothing else.
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
            assert!(due.is_empty(), "nothing is early");
        }

        fn check(&self) {
            assert_eq!(self.wheel.len(), self.sorted.len());
            let first = self.sorted.first_key_value().map(|((tick, _), _)| *tick);
            let next = self.wheel.next_tick();
            assert_eq!(next.is_some(), first.is_some());
            assert!(next <= first, "called again in time");
            assert!(next.is_none_or(|next| self.wheel.is_ahead(next)), "in vain");
        }

        /// Takes out what is still in, in any order.
        fn empty(mut self) {
            while let Some(index) = self.wheel.pop_any(self.arena.slots_mut()) {
                let Entry { tick, name, .. } = self.arena[index];
                self.arena.release(index);
                assert_eq!(self.sorted.remove(&(tick, name)), Some(index));
                self.check();
            }
            assert!(self.sorted.is_empty(), "nothing stays in");
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
            let mut pair = Pair::new();
            ops.iter().for_each(|op| pair.run(op));
            pair.empty();
        }
    }

    /// A delay of any magnitude, often one of those at which something might go wrong.
    fn delay(random: u64) -> Duration {
        let (kind, random) = (random % 16, random / 16);
        match kind {
            0 => Duration::ZERO,
            1 => MILLI,
            2 => YEAR,
            3 => Duration::MAX,
            4 => Duration::from_nanos(random),
            // On the ends of slots and levels, and beside them.
            5 | 6 => Duration::from_millis((1 << (random % 37)) + random / 37 % 3 - 1),
            _ => Duration::from_nanos(random % (1 << 20 << (kind % 8 * 2))),
        }
    }

    /// The next of many operations: time passes slowly, so that few entries lie at its end.
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
            let (random, mut pair) = (Random::new(seed), Pair::new());
            for _ in 0..100_000 {
                pair.run(&next(&random));
            }
            pair.run(&Op::Advance(Duration::MAX));
            pair.empty();
        }
    }
}
