//! The keys of a shard whose bucket is a word: a hash table of bounded size.

mod evict;
#[cfg(all(test, not(tollgate_loom)))]
mod tests;

use hashbrown::HashTable;
use smallvec::SmallVec;

use crate::limiter::keyed::core::bucket_word::BucketWord;
use crate::prefetch::{TableLocation, insert_unique};

/// A key with its bucket.
pub(crate) type WordEntry<K> = (K, BucketWord);

/// Keys that were evicted under the lock. They are dropped after it is released: `Drop` is the
/// caller's code.
pub(crate) type Evicted<K> = SmallVec<[K; 8]>;

#[derive(Debug)]
pub(crate) struct WordTable<K> {
    entries: HashTable<WordEntry<K>>,
    /// The most keys.
    limit: usize,
    /// The number of buckets that suffices for `limit` keys, which the table never exceeds.
    max_buckets: usize,
    /// The bucket that the clock hand has come to.
    hand: usize,
}

impl<K> WordTable<K> {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            entries: HashTable::new(),
            limit,
            // `hashbrown` fills at most seven eighths of a power of two.
            max_buckets: (limit.saturating_mul(8) / 7 + 1)
                .checked_next_power_of_two()
                .unwrap_or(usize::MAX),
            hand: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() >= self.limit
    }

    /// Heap memory, in bytes.
    pub(crate) fn allocated(&self) -> usize {
        self.entries.allocation_size()
    }

    #[inline]
    pub(crate) fn find(&self, hash: u64, is: impl Fn(&K) -> bool) -> Option<&BucketWord> {
        self.entries
            .find(hash, |(key, _)| is(key))
            .map(|(_, word)| word)
    }

    /// Returns whether one more key fits without a new allocation.
    pub(crate) fn has_room(&self) -> bool {
        self.entries.capacity() > self.len()
    }

    /// Makes room for one more key; the table may move.
    pub(crate) fn make_room(&mut self, hash_of: impl Fn(&K) -> u64) {
        if self.has_room() {
            return;
        }
        let (buckets, wanted) = (self.entries.num_buckets(), self.len() + 1);
        // At its largest size, or if tombstones fill it, the table is rebuilt at the size it has.
        let capacity = if buckets >= self.max_buckets {
            self.limit.max(wanted)
        } else if wanted <= buckets / 2 {
            buckets / 2
        } else {
            wanted
        };
        // All keys are hashed before anything changes, so a `Hash` that panics loses no key.
        let hashes: Vec<u64> = self.entries.iter().map(|(key, _)| hash_of(key)).collect();
        let mut fresh = HashTable::with_capacity(capacity);
        for (entry, hash) in self.entries.drain().zip(hashes) {
            fresh.insert_unique(hash, entry, |_| unreachable!("it has the capacity"));
        }
        self.entries = fresh;
    }

    /// Inserts a key that is not in the table, and for which it has room.
    pub(crate) fn insert(&mut self, hash: u64, key: K, word: u64) -> TableLocation {
        let entry = (key, BucketWord::new(word));
        insert_unique(&mut self.entries, hash, entry, |_| {
            unreachable!("there is room")
        })
    }

    /// Removes a key; returns it with its word.
    pub(crate) fn remove(&mut self, hash: u64, is: impl Fn(&K) -> bool) -> Option<(K, u64)> {
        let entry = self.entries.find_entry(hash, |(key, _)| is(key)).ok()?;
        let (key, word) = entry.remove().0;
        Some((key, word.get()))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, u64)> {
        self.entries.iter().map(|(key, word)| (key, word.get()))
    }

    /// Moves the keys that `keep` refuses to `removed`, and stores what it has made of the other words.
    /// If `keep` panics, the keys before that one have moved.
    pub(crate) fn retain(
        &mut self,
        mut keep: impl FnMut(&K, &mut u64) -> bool,
        removed: &mut Vec<K>,
    ) {
        let goes = |(key, bucket): &mut WordEntry<K>| {
            let mut word = bucket.get();
            let kept = keep(key, &mut word);
            bucket.set(word);
            !kept
        };
        for (key, _) in self.entries.extract_if(goes) {
            removed.push(key);
        }
    }
}
