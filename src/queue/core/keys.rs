//! The keys, at addresses that do not change, lent to those who work on them.
//!
//! A worker reads its key where it lies, without the lock, while others compare theirs with it. So
//! no key is ever copied.
//!
//! # Safety
//! What is not in this file can do nothing wrong:
//! - A place has a key unless it is [`Free`](Place::Free): it is put there by `put` alone, and taken
//!   out by `take` and `take_back`.
//! - A key is lent while its place says so, and one [`Lent`] stands for it, which cannot be copied.
//!   Until that is given back, nobody takes the key out or puts another there.
//! - All others look at keys by `&self` and change them by `&mut self`. A `Lent` only looks.
//! - The memory does not move, and is not freed while a key is lent.
#![expect(
    unsafe_code,
    reason = "to copy a key for its worker is a tenth to a fifth of what the queue takes, measured"
)]

use std::fmt;
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::ptr::{self, NonNull};

use crate::list::Index;
use crate::sync::UnsafeCell;

type Slot<K> = UnsafeCell<MaybeUninit<K>>;

/// Chunk `c` has `FIRST << c` slots.
const FIRST: usize = 64;
/// More than are needed for all numbers that a place can have.
const CHUNKS: usize = Index::BITS as usize;

pub(crate) struct Keys<K> {
    /// Of each chunk its first slot, less the `FIRST << c` by which the places in it are numbered
    /// higher once `FIRST` is added; null if it has not been made.
    chunks: [*const Slot<K>; CHUNKS],
    places: Vec<Place>,
    /// There are never more places.
    limit: usize,
}

/// What is at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Free,
    Taken,
    Lent,
}

// SAFETY: it owns its keys, for which they are `Send`; and while one is lent, others read it too, for
// which they are `Sync`.
unsafe impl<K: Send + Sync> Send for Keys<K> {}

impl<K> Keys<K> {
    pub(crate) const fn new(limit: usize) -> Self {
        Self {
            chunks: [ptr::null(); CHUNKS],
            places: Vec::new(),
            limit,
        }
    }

    /// Adds a chunk of places, up to the limit. Returns how many there are.
    pub(crate) fn grow(&mut self) -> usize {
        let start = self.places.len();
        let most = start + FIRST;
        let len = most.min(self.limit - start);
        if len > 0 {
            let slots = (0..len).map(|_| Slot::new(MaybeUninit::uninit()));
            let slots: Box<[Slot<K>]> = slots.collect();
            let first = Box::into_raw(slots).cast::<Slot<K>>();
            self.chunks[chunk_of(start)] = first.wrapping_sub(start + FIRST);
            self.places.reserve_exact(len);
            self.places.resize(start + len, Place::Free);
        }
        start + len
    }

    #[inline]
    fn slot(&self, index: Index) -> *const Slot<K> {
        let index = index as usize;
        self.chunks[chunk_of(index)].wrapping_add(index + FIRST)
    }

    /// Puts a key at a free place.
    #[inline]
    pub(crate) fn put(&mut self, index: Index, key: K) {
        let place = &mut self.places[index as usize];
        assert!(*place == Place::Free, "another key is there");
        *place = Place::Taken;
        // SAFETY: a slot for each place, and nobody else looks at one without a key.
        unsafe { (*self.slot(index)).with_mut(|slot| (*slot).write(key)) };
    }

    /// The key at a place, if there is one.
    #[inline]
    pub(crate) fn get(&self, index: Index) -> Option<&K> {
        if self.places[index as usize] == Place::Free {
            return None;
        }
        // SAFETY: there is a key. To take it out is to change `self`.
        Some(unsafe { read(self.slot(index)) })
    }

    /// Lends a key.
    #[inline]
    pub(crate) fn lend(&mut self, index: Index) -> Lent<K> {
        let place = &mut self.places[index as usize];
        assert!(*place == Place::Taken, "no key, or it is lent");
        *place = Place::Lent;
        match NonNull::new(self.slot(index).cast_mut()) {
            Some(slot) => Lent { slot, index },
            None => unreachable!("there is a slot"),
        }
    }

    /// Ends a loan. Returns the place of the key.
    #[inline]
    pub(crate) fn give_back(&mut self, lent: Lent<K>) -> Index {
        let (_, index) = self.end(lent, Place::Taken);
        index
    }

    /// Ends a loan by taking the key out.
    #[inline]
    pub(crate) fn take_back(&mut self, lent: Lent<K>) -> K {
        let (slot, _) = self.end(lent, Place::Free);
        // SAFETY: there was a key, nobody else looks at it, and from now on there is none.
        unsafe { take(slot) }
    }

    /// Takes a key out that is not lent.
    #[inline]
    pub(crate) fn take(&mut self, index: Index) -> K {
        let place = &mut self.places[index as usize];
        assert!(*place == Place::Taken, "no key, or it is lent");
        *place = Place::Free;
        // SAFETY: there was a key, nobody else looks at it, and from now on there is none.
        unsafe { take(self.slot(index)) }
    }

    /// Puts another key into the place of one that is not lent, and takes that out.
    pub(crate) fn replace(&mut self, index: Index, key: K) -> K {
        let old = self.take(index);
        self.put(index, key);
        old
    }

    /// A key that was lent is not any more.
    #[expect(clippy::needless_pass_by_value, reason = "a loan ends once")]
    #[inline]
    fn end(&mut self, lent: Lent<K>, to: Place) -> (*const Slot<K>, Index) {
        let Lent { slot, index } = lent;
        let slot = slot.as_ptr().cast_const();
        let ours = ptr::eq(slot, self.slot(index));
        let place = &mut self.places[index as usize];
        assert!(ours && *place == Place::Lent, "it was lent by another");
        *place = to;
        (slot, index)
    }
}

/// In which chunk a place is.
#[inline]
const fn chunk_of(index: usize) -> usize {
    ((index + FIRST).ilog2() - FIRST.ilog2()) as usize
}

/// # Safety
/// There is a key, and it stays there for as long as it is looked at.
#[inline]
unsafe fn read<'a, K>(slot: *const Slot<K>) -> &'a K {
    // SAFETY: as above.
    unsafe { (*slot).with(|key| (*key).assume_init_ref()) }
}

/// # Safety
/// There is a key, nobody else looks at it, and nobody will.
#[inline]
unsafe fn take<K>(slot: *const Slot<K>) -> K {
    // SAFETY: as above.
    unsafe { (*slot).with_mut(|key| (*key).assume_init_read()) }
}

impl<K> Drop for Keys<K> {
    fn drop(&mut self) {
        Rest(self, 0).drop_keys();
    }
}

/// The keys from a place on, and the memory of all. If the drop of a key panics, this goes on with
/// those behind it.
struct Rest<'a, K>(&'a mut Keys<K>, Index);

impl<K> Rest<'_, K> {
    fn drop_keys(&mut self) {
        let Self(keys, next) = self;
        while let Some(place) = keys.places.get(*next as usize) {
            let (index, taken) = (*next, *place == Place::Taken);
            *next += 1;
            if taken {
                drop(keys.take(index));
            }
        }
    }
}

impl<K> Drop for Rest<'_, K> {
    fn drop(&mut self) {
        self.drop_keys();
        self.0.free();
    }
}

impl<K> Keys<K> {
    /// Frees the memory of all places, of which none has a key that is not lent.
    fn free(&mut self) {
        if self.places.contains(&Place::Lent) {
            // Somebody may look at it for ever.
            return;
        }
        while !self.places.is_empty() {
            let chunk = chunk_of(self.places.len() - 1);
            let start = (FIRST << chunk) - FIRST;
            let slots = self.chunks[chunk].wrapping_add(start + FIRST).cast_mut();
            let slots = ptr::slice_from_raw_parts_mut(slots, self.places.len() - start);
            // SAFETY: they were boxed, so many, and nobody looks at them any more.
            drop(unsafe { Box::from_raw(slots) });
            self.places.truncate(start);
        }
    }
}

impl<K> fmt::Debug for Keys<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

/// A key that is lent: looked at, until it is [given back](Keys::give_back).
///
/// Others look at it meanwhile, so one that is not `Sync` stays on its thread, with its queue:
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
pub(crate) struct Lent<K> {
    slot: NonNull<Slot<K>>,
    index: Index,
}

// SAFETY: it is a `&K`.
unsafe impl<K: Sync> Send for Lent<K> {}
// SAFETY: it is a `&K`.
unsafe impl<K: Sync> Sync for Lent<K> {}

impl<K> Lent<K> {
    /// The place of the key.
    #[inline]
    pub(crate) const fn index(&self) -> Index {
        self.index
    }
}

impl<K> Deref for Lent<K> {
    type Target = K;

    #[inline]
    fn deref(&self) -> &K {
        // SAFETY: it is not given back while it is borrowed, so the key stays there.
        unsafe { read(self.slot.as_ptr()) }
    }
}

impl<K> fmt::Debug for Lent<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lent").field(&self.index).finish()
    }
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;

    use super::*;

    fn keys<K>(limit: usize) -> Keys<K> {
        let mut keys = Keys::new(limit);
        let len = (0..8).map(|_| keys.grow()).last();
        assert_eq!(len, Some(limit));
        keys
    }

    fn refused<T>(what: impl FnOnce() -> T) {
        assert!(catch_unwind(AssertUnwindSafe(what)).is_err());
    }

    #[test]
    fn it_grows_to_its_limit_and_no_further() {
        let full = 3 * FIRST;
        for limit in [
            1,
            FIRST - 1,
            FIRST,
            FIRST + 1,
            full - 1,
            full,
            full + 1,
            5_000,
        ] {
            let mut keys = Keys::new(limit);
            for chunks in 1..9 {
                let places = (FIRST << chunks) - FIRST;
                assert_eq!(keys.grow(), places.min(limit));
            }
            for index in 0..limit as Index {
                keys.put(index, index.to_string());
            }
            for index in 0..limit as Index {
                assert_eq!(keys.get(index), Some(&index.to_string()));
            }
        }
    }

    #[test]
    fn a_key_stays_where_it_is_while_it_is_lent() {
        let mut keys = Keys::new(4 * FIRST);
        keys.grow();
        keys.put(7, String::from("key"));
        let lent = keys.lend(7);
        assert_eq!((keys.grow(), keys.grow()), (3 * FIRST, 4 * FIRST));
        assert!(ptr::eq(&raw const *lent, keys.get(7).unwrap()));
        assert_eq!(*lent, "key");
        assert_eq!(keys.give_back(lent), 7);
        let lent = keys.lend(7);
        assert_eq!(keys.take_back(lent), "key");
        assert_eq!(keys.get(7), None);
    }

    #[test]
    fn what_would_harm_is_refused() {
        let (mut keys, mut others) = (keys(2), keys(2));
        keys.put(0, 'a');
        others.put(0, 'b');
        refused(|| keys.put(0, 'c'));
        refused(|| keys.take(1));
        refused(|| keys.lend(1));
        refused(|| keys.put(2, 'd'));
        refused(|| keys.get(2));
        let lent = keys.lend(0);
        refused(|| keys.lend(0));
        refused(|| keys.take(0));
        refused(|| keys.put(0, 'c'));
        let other = others.lend(0);
        refused(|| keys.give_back(other));
        assert_eq!(
            (*lent, keys.get(0), others.get(0)),
            ('a', Some(&'a'), Some(&'b'))
        );
        assert_eq!(keys.take_back(lent), 'a');
    }

    #[test]
    fn each_key_is_dropped_once_and_what_is_lent_stays() {
        let key = Arc::new(());
        let mut all = keys(40);
        for index in 0..40 {
            all.put(index, Arc::clone(&key));
        }
        drop(all.take(3));
        assert_eq!(Arc::strong_count(&key), 40);
        drop(all);
        assert_eq!(Arc::strong_count(&key), 1);
        let mut all = keys(40);
        all.put(20, Arc::clone(&key));
        all.put(21, Arc::clone(&key));
        let lent = all.lend(20);
        drop(all);
        assert!(ptr::eq(Arc::as_ptr(&lent), Arc::as_ptr(&key)));
        assert_eq!(Arc::strong_count(&key), 2);
    }
    #[test]
    fn a_key_that_panics_when_it_is_dropped_leaves_no_other_behind() {
        struct Bomb {
            _counted: Arc<()>,
            armed: bool,
        }
        impl Drop for Bomb {
            fn drop(&mut self) {
                assert!(!self.armed, "on purpose");
            }
        }
        let key = Arc::new(());
        let mut all = keys(3 * FIRST);
        for index in 0..3 * FIRST as Index {
            let (_counted, armed) = (Arc::clone(&key), index == 2);
            all.put(index, Bomb { _counted, armed });
        }
        refused(|| drop(all));
        assert_eq!(Arc::strong_count(&key), 1);
    }
}
