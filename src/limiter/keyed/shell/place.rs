//! Seats for keys that are new, and the eviction that makes them.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};

use crate::clock::{Clock, Timestamp};
use crate::limiter::core::denied::Denied;
use crate::limiter::keyed::core::hashed::Hashed;
use crate::limiter::keyed::core::leaving::Leaving;
use crate::limiter::keyed::core::lines::LineAt;
use crate::limiter::keyed::core::on_full::OnFull;
use crate::limiter::keyed::core::seats::Seat;
use crate::limiter::keyed::core::shard::Shard;
use crate::limiter::keyed::core::table::Gone;
use crate::limiter::keyed::shell::keyed_limiter::KeyedLimiter;
use crate::sync::{Ordering, RwLockWriteGuard};

/// A shard with a seat for one more key, and room for it.
pub(crate) struct Entered<'a, K> {
    // Before the seat, so that it is released first.
    pub(crate) shard: RwLockWriteGuard<'a, Shard<K>>,
    pub(crate) seat: Seat<'a>,
}

impl<K: Hash, S: BuildHasher, C: Clock> KeyedLimiter<K, S, C> {
    /// Finds a seat for a key: a free one, or that of a key near it, or that of a key of another
    /// shard. `None`: all are in use.
    pub(crate) fn enter<'a, Q>(
        &'a self,
        key: Hashed<'_, Q>,
        now: Timestamp,
        gone: &mut Gone<K>,
    ) -> Option<Entered<'a, K>>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let mut shard = self.lock(self.shard_of(key.hash));
        let seat = if shard.is_full() {
            None
        } else {
            self.seats.reserve()
        };
        let seat = match seat {
            Some(seat) => Some(seat),
            None => self.evict(&mut shard, Some(key.hash), now, gone),
        };
        let (mut shard, seat) = if let Some(seat) = seat {
            (shard, seat)
        } else {
            drop(shard);
            let seat = self.evict_elsewhere(now, gone)?;
            let shard = self.lock(self.shard_of(key.hash));
            if shard.is_full() {
                return None;
            }
            (shard, seat)
        };
        shard.make_room(|key| self.hasher.hash_one(key));
        Some(Entered { shard, seat })
    }

    fn evict_elsewhere<'a>(&'a self, now: Timestamp, gone: &mut Gone<K>) -> Option<Seat<'a>> {
        // Relaxed: a count.
        let next = self.seats.next.fetch_add(1, Ordering::Relaxed);
        let other = usize::try_from(next % self.shards.len() as u64).unwrap_or(0);
        self.evict(&mut self.lock(other), None, now, gone)
    }

    /// Lets go what need not be kept, at a few places, those near a hash first: the seat of one that
    /// has gone.
    fn evict<'a>(
        &'a self,
        shard: &mut Shard<K>,
        near: Option<u64>,
        now: Timestamp,
        gone: &mut Gone<K>,
    ) -> Option<Seat<'a>> {
        let before = gone.len();
        shard.sweep(near, now, self.carry(), gone);
        let seats = (gone.len() - before) as u64;
        self.seats.free(seats.saturating_sub(1));
        (seats > 0).then(|| Seat::vacated(&self.seats))
    }

    /// Whether keys without a place share a bucket; counts those that ask.
    pub(crate) fn check_shared(&self) -> Result<(), Denied> {
        // Relaxed: a count.
        self.seats.overflowed.fetch_add(1, Ordering::Relaxed);
        match self.on_full {
            OnFull::Deny => Err(Denied::TooManyKeys),
            OnFull::Shared => Ok(()),
        }
    }

    /// Ends the line of a key that needs none any more: moves it back to the table, or forgets it
    /// if it is as one that was never used. What goes is for the caller to drop once the lock is
    /// released. It runs no code of the caller's.
    pub(crate) fn tidy(&self, shard: &mut Shard<K>, at: LineAt, now: Timestamp) -> Option<K> {
        let line = shard.lines.at(at);
        if !line.is_idle() {
            return None;
        }
        let (has_seat, full_at) = (line.has_seat, line.line.tokens.fill.full_at);
        if shard.is_as_absent(full_at, now) {
            self.seats.free(has_seat.into());
            return Some(shard.lines.take(at).key);
        }
        if full_at <= shard.generation().max_full_at()
            && shard.has_room()
            && (has_seat || self.seats.take())
        {
            let line = shard.lines.take(at);
            shard.place(line.hash, line.key, full_at);
        }
        None
    }
}

impl<K, S, C> KeyedLimiter<K, S, C> {
    /// Keys on their way out, to be declared before the lock is taken.
    pub(crate) fn leaving(&self) -> Leaving<'_, K> {
        Leaving::new(&self.seats)
    }
}
