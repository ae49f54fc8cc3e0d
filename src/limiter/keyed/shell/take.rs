//! The hot path: a take that the word of the key decides, and the ways it falls back to
//! [`decide`](KeyedLimiter::decide).

use std::hash::{BuildHasher, Hash};

use crate::clock::{Clock, Timestamp};
use crate::limiter::core::denied::Denied;
use crate::limiter::core::line::Line;
use crate::limiter::core::word::TooEarly;
use crate::limiter::keyed::core::bucket_word::BucketWord;
use crate::limiter::keyed::core::hashed_key::{FormOf, HashedKey, SourceOf};
use crate::limiter::keyed::core::shard::{Shard, SlowPath};
use crate::limiter::keyed::shell::decide::Decision;
use crate::limiter::keyed::shell::keyed_limiter::KeyedLimiter;
use crate::sync::{Ordering, RwLock, RwLockWriteGuard};

/// Takes `n` tokens if at least `floor` remain.
fn take_decision(
    n: u64,
    floor: u64,
    now: Timestamp,
) -> Decision<impl Fn(&mut Line) -> Result<(), Denied>> {
    Decision {
        now,
        takes: true,
        op: move |line: &mut Line| line.take(n, floor, now),
    }
}

impl<K: Hash, S: BuildHasher, C: Clock> KeyedLimiter<K, S, C> {
    #[inline]
    pub(crate) fn take<Q: SourceOf<K> + ?Sized>(
        &self,
        key: HashedKey<'_, Q>,
        n: u64,
        floor: u64,
        now: Timestamp,
    ) -> Result<(), Denied> {
        let lock = &self.shards[self.shard_of(key.hash)].shard;
        // Looks before it tries: a failed attempt would take the cache line away from the holders.
        let alone = if lock.is_locked() {
            None
        } else {
            lock.try_write()
        };
        let Some(shard) = alone else {
            return self.take_contended(lock, key, n, floor, now);
        };
        // Alone under the write lock, a plain store is enough: no compare-and-swap.
        let store = |bucket: &BucketWord, _, next| {
            bucket.set(next);
            true
        };
        match self.take_by_word(&shard, key, n, floor, now, store) {
            Ok(taken) => {
                drop(shard);
                // The wait is a division, computed after the lock is released.
                taken.map_err(|early| early.denied(now))
            }
            Err(SlowPath::AbsentKey) => self.take_absent(shard, key, n, floor, now),
            Err(SlowPath::BeyondWord) => self.take_slow(shard, key, n, floor, now),
        }
    }

    /// Takes from a key that is known to be absent, without a second lookup.
    #[inline(never)]
    fn take_absent<'a, Q: SourceOf<K> + ?Sized>(
        &'a self,
        shard: RwLockWriteGuard<'a, Shard<K>>,
        key: HashedKey<'_, Q>,
        n: u64,
        floor: u64,
        now: Timestamp,
    ) -> Result<(), Denied> {
        let decision = take_decision(n, floor, now);
        let update = shard.update_absent(&decision.op)?;
        if update.stored == Err(SlowPath::AbsentKey) {
            drop(shard);
            return self.decide_absent(key, &decision);
        }
        self.take_slow(shard, key, n, floor, now)
    }

    /// Takes while other callers hold the lock: all of them share it, and replace words by
    /// compare-and-swap.
    #[inline(never)]
    fn take_contended<'a, Q: SourceOf<K> + ?Sized>(
        &'a self,
        lock: &'a RwLock<Shard<K>>,
        key: HashedKey<'_, Q>,
        n: u64,
        floor: u64,
        now: Timestamp,
    ) -> Result<(), Denied> {
        let shard = lock.read();
        let taken = self.take_by_word(&shard, key, n, floor, now, BucketWord::replace);
        drop(shard);
        match taken {
            Ok(taken) => taken.map_err(|early| early.denied(now)),
            Err(_) => self.take_slow(lock.write(), key, n, floor, now),
        }
    }

    #[inline]
    fn take_by_word<Q: FormOf<K> + ?Sized>(
        &self,
        shard: &Shard<K>,
        key: HashedKey<'_, Q>,
        n: u64,
        floor: u64,
        now: Timestamp,
        replace: impl Fn(&BucketWord, u64, u64) -> bool,
    ) -> Result<Result<(), TooEarly>, SlowPath> {
        // Acquire pairs with the Release in `begin`: a caller that knows of another quota goes by it.
        if shard.config().generation == self.generation.load(Ordering::Acquire) {
            shard.take(key, n, floor, now, replace)
        } else {
            Err(SlowPath::BeyondWord)
        }
    }

    /// Takes where the word does not suffice.
    #[inline(never)]
    fn take_slow<'a, Q: SourceOf<K> + ?Sized>(
        &'a self,
        shard: RwLockWriteGuard<'a, Shard<K>>,
        key: HashedKey<'_, Q>,
        n: u64,
        floor: u64,
        now: Timestamp,
    ) -> Result<(), Denied> {
        let decision = take_decision(n, floor, now);
        let shard = self.caught_up(shard);
        if !shard.config().covers(now) {
            // Without this, every take beyond the horizon would come here until a word overflows.
            drop(shard);
            self.move_base(now);
            return self.decide(key, &decision);
        }
        self.decide_in(shard, key, &decision)
    }
}
