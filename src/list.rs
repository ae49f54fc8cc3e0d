//! Doubly linked FIFO lists through a slab: O(1) insert, remove and pop without an allocation or
//! `unsafe`.
//!
//! Waiters, ready keys and the slots of the timing wheel are all such lists.

use slab::Slab;

const NIL: u32 = u32::MAX;

/// A place in a slab.
pub(crate) type Index = u32;

/// The links that an entry of a slab carries; it can be in one list at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Links {
    prev: Index,
    next: Index,
}

impl Links {
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

/// One list. The entries belong to the slab that is passed to each call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct List {
    head: Index,
    tail: Index,
}

impl List {
    pub(crate) const fn new() -> Self {
        Self {
            head: NIL,
            tail: NIL,
        }
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.head == NIL
    }

    pub(crate) const fn head(self) -> Option<Index> {
        if self.head == NIL {
            None
        } else {
            Some(self.head)
        }
    }

    pub(crate) const fn tail(self) -> Option<Index> {
        if self.tail == NIL {
            None
        } else {
            Some(self.tail)
        }
    }

    /// From head to tail.
    pub(crate) fn iter<T: Linked>(
        self,
        slab: &Slab<T>,
    ) -> impl Iterator<Item = Index> + use<'_, T> {
        let next = |index: &Index| {
            let next = slab[*index as usize].links().next;
            (next != NIL).then_some(next)
        };
        std::iter::successors(self.head(), next)
    }

    #[inline]
    pub(crate) fn push_back<T: Linked>(&mut self, slab: &mut Slab<T>, index: Index) {
        *links(slab, index) = Links {
            prev: self.tail,
            next: NIL,
        };
        match self.tail {
            NIL => self.head = index,
            tail => links(slab, tail).next = index,
        }
        self.tail = index;
    }

    #[inline]
    pub(crate) fn push_front<T: Linked>(&mut self, slab: &mut Slab<T>, index: Index) {
        *links(slab, index) = Links {
            prev: NIL,
            next: self.head,
        };
        match self.head {
            NIL => self.tail = index,
            head => links(slab, head).prev = index,
        }
        self.head = index;
    }

    #[inline]
    pub(crate) fn remove<T: Linked>(&mut self, slab: &mut Slab<T>, index: Index) {
        // Left as they are: nobody reads the links of an entry that is in no list.
        let &mut Links { prev, next } = links(slab, index);
        match prev {
            NIL => self.head = next,
            prev => links(slab, prev).next = next,
        }
        match next {
            NIL => self.tail = prev,
            next => links(slab, next).prev = prev,
        }
    }

    #[inline]
    pub(crate) fn pop_front<T: Linked>(&mut self, slab: &mut Slab<T>) -> Option<Index> {
        let head = self.head()?;
        self.remove(slab, head);
        Some(head)
    }
}

#[inline]
fn links<T: Linked>(slab: &mut Slab<T>, index: Index) -> &mut Links {
    slab[index as usize].links_mut()
}
