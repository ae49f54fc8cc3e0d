//! How many tokens the waiters of a line want, in sums by reserve floor, so that a newcomer finds what
//! is ahead of it without a walk along the line.

use smallvec::SmallVec;

use crate::limiter::core::line::waiter::{Counted, LineWaiter};

#[derive(Debug)]
pub(crate) struct FloorTotals {
    /// By floor. Mostly there is one.
    floors: SmallVec<[FloorTotal; 1]>,
    /// The tokens of reservations, which come before every newcomer, whatever its floor.
    reserved: u128,
}

/// The waiters of one floor.
#[derive(Clone, Copy, Debug)]
struct FloorTotal {
    floor: u64,
    waiters: usize,
    wanted: u128,
    /// The tokens of all waiters that have ever joined.
    joined: u128,
}

impl FloorTotals {
    pub(crate) const fn new() -> Self {
        Self {
            floors: SmallVec::new_const(),
            reserved: 0,
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.floors.is_empty() && self.reserved == 0
    }

    /// Returns the tokens that come before a newcomer with this floor.
    #[inline]
    pub(crate) fn ahead(&self, floor: u64) -> u128 {
        let lower = self.floors.iter().take_while(|total| total.floor <= floor);
        lower.map(|total| total.wanted).sum::<u128>() + self.reserved
    }

    /// Counts a reservation.
    pub(crate) fn reserve(&mut self, n: u64) -> Counted {
        self.reserved += u128::from(n);
        Counted::Reserved
    }

    /// Returns the tokens of reservations.
    pub(crate) const fn reserved(&self) -> u128 {
        self.reserved
    }

    /// Counts a waiter, which stands behind all others of its floor, or is back at its own place.
    pub(crate) fn join(&mut self, n: u64, floor: u64, is_back: bool) -> Counted {
        let at = self.floors.partition_point(|total| total.floor < floor);
        if self.floors.get(at).is_none_or(|total| total.floor != floor) {
            let total = FloorTotal {
                floor,
                waiters: 0,
                wanted: 0,
                joined: 0,
            };
            self.floors.insert(at, total);
        }
        let total = &mut self.floors[at];
        // Where a turn that is back stands among the others is not known. It counts as the first of
        // its floor, so that the estimate is a lower bound.
        let before = if is_back { total.wanted } else { 0 };
        total.waiters += 1;
        total.wanted += u128::from(n);
        total.joined += u128::from(n);
        Counted::Waiting {
            up_to: total.joined - before,
        }
    }

    fn at(&self, floor: u64) -> Option<usize> {
        self.floors.iter().position(|total| total.floor == floor)
    }

    /// Discounts a waiter that has left, or was given what it wants.
    pub(crate) fn remove(&mut self, waiter: &LineWaiter) {
        if let Counted::Reserved = waiter.counted {
            self.reserved -= u128::from(waiter.n);
            return;
        }
        self.shrink(waiter, waiter.left);
        if let Some(at) = self.at(waiter.floor) {
            self.floors[at].waiters -= 1;
            if self.floors[at].waiters == 0 {
                self.floors.remove(at);
            }
        }
    }

    /// Discounts a part that a waiter was given.
    pub(crate) fn shrink(&mut self, waiter: &LineWaiter, part: u64) {
        if let Some(at) = self.at(waiter.floor) {
            self.floors[at].wanted -= u128::from(part);
        }
    }

    /// Estimates how many tokens come before a waiter: all but those of the waiters that joined later.
    pub(crate) fn estimate(&self, waiter: &LineWaiter) -> u128 {
        let Some(at) = self.at(waiter.floor) else {
            return 0;
        };
        let (total, Counted::Waiting { up_to }) = (self.floors[at], waiter.counted) else {
            return 0;
        };
        let behind = total.joined.saturating_sub(up_to) + u128::from(waiter.left);
        self.ahead(waiter.floor).saturating_sub(behind)
    }
}
