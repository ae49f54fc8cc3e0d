//! A line of waiters: first come, first served.
//!
//! A waker that is replaced or leaves is handed out, to be dropped once the lock is released: it may
//! own a task, whose end may run anything.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::task::Waker;

use crate::arena::Arena;
use crate::list::{Index, Linked, Links};

/// A place in line comes with the arrival and is kept while the waiter is woken, so that one that
/// finds nothing is again before all who came later.
#[derive(Debug)]
pub(crate) struct WaitList<T> {
    slots: Arena<Waiter<T>>,
    /// Those who sleep, by their places.
    line: BTreeMap<Order, Index>,
    arrivals: u64,
}

/// Where a waiter stands: by rank, lowest first, and among equals by arrival.
pub(crate) type Order = (u64, u64);

#[derive(Debug)]
struct Waiter<T> {
    /// Those of the arena.
    links: Links,
    order: Order,
    /// `None` once it is woken.
    waker: Option<Waker>,
    wants: T,
}

/// A waiter, until it leaves.
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

impl<T: Copy> WaitList<T> {
    pub(crate) const fn new() -> Self {
        Self {
            slots: Arena::new(),
            line: BTreeMap::new(),
            arrivals: 0,
        }
    }

    /// Joins at the end of the line of rank 0; or if it is there already stays, or goes back to its
    /// place.
    #[must_use = "a waker is dropped once the lock is released"]
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

    /// Joins at the end of the line of a rank.
    pub(crate) fn join_ranked(&mut self, rank: u64, waker: Waker, wants: T) -> WaitId {
        let order = (rank, self.arrivals);
        self.arrivals += 1;
        self.join(order, waker, wants)
    }

    /// Moves a waiter to another rank, before those who arrived after it.
    pub(crate) fn move_to(&mut self, id: WaitId, rank: u64) {
        let slot = &mut self.slots[id.0];
        let (old, order) = (slot.order, (rank, slot.order.1));
        slot.order = order;
        if self.line.remove(&old).is_some() {
            self.line.insert(order, id.0);
        }
    }

    /// The first in line of those ranks.
    pub(crate) fn first_of(&self, ranks: Range<u64>) -> Option<WaitId> {
        let orders = (ranks.start, 0)..(ranks.end, 0);
        let first = self.line.range(orders).next();
        first.map(|(_, index)| WaitId(*index))
    }

    /// Joins at a place that nobody else has.
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

    /// The first in line.
    pub(crate) fn first(&self) -> Option<(WaitId, &T)> {
        let head = self.head()?;
        Some((WaitId(head), &self.slots[head].wants))
    }

    /// What a waiter wants, also when it has been woken.
    pub(crate) fn wants_mut(&mut self, id: WaitId) -> &mut T {
        &mut self.slots[id.0].wants
    }

    /// As [`wants_mut`](Self::wants_mut), to be read.
    pub(crate) fn wants(&self, id: WaitId) -> &T {
        &self.slots[id.0].wants
    }

    /// Takes the first out of the line, to be woken.
    pub(crate) fn wake_first(&mut self) -> Option<Waker> {
        let (_, head) = self.line.pop_first()?;
        self.slots[head].waker.take()
    }

    /// Takes one out of the line, to be woken; `None` if it is not there.
    pub(crate) fn wake(&mut self, id: WaitId) -> Option<Waker> {
        let slot = &mut self.slots[id.0];
        let waker = slot.waker.take()?;
        self.line.remove(&slot.order);
        Some(waker)
    }

    /// Takes everybody out of the line who wants this, in order.
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

    /// Those in line, from the first on.
    pub(crate) fn in_line(&self) -> impl Iterator<Item = (WaitId, &T)> {
        let wants = |index: &Index| (WaitId(*index), &self.slots[*index].wants);
        self.line.values().map(wants)
    }

    /// How many are in line.
    #[inline]
    pub(crate) fn in_line_len(&self) -> usize {
        self.line.len()
    }

    /// Those in line before a place.
    pub(crate) fn before(&self, order: Order) -> impl Iterator<Item = &T> {
        let wants = |(_, index): (&Order, &Index)| &self.slots[*index].wants;
        self.line.range(..order).map(wants)
    }

    /// The one in line behind a waiter, whether that is in line or not.
    pub(crate) fn behind(&self, id: WaitId) -> Option<WaitId> {
        let order = self.slots[id.0].order;
        let behind = (Bound::Excluded(order), Bound::Unbounded);
        let next = self.line.range(behind).next();
        next.map(|(_, index)| WaitId(*index))
    }

    /// A waiter's waker, to have it look although it stays in line.
    pub(crate) fn nudge(&self, id: WaitId) -> Option<Waker> {
        self.slots[id.0].waker.clone()
    }

    /// How many have not left, in line or woken.
    #[inline]
    pub(crate) const fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether it was taken out of the line.
    pub(crate) fn was_woken(&self, id: WaitId) -> bool {
        self.slots[id.0].waker.is_none()
    }

    /// Ends a waiter.
    #[must_use = "a waker is dropped once the lock is released"]
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

/// What is left of a waiter.
#[derive(Debug)]
pub(crate) struct Left<T> {
    pub(crate) wanted: T,
    /// If it had not been woken.
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
    fn those_who_find_nothing_go_back_to_their_places() {
        let mut line = WaitList::new();
        let mut places = [0, 1, 2, 3].map(|n| join(&mut line, n));
        for _ in 0..3 {
            assert!(line.wake_first().is_some());
        }
        // However they are scheduled.
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
    fn those_who_want_it_are_woken_in_order_and_others_are_not() {
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
        let another = || Waker::from(std::sync::Arc::new(Nobody));
        struct Nobody;
        impl std::task::Wake for Nobody {
            fn wake(self: std::sync::Arc<Self>) {}
        }
        let (mut line, one, two) = (WaitList::new(), another(), another());
        let mut place = None;
        assert!(line.wait(&mut place, &one, 0).is_none());
        assert!(line.wait(&mut place, &one, 0).is_none(), "it is the same");
        let stale = line.wait(&mut place, &two, 0);
        assert!(stale.is_some_and(|waker| waker.will_wake(&one)));
        assert!(
            line.nudge(place.unwrap())
                .is_some_and(|waker| waker.will_wake(&two))
        );
    }
}
