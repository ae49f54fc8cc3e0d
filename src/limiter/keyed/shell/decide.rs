//! How a change of a key's bucket is decided: by its word if that can hold it, else after the base has
//! moved, with a new place, by a line, or by the shared bucket.

use std::cell::Cell;
use std::hash::{BuildHasher, Hash};

use crate::clock::{Clock, Timestamp};
use crate::limiter::core::denied::Denied;
use crate::limiter::core::line::Line;
use crate::limiter::core::rate::{Decided, View};
use crate::limiter::keyed::core::hashed_key::{HashedKey, SourceOf};
use crate::limiter::keyed::core::shard::{Shard, SlowPath};
use crate::limiter::keyed::core::word_table::Evicted;
use crate::limiter::keyed::shell::keyed_limiter::KeyedLimiter;
use crate::limiter::keyed::shell::place::Place;
use crate::sync::RwLockWriteGuard;
use crate::wake::Wakers;

/// A change of a bucket, for a key that is kept as a word and for one with a line.
pub(crate) struct Decision<W, L> {
    pub(crate) now: Timestamp,
    /// Whether a closed limiter refuses it.
    pub(crate) takes: bool,
    pub(crate) by_word: W,
    pub(crate) by_line: L,
}

/// Makes a decision of an operation on a line. For a key that is kept as a word, the operation runs on a
/// temporary line without waiters. A take, which is hot, has a `by_word` of its own instead.
pub(crate) fn line_decision<T, L>(
    now: Timestamp,
    takes: bool,
    by_line: L,
) -> Decision<impl Fn(&View) -> Decided<T>, L>
where
    L: Fn(&mut Line) -> Result<T, Denied> + Clone,
{
    let op = by_line.clone();
    let by_word = move |view: &View| {
        let mut line = Line::of(view);
        let value = op(&mut line)?;
        Ok((line.tokens.fill.full_at, value))
    };
    Decision {
        now,
        takes,
        by_word,
        by_line,
    }
}

impl<K: Hash, S: BuildHasher, C: Clock> KeyedLimiter<K, S, C> {
    /// Changes the bucket of a key to what a decision makes of it, unless the decision denies.
    pub(crate) fn decide<Q: SourceOf<K> + ?Sized, T>(
        &self,
        key: HashedKey<'_, Q>,
        decision: &Decision<impl Fn(&View) -> Decided<T>, impl Fn(&mut Line) -> Result<T, Denied>>,
    ) -> Result<T, Denied> {
        let shard = self.lock(self.shard_of(key.hash));
        self.decide_in(shard, key, decision)
    }

    pub(crate) fn decide_in<'a, Q: SourceOf<K> + ?Sized, T>(
        &'a self,
        shard: RwLockWriteGuard<'a, Shard<K>>,
        key: HashedKey<'_, Q>,
        decision: &Decision<impl Fn(&View) -> Decided<T>, impl Fn(&mut Line) -> Result<T, Denied>>,
    ) -> Result<T, Denied> {
        // Wakers and keys run the caller's code, so they must outlive the lock. The guard moves into a
        // local declared after them, since a parameter would be dropped last.
        let (mut wakers, removed);
        wakers = Wakers::default();
        let mut shard = shard;
        if let Some(at) = shard.lines.find(key) {
            let line = &mut shard.lines.at_mut(at).line;
            // Waiters whose turn has come are served before a newcomer takes, but not before a pause.
            if decision.takes {
                line.serve(decision.now, &mut wakers);
            }
            let decided = (decision.by_line)(line);
            line.serve(decision.now, &mut wakers);
            removed = self.retire_line(&mut shard, at, decision.now);
            drop(shard);
            drop(removed);
            return decided;
        }
        if decision.takes {
            shard.check_open()?;
        }
        let update = shard.update(key, self.read_old(), &decision.by_word)?;
        let covers = shard.config().covers(decision.now);
        drop(shard);
        match update.stored {
            Ok(()) => Ok(update.value),
            Err(SlowPath::AbsentKey) => self.decide_absent(key, decision),
            // The base is recent, so the debt itself is too large: only a line can hold it.
            Err(SlowPath::BeyondWord) if covers => {
                let by_line = |line: &mut Line, _: &mut Wakers| (decision.by_line)(line);
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
        decision: &Decision<impl Fn(&View) -> Decided<T>, impl Fn(&mut Line) -> Result<T, Denied>>,
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
            return self.with_shared_line(decision.now, |line, _| (decision.by_line)(line));
        };
        // Decided anew: the lock was released after the first decision.
        if !shard.has(key) {
            let update = shard.update_absent(&decision.by_word)?;
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
