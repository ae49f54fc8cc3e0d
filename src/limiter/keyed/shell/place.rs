//! Places for new keys, and the eviction that frees them.

use std::hash::{BuildHasher, Hash};

use crate::clock::{Clock, Timestamp};
use crate::limiter::core::denied::Denied;
use crate::limiter::keyed::core::capacity::CapacityGuard;
use crate::limiter::keyed::core::hashed_key::{FormOf, HashedKey};
use crate::limiter::keyed::core::line_table::LineIndex;
use crate::limiter::keyed::core::on_full::OnFull;
use crate::limiter::keyed::core::shard::Shard;
use crate::limiter::keyed::core::word_table::Evicted;
use crate::limiter::keyed::shell::keyed_limiter::KeyedLimiter;
use crate::sync::{Ordering, RwLockWriteGuard};

/// A locked shard with room for one more key, and the capacity for that key.
pub(crate) struct Place<'a, K> {
    // The first field, so that the lock is released first.
    pub(crate) shard: RwLockWriteGuard<'a, Shard<K>>,
    pub(crate) capacity: CapacityGuard<'a>,
}

impl<K: Hash, S: BuildHasher, C: Clock> KeyedLimiter<K, S, C> {
    /// Finds a place for a key: a free one, or that of an evicted key of its shard, or of another shard.
    /// `None`: no key that was probed can be evicted.
    pub(crate) fn find_place<'a, Q: FormOf<K> + ?Sized>(
        &'a self,
        key: HashedKey<'_, Q>,
        now: Timestamp,
        evicted: &mut Evicted<K>,
    ) -> Option<Place<'a, K>> {
        let mut shard = self.lock(self.shard_of(key.hash));
        let free = if shard.words.is_full() {
            None
        } else {
            self.capacity.reserve()
        };
        let found = free.or_else(|| self.evict(&mut shard, Some(key.hash), now, evicted));
        let (mut shard, capacity) = if let Some(capacity) = found {
            (shard, capacity)
        } else {
            // One shard is locked at a time: two threads that evict from each other's would deadlock.
            drop(shard);
            // Relaxed: it only spreads the searches.
            let next = self.capacity.next_shard.fetch_add(1, Ordering::Relaxed);
            let other = usize::try_from(next % self.shards.len() as u64).unwrap_or(0);
            let capacity = self.evict(&mut self.lock(other), None, now, evicted)?;
            let shard = self.lock(self.shard_of(key.hash));
            if shard.words.is_full() {
                return None;
            }
            (shard, capacity)
        };
        shard.words.make_room(|key| self.hasher.hash_one(key));
        Some(Place { shard, capacity })
    }

    /// Evicts keys of a shard, those near a hash first; returns the capacity of one of them.
    fn evict<'a>(
        &'a self,
        shard: &mut Shard<K>,
        near: Option<u64>,
        now: Timestamp,
        evicted: &mut Evicted<K>,
    ) -> Option<CapacityGuard<'a>> {
        let before = evicted.len();
        shard.sweep(near, now, self.read_old(), evicted);
        let freed = (evicted.len() - before) as u64;
        self.capacity.release(freed.saturating_sub(1));
        (freed > 0).then(|| CapacityGuard(&self.capacity))
    }

    /// Counts a request of a key without a place.
    ///
    /// # Errors
    /// [`Denied::TooManyKeys`], unless such keys share a bucket.
    pub(crate) fn check_overflow(&self) -> Result<(), Denied> {
        // Relaxed: a count.
        self.capacity.overflowed.fetch_add(1, Ordering::Relaxed);
        match self.on_full {
            OnFull::Deny => Err(Denied::TooManyKeys),
            OnFull::Shared => Ok(()),
        }
    }

    /// Ends the line of a key that needs none any more: the key moves back to the word table, or is
    /// removed if its bucket is as an absent one. The caller drops a removed key once the lock is
    /// released. It runs no code of the caller's.
    pub(crate) fn retire_line(
        &self,
        shard: &mut Shard<K>,
        at: LineIndex,
        now: Timestamp,
    ) -> Option<K> {
        let entry = shard.lines.at(at);
        // A key with waiters, or with tokens to give back, would lose them in a word.
        if !entry.is_idle() {
            return None;
        }
        let (is_counted, full_at) = (entry.is_counted, entry.line.tokens.fill.full_at);
        if shard.becomes_absent(full_at, now) {
            self.capacity.release(is_counted.into());
            return Some(shard.lines.remove(at).key);
        }
        // Without room, or with a debt that a word cannot hold, the idle line stays: `Shard::sweep` finds
        // it later.
        if full_at <= shard.config().max_full_at()
            && shard.has_room()
            && (is_counted || self.capacity.take())
        {
            let entry = shard.lines.remove(at);
            shard.insert_word(entry.hash, entry.key, full_at);
        }
        None
    }
}
