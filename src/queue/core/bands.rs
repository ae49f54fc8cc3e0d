//! The ready keys by priority: a FIFO list for each band, strict priority between bands, and aging
//! against starvation.

use crate::list::{Index, Linked, List, NIL};
use crate::queue::core::priority::Priority;

/// The default of [`QueueConfig::aging`](crate::queue::core::machine::QueueConfig::aging).
pub(crate) const DEFAULT_AGING: u32 = 16;

/// The ready keys of a queue without groups, or the flows of one with groups.
///
/// # No starvation
/// A head's age is its number among all heads, so a clock that stands still or jumps changes
/// nothing. Let a key become the head of its band while `b` bands are occupied. Later heads are
/// younger, and a band that is served gets a new head; so at most `b - 1` bands are served by age up
/// to and including this one. One in `aging` of the hand-outs that pass over a band goes by age.
/// Therefore the key is handed out after at most `aging * (b - 1)` hand-outs, however many keys of
/// higher priorities are added meanwhile. With an `aging` of 1 every hand-out goes by age; then the
/// highest band is served by its age too, and the bound holds for each band.
pub(crate) struct Bands {
    /// Bit `b`: band `b` is not empty.
    occupied: u64,
    lists: [List; Priority::COUNT],
    /// The number of each band's head, in order of the instants at which they became heads.
    head_number: [u64; Priority::COUNT],
    heads: u64,
    /// Hand-outs that passed over a waiting band since the last one that went by age.
    passed_over: u32,
    /// The last of this many goes by age; 0: none.
    aging: u32,
    /// As narrow as an index. With a neighbour of its own width the compiler reads both in one load,
    /// for which store-to-load forwarding fails after they were stored apart.
    len: u32,
}

/// The key to hand out next; valid until the bands change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NextKey {
    pub(crate) index: Index,
    /// The flow of the key, in a queue with groups.
    pub(crate) flow: Index,
    band: usize,
    /// Whether another band waits.
    passes_over: bool,
}

impl Bands {
    pub(crate) const fn new(aging: u32) -> Self {
        Self {
            occupied: 0,
            lists: [List::new(); Priority::COUNT],
            head_number: [0; Priority::COUNT],
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
            self.number_head(band);
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
            self.number_head(band);
        }
        self.len -= 1;
    }

    /// Returns the key to hand out next.
    #[inline]
    pub(crate) fn peek(&self) -> Option<NextKey> {
        let top = self.occupied.checked_ilog2()? as usize;
        let others = self.occupied & !(1 << top);
        let by_age = others != 0 && self.passed_over + 1 == self.aging;
        let band = if by_age { self.oldest(others) } else { top };
        Some(NextKey {
            index: self.lists[band].head()?,
            flow: NIL,
            band,
            passes_over: others != 0,
        })
    }

    /// Removes the key that was peeked.
    #[inline]
    pub(crate) fn pop<T: Linked>(&mut self, slots: &mut [T], next: NextKey) {
        self.count_hand_out(next);
        self.len -= 1;
        let list = &mut self.lists[next.band];
        list.pop_front(slots);
        if list.is_empty() {
            self.occupied &= !(1 << next.band);
        }
    }

    /// Moves the head of the band to its tail.
    pub(crate) fn rotate<T: Linked>(&mut self, slots: &mut [T], next: NextKey) {
        let list = &mut self.lists[next.band];
        if let Some(head) = list.pop_front(slots) {
            list.push_back(slots, head);
        }
    }

    /// Counts a hand-out of the band that was peeked.
    #[inline]
    pub(crate) fn count_hand_out(&mut self, next: NextKey) {
        if next.passes_over {
            let passed_over = self.passed_over + 1;
            // Wraps at `aging`; without aging it stays 0, so it cannot overflow.
            self.passed_over = if passed_over < self.aging {
                passed_over
            } else {
                0
            };
        }
        self.number_head(next.band);
    }

    /// Numbers the head that a band gets.
    #[inline]
    fn number_head(&mut self, band: usize) {
        self.heads += 1;
        self.head_number[band] = self.heads;
    }

    /// Returns the band to serve by age, while `others` are passed over.
    #[cold]
    fn oldest(&self, others: u64) -> usize {
        // If every hand-out goes by age, the highest band is served by its age, or never.
        let bands = if self.aging == 1 {
            self.occupied
        } else {
            others
        };
        let bands = (0..Priority::COUNT).filter(|band| bands & 1 << band != 0);
        bands
            .min_by_key(|&band| self.head_number[band])
            .expect("another band waits")
    }

    /// Iterates over all keys, from the highest band to the lowest, each in order.
    pub(crate) fn iter<'a, T: Linked>(
        &'a self,
        slots: &'a [T],
    ) -> impl Iterator<Item = Index> + use<'a, T> {
        self.lists.iter().rev().flat_map(|list| list.iter(slots))
    }
}
