//! Prefetch hints: where the memory of a hash table is, known before its lock is taken.
//!
//! On x86 an atomic read-modify-write waits for all earlier loads, so cache misses before and after
//! the acquisition of a lock do not overlap. A prefetch is no load: the memory arrives while the
//! lock is acquired.

use hashbrown::HashTable;

use crate::sync::{UnmodelledU64, prefetch};

/// The memory of a table, current or stale. It is prefetched and never read, so a stale address
/// costs only the instruction.
///
/// The address of the control bytes stands in the upper 56 bits, log2 of the number of buckets in the
/// lower 8. One word, so that both parts belong to the same table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TableLocation(u64);

/// The bytes of a cache line.
const CACHE_LINE: usize = 64;

impl TableLocation {
    pub(crate) const UNKNOWN: Self = Self(0);

    /// Locates a table of `buckets` buckets by the one at `index`. In `hashbrown` the control bytes follow
    /// the buckets, which are numbered downwards from there.
    #[inline]
    fn of<T>(bucket: *const T, index: usize, buckets: usize) -> Self {
        let control = bucket.wrapping_add(index + 1).addr() as u64;
        Self(control << 8 | u64::from(buckets.ilog2()))
    }

    /// Prefetches what a lookup of `hash` reads first: the control bytes at its home position, and
    /// `lines` cache lines of buckets from there on.
    #[expect(clippy::cast_possible_truncation, reason = "truncation is intended")]
    #[inline]
    pub(crate) fn prefetch<T>(self, hash: u64, lines: usize) {
        // `wrapping_shl` takes the count modulo the word size, which drops the bits of the address.
        let home = hash as usize & (1_usize.wrapping_shl(self.0 as u32) - 1);
        let control = std::ptr::without_provenance::<u8>((self.0 >> 8) as usize);
        prefetch(control.wrapping_add(home));
        let bucket = control.cast::<T>().wrapping_sub(home + 1).cast::<u8>();
        for line in 0..lines {
            prefetch(bucket.wrapping_sub(line * CACHE_LINE));
        }
    }
}

/// Inserts a value that the table does not hold. Returns where the table is afterwards.
#[expect(clippy::inline_always, reason = "a call costs more than the body")]
#[inline(always)]
pub(crate) fn insert_unique<T>(
    table: &mut HashTable<T>,
    hash: u64,
    value: T,
    hasher: impl Fn(&T) -> u64,
) -> TableLocation {
    let entry = table.insert_unique(hash, value, hasher);
    let (bucket, index) = (std::ptr::from_ref(entry.get()), entry.bucket_index());
    TableLocation::of(bucket, index, table.num_buckets())
}

/// Where the table under a lock is, to be read without the lock. Relaxed: a wrong hint costs only
/// time.
#[derive(Debug)]
pub(crate) struct PrefetchHint(UnmodelledU64);

impl PrefetchHint {
    pub(crate) const fn new() -> Self {
        Self(UnmodelledU64::new(TableLocation::UNKNOWN.0))
    }

    #[inline]
    pub(crate) fn update(&self, at: TableLocation) {
        // Other cores read this cache line: a store, even of the same value, would invalidate their
        // copies.
        if self.load() != at {
            self.0.store_relaxed(at.0);
        }
    }

    #[inline]
    pub(crate) fn load(&self) -> TableLocation {
        TableLocation(self.0.load_relaxed())
    }
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_bucket_locates_its_table() {
        let (mut table, mut last) = (HashTable::new(), TableLocation::UNKNOWN);
        let hash = |key: &u64| key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for key in 0..5_000 {
            last = insert_unique(&mut table, hash(&key), key, hash);
        }
        let buckets = table.num_buckets();
        let slots = (0..buckets).filter_map(|index| Some((index, table.get_bucket(index)?)));
        let slots: Vec<_> = slots.collect();
        let (first, _) = slots[0];
        // The control bytes begin where bucket 0 ends.
        let control = std::ptr::from_ref(slots[0].1).addr() + (first + 1) * size_of::<u64>();
        let at = TableLocation((control as u64) << 8 | 13);
        assert_eq!((slots.len(), buckets), (5_000, 1 << 13));
        for (index, bucket) in slots {
            assert_eq!(TableLocation::of(bucket, index, buckets), at);
        }
        assert_eq!(last, at);
        let hint = PrefetchHint::new();
        assert_eq!(hint.load(), TableLocation::UNKNOWN);
        hint.update(at);
        assert_eq!(hint.load(), at);
    }

    #[test]
    fn any_address_can_be_prefetched() {
        for word in [0, 63, u64::MAX, 1 << 63] {
            TableLocation(word).prefetch::<[u64; 9]>(u64::MAX, 3);
        }
    }
}
