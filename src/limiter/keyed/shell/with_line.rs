//! Operations that need the line of a key: waits, reservations, and a quota of the key's own.

use std::cell::Cell;
use std::hash::{BuildHasher, Hash};

use crate::clock::{Clock, Timestamp};
use crate::limiter::core::carry::CarryOver;
use crate::limiter::core::denied::Denied;
use crate::limiter::core::line::Line;
use crate::limiter::keyed::core::hashed_key::{HashedKey, SourceOf};
use crate::limiter::keyed::core::line_table::LineIndex;
use crate::limiter::keyed::core::shard::Shard;
use crate::limiter::keyed::core::word_table::Evicted;
use crate::limiter::keyed::shell::keyed_limiter::{KeyedLimiter, SHARED_KEY};
use crate::quota::{Quota, QuotaError};
use crate::sync::RwLockWriteGuard;
use crate::wake::Wakers;

impl<K: Hash, S: BuildHasher, C: Clock> KeyedLimiter<K, S, C> {
    /// Runs `op` on the line of a key, then serves the waiters whose turn has come.
    ///
    /// A key without a place goes to the shared line, if [`OnFull`](crate::OnFull) says so. `is_shared`
    /// tells that the caller stands there already, and is set when it goes there.
    ///
    /// # Errors
    /// [`Denied::TooManyKeys`] and [`Denied::Closed`]; `op` has not run.
    pub(crate) fn with_line<Q: SourceOf<K> + ?Sized, T>(
        &self,
        key: HashedKey<'_, Q>,
        now: Timestamp,
        is_shared: &Cell<bool>,
        op: impl FnOnce(&mut Line, &mut Wakers) -> T,
    ) -> Result<T, Denied> {
        if is_shared.get() {
            return Ok(self.with_shared_line(now, op));
        }
        // Declared before the lock, and so dropped after it: all of these run the caller's code.
        let (owned, mut evicted);
        evicted = Evicted::new();
        let mut shard = self.lock(self.shard_of(key.hash));
        if shard.config().is_closed && shard.lines.find(key).is_none() {
            return Err(Denied::Closed);
        }
        let at = if let Some(at) = shard.ensure_line(key, self.read_old()) {
            at
        } else {
            // `to_key` is the caller's code, too.
            drop(shard);
            owned = key.key.to_key();
            let Some(place) = self.find_place(key, now, &mut evicted) else {
                self.check_overflow()?;
                is_shared.set(true);
                return Ok(self.with_shared_line(now, op));
            };
            shard = place.shard;
            // Another thread may have placed the key while the lock was released. No closure may own
            // `owned`: it would drop the key under the lock.
            if let Some(at) = shard.ensure_line(key, self.read_old()) {
                at
            } else {
                place.capacity.assign();
                shard.insert_line(key.hash, owned)
            }
        };
        Ok(self.on_line_at(shard, at, now, op))
    }

    /// Runs `op` on the line of a key, serves its waiters, and retires it if it is idle.
    pub(crate) fn on_line_at<'a, T>(
        &'a self,
        shard: RwLockWriteGuard<'a, Shard<K>>,
        at: LineIndex,
        now: Timestamp,
        op: impl FnOnce(&mut Line, &mut Wakers) -> T,
    ) -> T {
        // Wakers and keys run the caller's code, so they must outlive the lock. The guard moves into a
        // local declared after them, since a parameter would be dropped last.
        let (mut wakers, _removed);
        wakers = Wakers::default();
        let mut shard = shard;
        let line = &mut shard.lines.at_mut(at).line;
        let output = op(line, &mut wakers);
        line.serve(now, &mut wakers);
        _removed = self.retire_line(&mut shard, at, now);
        drop(shard);
        output
    }

    /// Gives a key a quota of its own, in force from `now`, or from a time that no earlier take is later
    /// than.
    pub(crate) fn set_own_quota<Q: SourceOf<K> + ?Sized>(
        &self,
        key: HashedKey<'_, Q>,
        (quota, carry): (Quota, CarryOver),
        now: Option<Timestamp>,
    ) -> Result<(), QuotaError> {
        let units = quota.units()?;
        // Declared before the lock, and so dropped after it: all of these run the caller's code.
        let (owned, mut wakers) = (key.key.to_key(), Wakers::default());
        let mut shard = self.lock(self.shard_of(key.hash));
        // The caller's clock and `Eq` run before anything changes: they may panic. The clock is read
        // under the lock, so no taker before has used a later time.
        let now = now.unwrap_or_else(|| self.clock.now());
        let at = if let Some(at) = shard.ensure_line(key, self.read_old()) {
            at
        } else {
            let at = shard.insert_line(key.hash, owned);
            shard.lines.at_mut(at).is_counted = false;
            at
        };
        let entry = shard.lines.at_mut(at);
        entry.configure(units, carry, now);
        entry.own_quota = Some(quota);
        let was_counted = std::mem::take(&mut entry.is_counted);
        self.capacity.release(was_counted.into());
        entry.line.serve(now, &mut wakers);
        drop(shard);
        Ok(())
    }
}

impl<K, S, C> KeyedLimiter<K, S, C> {
    /// Same as [`with_line`](Self::with_line), on the line of the bucket that all keys without a place
    /// share.
    pub(crate) fn with_shared_line<T>(
        &self,
        now: Timestamp,
        op: impl FnOnce(&mut Line, &mut Wakers) -> T,
    ) -> T {
        // Woken once the lock is released.
        let mut wakers = Wakers::default();
        let mut shared = self.caught_up(self.shared.write());
        let at = match shared.lines.find(SHARED_KEY) {
            Some(at) => at,
            None => shared.insert_line(SHARED_KEY.hash, ()),
        };
        let line = &mut shared.lines.at_mut(at).line;
        let output = op(line, &mut wakers);
        line.serve(now, &mut wakers);
        drop(shared);
        output
    }
}
