//! Entries at stable indices: O(1) insert and release, without an allocation once it has grown, and
//! without `unsafe`.
//!
//! An entry carries links, and a free one is linked by them to the next that is free. So no tag
//! beside an entry says whether it is in use, and none is looked at: who releases an entry takes out
//! first what it owns.

use std::ops;

use crate::list::{Index, Linked, List, NIL};

#[derive(Debug)]
pub(crate) struct Arena<T> {
    slots: Vec<T>,
    /// Those that are not in use, the one that was released last in front.
    free: List,
    len: Index,
}

impl<T> Arena<T> {
    pub(crate) const fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: List::new(),
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
    /// The free place that [`insert`](Self::insert) would use next: the one that was released last, once
    /// there is memory for no other.
    #[inline]
    pub(crate) fn next_free(&self) -> Option<Index> {
        if self.slots.len() < self.slots.capacity() {
            return None;
        }
        self.free.head()
    }

    /// Uses the next free place.
    #[inline]
    pub(crate) fn insert(&mut self, entry: T) -> Index {
        match self.next_free() {
            Some(index) => {
                self.reuse(index, entry);
                index
            }
            None => self.push(entry),
        }
    }

    /// Uses a place that is free.
    #[inline]
    pub(crate) fn reuse(&mut self, index: Index, entry: T) {
        self.len += 1;
        self.free.remove(&mut self.slots, index);
        self.slots[index as usize] = entry;
    }

    /// Uses a place that is free, with the entry that was left there.
    pub(crate) fn revive(&mut self, index: Index) {
        self.len += 1;
        self.free.remove(&mut self.slots, index);
    }

    /// Uses a place that is new.
    #[inline]
    pub(crate) fn push(&mut self, entry: T) -> Index {
        self.len += 1;
        let index = Index::try_from(self.slots.len()).ok();
        self.slots.push(entry);
        index
            .filter(|index| *index != NIL)
            .expect("fewer than 2^32 - 1 entries")
    }

    /// Frees an entry that is in no list. What it still owns stays until its place is used again.
    #[inline]
    pub(crate) fn release(&mut self, index: Index) {
        self.free.push_front(&mut self.slots, index);
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
    use crate::list::Links;

    impl Linked for Links {
        fn links(&self) -> &Links {
            self
        }

        fn links_mut(&mut self) -> &mut Links {
            self
        }
    }

    fn insert(arena: &mut Arena<Links>) -> Index {
        arena.insert(Links::new())
    }

    #[test]
    fn what_was_released_last_is_used_again_first_once_memory_is_used_up() {
        let mut arena = Arena::new();
        arena.reserve_exact(4);
        let capacity = arena.capacity() as Index;
        assert_eq!((insert(&mut arena), insert(&mut arena)), (0, 1));
        arena.release(0);
        assert_eq!(arena.next_free(), None, "there is memory for another");
        for index in 2..capacity {
            assert_eq!(insert(&mut arena), index);
        }
        arena.release(2);
        arena.release(1);
        assert_eq!(arena.len(), capacity as usize - 3);
        for index in [1, 2, 0] {
            assert_eq!(arena.next_free(), Some(index));
            assert_eq!(insert(&mut arena), index);
        }
        assert_eq!(arena.next_free(), None);
        assert_eq!(arena.capacity(), capacity as usize, "it has not grown");
        assert_eq!(insert(&mut arena), capacity);
        assert_eq!(arena.len(), capacity as usize + 1);
    }

    #[test]
    fn any_free_place_may_be_used_again() {
        for picked in 0..3 {
            let mut arena = Arena::new();
            arena.reserve_exact(3);
            let capacity = arena.capacity() as Index;
            for index in 0..capacity {
                assert_eq!(insert(&mut arena), index);
            }
            for index in [0, 1, 2] {
                arena.release(index);
            }
            arena.reuse(picked, Links::new());
            assert_eq!(arena.len(), capacity as usize - 2);
            for index in [2, 1, 0].into_iter().filter(|index| *index != picked) {
                assert_eq!(insert(&mut arena), index);
            }
            assert_eq!(arena.next_free(), None);
        }
    }

    #[test]
    fn room_is_made_for_those_that_do_not_fit_in_free_places() {
        let mut arena = Arena::new();
        arena.reserve_exact(3);
        let capacity = arena.capacity();
        for _ in 0..capacity {
            insert(&mut arena);
        }
        arena.release(1);
        arena.reserve_exact(1);
        assert_eq!(arena.capacity(), capacity);
        arena.reserve_exact(2);
        assert!(arena.capacity() > capacity);
    }
}
