//! Intrusive doubly linked FIFO lists through an arena: O(1) insert, remove and pop.
//!
//! Used for ready keys, keys that are being processed, the slots of the timing wheel, and the free
//! list of an arena.

/// The index of no entry.
pub(crate) const NIL: Index = Index::MAX;

/// The index of an entry in an arena.
pub(crate) type Index = u32;

/// The links that an entry carries. An entry is in one list at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Links {
    pub(crate) prev: Index,
    pub(crate) next: Index,
}

impl Links {
    /// Returns the links of an entry that is in no list.
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

/// A list: head and tail. The entries belong to the arena whose slots are passed to each call.
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

    #[inline]
    pub(crate) const fn is_empty(self) -> bool {
        self.head == NIL
    }

    #[inline]
    pub(crate) const fn head(self) -> Option<Index> {
        if self.head == NIL {
            None
        } else {
            Some(self.head)
        }
    }

    /// Iterates from head to tail.
    pub(crate) fn iter<T: Linked>(self, slots: &[T]) -> impl Iterator<Item = Index> + use<'_, T> {
        let next = |index: &Index| {
            let next = slots[*index as usize].links().next;
            (next != NIL).then_some(next)
        };
        std::iter::successors(self.head(), next)
    }

    #[inline]
    pub(crate) fn push_back<T: Linked>(&mut self, slots: &mut [T], index: Index) {
        *links(slots, index) = Links {
            prev: self.tail,
            next: NIL,
        };
        match self.tail {
            NIL => self.head = index,
            tail => links(slots, tail).next = index,
        }
        self.tail = index;
    }

    #[inline]
    pub(crate) fn push_front<T: Linked>(&mut self, slots: &mut [T], index: Index) {
        *links(slots, index) = Links {
            prev: NIL,
            next: self.head,
        };
        match self.head {
            NIL => self.tail = index,
            head => links(slots, head).prev = index,
        }
        self.head = index;
    }

    #[inline]
    pub(crate) fn remove<T: Linked>(&mut self, slots: &mut [T], index: Index) {
        // The entry keeps stale links: links are read only of entries in a list.
        let Links { prev, next } = *links(slots, index);
        match prev {
            NIL => self.head = next,
            prev => links(slots, prev).next = next,
        }
        match next {
            NIL => self.tail = prev,
            next => links(slots, next).prev = prev,
        }
    }

    #[inline]
    pub(crate) fn pop_front<T: Linked>(&mut self, slots: &mut [T]) -> Option<Index> {
        let head = self.head()?;
        self.head = links(slots, head).next;
        match self.head {
            NIL => self.tail = NIL,
            next => links(slots, next).prev = NIL,
        }
        Some(head)
    }
}

#[inline]
fn links<T: Linked>(slots: &mut [T], index: Index) -> &mut Links {
    slots[index as usize].links_mut()
}
