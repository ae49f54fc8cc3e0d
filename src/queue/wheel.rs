//! A hierarchical timing wheel (Varghese and Lauck, 1987): O(1) insert and cancel, any delay.
//!
//! Time is counted in ticks. Level 0 has a slot for each of the next 64 ticks, level 1 one for each
//! 64 of those, and so on. An entry lies in the level of the highest group of 6 bits in which its
//! tick differs from now; which level that is depends on nothing else, so entries of one tick are
//! always in one list, in the order in which they came.

use slab::Slab;

use crate::list::{Index, Linked, List};

const BITS: usize = 6;
const SLOTS: usize = 1 << BITS;
/// 48 bits of ticks: at 1 ms, past the end of the clock.
const LEVELS: usize = 8;

/// An entry that waits in a wheel.
pub(super) trait Timed: Linked {
    /// When it is due.
    fn tick(&self) -> u64;
}

#[derive(Debug)]
pub(super) struct Wheel {
    /// Everything up to this tick has been taken out.
    now: u64,
    /// Bit s of level l: slot s has entries.
    occupied: [u64; LEVELS],
    slots: Box<[[List; SLOTS]; LEVELS]>,
    len: usize,
}

impl Wheel {
    pub(super) fn new() -> Self {
        let slots = Box::new([[List::new(); SLOTS]; LEVELS]);
        Self {
            now: 0,
            occupied: [0; LEVELS],
            slots,
            len: 0,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Whether an entry for `tick` would have to wait.
    pub(super) const fn is_ahead(&self, tick: u64) -> bool {
        tick > self.now
    }

    /// Puts an entry in; its tick must be ahead.
    pub(super) fn insert<T: Timed>(&mut self, slab: &mut Slab<T>, index: Index) {
        let (level, slot) = self.place(slab[index as usize].tick());
        self.slots[level][slot].push_back(slab, index);
        self.occupied[level] |= 1 << slot;
        self.len += 1;
    }

    /// Takes an entry out before it is due.
    pub(super) fn remove<T: Timed>(&mut self, slab: &mut Slab<T>, index: Index) {
        let (level, slot) = self.place(slab[index as usize].tick());
        self.slots[level][slot].remove(slab, index);
        if self.slots[level][slot].is_empty() {
            self.occupied[level] &= !(1 << slot);
        }
        self.len -= 1;
    }

    /// Moves the time to `to`, and every entry that is due by then to the end of `due`, in order.
    pub(super) fn advance<T: Timed>(&mut self, slab: &mut Slab<T>, to: u64, due: &mut List) {
        while let Some((level, slot, start)) = self.next_slot().filter(|next| next.2 <= to) {
            self.now = start;
            self.occupied[level] &= !(1 << slot);
            let mut list = std::mem::replace(&mut self.slots[level][slot], List::new());
            while let Some(index) = list.pop_front(slab) {
                self.len -= 1;
                if slab[index as usize].tick() <= start {
                    due.push_back(slab, index);
                } else {
                    self.insert(slab, index);
                }
            }
        }
        self.now = self.now.max(to);
    }

    /// A tick by which [`advance`](Self::advance) should be called again: that of the next entry,
    /// or an earlier one at which entries move down a level.
    pub(super) fn next_tick(&self) -> Option<u64> {
        self.next_slot().map(|(_, _, start)| start)
    }

    /// Empties the wheel, in no particular order.
    pub(super) fn pop_any<T: Timed>(&mut self, slab: &mut Slab<T>) -> Option<Index> {
        let (level, slot, _) = self.next_slot()?;
        let index = self.slots[level][slot].head()?;
        self.remove(slab, index);
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
    use super::*;
    use crate::list::Links;
    use proptest::prelude::*;

    struct Entry {
        links: Links,
        tick: u64,
        name: usize,
    }

    impl Linked for Entry {
        fn links(&mut self) -> &mut Links {
            &mut self.links
        }
    }

    impl Timed for Entry {
        fn tick(&self) -> u64 {
            self.tick
        }
    }

    /// The last tick of the clock.
    const END: u64 = u64::MAX / 1_000_000 + 1;

    #[derive(Clone, Debug)]
    enum Op {
        Insert(u64),
        Remove(usize),
        Advance(u64),
    }

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let delay = prop_oneof![4 => 0..200u64, 2 => 0..100_000u64, 1 => 0..END, 1 => Just(END)];
        let op = prop_oneof![
            4 => delay.clone().prop_map(Op::Insert),
            1 => any::<usize>().prop_map(Op::Remove),
            2 => delay.prop_map(Op::Advance),
        ];
        prop::collection::vec(op, 1..200)
    }

    /// The wheel beside a list sorted by tick, and by age within a tick.
    #[derive(Default)]
    struct Model {
        now: u64,
        waiting: Vec<(u64, usize, Index)>,
    }

    fn run(ops: Vec<Op>) {
        let (mut wheel, mut slab, mut model) = (Wheel::new(), Slab::new(), Model::default());
        for (name, op) in ops.into_iter().enumerate() {
            match op {
                Op::Insert(delay) => {
                    let tick = model.now.saturating_add(delay).min(END);
                    if !wheel.is_ahead(tick) {
                        continue;
                    }
                    let index = slab.insert(Entry {
                        links: Links::new(),
                        tick,
                        name,
                    }) as Index;
                    wheel.insert(&mut slab, index);
                    model.waiting.push((tick, name, index));
                    model.waiting.sort_unstable();
                }
                Op::Remove(pick) if !model.waiting.is_empty() => {
                    let (_, _, index) = model.waiting.remove(pick % model.waiting.len());
                    wheel.remove(&mut slab, index);
                    slab.remove(index as usize);
                }
                Op::Remove(_) => {}
                Op::Advance(by) => {
                    model.now = model.now.saturating_add(by).min(END);
                    let mut due = List::new();
                    wheel.advance(&mut slab, model.now, &mut due);
                    let split = model
                        .waiting
                        .partition_point(|(tick, ..)| *tick <= model.now);
                    for (_, name, index) in model.waiting.drain(..split) {
                        assert_eq!(due.pop_front(&mut slab), Some(index));
                        assert_eq!(slab.remove(index as usize).name, name);
                    }
                    assert!(due.is_empty(), "nothing is early");
                }
            }
            assert_eq!(wheel.len(), model.waiting.len());
            let first = model.waiting.first().map(|(tick, ..)| *tick);
            assert_eq!(wheel.next_tick().is_some(), first.is_some());
            assert!(wheel.next_tick() <= first, "called again in time");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_a_sorted_list(ops in ops()) {
            run(ops);
        }
    }
}
