//! Eviction: a clock hand over the table, and the neighbourhood of a hash.

use crate::limiter::keyed::core::word_table::{Evicted, WordTable};

/// Buckets that one sweep probes.
pub(super) const PROBES: usize = 16;
/// Buckets whose words are loaded together, so that their cache misses overlap.
pub(super) const PROBE_BATCH: usize = 8;

impl<K> WordTable<K> {
    /// Evicts at most one key, from the buckets that a lookup of `hash` reads first: the new key's own
    /// lookup has brought them into the cache.
    #[expect(clippy::cast_possible_truncation, reason = "the low bits are meant")]
    pub(crate) fn sweep_near(
        &mut self,
        hash: u64,
        mut is_evictable: impl FnMut(&mut u64) -> bool,
        evicted: &mut Evicted<K>,
    ) {
        let mask = self.entries.num_buckets().wrapping_sub(1);
        for near in 0..PROBE_BATCH {
            let index = (hash as usize).wrapping_add(near) & mask;
            let entry = self.entries.get_bucket(index);
            let Some(word) = entry.map(|(_, word)| word.get()) else {
                continue;
            };
            self.evict(index, word, &mut is_evictable, evicted);
            if !evicted.is_empty() {
                break;
            }
        }
    }

    /// Moves the clock hand over a few buckets, and evicts the keys there that it can.
    pub(crate) fn sweep(
        &mut self,
        mut is_evictable: impl FnMut(&mut u64) -> bool,
        evicted: &mut Evicted<K>,
    ) {
        let (stride, mask) = (self.stride(), self.entries.num_buckets().wrapping_sub(1));
        for _ in 0..PROBES / PROBE_BATCH {
            // All loads before any decision, so that their cache misses overlap.
            let probes: [_; PROBE_BATCH] = std::array::from_fn(|_| {
                self.hand = self.hand.wrapping_add(stride) & mask;
                let entry = self.entries.get_bucket(self.hand);
                (self.hand, entry.map(|(_, word)| word.get()))
            });
            for (index, word) in probes {
                if let Some(word) = word {
                    self.evict(index, word, &mut is_evictable, evicted);
                }
            }
            if !evicted.is_empty() {
                break;
            }
        }
    }

    /// Evicts the key of a bucket, or stores what `is_evictable` has made of its word.
    #[inline]
    fn evict(
        &mut self,
        index: usize,
        mut word: u64,
        is_evictable: &mut impl FnMut(&mut u64) -> bool,
        evicted: &mut Evicted<K>,
    ) {
        if is_evictable(&mut word) {
            if let Ok(entry) = self.entries.get_bucket_entry(index) {
                evicted.push(entry.remove().0.0);
            }
        } else if let Some((_, bucket)) = self.entries.get_bucket(index) {
            bucket.set(word);
        }
    }

    /// Returns how far the clock hand moves at a time: the golden section of the table, made odd. An
    /// odd stride visits every bucket of a power of two before it visits one again.
    ///
    /// A stride of 1 would empty the part of the table behind the hand and leave the part before it
    /// twice as full, where lookups are long.
    fn stride(&self) -> usize {
        let buckets = self.entries.num_buckets();
        (buckets / 1_000 * 618 + buckets % 1_000 * 618 / 1_000) | 1
    }
}
