//! The buckets of a shard: a hash table of bounded size that a clock hand goes round.

use hashbrown::HashTable;
use smallvec::SmallVec;

use crate::sync::{AtomicU64, Ordering};
use crate::whereabouts::{Whereabouts, insert_unique};

/// A bucket, eight bytes. Whoever has the table to himself may store it; those who share it replace
/// it. Relaxed throughout: it publishes nothing, and the table itself is behind a lock.
#[derive(Debug)]
pub(crate) struct Bucket(AtomicU64);

impl Bucket {
    fn new(word: u64) -> Self {
        Self(AtomicU64::new(word))
    }

    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn set(&self, word: u64) {
        self.0.store(word, Ordering::Relaxed);
    }

    /// Whether it was still `word`, and is `next` now.
    #[inline]
    pub(crate) fn replace(&self, word: u64, next: u64) -> bool {
        let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
        self.0
            .compare_exchange_weak(word, next, success, failure)
            .is_ok()
    }
}

/// A key with its bucket.
pub(crate) type Slot<K> = (K, Bucket);

/// Places that one sweep looks at, and those that are looked at together.
const LOOKS: usize = 16;
const TOGETHER: usize = 8;

/// Keys that were taken out under the lock, to be dropped after it.
pub(crate) type Gone<K> = SmallVec<[K; TOGETHER]>;

#[derive(Debug)]
pub(crate) struct Table<K> {
    slots: HashTable<Slot<K>>,
    /// The most keys, and the table's size that they never outgrow.
    limit: usize,
    most_buckets: usize,
    /// Where the clock hand stands.
    hand: usize,
}

impl<K> Table<K> {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            slots: HashTable::new(),
            limit,
            most_buckets: (limit.saturating_mul(8) / 7 + 1)
                .checked_next_power_of_two()
                .unwrap_or(usize::MAX),
            hand: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() >= self.limit
    }

    /// Heap memory, in bytes.
    pub(crate) fn allocated(&self) -> usize {
        self.slots.allocation_size()
    }

    #[inline]
    pub(crate) fn find(&self, hash: u64, is: impl Fn(&K) -> bool) -> Option<&Bucket> {
        self.slots
            .find(hash, |(key, _)| is(key))
            .map(|(_, bucket)| bucket)
    }

    /// Whether one more key fits as it is.
    pub(crate) fn has_room(&self) -> bool {
        self.slots.capacity() > self.len()
    }

    /// Makes room for one more key; the table may move. All keys are hashed before anything is
    /// changed, so that a `Hash` that panics loses none.
    pub(crate) fn make_room(&mut self, hash_of: impl Fn(&K) -> u64) {
        if self.has_room() {
            return;
        }
        // Without room to grow into, or where most of it is tombstones, the table keeps its size.
        let (buckets, wanted) = (self.slots.num_buckets(), self.len() + 1);
        let capacity = if buckets >= self.most_buckets {
            self.limit.max(wanted)
        } else if wanted <= buckets / 2 {
            buckets / 2
        } else {
            wanted
        };
        let hashes: Vec<u64> = self.slots.iter().map(|(key, _)| hash_of(key)).collect();
        let mut fresh = HashTable::with_capacity(capacity);
        for (slot, hash) in self.slots.drain().zip(hashes) {
            fresh.insert_unique(hash, slot, |_| unreachable!("it has the capacity"));
        }
        self.slots = fresh;
    }

    /// Adds a key that is not there, for which there is room.
    pub(crate) fn insert(&mut self, hash: u64, key: K, word: u64) -> Whereabouts {
        let slot = (key, Bucket::new(word));
        insert_unique(&mut self.slots, hash, slot, |_| {
            unreachable!("there is room")
        })
    }

    /// Takes a key out, with the word of its bucket.
    pub(crate) fn remove(&mut self, hash: u64, is: impl Fn(&K) -> bool) -> Option<(K, u64)> {
        let entry = self.slots.find_entry(hash, |(key, _)| is(key)).ok()?;
        let (key, bucket) = entry.remove().0;
        Some((key, bucket.get()))
    }

    /// Takes one key out that may go, of those that are where `hash` would be.
    #[expect(clippy::cast_possible_truncation, reason = "the low bits are meant")]
    pub(crate) fn sweep_near(
        &mut self,
        hash: u64,
        mut may_go: impl FnMut(&mut u64) -> bool,
        gone: &mut Gone<K>,
    ) {
        let mask = self.slots.num_buckets().wrapping_sub(1);
        for near in 0..TOGETHER {
            let place = (hash as usize).wrapping_add(near) & mask;
            let slot = self.slots.get_bucket(place);
            let Some(word) = slot.map(|(_, bucket)| bucket.get()) else {
                continue;
            };
            self.evict(place, word, &mut may_go, gone);
            if !gone.is_empty() {
                break;
            }
        }
    }

    /// Moves the clock hand over a few places and takes out what may go.
    pub(crate) fn sweep(&mut self, mut may_go: impl FnMut(&mut u64) -> bool, gone: &mut Gone<K>) {
        let (leap, mask) = (self.leap(), self.slots.num_buckets().wrapping_sub(1));
        for _ in 0..LOOKS / TOGETHER {
            // Read first, so that memory is waited for but once.
            let looks: [_; TOGETHER] = std::array::from_fn(|_| {
                self.hand = self.hand.wrapping_add(leap) & mask;
                let slot = self.slots.get_bucket(self.hand);
                (self.hand, slot.map(|(_, bucket)| bucket.get()))
            });
            for (place, word) in looks {
                if let Some(word) = word {
                    self.evict(place, word, &mut may_go, gone);
                }
            }
            if !gone.is_empty() {
                break;
            }
        }
    }

    /// Takes the key of a place out if its bucket may go, which else is what `may_go` has made of it.
    #[inline]
    fn evict(
        &mut self,
        place: usize,
        mut word: u64,
        may_go: &mut impl FnMut(&mut u64) -> bool,
        gone: &mut Gone<K>,
    ) {
        if may_go(&mut word) {
            if let Ok(slot) = self.slots.get_bucket_entry(place) {
                gone.push(slot.remove().0.0);
            }
        } else if let Some((_, bucket)) = self.slots.get_bucket(place) {
            bucket.set(word);
        }
    }

    /// How far the clock hand goes from one place to the next: by the golden section, and by an odd
    /// number, so that all of a power of two have their turn before one has it again.
    ///
    /// By one it would leave that part of the table empty which it has been to, and find the part
    /// before it twice as full, where every look-up is long.
    fn leap(&self) -> usize {
        let places = self.slots.num_buckets();
        (places / 1_000 * 618 + places % 1_000 * 618 / 1_000) | 1
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, u64)> {
        self.slots.iter().map(|(key, bucket)| (key, bucket.get()))
    }

    /// Takes out the keys that `keep` does not say. If it panics, those that were taken out by then
    /// are in `gone`.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&K, &mut u64) -> bool, gone: &mut Vec<K>) {
        let goes = |(key, bucket): &mut Slot<K>| {
            let mut word = bucket.get();
            let kept = keep(key, &mut word);
            bucket.set(word);
            !kept
        };
        for (key, _) in self.slots.extract_if(goes) {
            gone.push(key);
        }
    }
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use super::*;

    const fn hash(key: u64) -> u64 {
        let product = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (product ^ product >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93)
    }

    fn flooded(keys: usize, sweep: impl Fn(&mut Table<u64>, u64, &mut Gone<u64>)) -> Table<u64> {
        let mut table = Table::new(keys);
        let mut gone = Gone::new();
        for key in 0..20 * keys as u64 {
            if table.is_full() {
                sweep(&mut table, hash(key), &mut gone);
                gone.clear();
            }
            assert!(!table.is_full(), "every bucket may go");
            table.make_room(|key| hash(*key));
            table.insert(hash(key), key, 0);
        }
        table
    }

    #[test]
    fn a_flood_leaves_the_table_evenly_full() {
        const LIMIT: usize = 12_288;
        let by_hand = flooded(LIMIT, |table, _, gone| table.sweep(|_| true, gone));
        let near = flooded(LIMIT, |table, hash, gone| {
            table.sweep_near(hash, |_| true, gone);
            if gone.is_empty() {
                table.sweep(|_| true, gone);
            }
        });
        for table in [by_hand, near] {
            let places = table.slots.num_buckets();
            let taken = |from: usize| {
                let part = from..from + places / 16;
                part.filter(|place| table.slots.get_bucket(*place).is_some())
                    .count()
            };
            for from in (0..places).step_by(places / 16) {
                let (taken, mean) = (taken(from), table.len() / 16);
                assert!(taken.abs_diff(mean) < mean / 8, "{taken} of {mean}");
            }
        }
    }

    #[test]
    fn near_a_hash_one_goes_that_may_and_the_others_are_brought_up_to_date() {
        let mut table = Table::new(100);
        for key in 0..100 {
            table.make_room(|_| 7);
            table.insert(7, key, 0);
        }
        // All of one hash, they are side by side from there on.
        let there = |place| table.slots.get_bucket(place).unwrap().0;
        let there: [u64; TOGETHER] = std::array::from_fn(|near| there(7 + near));
        let mut gone = Gone::new();
        let mut looks = 0;
        let third = |word: &mut u64| {
            *word += 1;
            looks += 1;
            looks == 3
        };
        table.sweep_near(7, third, &mut gone);
        assert_eq!(gone.as_slice(), [there[2]]);
        let changed = table.iter().filter(|(_, word)| *word > 0);
        let changed: Vec<u64> = changed.map(|(key, _)| *key).collect();
        assert_eq!(changed.len(), 2);
        assert!(there[..2].iter().all(|key| changed.contains(key)));
        gone.clear();
        looks = 0;
        let none = |_: &mut u64| {
            looks += 1;
            false
        };
        table.sweep_near(7, none, &mut gone);
        assert_eq!((looks, gone.len(), table.len()), (TOGETHER - 1, 0, 99));
    }

    #[test]
    fn in_a_round_the_hand_is_once_at_every_place() {
        for keys in [1, 7, 100, 5_000] {
            let mut table = Table::new(keys);
            for key in 0..keys as u64 {
                table.make_room(|key| hash(*key));
                table.insert(hash(key), key, 0);
            }
            let places = table.slots.num_buckets();
            for _ in 0..places.div_ceil(LOOKS) {
                let seen = |word: &mut u64| {
                    *word += 1;
                    false
                };
                table.sweep(seen, &mut Gone::new());
            }
            // Of a table smaller than a sweep some are seen again.
            let once = |word| word == 1 || word > 0 && places < LOOKS;
            assert!(table.iter().all(|(_, word)| once(word)), "{keys}");
        }
    }
}
