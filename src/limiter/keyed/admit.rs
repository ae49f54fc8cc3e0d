//! How a bucket is changed: at once if its word is enough, else with a place, a base that reaches,
//! or the shared bucket.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};

use super::shard::{Change, Hashed, Kept, Shard, Undecided};
use super::table::{Bucket, Gone};
use super::{KeyedLimiter, OnFull};
use crate::clock::Timestamp;
use crate::limiter::Denied;
use crate::limiter::ledger::DebtId;
use crate::limiter::rate::{Decided, View};
use crate::limiter::word::TooEarly;
use crate::sync::{Ordering, RwLock, RwLockWriteGuard};

/// The one key of the shared bucket.
pub(super) const SHARED: Hashed<'_, ()> = Hashed { hash: 0, key: &() };

impl<K: Hash, S: BuildHasher, C> KeyedLimiter<K, S, C> {
    /// Takes `n` tokens of a key, at least one, if `floor` remain.
    #[inline]
    pub(super) fn take<Q>(
        &self,
        key: Hashed<'_, Q>,
        n: u64,
        floor: u64,
        now: Timestamp,
    ) -> Result<(), Denied>
    where
        K: Borrow<Q>,
        Q: Eq + ToOwned<Owned = K> + ?Sized,
    {
        let lock = &self.shards[self.shard_of(key.hash)].shard;
        // Looked at first: where others are, to fail to lock it would take it from them.
        let alone = if lock.is_locked() {
            None
        } else {
            lock.try_write()
        };
        let Some(shard) = alone else {
            return self.take_beside(lock, key, n, floor, now);
        };
        let store = |bucket: &Bucket, _, next| {
            bucket.set(next);
            true
        };
        match self.take_by_word(&shard, key, n, floor, now, store) {
            Ok(taken) => {
                drop(shard);
                // How long to wait is worked out without the lock.
                taken.map_err(|early| early.denied(now))
            }
            Err(why) => self.take_further(shard, why, key, n, floor, now),
        }
    }

    /// As [`take`](Self::take), beside others who have the shard too: they share it, and each
    /// bucket is replaced by itself. So a key that many threads take from at once makes them wait
    /// for its word, and not for each other.
    #[inline(never)]
    fn take_beside<'a, Q>(
        &'a self,
        lock: &'a RwLock<Shard<K>>,
        key: Hashed<'_, Q>,
        n: u64,
        floor: u64,
        now: Timestamp,
    ) -> Result<(), Denied>
    where
        K: Borrow<Q>,
        Q: Eq + ToOwned<Owned = K> + ?Sized,
    {
        let shard = lock.read();
        let taken = self.take_by_word(&shard, key, n, floor, now, Bucket::replace);
        drop(shard);
        match taken {
            Ok(taken) => taken.map_err(|early| early.denied(now)),
            Err(_) => self.take_further(lock.write(), Undecided::NeedsMore, key, n, floor, now),
        }
    }

    #[inline]
    fn take_by_word<Q>(
        &self,
        shard: &Shard<K>,
        key: Hashed<'_, Q>,
        n: u64,
        floor: u64,
        now: Timestamp,
        replace: impl Fn(&Bucket, u64, u64) -> bool,
    ) -> Result<Result<(), TooEarly>, Undecided>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        // Acquire: as in `caught_up`.
        if shard.generation().number == self.current.load(Ordering::Acquire) {
            shard.take(key, n, floor, now, replace)
        } else {
            Err(Undecided::NeedsMore)
        }
    }

    /// As [`take`](Self::take), where a word and 64 bits are not all it needs.
    #[inline(never)]
    fn take_further<'a, Q>(
        &'a self,
        shard: RwLockWriteGuard<'a, Shard<K>>,
        why: Undecided,
        key: Hashed<'_, Q>,
        n: u64,
        floor: u64,
        now: Timestamp,
    ) -> Result<(), Denied>
    where
        K: Borrow<Q>,
        Q: Eq + ToOwned<Owned = K> + ?Sized,
    {
        let decide = |view: &View| view.take(n, floor, now);
        let mut shard = self.caught_up(shard);
        if !shard.generation().covers(now) {
            // Else every take would come here until a word overflows.
            drop(shard);
            self.move_base(now);
            return self.update(key, now, decide, |(), _| ());
        }
        let change = match why {
            Undecided::Absent => shard.update_absent(decide),
            Undecided::NeedsMore => shard.update(key, self.carry(), decide),
        }?;
        self.settle(shard, change, key, now, decide, |(), _| ())
    }

    /// Changes the bucket of a key to what `decide` makes of it, unless it denies. `note` is told
    /// what came of it, and how to open a debt for what it cost.
    pub(super) fn update<Q, T, U>(
        &self,
        key: Hashed<'_, Q>,
        now: Timestamp,
        decide: impl Fn(&View) -> Decided<T>,
        note: impl Fn(T, &mut dyn FnMut(u128) -> DebtId) -> U,
    ) -> Result<U, Denied>
    where
        K: Borrow<Q>,
        Q: Eq + ToOwned<Owned = K> + ?Sized,
    {
        let mut shard = self.lock(self.shard_of(key.hash));
        let change = shard.update(key, self.carry(), &decide)?;
        self.settle(shard, change, key, now, decide, note)
    }

    /// Ends what [`update`](Self::update) began: a change that was kept is noted, any other is made in
    /// another way.
    fn settle<'a, Q, T, U>(
        &'a self,
        mut shard: RwLockWriteGuard<'a, Shard<K>>,
        change: Change<T>,
        key: Hashed<'_, Q>,
        now: Timestamp,
        decide: impl Fn(&View) -> Decided<T>,
        note: impl Fn(T, &mut dyn FnMut(u128) -> DebtId) -> U,
    ) -> Result<U, Denied>
    where
        K: Borrow<Q>,
        Q: Eq + ToOwned<Owned = K> + ?Sized,
    {
        if change.kept != Kept::Yes {
            return self.update_further(shard, change.kept, key, now, decide, note);
        }
        Ok(shard.noted(key, change, note))
    }

    /// As [`update`](Self::update), of a key that is not here, or a bucket beyond its word.
    fn update_further<'a, Q, T, U>(
        &'a self,
        shard: RwLockWriteGuard<'a, Shard<K>>,
        kept: Kept,
        key: Hashed<'_, Q>,
        now: Timestamp,
        decide: impl Fn(&View) -> Decided<T>,
        note: impl Fn(T, &mut dyn FnMut(u128) -> DebtId) -> U,
    ) -> Result<U, Denied>
    where
        K: Borrow<Q>,
        Q: Eq + ToOwned<Owned = K> + ?Sized,
    {
        // Declared first, so dropped after the lock; a parameter would be dropped last.
        let mut gone = Gone::new();
        let mut shard = shard;
        if kept == Kept::Beyond {
            drop(shard);
            self.move_base(now);
            return self.update(key, now, decide, note);
        }
        let has_seat = !shard.is_full() && self.seats.take()
            || self.evict(&mut shard, Some(key.hash), now, &mut gone);
        if !has_seat {
            drop(shard);
            if !self.evict_elsewhere(now, &mut gone) {
                return self.update_shared(now, decide, note);
            }
            shard = self.lock(self.shard_of(key.hash));
            if shard.is_full() {
                drop(shard);
                self.seats.free(1);
                return self.update_shared(now, decide, note);
            }
        }
        // Whoever gave up its place may have changed the bucket of absent keys, and somebody may
        // have placed this one.
        let decided = if has_seat {
            shard.update_absent(&decide)
        } else {
            shard.update(key, self.carry(), &decide)
        };
        let change = decided.inspect_err(|_| self.seats.free(1))?;
        match change.kept {
            Kept::Unplaced => {
                let at = shard.place(key, change.full_at, |key| self.hasher.hash_one(key));
                let guarded = &self.shards[self.shard_of(key.hash)];
                guarded.whereabouts.point_to(at);
            }
            Kept::Yes => self.seats.free(1),
            Kept::Beyond => {
                self.seats.free(1);
                drop(shard);
                self.move_base(now);
                return self.update(key, now, decide, note);
            }
        }
        Ok(shard.noted(key, change, note))
    }

    /// Lets a bucket of another shard go: each in its turn.
    fn evict_elsewhere(&self, now: Timestamp, gone: &mut Gone<K>) -> bool {
        // Relaxed: a count.
        let next = self.seats.next.fetch_add(1, Ordering::Relaxed);
        let other = usize::try_from(next % self.shards.len() as u64).unwrap_or(0);
        self.evict(&mut self.lock(other), None, now, gone)
    }

    /// Lets one bucket or more go, to make room for another: near where that will be, if it can.
    fn evict(
        &self,
        shard: &mut Shard<K>,
        near: Option<u64>,
        now: Timestamp,
        gone: &mut Gone<K>,
    ) -> bool {
        shard.sweep(near, now, self.carry(), gone);
        if let Some(spare) = gone.len().checked_sub(1) {
            self.seats.free(spare as u64);
        }
        !gone.is_empty()
    }

    /// The key found no place.
    fn update_shared<T, U>(
        &self,
        now: Timestamp,
        decide: impl Fn(&View) -> Decided<T>,
        note: impl Fn(T, &mut dyn FnMut(u128) -> DebtId) -> U,
    ) -> Result<U, Denied> {
        // Relaxed: a count.
        self.seats.overflowed.fetch_add(1, Ordering::Relaxed);
        if self.on_full == OnFull::Deny {
            return Err(Denied::TooManyKeys);
        }
        loop {
            let mut shared = self.caught_up(self.shared.write());
            let change = shared.update(SHARED, self.carry(), &decide)?;
            match change.kept {
                Kept::Yes => {}
                Kept::Unplaced => {
                    shared.place(SHARED, change.full_at, |()| SHARED.hash);
                }
                Kept::Beyond => {
                    drop(shared);
                    self.move_base(now);
                    continue;
                }
            }
            return Ok(shared.noted(SHARED, change, note));
        }
    }
}
