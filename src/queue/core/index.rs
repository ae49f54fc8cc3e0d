//! The index: a hash table from the hash of a key to the slot of its entry.
//!
//! Invariant: it has exactly one item for each slot that was ever used, under the hash that the slot
//! has now. A free slot is a tombstone: if its key returns, neither table nor arena changes.

use hashbrown::HashTable;

use crate::list::Index;
use crate::prefetch::{TableLocation, insert_unique};
use crate::queue::core::entry::{KeyEntry, KeyHash, Phase};

/// The table, with tag bits of the hash beside each slot number.
///
/// `hashbrown`'s own tag has seven bits, so a lookup of an absent key often finds a false match, and
/// would read an entry in another cache line to reject it. The tag bits beside the slot number
/// reject most of these without that cache miss. The more slots there are, the fewer bits are left.
pub(crate) struct KeyIndex {
    table: HashTable<TaggedSlot>,
    /// The bits of an item that are the slot number.
    slot_mask: u32,
    /// Where the table is in memory.
    pub(crate) location: TableLocation,
}

/// The result of a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The slot of the live key.
    Live(Index),
    /// The key is absent; this free slot was last used by a key of the same hash, mostly this one.
    Tombstone(Index),
    Nowhere,
}

/// A slot number in the low bits, and in the others those of the hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TaggedSlot(u32);

impl TaggedSlot {
    #[inline]
    const fn new(slot: Index, hash: KeyHash, slot_mask: u32) -> Self {
        debug_assert!(slot <= slot_mask, "the arena has grown without the index");
        Self(slot | hash.bits() & !slot_mask)
    }

    #[inline]
    const fn slot(self, slot_mask: u32) -> Index {
        self.0 & slot_mask
    }

    /// Returns false if the slot's entry has another hash.
    #[inline]
    const fn may_match(self, hash: KeyHash, slot_mask: u32) -> bool {
        (self.0 ^ hash.bits()) & !slot_mask == 0
    }
}

impl KeyIndex {
    pub(crate) const fn new() -> Self {
        Self {
            table: HashTable::new(),
            slot_mask: 0,
            location: TableLocation::UNKNOWN,
        }
    }

    /// Prefetches what a lookup of a hash reads: sixteen items, which span two cache lines.
    #[inline]
    pub(crate) fn prefetch(location: TableLocation, hash: KeyHash) {
        location.prefetch::<TaggedSlot>(hash.spread(), 2);
    }

    /// Finds the live entry that has this hash and is `same`.
    #[inline]
    pub(crate) fn find(
        &self,
        slots: &[KeyEntry],
        hash: KeyHash,
        same: impl Fn(Index) -> bool,
    ) -> Found {
        // An entry with the same hash mostly is the same key, so `same` is called once, after the
        // search, which keeps the caller's `Eq` out of the inlined loop.
        match self.find_where(slots, hash, |_| true) {
            Found::Live(slot) if !same(slot) => self.find_among(slots, hash, same),
            found => found,
        }
    }

    /// Same as [`find`](Self::find), where several keys have the hash.
    #[cold]
    fn find_among(&self, slots: &[KeyEntry], hash: KeyHash, same: impl Fn(Index) -> bool) -> Found {
        self.find_where(slots, hash, same)
    }

    #[inline]
    fn find_where(&self, slots: &[KeyEntry], hash: KeyHash, same: impl Fn(Index) -> bool) -> Found {
        let mut absent = Found::Nowhere;
        let live = self.table.find(hash.spread(), |item| {
            item.may_match(hash, self.slot_mask) && {
                let slot = item.slot(self.slot_mask);
                let entry = &slots[slot as usize];
                if entry.hash == hash && entry.phase == Phase::Free {
                    absent = Found::Tombstone(slot);
                }
                entry.hash == hash && entry.phase != Phase::Free && same(slot)
            }
        });
        live.map_or(absent, |item| Found::Live(item.slot(self.slot_mask)))
    }

    /// Inserts a slot, which must not be in the index.
    #[inline]
    pub(crate) fn insert(&mut self, slots: &[KeyEntry], hash: KeyHash, slot: Index) {
        let slot_mask = self.slot_mask;
        let item = TaggedSlot::new(slot, hash, slot_mask);
        // `hashbrown` rehashes in place when removals have used up its free buckets.
        let rehash = |item: &TaggedSlot| slots[item.slot(slot_mask) as usize].hash.spread();
        self.location = insert_unique(&mut self.table, hash.spread(), item, rehash);
    }

    #[inline]
    pub(crate) fn remove(&mut self, hash: KeyHash, slot: Index) {
        let item = TaggedSlot::new(slot, hash, self.slot_mask);
        match self.table.find_entry(hash.spread(), |&at| at == item) {
            Ok(found) => drop(found.remove()),
            Err(_) => unreachable!("every slot is in the index"),
        }
    }

    /// Makes room for `capacity` slots, of which those in `slots` exist.
    pub(crate) fn grow(&mut self, slots: &[KeyEntry], capacity: usize) {
        let largest = |capacity: usize| Index::try_from(capacity - 1).unwrap_or(Index::MAX);
        if self.table.capacity() >= capacity && self.slot_mask >= largest(capacity) {
            return;
        }
        // Rebuilt in arena order: a table that grows by itself reads the hashes in its own order,
        // and each read is a cache miss.
        self.table = HashTable::with_capacity(capacity);
        let unused = largest(self.table.capacity()).leading_zeros();
        self.slot_mask = Index::MAX.checked_shr(unused).unwrap_or(0);
        for (slot, entry) in (0..).zip(slots) {
            let item = TaggedSlot::new(slot, entry.hash, self.slot_mask);
            let rehash = |_: &TaggedSlot| unreachable!("it has room for all");
            self.table.insert_unique(entry.hash.spread(), item, rehash);
        }
    }

    #[cfg(all(test, not(tollgate_loom)))]
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// In bytes.
    #[cfg(all(test, not(tollgate_loom)))]
    pub(crate) fn allocation_size(&self) -> usize {
        self.table.allocation_size()
    }
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::queue::core::priority::Priority;

    fn hash(n: u32) -> KeyHash {
        KeyHash::new(u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn entry(hash: KeyHash) -> KeyEntry {
        KeyEntry::new(hash, Priority::DEFAULT, Timestamp::ZERO)
    }

    #[test]
    fn keys_of_one_hash_are_told_apart() {
        let (mut index, hash) = (KeyIndex::new(), hash(7));
        let slots = [(); 3].map(|()| entry(hash));
        index.grow(&slots[..0], slots.len());
        for slot in 0..3 {
            index.insert(&slots, hash, slot);
        }
        for key in 0..3 {
            let found = index.find(&slots, hash, |slot| slot == key);
            assert_eq!(found, Found::Live(key));
        }
        assert_eq!(index.find(&slots, hash, |_| false), Found::Nowhere);
        index.remove(hash, 1);
        let find = |key| index.find(&slots, hash, |slot| slot == key);
        assert_eq!((find(1), find(2)), (Found::Nowhere, Found::Live(2)));
    }

    #[test]
    fn a_live_key_is_found_before_tombstones() {
        let (mut index, hash) = (KeyIndex::new(), hash(7));
        let mut slots = [(); 3].map(|()| entry(hash));
        index.grow(&slots[..0], slots.len());
        for slot in 0..3 {
            index.insert(&slots, hash, slot);
        }
        let find = |slots: &[_], key| index.find(slots, hash, |slot| slot == key);
        for live in 0..3 {
            for (slot, entry) in (0..).zip(&mut slots) {
                let here = slot == live;
                entry.phase = if here { Phase::Ready } else { Phase::Free };
            }
            assert_eq!(find(&slots, live), Found::Live(live));
            // Another key of the hash gets any tombstone.
            let other = find(&slots, 3);
            assert!(
                matches!(other, Found::Tombstone(slot) if slot != live),
                "{other:?}"
            );
        }
        let other = KeyHash::new(0);
        assert_eq!(index.find(&slots, other, |_| true), Found::Nowhere);
    }

    #[test]
    fn every_tag_bit_tells_hashes_apart() {
        let mask = 0xffff;
        let item = TaggedSlot::new(0xabcd, KeyHash::new(0), mask);
        assert_eq!(item.slot(mask), 0xabcd);
        assert!(item.may_match(KeyHash::new(0), mask));
        for bit in 0..32 {
            let hash = KeyHash::new(1 << 32 << bit);
            assert_eq!(item.may_match(hash, mask), bit < 16, "{bit}");
        }
        // Without tag bits every hash matches.
        assert!(
            TaggedSlot::new(7, KeyHash::new(0), u32::MAX)
                .may_match(KeyHash::new(u64::MAX), u32::MAX)
        );
    }

    #[test]
    fn slot_numbers_fit_after_the_table_has_grown_by_itself() {
        const FULL: u32 = 112;
        let (mut index, mut slots) = (KeyIndex::new(), Vec::new());
        index.grow(&slots, FULL as usize);
        let capacity = index.table.capacity();
        for key in 0..FULL {
            slots.push(entry(hash(key)));
            index.insert(&slots, hash(key), key);
        }
        // One key leaves and another comes, until the removals have used up the table.
        let mut next = FULL;
        while index.table.capacity() == capacity {
            let slot = next % FULL;
            index.remove(slots[slot as usize].hash, slot);
            slots[slot as usize] = entry(hash(next));
            index.insert(&slots, hash(next), slot);
            next += 1;
        }
        assert_eq!(index.len(), slots.len(), "one per slot");
        index.grow(&slots, 2 * FULL as usize);
        for slot in FULL..2 * FULL {
            slots.push(entry(hash(next)));
            index.insert(&slots, hash(next), slot);
            next += 1;
        }
        for (slot, entry) in (0..).zip(&slots) {
            let found = index.find(&slots, entry.hash, |found| found == slot);
            assert_eq!(found, Found::Live(slot));
        }
        let next = index.find(&slots, hash(next), |_| true);
        assert_eq!(next, Found::Nowhere);
    }
}
