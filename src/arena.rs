//! Entries at stable indices: O(1) insert and release, without an allocation once it has grown, and
//! without `unsafe`.
//!
//! An entry carries links, and a free one is linked by them to the next that is free. So no tag
//! beside an entry says whether it is in use, and none is looked at: who releases an entry takes out
//! first what it owns.

use std::ops;

/// No place.
pub(crate) const NIL: Index = Index::MAX;

/// A place in an arena.
pub(crate) type Index = u32;

/// The links that an entry carries; it can be in one list at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Links {
    pub(crate) prev: Index,
    pub(crate) next: Index,
}

impl Links {
    /// Of an entry that is in no list.
    pub(crate) const fn new() -> Self {
        Self {
            prev: NIL,
            next: NIL,
        }
    }
}

pub(crate) trait Linked {
    fn links(&self) -> &Links;
    fn links_mut(&mut self) -> &mut Links;
}

#[derive(Debug)]
pub(crate) struct Arena<T> {
    slots: Vec<T>,
    /// The entry that was released last.
    free: Index,
    len: Index,
}

impl<T> Arena<T> {
    pub(crate) const fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: NIL,
            len: 0,
        }
    }

    /// How many are in use.
    #[inline]
    pub(crate) const fn len(&self) -> usize {
        self.len as usize
    }

    /// How many fit without an allocation.
    #[inline]
    pub(crate) const fn capacity(&self) -> usize {
        self.slots.capacity()
    }

    /// Makes room for so many more than are in use, and not for more than that.
    pub(crate) fn reserve_exact(&mut self, more: usize) {
        let free = self.slots.len() - self.len();
        self.slots.reserve_exact(more.saturating_sub(free));
    }

    /// All entries, also those that are free. Lists work on them: a slice that is passed on need
    /// not be read again after each write, as the arena around it would have to be.
    #[inline]
    pub(crate) fn slots(&self) -> &[T] {
        &self.slots
    }

    /// As [`slots`](Self::slots), to change.
    #[inline]
    pub(crate) fn slots_mut(&mut self) -> &mut [T] {
        &mut self.slots
    }
}

impl<T: Linked> Arena<T> {
    /// Uses the place that was released last.
    #[inline]
    pub(crate) fn insert(&mut self, entry: T) -> Index {
        self.len += 1;
        let index = self.free;
        match self.slots.get_mut(index as usize) {
            Some(slot) => {
                self.free = slot.links().next;
                *slot = entry;
                index
            }
            None => self.push(entry),
        }
    }

    fn push(&mut self, entry: T) -> Index {
        let index = Index::try_from(self.slots.len()).ok();
        self.slots.push(entry);
        index
            .filter(|index| *index != NIL)
            .expect("fewer than 2^32 - 1 entries")
    }

    /// Frees an entry that is in no list. What it still owns stays until its place is used again.
    #[inline]
    pub(crate) fn release(&mut self, index: Index) {
        self.slots[index as usize].links_mut().next = self.free;
        self.free = index;
        self.len -= 1;
    }
}

impl<T> ops::Index<Index> for Arena<T> {
    type Output = T;

    #[inline]
    fn index(&self, index: Index) -> &T {
        &self.slots[index as usize]
    }
}

impl<T> ops::IndexMut<Index> for Arena<T> {
    #[inline]
    fn index_mut(&mut self, index: Index) -> &mut T {
        &mut self.slots[index as usize]
    }
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use super::*;

    impl Linked for Links {
        fn links(&self) -> &Links {
            self
        }

        fn links_mut(&mut self) -> &mut Links {
            self
        }
    }

    #[test]
    fn what_was_released_is_used_again_before_it_grows() {
        let mut arena = Arena::new();
        arena.reserve_exact(3);
        let capacity = arena.capacity();
        let three = |arena: &mut Arena<Links>| [(); 3].map(|()| arena.insert(Links::new()));
        assert_eq!((three(&mut arena), arena.len()), ([0, 1, 2], 3));
        for index in [1, 0, 2] {
            arena.release(index);
        }
        assert_eq!((arena.len(), arena.slots().len()), (0, 3));
        assert_eq!(three(&mut arena), [2, 0, 1]);
        arena.release(1);
        arena.reserve_exact(1);
        assert_eq!(arena.capacity(), capacity, "there was room");
        assert_eq!(arena.insert(Links::new()), 1);
        assert_eq!(arena.insert(Links::new()), 3);
        assert_eq!(arena.len(), 4);
    }
}
