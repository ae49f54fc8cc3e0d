//! A line of waiters: first come, first served within a rank.
//!
//! The methods hand out a waker that is replaced or leaves, and the caller drops it once the lock
//! is released: it may own a task, whose destructor may run any code.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::task::Waker;

use crate::arena::Arena;
use crate::list::{Index, Linked, Links};

/// Waiters ordered by rank and arrival.
///
/// A waiter gets its place with its arrival and keeps it while it is woken: one that finds nothing
/// goes back before all that came later, so waking does not cost it its turn (no barging).
#[derive(Debug)]
pub(crate) struct WaitList<T> {
    slots: Arena<Waiter<T>>,
    /// The waiters that are not woken, by place.
    line: BTreeMap<Order, Index>,
    arrivals: u64,
}

/// A waiter's place: rank, lowest first, then arrival.
pub(crate) type Order = (u64, u64);

#[derive(Debug)]
struct Waiter<T> {
    /// The arena's links.
    links: Links,
    order: Order,
    /// `None` once the waiter is woken.
    waker: Option<Waker>,
    wants: T,
}

/// The handle of a waiter, valid until it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WaitId(Index);

impl<T> Linked for Waiter<T> {
    fn links(&self) -> &Links {
        &self.links
    }

    fn links_mut(&mut self) -> &mut Links {
        &mut self.links
    }
}

impl<T: Copy> Default for WaitList<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Copy> WaitList<T> {
    pub(crate) const fn new() -> Self {
        Self {
            slots: Arena::new(),
            line: BTreeMap::new(),
            arrivals: 0,
        }
    }

    /// Joins at the tail of rank 0. A waiter that is in line stays, and one that was woken goes
    /// back to its place; both keep what they wanted at first.
    #[must_use = "drop the waker once the lock is released"]
    pub(crate) fn wait(
        &mut self,
        place: &mut Option<WaitId>,
        waker: &Waker,
        wants: T,
    ) -> Option<Waker> {
        let Some(WaitId(index)) = *place else {
            *place = Some(self.join_ranked(0, waker.clone(), wants));
            return None;
        };
        let slot = &mut self.slots[index];
        match &mut slot.waker {
            Some(current) if current.will_wake(waker) => None,
            Some(current) => Some(std::mem::replace(current, waker.clone())),
            woken @ None => {
                *woken = Some(waker.clone());
                self.line.insert(slot.order, index);
                None
            }
        }
    }

    /// Joins at the tail of a rank.
    pub(crate) fn join_ranked(&mut self, rank: u64, waker: Waker, wants: T) -> WaitId {
        let order = (rank, self.arrivals);
        self.arrivals += 1;
        self.join(order, waker, wants)
    }

    /// Moves a waiter to another rank, before the waiters there that arrived later.
    pub(crate) fn move_to(&mut self, id: WaitId, rank: u64) {
        let slot = &mut self.slots[id.0];
        let (old, order) = (slot.order, (rank, slot.order.1));
        slot.order = order;
        if self.line.remove(&old).is_some() {
            self.line.insert(order, id.0);
        }
    }

    /// Returns the first waiter in line within a range of ranks.
    pub(crate) fn first_of(&self, ranks: Range<u64>) -> Option<WaitId> {
        let orders = (ranks.start, 0)..(ranks.end, 0);
        let first = self.line.range(orders).next();
        first.map(|(_, index)| WaitId(*index))
    }

    /// Joins at a place; no other waiter may have it.
    pub(crate) fn join(&mut self, order: Order, waker: Waker, wants: T) -> WaitId {
        let waiter = Waiter {
            links: Links::new(),
            order,
            waker: Some(waker),
            wants,
        };
        let index = self.slots.insert(waiter);
        self.line.insert(order, index);
        WaitId(index)
    }

    fn head(&self) -> Option<Index> {
        self.line.first_key_value().map(|(_, index)| *index)
    }

    /// Returns the first waiter in line.
    pub(crate) fn first(&self) -> Option<(WaitId, &T)> {
        let head = self.head()?;
        Some((WaitId(head), &self.slots[head].wants))
    }

    /// Returns what a waiter wants, whether it is in line or woken.
    pub(crate) fn wants_mut(&mut self, id: WaitId) -> &mut T {
        &mut self.slots[id.0].wants
    }

    /// Same as [`wants_mut`](Self::wants_mut), by shared reference.
    pub(crate) fn wants(&self, id: WaitId) -> &T {
        &self.slots[id.0].wants
    }

    /// Takes the first waiter out of the line; returns its waker.
    pub(crate) fn wake_first(&mut self) -> Option<Waker> {
        let (_, head) = self.line.pop_first()?;
        self.slots[head].waker.take()
    }

    /// Takes a waiter out of the line; returns its waker, or `None` if it is not in line.
    pub(crate) fn wake(&mut self, id: WaitId) -> Option<Waker> {
        let slot = &mut self.slots[id.0];
        let waker = slot.waker.take()?;
        self.line.remove(&slot.order);
        Some(waker)
    }

    /// Takes every waiter whose want matches out of the line, in order.
    pub(crate) fn wake_where(
        &mut self,
        wanted: impl Fn(&T) -> bool,
        wakers: &mut impl Extend<Waker>,
    ) {
        let slots = &mut self.slots;
        self.line.retain(|_, index| {
            let slot = &mut slots[*index];
            let stays = !wanted(&slot.wants);
            if !stays {
                wakers.extend(slot.waker.take());
            }
            stays
        });
    }

    /// Returns the waiters in line, from the first on.
    pub(crate) fn in_line(&self) -> impl Iterator<Item = (WaitId, &T)> {
        let wants = |index: &Index| (WaitId(*index), &self.slots[*index].wants);
        self.line.values().map(wants)
    }

    /// Returns the number of waiters in line.
    #[inline]
    pub(crate) fn in_line_len(&self) -> usize {
        self.line.len()
    }

    /// Returns the wants of the waiters in line before a place.
    pub(crate) fn before(&self, order: Order) -> impl Iterator<Item = &T> {
        let wants = |(_, index): (&Order, &Index)| &self.slots[*index].wants;
        self.line.range(..order).map(wants)
    }

    /// Returns the waiter in line behind `id`, which itself may be in line or woken.
    pub(crate) fn behind(&self, id: WaitId) -> Option<WaitId> {
        let order = self.slots[id.0].order;
        let behind = (Bound::Excluded(order), Bound::Unbounded);
        let next = self.line.range(behind).next();
        next.map(|(_, index)| WaitId(*index))
    }

    /// Returns a clone of a waiter's waker, to have it look again while it stays in line.
    pub(crate) fn waker_of(&self, id: WaitId) -> Option<Waker> {
        self.slots[id.0].waker.clone()
    }

    /// Returns the number of waiters that have not left, in line or woken.
    #[inline]
    pub(crate) const fn len(&self) -> usize {
        self.slots.len()
    }

    /// Returns true if the waiter was taken out of the line.
    pub(crate) fn was_woken(&self, id: WaitId) -> bool {
        self.slots[id.0].waker.is_none()
    }

    /// Removes a waiter.
    #[must_use = "drop the waker once the lock is released"]
    pub(crate) fn leave(&mut self, id: WaitId) -> Left<T> {
        let waiter = &mut self.slots[id.0];
        let (waker, wanted) = (waiter.waker.take(), waiter.wants);
        if waker.is_some() {
            self.line.remove(&waiter.order);
        }
        self.slots.release(id.0);
        Left { wanted, waker }
    }
}

/// What remains of a waiter that has left.
#[derive(Debug)]
pub(crate) struct Left<T> {
    pub(crate) wanted: T,
    /// The waker, if the waiter was not woken: the caller passes no wake-up on then.
    pub(crate) waker: Option<Waker>,
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use super::*;

    fn join(line: &mut WaitList<u64>, wants: u64) -> Option<WaitId> {
        let mut place = None;
        assert!(line.wait(&mut place, Waker::noop(), wants).is_none());
        place
    }

    fn head(line: &WaitList<u64>) -> Option<u64> {
        line.first().map(|(_, &wants)| wants)
    }

    #[test]
    fn first_come_first_served_with_cancellation() {
        let mut line = WaitList::new();
        let ids = [0, 1, 2, 3].map(|n| join(&mut line, n).unwrap());
        assert_eq!(line.leave(ids[1]).wanted, 1);
        assert_eq!(head(&line), Some(0));
        assert!(line.wake_first().is_some());
        assert!(line.was_woken(ids[0]));
        assert_eq!(head(&line), Some(2));
        assert!(
            line.leave(ids[0]).waker.is_none(),
            "woken before it was left"
        );
        assert!(!line.was_woken(ids[2]));
        assert!(line.leave(ids[2]).waker.is_some(), "cancelled");
        assert!(line.wake(ids[3]).is_some());
        assert!(line.wake(ids[3]).is_none(), "once");
        assert!(line.wake_first().is_none());
        assert_eq!((line.leave(ids[3]).wanted, line.len()), (3, 0));
        assert_eq!(head(&line), None);
    }

    #[test]
    fn woken_waiters_that_find_nothing_regain_their_places() {
        let mut line = WaitList::new();
        let mut places = [0, 1, 2, 3].map(|n| join(&mut line, n));
        for _ in 0..3 {
            assert!(line.wake_first().is_some());
        }
        // In any order of scheduling.
        for n in [1, 0, 2] {
            let stale = line.wait(&mut places[n], Waker::noop(), 9);
            assert!(stale.is_none());
        }
        for n in 0..4 {
            assert_eq!(head(&line), Some(n));
            assert!(line.wake_first().is_some());
        }
    }

    #[test]
    fn matching_waiters_are_woken_in_order_and_others_are_not() {
        let mut line = WaitList::new();
        let places = [5, 6, 5, 7].map(|wants| join(&mut line, wants).unwrap());
        let mut woken = Vec::new();
        line.wake_where(|wants| *wants == 5, &mut woken);
        let were_woken = places.map(|place| line.was_woken(place));
        assert_eq!((woken.len(), were_woken), (2, [true, false, true, false]));
        assert_eq!(head(&line), Some(6));
    }

    #[test]
    fn a_waker_that_is_replaced_is_handed_out() {
        let another = || Waker::from(std::sync::Arc::new(Ignored));
        struct Ignored;
        impl std::task::Wake for Ignored {
            fn wake(self: std::sync::Arc<Self>) {}
        }
        let (mut line, one, two) = (WaitList::new(), another(), another());
        let mut place = None;
        assert!(line.wait(&mut place, &one, 0).is_none());
        assert!(line.wait(&mut place, &one, 0).is_none(), "it is the same");
        let stale = line.wait(&mut place, &two, 0);
        assert!(stale.is_some_and(|waker| waker.will_wake(&one)));
        assert!(
            line.waker_of(place.unwrap())
                .is_some_and(|waker| waker.will_wake(&two))
        );
    }
}
