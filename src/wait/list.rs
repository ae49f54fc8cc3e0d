use std::task::Waker;

use crate::arena::{Arena, Index, Linked, Links};
use crate::list::List;

/// Who waits, first come first served: threads and tasks alike, each as a [`Waker`] and what it
/// waits for.
///
/// A waiter that is woken leaves the line but keeps its slot until it collects it with
/// [`leave`](Self::leave), so that one that was woken and then cancelled can be told from one that
/// was still in line.
#[derive(Debug)]
pub(crate) struct WaitList<T> {
    slots: Arena<Waiter<T>>,
    line: List,
}

#[derive(Debug)]
struct Waiter<T> {
    links: Links,
    /// `None` once it has been woken.
    waker: Option<Waker>,
    wants: T,
}

/// A waiter's slot; valid from `join` to `leave`.
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
            line: List::new(),
        }
    }

    /// Joins the line at its end.
    pub(crate) fn join(&mut self, waker: Waker, wants: T) -> WaitId {
        let waiter = Waiter {
            links: Links::new(),
            waker: Some(waker),
            wants,
        };
        let index = self.slots.insert(waiter);
        self.line.push_back(self.slots.slots_mut(), index);
        WaitId(index)
    }

    /// Goes back to the head of the line after a wake-up that came to nothing; a waiter still in
    /// line keeps its place.
    pub(crate) fn wait_on(&mut self, id: WaitId, waker: &Waker) {
        let slot = &mut self.slots[id.0];
        match &mut slot.waker {
            Some(old) => old.clone_from(waker),
            woken @ None => {
                *woken = Some(waker.clone());
                self.line.push_front(self.slots.slots_mut(), id.0);
            }
        }
    }

    /// The first in line and what it waits for.
    pub(crate) fn first(&self) -> Option<(WaitId, &T)> {
        let head = self.line.head()?;
        Some((WaitId(head), &self.slots[head].wants))
    }

    /// Takes the first out of the line, to be woken once the lock is released.
    pub(crate) fn wake_first(&mut self) -> Option<Waker> {
        let head = self.line.pop_front(self.slots.slots_mut())?;
        self.slots[head].waker.take()
    }

    /// As [`first`](Self::first), to change.
    pub(crate) fn first_mut(&mut self) -> Option<(WaitId, &mut T)> {
        let head = self.line.head()?;
        Some((WaitId(head), &mut self.slots[head].wants))
    }

    /// The waker of one who stays in line: to have it look at its timer. `None` if it has been
    /// woken anyway.
    pub(crate) fn nudge(&self, id: WaitId) -> Option<Waker> {
        self.slots[id.0].waker.clone()
    }

    /// How many are in line or have a slot still.
    #[inline]
    pub(crate) const fn len(&self) -> usize {
        self.slots.len()
    }

    /// Takes those out of the line who wait for this, to be woken once the lock is released.
    pub(crate) fn wake_where(&mut self, wanted: impl Fn(&T) -> bool) -> Vec<Waker> {
        let mut found: Vec<Index> = self.line.iter(self.slots.slots()).collect();
        found.retain(|&index| wanted(&self.slots[index].wants));
        let woken = found.into_iter().filter_map(|index| {
            self.line.remove(self.slots.slots_mut(), index);
            self.slots[index].waker.take()
        });
        woken.collect()
    }

    pub(crate) fn was_woken(&self, id: WaitId) -> bool {
        self.slots[id.0].waker.is_none()
    }

    /// Gives up the slot.
    pub(crate) fn leave(&mut self, id: WaitId) -> T {
        let waiter = &mut self.slots[id.0];
        let (waker, wants) = (waiter.waker.take(), waiter.wants);
        if waker.is_some() {
            self.line.remove(self.slots.slots_mut(), id.0);
        }
        self.slots.release(id.0);
        wants
    }
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use super::*;

    fn noop() -> Waker {
        Waker::noop().clone()
    }

    #[test]
    fn first_come_first_served_with_cancellation() {
        let mut line = WaitList::new();
        let ids: Vec<_> = (0..4).map(|n| line.join(noop(), n)).collect();
        assert_eq!(line.leave(ids[1]), 1);
        assert_eq!(line.first().map(|(_, &n)| n), Some(0));
        assert!(line.wake_first().is_some());
        assert!(line.was_woken(ids[0]));
        assert_eq!(line.first().map(|(_, &n)| n), Some(2));
        line.wait_on(ids[0], &noop());
        assert_eq!(line.first().map(|(_, &n)| n), Some(0), "back at the head");
        assert!(line.wake_first().is_some());
        assert!(line.was_woken(ids[0]));
        line.leave(ids[0]);
        assert!(!line.was_woken(ids[2]));
        line.leave(ids[2]);
        assert!(line.wake_first().is_some());
        assert!(line.wake_first().is_none());
        assert_eq!(line.leave(ids[3]), 3);
        assert!(line.first().is_none());
    }
}
