//! Where the memory of a hash table is, known without its lock: to ask for it before it is waited for.
//!
//! A locked instruction waits for all reads before it, so under a lock each miss of the cache is
//! waited for by itself. Asking is no read: nothing waits for it.

use hashbrown::HashTable;

use crate::sync::{UnmodelledU64, prefetch};

/// Where a table is, or was. Memory there is asked for and never read, so that one that has moved
/// costs the time of asking.
///
/// An address above eight bits, of which 56 are used, and there the places as a power of two. In one
/// word, so that the two are of one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whereabouts(u64);

const LINE: usize = 64;

impl Whereabouts {
    pub(crate) const UNKNOWN: Self = Self(0);

    /// Of a table of so many places in which `slot` is at `index`. `hashbrown` has the tags behind
    /// the places, which go backwards from there.
    #[inline]
    fn of<T>(slot: *const T, index: usize, places: usize) -> Self {
        let tags = slot.wrapping_add(index + 1).addr() as u64;
        Self(tags << 8 | u64::from(places.ilog2()))
    }

    /// Asks for what is read to find a hash: its tags, and so many lines of the places that come
    /// first.
    #[expect(clippy::cast_possible_truncation, reason = "the low bits are meant")]
    #[inline]
    pub(crate) fn ask<T>(self, hash: u64, lines: usize) {
        let home = hash as usize & (1_usize.wrapping_shl(self.0 as u32) - 1);
        let tags = std::ptr::without_provenance::<u8>((self.0 >> 8) as usize);
        prefetch(tags.wrapping_add(home));
        let place = tags.cast::<T>().wrapping_sub(home + 1).cast::<u8>();
        for line in 0..lines {
            prefetch(place.wrapping_sub(line * LINE));
        }
    }
}

/// Adds a value that is not there, and says where the table is after that.
#[expect(clippy::inline_always, reason = "a call costs more than it does")]
#[inline(always)]
pub(crate) fn insert_unique<T>(
    table: &mut HashTable<T>,
    hash: u64,
    value: T,
    hasher: impl Fn(&T) -> u64,
) -> Whereabouts {
    let entry = table.insert_unique(hash, value, hasher);
    let (slot, index) = (std::ptr::from_ref(entry.get()), entry.bucket_index());
    Whereabouts::of(slot, index, table.num_buckets())
}

/// Beside a lock it says where the table is that is under it. Relaxed: it need not be right.
#[derive(Debug)]
pub(crate) struct Signpost(UnmodelledU64);

impl Signpost {
    pub(crate) const fn new() -> Self {
        Self(UnmodelledU64::new(Whereabouts::UNKNOWN.0))
    }

    #[inline]
    pub(crate) fn point_to(&self, at: Whereabouts) {
        // Others read the same line of memory, and seldom is there anything new.
        if self.read() != at {
            self.0.store_relaxed(at.0);
        }
    }

    #[inline]
    pub(crate) fn read(&self) -> Whereabouts {
        Whereabouts(self.0.load_relaxed())
    }
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_place_tells_where_its_table_is() {
        let (mut table, mut last) = (HashTable::new(), Whereabouts::UNKNOWN);
        let hash = |key: &u64| key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for key in 0..5_000 {
            last = insert_unique(&mut table, hash(&key), key, hash);
        }
        let places = table.num_buckets();
        let slots = (0..places).filter_map(|place| Some((place, table.get_bucket(place)?)));
        let slots: Vec<_> = slots.collect();
        let (first, _) = slots[0];
        // The tags begin where the place 0 ends.
        let tags = std::ptr::from_ref(slots[0].1).addr() + (first + 1) * size_of::<u64>();
        let at = Whereabouts((tags as u64) << 8 | 13);
        assert_eq!((slots.len(), places), (5_000, 1 << 13));
        for (place, slot) in slots {
            assert_eq!(Whereabouts::of(slot, place, places), at);
        }
        assert_eq!(last, at);
        let signpost = Signpost::new();
        assert_eq!(signpost.read(), Whereabouts::UNKNOWN);
        signpost.point_to(at);
        assert_eq!(signpost.read(), at);
    }

    #[test]
    fn any_address_may_be_asked_for() {
        for word in [0, 63, u64::MAX, 1 << 63] {
            Whereabouts(word).ask::<[u64; 9]>(u64::MAX, 3);
        }
    }
}
