//! The slots of the keys, and all the `unsafe` code of the queue.
//!
//! # Invariant
//! Each slot has a [`SlotState`]. Only this file changes one, always through `&mut Keys`:
//! - `Vacant`: the slot holds no key, and no reference into it exists.
//! - `Occupied`: the slot holds a key. The only references to the key have the lifetime of a `&Keys`.
//! - `Borrowed`: the slot holds a key, and at most one [`KeyRef`] exists for it, which cannot be copied.
//!   References to the key have the lifetime of a `&Keys` or of a `&KeyRef`. The key stays until
//!   [`release`](Keys::release) consumes the `KeyRef`; if that never happens, it stays for ever.
//!
//! So a thread reads a key through `&Keys` or `&KeyRef`, a thread writes or moves one out through
//! `&mut Keys` only, and a `Borrowed` slot refuses both. A slot neither moves nor is freed while its
//! state is `Borrowed`.
//!
//! # Aliasing
//! A [`KeyRef`] outlives the borrow of the container that it comes from, so no `&mut` may ever cover
//! a slot that it refers to, or Stacked Borrows and Tree Borrows would both invalidate it:
//! - `Keys` holds raw pointers to its chunks, not boxes: moving a box, or borrowing one mutably, asserts
//!   unique access to all that it owns.
//! - The slots are reached through `&KeySlot`. The whole slot is inside an `UnsafeCell`, so such a
//!   reference asserts neither unique access nor that the slot stays as it is.
//! - A key is written and moved out through the raw pointer of its cell: no `&mut` to a slot exists, and
//!   no access extends to its neighbours.
//! - The only mutable access to several slots is the box that frees a chunk, when no slot is borrowed.
#![expect(
    unsafe_code,
    reason = "without it each worker clones its key: docs/decisions/the-cost-of-a-queue-cycle.md"
)]

use std::mem::{ManuallyDrop, MaybeUninit};
use std::ops::Deref;
use std::ptr::{self, NonNull};

use crate::list::Index;
use crate::sync::UnsafeCell;

/// The number of slots of the first chunk. Chunk `c` has `FIRST << c`.
pub(super) const FIRST: usize = 64;
/// More chunks than the values of an [`Index`] need.
const CHUNKS: usize = Index::BITS as usize;

/// Keys in slots whose addresses do not change.
pub(crate) struct Keys<K> {
    /// For each chunk, the address at which its slot `-(start + FIRST)` would be, where `start` is the
    /// index of its first slot; null before the chunk is allocated.
    chunks: [*const KeySlot<K>; CHUNKS],
    /// The state of each slot. All chunks but the last allocated one are full.
    states: Vec<SlotState>,
    /// The maximal number of slots.
    limit: usize,
}

/// What a slot holds. See the invariant of this module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotState {
    Vacant,
    Occupied,
    Borrowed,
}

/// A cell for a key.
struct KeySlot<K>(UnsafeCell<Contents<K>>);

/// A key, or nothing. The byte gives each slot an address of its own even if `K` is zero-sized: the
/// address tells [`release`](Keys::release) which container a [`KeyRef`] comes from.
union Contents<K> {
    key: ManuallyDrop<K>,
    nothing: MaybeUninit<u8>,
}

impl<K> KeySlot<K> {
    fn vacant() -> Self {
        let nothing = MaybeUninit::uninit();
        Self(UnsafeCell::new(Contents { nothing }))
    }

    /// Writes a key.
    ///
    /// # Safety
    /// During the call, no other thread accesses the slot and no reference to its key exists.
    #[inline]
    unsafe fn write(&self, key: K) {
        let key = ManuallyDrop::new(key);
        self.0.with_mut(|contents| {
            // SAFETY: the cell's pointer is valid for writes, and the caller rules out other accesses.
            unsafe { contents.write(Contents { key }) }
        });
    }

    /// Returns the key.
    ///
    /// # Safety
    /// The slot holds a key, and no thread writes the slot or moves the key out while the result lives.
    #[inline]
    unsafe fn key(&self) -> &K {
        self.0.with(|contents| {
            // SAFETY: the cell's pointer is valid, and the caller rules out writes. The union asserts
            // nothing about its bytes.
            let contents = unsafe { &*contents };
            // SAFETY: the caller says that there is a key.
            unsafe { &contents.key }
        })
    }

    /// Moves the key out.
    ///
    /// # Safety
    /// The slot holds a key. During the call, no other thread accesses the slot and no reference to the
    /// key exists. Afterwards the slot holds none.
    #[inline]
    unsafe fn take(&self) -> K {
        self.0.with_mut(|contents| {
            // SAFETY: the cell's pointer is valid for reads, and the caller rules out other accesses.
            let contents = unsafe { contents.read() };
            // SAFETY: the caller says that there is a key, and uses the bytes in the slot as one no more.
            ManuallyDrop::into_inner(unsafe { contents.key })
        })
    }
}

// SAFETY: `Keys` owns its keys and may drop them on its thread: `K: Send`. While the container is on one
// thread, a `KeyRef` to one of its keys may be on another, so both threads have a `&K`: `K: Sync`.
unsafe impl<K: Send + Sync> Send for Keys<K> {}

impl<K> Keys<K> {
    pub(crate) const fn new(limit: usize) -> Self {
        Self {
            chunks: [ptr::null(); CHUNKS],
            states: Vec::new(),
            limit,
        }
    }

    /// Adds a chunk of vacant slots, within the limit. Returns the number of slots.
    pub(crate) fn grow(&mut self) -> usize {
        let start = self.states.len();
        // A full chunk: `start` is `FIRST << c`, less `FIRST`. Only at the limit is it anything else.
        let full = start + FIRST;
        let len = full.min(self.limit - start);
        if len > 0 {
            let slots: Box<[_]> = (0..len).map(|_| KeySlot::<K>::vacant()).collect();
            let first = Box::into_raw(slots).cast::<KeySlot<K>>();
            self.chunks[chunk_of(start)] = first.wrapping_sub(start + FIRST);
            // After the slots: a state promises that there is a slot.
            self.states.reserve_exact(len);
            self.states.resize(start + len, SlotState::Vacant);
        }
        start + len
    }

    /// The state of each slot, in the order of their indices.
    pub(super) fn states(&self) -> &[SlotState] {
        &self.states
    }

    /// The address of a slot; meaningless if there is no such slot.
    #[inline]
    fn address(&self, index: usize) -> *const KeySlot<K> {
        self.chunks[chunk_of(index)].wrapping_add(index + FIRST)
    }

    #[inline]
    fn slot(&self, index: Index) -> (SlotState, &KeySlot<K>) {
        let index = index as usize;
        let state = self.states[index];
        // SAFETY: it has a state, so `grow` allocated it. Only `free` frees it, which takes the state away.
        let slot = unsafe { &*self.address(index) };
        (state, slot)
    }

    #[inline]
    fn slot_mut(&mut self, index: Index) -> (&mut SlotState, &KeySlot<K>) {
        let index = index as usize;
        let address = self.address(index);
        let state = &mut self.states[index];
        // SAFETY: as in `slot`.
        let slot = unsafe { &*address };
        (state, slot)
    }

    /// Puts a key into a vacant slot.
    ///
    /// # Panics
    /// If the slot is not vacant.
    #[inline]
    pub(crate) fn insert(&mut self, index: Index, key: K) {
        let (state, slot) = self.slot_mut(index);
        assert!(*state == SlotState::Vacant, "the slot holds a key");
        *state = SlotState::Occupied;
        // SAFETY: no reference into a vacant slot exists, and `&mut self` rules out other calls.
        unsafe { slot.write(key) };
    }

    /// Returns the key of a slot, unless it is vacant.
    #[inline]
    pub(crate) fn get(&self, index: Index) -> Option<&K> {
        let (state, slot) = self.slot(index);
        if state == SlotState::Vacant {
            return None;
        }
        // SAFETY: the slot is not vacant. Only `&mut self` writes it or moves the key out, so not while
        // the result lives.
        Some(unsafe { slot.key() })
    }

    /// Borrows a key for a worker, which reads it without the lock.
    ///
    /// # Panics
    /// If the slot is vacant, or its key is borrowed already.
    #[inline]
    pub(crate) fn borrow(&mut self, index: Index) -> KeyRef<K> {
        let (state, slot) = self.slot_mut(index);
        assert!(*state == SlotState::Occupied, "no key, or borrowed");
        *state = SlotState::Borrowed;
        let slot = NonNull::from(slot);
        KeyRef { slot, index }
    }

    /// Ends a borrow. Returns the index of the key.
    ///
    /// # Panics
    /// If the key was borrowed from another container.
    #[expect(clippy::needless_pass_by_value, reason = "a borrow ends once")]
    #[inline]
    pub(crate) fn release(&mut self, key: KeyRef<K>) -> Index {
        let KeyRef { slot, index } = key;
        let (state, own) = self.slot_mut(index);
        // The state alone could be that of another container's key.
        let is_own = ptr::eq(slot.as_ptr(), own);
        assert!(is_own && *state == SlotState::Borrowed, "not borrowed here");
        *state = SlotState::Occupied;
        index
    }

    /// Takes a key out.
    ///
    /// # Panics
    /// If the slot is vacant, or its key is borrowed.
    #[inline]
    pub(crate) fn remove(&mut self, index: Index) -> K {
        let (state, slot) = self.slot_mut(index);
        assert!(*state == SlotState::Occupied, "no key, or borrowed");
        *state = SlotState::Vacant;
        // SAFETY: an occupied slot holds a key, of which `&mut self` rules out references. The state is
        // vacant from now on.
        unsafe { slot.take() }
    }

    /// Frees the slots, without dropping a key. Leaks them if a key is borrowed: its worker may read it
    /// at any time.
    pub(super) fn free(&mut self) {
        if self.states.contains(&SlotState::Borrowed) {
            return;
        }
        while let Some(last) = self.states.len().checked_sub(1) {
            let start = (FIRST << chunk_of(last)) - FIRST;
            let first = self.address(start).cast_mut();
            let slots = ptr::slice_from_raw_parts_mut(first, self.states.len() - start);
            self.states.truncate(start);
            // SAFETY: `grow` got this pointer and this length from a box. The slots have no state any
            // more, so this happens once and no later call reaches them; no `KeyRef` does either.
            drop(unsafe { Box::from_raw(slots) });
        }
    }
}

/// Returns the chunk of a slot.
#[inline]
const fn chunk_of(index: usize) -> usize {
    ((index + FIRST).ilog2() - FIRST.ilog2()) as usize
}

/// A worker's reference to a key, until [`release`](Keys::release) ends it. Unlike a `&K` it has no
/// lifetime: dropping it leaves the key borrowed for ever, and its memory leaks.
///
/// Other threads read the key meanwhile, so a key that is not `Sync` stays on its thread, with its
/// queue:
/// ```compile_fail,E0277
/// fn is_shared<T: Sync>() {}
/// is_shared::<tollgate::WorkQueue<std::cell::Cell<u8>>>();
/// ```
/// ```compile_fail,E0277
/// fn goes<T: Send>() {}
/// goes::<tollgate::Work<std::cell::Cell<u8>>>();
/// ```
/// ```
/// fn is_shared<T: Send + Sync>() {}
/// is_shared::<(tollgate::WorkQueue<u8>, tollgate::Work<u8>)>();
/// ```
pub(crate) struct KeyRef<K> {
    slot: NonNull<KeySlot<K>>,
    index: Index,
}

// SAFETY: it gives a `&K` and nothing else, and a `&K` is `Send` if `K: Sync`. To move the key out takes a
// `&mut Keys<K>`, which another thread has only if `K: Send`.
unsafe impl<K: Sync> Send for KeyRef<K> {}
// SAFETY: a `&KeyRef` gives a `&K` and nothing else, and a `&K` is `Sync` if `K: Sync`.
unsafe impl<K: Sync> Sync for KeyRef<K> {}

impl<K> KeyRef<K> {
    /// Returns the index of the key.
    #[inline]
    pub(crate) const fn index(&self) -> Index {
        self.index
    }
}

impl<K> Deref for KeyRef<K> {
    type Target = K;

    #[inline]
    fn deref(&self) -> &K {
        // SAFETY: the state of the slot is `Borrowed` as long as this exists, so it is not freed.
        let slot = unsafe { self.slot.as_ref() };
        // SAFETY: a borrowed slot holds a key. To write it or move the key out takes `release` first, which
        // consumes this, so not while the result lives.
        unsafe { slot.key() }
    }
}
