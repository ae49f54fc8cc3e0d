//! Finds the entry of a key.

use hashbrown::HashTable;

use crate::list::Index;
use crate::prefetch::{TableLocation, insert_unique};
use crate::queue::core::entry::{Entry, Hash, Phase};

/// A hash table of places in the arena, with as much of the hash beside each as there is room for.
///
/// The table tells hashes apart by seven bits, and one key in twelve that is not there looks as if it
/// were. That would be a look at an entry far away each time, but for the bits beside the place: of
/// those that the table does not go by there are seven where a quarter of a million keys fit, and
/// none from thirty million on.
#[derive(Debug)]
pub(crate) struct KeyIndex {
    table: HashTable<Spot>,
    /// The bits of a spot that are a place.
    place_mask: u32,
    location: TableLocation,
}

/// Where a key is, or was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// It is live.
    Live(Index),
    /// It is not, and this free place is that of a key of its hash: mostly its own of before.
    Left(Index),
    Nowhere,
}

/// The place of an entry in the low bits, and in the others those of its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spot(u32);

impl Spot {
    #[inline]
    const fn new(place: Index, hash: Hash, place_mask: u32) -> Self {
        debug_assert!(place <= place_mask, "the arena has grown alone");
        Self(place | hash.bits() & !place_mask)
    }

    #[inline]
    const fn place(self, place_mask: u32) -> Index {
        self.0 & place_mask
    }

    /// Whether its entry may have this hash.
    #[inline]
    const fn may_be(self, hash: Hash, place_mask: u32) -> bool {
        (self.0 ^ hash.bits()) & !place_mask == 0
    }
}

impl KeyIndex {
    pub(crate) const fn new() -> Self {
        Self {
            table: HashTable::new(),
            place_mask: 0,
            location: TableLocation::UNKNOWN,
        }
    }

    /// Where the table is in memory.
    #[inline]
    pub(crate) const fn location(&self) -> TableLocation {
        self.location
    }

    /// Prefetches what a lookup of `hash` reads first. Two cache lines hold sixteen spots, wherever
    /// the first one lies in its line.
    #[inline]
    pub(crate) fn prefetch(location: TableLocation, hash: Hash) {
        location.prefetch::<Spot>(hash.spread(), 2);
    }

    /// Looks for the live entry that has this hash and is `same`.
    #[inline]
    pub(crate) fn find(&self, slots: &[Entry], hash: Hash, same: impl Fn(Index) -> bool) -> Found {
        // Whoever has the hash is mostly the same: so to compare is no part of the search.
        match self.find_where(slots, hash, |_| true) {
            Found::Live(place) if !same(place) => self.find_among(slots, hash, same),
            found => found,
        }
    }

    /// As [`find`](Self::find), where several have the hash.
    #[cold]
    fn find_among(&self, slots: &[Entry], hash: Hash, same: impl Fn(Index) -> bool) -> Found {
        self.find_where(slots, hash, same)
    }

    #[inline]
    fn find_where(&self, slots: &[Entry], hash: Hash, same: impl Fn(Index) -> bool) -> Found {
        let mut left = Found::Nowhere;
        let live = self.table.find(hash.spread(), |spot| {
            spot.may_be(hash, self.place_mask) && {
                let place = spot.place(self.place_mask);
                let entry = &slots[place as usize];
                if entry.hash == hash && entry.phase == Phase::Free {
                    left = Found::Left(place);
                }
                entry.hash == hash && entry.phase != Phase::Free && same(place)
            }
        });
        live.map_or(left, |spot| Found::Live(spot.place(self.place_mask)))
    }

    /// Adds the entry at `place`, which has this hash and is not there yet.
    #[inline]
    pub(crate) fn insert(&mut self, slots: &[Entry], hash: Hash, place: Index) {
        let place_mask = self.place_mask;
        let spot = Spot::new(place, hash, place_mask);
        // Keys that come and go use the table up, and it is made anew now and then.
        let rehash = |spot: &Spot| slots[spot.place(place_mask) as usize].hash.spread();
        self.location = insert_unique(&mut self.table, hash.spread(), spot, rehash);
    }

    #[inline]
    pub(crate) fn remove(&mut self, hash: Hash, place: Index) {
        let spot = Spot::new(place, hash, self.place_mask);
        match self.table.find_entry(hash.spread(), |&at| at == spot) {
            Ok(found) => drop(found.remove()),
            Err(_) => unreachable!("every entry is in the index"),
        }
    }

    /// Makes room for so many entries, of which those in `slots` are in use.
    pub(crate) fn grow(&mut self, slots: &[Entry], capacity: usize) {
        let largest = |capacity: usize| Index::try_from(capacity - 1).unwrap_or(Index::MAX);
        if self.table.capacity() >= capacity && self.place_mask >= largest(capacity) {
            return;
        }
        // Made anew in the order of the arena: if the table grew by itself, it would ask for the
        // hashes in its own order, and each would be a miss of the cache.
        self.table = HashTable::with_capacity(capacity);
        let unused = largest(self.table.capacity()).leading_zeros();
        self.place_mask = Index::MAX.checked_shr(unused).unwrap_or(0);
        for (place, entry) in (0..).zip(slots) {
            let spot = Spot::new(place, entry.hash, self.place_mask);
            let room = |_: &Spot| unreachable!("it has room for all");
            self.table.insert_unique(entry.hash.spread(), spot, room);
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

    fn hash(n: u32) -> Hash {
        Hash::new(u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn entry(hash: Hash) -> Entry {
        Entry::new(hash, Priority::DEFAULT, Timestamp::ZERO)
    }

    #[test]
    fn keys_of_one_hash_are_told_apart() {
        let (mut index, hash) = (KeyIndex::new(), hash(7));
        let slots = [(); 3].map(|()| entry(hash));
        index.grow(&slots[..0], slots.len());
        for place in 0..3 {
            index.insert(&slots, hash, place);
        }
        for key in 0..3 {
            let found = index.find(&slots, hash, |place| place == key);
            assert_eq!(found, Found::Live(key));
        }
        assert_eq!(index.find(&slots, hash, |_| false), Found::Nowhere);
        index.remove(hash, 1);
        let find = |key| index.find(&slots, hash, |place| place == key);
        assert_eq!((find(1), find(2)), (Found::Nowhere, Found::Live(2)));
    }

    #[test]
    fn who_is_live_is_found_before_those_that_have_left() {
        let (mut index, hash) = (KeyIndex::new(), hash(7));
        let mut slots = [(); 3].map(|()| entry(hash));
        index.grow(&slots[..0], slots.len());
        for place in 0..3 {
            index.insert(&slots, hash, place);
        }
        let find = |slots: &[_], key| index.find(slots, hash, |place| place == key);
        for live in 0..3 {
            for (place, entry) in (0..).zip(&mut slots) {
                let here = place == live;
                entry.phase = if here { Phase::Ready } else { Phase::Free };
            }
            assert_eq!(find(&slots, live), Found::Live(live));
            // Another key of the hash may have any place but this.
            let other = find(&slots, 3);
            assert!(
                matches!(other, Found::Left(place) if place != live),
                "{other:?}"
            );
        }
        let other = Hash::new(0);
        assert_eq!(index.find(&slots, other, |_| true), Found::Nowhere);
    }

    #[test]
    fn every_bit_of_a_hash_that_is_beside_a_place_tells_it_apart() {
        let places = 0xffff;
        let spot = Spot::new(0xabcd, Hash::new(0), places);
        assert_eq!(spot.place(places), 0xabcd);
        assert!(spot.may_be(Hash::new(0), places));
        for bit in 0..32 {
            let hash = Hash::new(1 << 32 << bit);
            assert_eq!(spot.may_be(hash, places), bit < 16, "{bit}");
        }
        // Where there is no room for any, all may be.
        assert!(Spot::new(7, Hash::new(0), u32::MAX).may_be(Hash::new(u64::MAX), u32::MAX));
    }

    #[test]
    fn places_fit_beside_their_hashes_also_after_the_table_has_grown_by_itself() {
        const FULL: u32 = 112;
        let (mut index, mut slots) = (KeyIndex::new(), Vec::new());
        index.grow(&slots, FULL as usize);
        let capacity = index.table.capacity();
        for key in 0..FULL {
            slots.push(entry(hash(key)));
            index.insert(&slots, hash(key), key);
        }
        // One key goes and another comes, until what they left behind has used the table up.
        let mut next = FULL;
        while index.table.capacity() == capacity {
            let place = next % FULL;
            index.remove(slots[place as usize].hash, place);
            slots[place as usize] = entry(hash(next));
            index.insert(&slots, hash(next), place);
            next += 1;
        }
        assert_eq!(index.len(), slots.len(), "one for each");
        index.grow(&slots, 2 * FULL as usize);
        for place in FULL..2 * FULL {
            slots.push(entry(hash(next)));
            index.insert(&slots, hash(next), place);
            next += 1;
        }
        for (place, entry) in (0..).zip(&slots) {
            let found = index.find(&slots, entry.hash, |found| found == place);
            assert_eq!(found, Found::Live(place));
        }
        let next = index.find(&slots, hash(next), |_| true);
        assert_eq!(next, Found::Nowhere);
    }
}
