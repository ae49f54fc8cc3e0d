//! An arena with stable indices and a free list: O(1) insert and release, no allocation once it has
//! grown, and no `unsafe`.
//!
//! An entry carries links, and a free entry is linked by them into the free list. So there is no
//! tag beside an entry that says whether it is in use: code that releases an entry first takes out
//! what it owns.

use std::ops;

use crate::list::{Index, Linked, List, NIL};

#[derive(Debug)]
pub(crate) struct Arena<T> {
    slots: Vec<T>,
    /// The entries that are not in use, the last released first.
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

    /// Returns the number of entries in use.
    #[inline]
    pub(crate) const fn len(&self) -> usize {
        self.len as usize
    }

    /// Returns the number of entries that fit without an allocation.
    #[inline]
    pub(crate) const fn capacity(&self) -> usize {
        self.slots.capacity()
    }

    /// Reserves room for exactly `more` entries beyond those in use.
    pub(crate) fn reserve_exact(&mut self, more: usize) {
        let free = self.slots.len() - self.len();
        self.slots.reserve_exact(more.saturating_sub(free));
    }

    /// Returns all entries, free ones included. List operations take this slice: its pointer and
    /// length stay in registers, where those of the arena would be reloaded after each write.
    #[inline]
    pub(crate) fn slots(&self) -> &[T] {
        &self.slots
    }

    /// Same as [`slots`](Self::slots), mutable.
    #[inline]
    pub(crate) fn slots_mut(&mut self) -> &mut [T] {
        &mut self.slots
    }
}

impl<T: Linked> Arena<T> {
    /// Returns the free slot that [`insert`](Self::insert) would reuse: the last released, but only
    /// once the allocated memory is used up.
    #[inline]
    pub(crate) fn next_free(&self) -> Option<Index> {
        if self.slots.len() < self.slots.capacity() {
            return None;
        }
        self.free.head()
    }

    /// Inserts an entry into the next free slot.
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

    /// Inserts an entry into a free slot.
    #[inline]
    pub(crate) fn reuse(&mut self, index: Index, entry: T) {
        self.len += 1;
        self.free.remove(&mut self.slots, index);
        self.slots[index as usize] = entry;
    }

    /// Takes a free slot back into use, with the entry that was left there.
    pub(crate) fn revive(&mut self, index: Index) {
        self.len += 1;
        self.free.remove(&mut self.slots, index);
    }

    /// Inserts an entry into a new slot.
    #[inline]
    pub(crate) fn push(&mut self, entry: T) -> Index {
        self.len += 1;
        let index = Index::try_from(self.slots.len()).ok();
        self.slots.push(entry);
        index
            .filter(|index| *index != NIL)
            .expect("an arena holds fewer than 2^32 - 1 entries")
    }

    /// Frees an entry that is in no list. What it still owns stays until its slot is reused.
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
    fn slots_are_reused_last_released_first_once_memory_is_used_up() {
        let mut arena = Arena::new();
        arena.reserve_exact(4);
        let capacity = arena.capacity() as Index;
        assert_eq!((insert(&mut arena), insert(&mut arena)), (0, 1));
        arena.release(0);
        assert_eq!(arena.next_free(), None, "there is room for a new slot");
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
    fn any_free_slot_can_be_reused() {
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
    fn reserve_counts_free_slots() {
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
