//! The ready keys: a FIFO list for each priority, and which of them is served next.

use crate::list::{Index, Linked, List, NIL};
use crate::queue::core::priority::Priority;

/// Of so many hand-outs that pass over a waiting band, unless the queue says otherwise, the last goes
/// to the band that has been passed over longest.
pub(crate) const AGING: u32 = 16;

/// # No band starves
/// Age is the order in which heads came, so a clock that stands still or jumps changes nothing. Let a
/// key become the head of its band when `b` bands are occupied. Bands whose head came later rank
/// behind it in age, and a band that is served falls behind all others; so at most `b - 1` bands are
/// served by age up to and including its turn. One in `AGING` of the hand-outs that pass over a
/// band goes by age. Therefore it is handed out after at most `AGING * (b - 1)` hand-outs, at most
/// 1008, however many keys of higher priorities are added meanwhile.
#[derive(Debug)]
pub(crate) struct Bands {
    /// Bit b: band b has keys.
    occupied: u64,
    lists: [List; Priority::COUNT],
    /// The number of the band's head, in the order in which heads came.
    head_since: [u64; Priority::COUNT],
    heads: u64,
    /// Hand-outs that passed over a waiting band, since the last one that went by age.
    passed_over: u32,
    /// The last of so many goes by age; 0: none does.
    aging: u32,
    /// As narrow as an index. Beside a neighbour of its own width it would be read back together
    /// with that, which waits until both that were written apart are in the cache.
    len: u32,
}

/// Whose turn it is, until anything changes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    pub(crate) index: Index,
    /// Of which lane, where there are groups.
    pub(crate) lane: Index,
    band: usize,
    /// Another band waits.
    passes_over: bool,
}

impl Bands {
    pub(crate) const fn new(aging: u32) -> Self {
        Self {
            occupied: 0,
            lists: [List::new(); Priority::COUNT],
            head_since: [0; Priority::COUNT],
            heads: 0,
            passed_over: 0,
            aging,
            len: 0,
        }
    }

    #[inline]
    pub(crate) const fn len(&self) -> usize {
        self.len as usize
    }

    #[inline]
    pub(crate) fn push<T: Linked>(&mut self, slots: &mut [T], index: Index, priority: Priority) {
        let band = priority.band();
        if self.lists[band].is_empty() {
            self.occupied |= 1 << band;
            self.has_new_head(band);
        }
        self.lists[band].push_back(slots, index);
        self.len += 1;
    }

    #[inline]
    pub(crate) fn remove<T: Linked>(&mut self, slots: &mut [T], index: Index, priority: Priority) {
        let band = priority.band();
        let was_head = self.lists[band].head() == Some(index);
        self.lists[band].remove(slots, index);
        if self.lists[band].is_empty() {
            self.occupied &= !(1 << band);
        } else if was_head {
            self.has_new_head(band);
        }
        self.len -= 1;
    }

    /// Whose turn it is.
    #[inline]
    pub(crate) fn turn(&self) -> Option<Turn> {
        let top = self.occupied.checked_ilog2()? as usize;
        let others = self.occupied & !(1 << top);
        let by_age = others != 0 && self.passed_over + 1 == self.aging;
        let band = if by_age { self.oldest(others) } else { top };
        Some(Turn {
            index: self.lists[band].head()?,
            lane: NIL,
            band,
            passes_over: others != 0,
        })
    }

    /// Takes out whose turn it is.
    #[inline]
    pub(crate) fn take<T: Linked>(&mut self, slots: &mut [T], turn: Turn) {
        self.count(turn);
        self.len -= 1;
        let list = &mut self.lists[turn.band];
        list.pop_front(slots);
        if list.is_empty() {
            self.occupied &= !(1 << turn.band);
        }
    }

    /// Puts the head whose turn it is behind the others of its band.
    pub(crate) fn rotate<T: Linked>(&mut self, slots: &mut [T], turn: Turn) {
        let list = &mut self.lists[turn.band];
        if let Some(head) = list.pop_front(slots) {
            list.push_back(slots, head);
        }
    }

    /// Takes note that a band has had its turn.
    #[inline]
    pub(crate) fn count(&mut self, turn: Turn) {
        if turn.passes_over {
            let passed_over = self.passed_over + 1;
            // Without aging nothing is counted.
            self.passed_over = if passed_over < self.aging {
                passed_over
            } else {
                0
            };
        }
        self.has_new_head(turn.band);
    }

    #[inline]
    fn has_new_head(&mut self, band: usize) {
        self.heads += 1;
        self.head_since[band] = self.heads;
    }

    /// The band whose head has been it for longest.
    #[cold]
    fn oldest(&self, bands: u64) -> usize {
        let bands = (0..Priority::COUNT).filter(|band| bands & 1 << band != 0);
        bands
            .min_by_key(|&band| self.head_since[band])
            .expect("another band waits")
    }

    /// Takes out all, in order of their bands.
    pub(crate) fn pop_any<T: Linked>(&mut self, slots: &mut [T]) -> Option<Index> {
        let top = self.occupied.checked_ilog2()? as usize;
        let index = self.lists[top].pop_front(slots)?;
        if self.lists[top].is_empty() {
            self.occupied &= !(1 << top);
        }
        self.len -= 1;
        Some(index)
    }

    /// All, from the highest band to the lowest, each in order.
    pub(crate) fn iter<'a, T: Linked>(
        &'a self,
        slots: &'a [T],
    ) -> impl Iterator<Item = Index> + use<'a, T> {
        self.lists.iter().rev().flat_map(|list| list.iter(slots))
    }
}
