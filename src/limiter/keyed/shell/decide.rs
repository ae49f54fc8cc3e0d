//! How a change of a key's bucket is decided: by its word if that can hold it, else after the base has
//! moved, with a new place, by a line, or by the shared bucket.

use std::cell::Cell;
use std::hash::{BuildHasher, Hash};

use crate::clock::{Clock, Timestamp};
use crate::limiter::core::denied::Denied;
use crate::limiter::core::line::Line;
use crate::limiter::keyed::core::hashed_key::{HashedKey, SourceOf};
use crate::limiter::keyed::core::shard::{Shard, SlowPath};
use crate::limiter::keyed::core::word_table::Evicted;
use crate::limiter::keyed::shell::keyed_limiter::KeyedLimiter;
use crate::limiter::keyed::shell::place::Place;
use crate::sync::RwLockWriteGuard;
use crate::wake::Wakers;

/// A change of a bucket.
pub(crate) struct Decision<F> {
    pub(crate) now: Timestamp,
    /// Whether it takes tokens: after the waiters whose turn has come, unlike a pause.
    pub(crate) takes: bool,
    /// Changes the line of a key. For a key that is kept as a word, that is one without waiters.
    pub(crate) op: F,
}

impl<K: Hash, S: BuildHasher, C: Clock> KeyedLimiter<K, S, C> {
    /// Changes the bucket of a key to what a decision makes of it, unless the decision denies.
    pub(crate) fn decide<Q: SourceOf<K> + ?Sized, T>(
        &self,
        key: HashedKey<'_, Q>,
        decision: &Decision<impl Fn(&mut Line) -> Result<T, Denied>>,
    ) -> Result<T, Denied> {
        let shard = self.lock(self.shard_of(key.hash));
        self.decide_in(shard, key, decision)
    }

    pub(crate) fn decide_in<'a, Q: SourceOf<K> + ?Sized, T>(
        &'a self,
        mut shard: RwLockWriteGuard<'a, Shard<K>>,
        key: HashedKey<'_, Q>,
        decision: &Decision<impl Fn(&mut Line) -> Result<T, Denied>>,
    ) -> Result<T, Denied> {
        if let Some(at) = shard.lines.find(key) {
            return self.on_line_at(shard, at, decision.now, |line, wakers| {
                if decision.takes {
                    line.serve(decision.now, wakers);
                }
                (decision.op)(line)
            });
        }
        let update = shard.update(key, self.read_old(), &decision.op)?;
        let covers = shard.config().covers(decision.now);
        drop(shard);
        match update.stored {
            Ok(()) => Ok(update.value),
            Err(SlowPath::AbsentKey) => self.decide_absent(key, decision),
            // The base is recent, so the debt itself is too large: only a line can hold it.
            Err(SlowPath::BeyondWord) if covers => {
                let by_line = |line: &mut Line, _: &mut Wakers| (decision.op)(line);
                self.with_line(key, decision.now, &Cell::new(false), by_line)?
            }
            Err(SlowPath::BeyondWord) => {
                self.move_base(decision.now);
                self.decide(key, decision)
            }
        }
    }

    /// Decides for a key that was absent, and keeps it.
    #[inline(never)]
    pub(crate) fn decide_absent<Q: SourceOf<K> + ?Sized, T>(
        &self,
        key: HashedKey<'_, Q>,
        decision: &Decision<impl Fn(&mut Line) -> Result<T, Denied>>,
    ) -> Result<T, Denied> {
        // `to_key` and the drop of a key are the caller's code: before the lock is taken, and after it
        // is released.
        let (owned, mut evicted) = (key.key.to_key(), Evicted::new());
        let found = self.find_place(key, decision.now, &mut evicted);
        let Some(Place {
            mut shard,
            capacity,
        }) = found
        else {
            self.check_overflow()?;
            return self.with_shared_line(decision.now, |line, _| (decision.op)(line));
        };
        // Decided anew: the lock was released after the first decision.
        if !shard.has(key) {
            let update = shard.update_absent(&decision.op)?;
            match update.stored {
                Ok(()) => return Ok(update.value),
                Err(SlowPath::AbsentKey) => {
                    let location = shard.insert_word(key.hash, owned, update.full_at);
                    self.shards[self.shard_of(key.hash)]
                        .table_hint
                        .update(location);
                    capacity.assign();
                    return Ok(update.value);
                }
                Err(SlowPath::BeyondWord) => {}
            }
        }
        // Another thread has placed the key meanwhile, or a word is too small.
        drop(shard);
        drop(capacity);
        self.decide(key, decision)
    }
}
