//! How a take is decided: by a word if that is enough, else with a place, a base that reaches, a
//! line, or the shared bucket.

use std::borrow::Borrow;
use std::cell::Cell;
use std::hash::{BuildHasher, Hash};

use crate::clock::{Clock, Timestamp};
use crate::limiter::core::denied::Denied;
use crate::limiter::core::line::Line;
use crate::limiter::core::rate::{Decided, View};
use crate::limiter::core::word::TooEarly;
use crate::limiter::keyed::core::hashed::Hashed;
use crate::limiter::keyed::core::shard::{Kept, Shard, Undecided};
use crate::limiter::keyed::core::table::{Bucket, Gone};
use crate::limiter::keyed::core::to_key::ToKey;
use crate::limiter::keyed::shell::keyed_limiter::KeyedLimiter;
use crate::limiter::keyed::shell::place::Entered;
use crate::sync::{Ordering, RwLock, RwLockWriteGuard};
use crate::wake::Wakers;

/// The one key of the shared bucket.
pub(crate) const SHARED: Hashed<'_, ()> = Hashed { hash: 0, key: &() };

/// What is decided of a key's bucket, by its word or by its line.
pub(crate) struct Decision<D, L> {
    pub(crate) now: Timestamp,
    /// Whether a closed limiter refuses it.
    pub(crate) takes: bool,
    pub(crate) by_word: D,
    pub(crate) in_line: L,
}

/// Takes `n` tokens if `floor` remain.
fn take_of(
    n: u64,
    floor: u64,
    now: Timestamp,
) -> Decision<impl Fn(&View) -> Decided<()>, impl Fn(&mut Line) -> Result<(), Denied>> {
    Decision {
        now,
        takes: true,
        by_word: move |view: &View| view.take(n, floor, now),
        in_line: move |line: &mut Line| line.take(n, floor, now),
    }
}

impl<K: Hash, S: BuildHasher, C: Clock> KeyedLimiter<K, S, C> {
    #[inline]
    pub(crate) fn take<Q>(
        &self,
        key: Hashed<'_, Q>,
        n: u64,
        floor: u64,
        now: Timestamp,
    ) -> Result<(), Denied>
    where
        K: Borrow<Q>,
        Q: Eq + ToKey<K> + ?Sized,
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
            Err(Undecided::Absent) => self.take_first(shard, key, n, floor, now),
            Err(Undecided::NeedsMore) => self.take_further(shard, key, n, floor, now),
        }
    }

    /// Takes from a key that the shard does not hold, without looking for it once more.
    #[inline(never)]
    fn take_first<'a, Q>(
        &'a self,
        shard: RwLockWriteGuard<'a, Shard<K>>,
        key: Hashed<'_, Q>,
        n: u64,
        floor: u64,
        now: Timestamp,
    ) -> Result<(), Denied>
    where
        K: Borrow<Q>,
        Q: Eq + ToKey<K> + ?Sized,
    {
        let decision = take_of(n, floor, now);
        shard.check_open()?;
        let change = shard.update_absent(&decision.by_word)?;
        if change.kept == Kept::Unplaced {
            drop(shard);
            return self.decide_new(key, &decision);
        }
        self.take_further(shard, key, n, floor, now)
    }

    /// Takes where others are at it.
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
        Q: Eq + ToKey<K> + ?Sized,
    {
        let shard = lock.read();
        let taken = self.take_by_word(&shard, key, n, floor, now, Bucket::replace);
        drop(shard);
        match taken {
            Ok(taken) => taken.map_err(|early| early.denied(now)),
            Err(_) => self.take_further(lock.write(), key, n, floor, now),
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

    /// Takes where a word is not enough.
    #[inline(never)]
    fn take_further<'a, Q>(
        &'a self,
        shard: RwLockWriteGuard<'a, Shard<K>>,
        key: Hashed<'_, Q>,
        n: u64,
        floor: u64,
        now: Timestamp,
    ) -> Result<(), Denied>
    where
        K: Borrow<Q>,
        Q: Eq + ToKey<K> + ?Sized,
    {
        let decision = take_of(n, floor, now);
        let shard = self.caught_up(shard);
        if !shard.generation().covers(now) {
            // Else every take would come here until a word overflows.
            drop(shard);
            self.move_base(now);
            return self.decide(key, &decision);
        }
        self.decide_in(shard, key, &decision)
    }

    /// Changes the bucket of a key to what a decision makes of it, unless it denies.
    pub(crate) fn decide<Q, T, D, L>(
        &self,
        key: Hashed<'_, Q>,
        decision: &Decision<D, L>,
    ) -> Result<T, Denied>
    where
        K: Borrow<Q>,
        Q: Eq + ToKey<K> + ?Sized,
        D: Fn(&View) -> Decided<T>,
        L: Fn(&mut Line) -> Result<T, Denied>,
    {
        let shard = self.lock(self.shard_of(key.hash));
        self.decide_in(shard, key, decision)
    }

    fn decide_in<'a, Q, T, D, L>(
        &'a self,
        shard: RwLockWriteGuard<'a, Shard<K>>,
        key: Hashed<'_, Q>,
        decision: &Decision<D, L>,
    ) -> Result<T, Denied>
    where
        K: Borrow<Q>,
        Q: Eq + ToKey<K> + ?Sized,
        D: Fn(&View) -> Decided<T>,
        L: Fn(&mut Line) -> Result<T, Denied>,
    {
        // Woken, and dropped, once the lock is released; a parameter would be dropped last.
        let (mut wakers, gone);
        wakers = Wakers::default();
        let mut shard = shard;
        if let Some(at) = shard.lines.find(key) {
            let line = &mut shard.lines.at_mut(at).line;
            // Those whose turn has come are before a newcomer, but not before a pause.
            if decision.takes {
                line.serve(decision.now, &mut wakers);
            }
            let decided = (decision.in_line)(line);
            line.serve(decision.now, &mut wakers);
            gone = self.tidy(&mut shard, at, decision.now);
            drop(shard);
            drop(gone);
            return decided;
        }
        let (carry, by_word) = (self.carry(), &decision.by_word);
        let change = if decision.takes {
            shard.update_open(key, carry, by_word)
        } else {
            shard.update(key, carry, by_word)
        }?;
        let covers = shard.generation().covers(decision.now);
        drop(shard);
        match change.kept {
            Kept::Yes => Ok(change.value),
            Kept::Unplaced => self.decide_new(key, decision),
            Kept::WordOverflow if covers => {
                let in_line = |line: &mut Line, _: &mut Wakers| (decision.in_line)(line);
                self.in_line(key, decision.now, &Cell::new(false), in_line)?
            }
            Kept::WordOverflow => {
                self.move_base(decision.now);
                self.decide(key, decision)
            }
        }
    }

    /// Places a key that is not here.
    #[inline(never)]
    fn decide_new<Q, T, D, L>(
        &self,
        key: Hashed<'_, Q>,
        decision: &Decision<D, L>,
    ) -> Result<T, Denied>
    where
        K: Borrow<Q>,
        Q: Eq + ToKey<K> + ?Sized,
        D: Fn(&View) -> Decided<T>,
        L: Fn(&mut Line) -> Result<T, Denied>,
    {
        // The caller's own code, so without the lock; and dropped after it is released.
        let (owned, mut gone) = (key.key.to_key(), Gone::new());
        let Some(Entered { mut shard, seat }) = self.enter(key, decision.now, &mut gone) else {
            return self.decide_shared(decision);
        };
        if !shard.has(key) {
            let change = shard.update_absent(&decision.by_word)?;
            match change.kept {
                Kept::Yes => return Ok(change.value),
                Kept::Unplaced => {
                    let at = shard.place(key.hash, owned, change.full_at);
                    self.shards[self.shard_of(key.hash)]
                        .whereabouts
                        .point_to(at);
                    seat.keep();
                    return Ok(change.value);
                }
                Kept::WordOverflow => {}
            }
        }
        // Another thread has placed it meanwhile, or a word is too small.
        drop(shard);
        drop(seat);
        self.decide(key, decision)
    }

    /// Decides by the bucket that all keys without a place share, if that is what is configured.
    fn decide_shared<T, D, L>(&self, decision: &Decision<D, L>) -> Result<T, Denied>
    where
        D: Fn(&View) -> Decided<T>,
        L: Fn(&mut Line) -> Result<T, Denied>,
    {
        self.check_shared()?;
        self.in_shared_line(decision.now, |line, _| (decision.in_line)(line))
    }
}
