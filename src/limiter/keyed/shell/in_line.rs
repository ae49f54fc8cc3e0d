//! Keys that callers wait for, or have reservations of: what needs a line.

use std::borrow::Borrow;
use std::cell::Cell;
use std::hash::{BuildHasher, Hash};

use crate::clock::{Clock, Timestamp};
use crate::limiter::core::carry::CarryOver;
use crate::limiter::core::denied::Denied;
use crate::limiter::core::line::Line;
use crate::limiter::keyed::core::hashed::Hashed;
use crate::limiter::keyed::core::lines::LineAt;
use crate::limiter::keyed::core::shard::Shard;
use crate::limiter::keyed::core::table::Gone;
use crate::limiter::keyed::core::to_key::ToKey;
use crate::limiter::keyed::shell::admit::SHARED;
use crate::limiter::keyed::shell::keyed_limiter::KeyedLimiter;
use crate::limiter::keyed::shell::place::Entered;
use crate::quota::{Quota, QuotaError};
use crate::wake::Wakers;

impl<K: Hash, S: BuildHasher, C: Clock> KeyedLimiter<K, S, C> {
    /// Runs `op` with a key's bucket in a line, at the caller's time. Then serves the waiters whose
    /// turn has come. A key that finds no place goes to the shared one, if that is what is
    /// configured, which `is_shared` tells and is told.
    ///
    /// # Errors
    /// [`Denied::TooManyKeys`].
    pub(crate) fn in_line<Q, T>(
        &self,
        key: Hashed<'_, Q>,
        now: Timestamp,
        is_shared: &Cell<bool>,
        op: impl FnOnce(&mut Line, &mut Wakers) -> T,
    ) -> Result<T, Denied>
    where
        K: Borrow<Q>,
        Q: Eq + ToKey<K> + ?Sized,
    {
        if is_shared.get() {
            return Ok(self.in_shared_line(now, op));
        }
        // Woken, and dropped, once the lock is released.
        let (mut wakers, mut gone) = (Wakers::default(), None);
        let mut shard = self.lock(self.shard_of(key.hash));
        if shard.generation().is_closed && shard.lines.get(key).is_none() {
            return Err(Denied::Closed);
        }
        let Some(at) = shard.find_line(key, self.carry()) else {
            drop(shard);
            // The caller's own code, so without the lock; and dropped after it is released.
            let (owned, mut evicted) = (key.key.to_key(), Gone::new());
            let Some(entered) = self.enter(key, now, &mut evicted) else {
                self.check_shared()?;
                is_shared.set(true);
                return Ok(self.in_shared_line(now, op));
            };
            let Entered {
                shard: mut locked,
                seat,
            } = entered;
            let found = locked.find_line(key, self.carry());
            let at = found.unwrap_or_else(|| {
                seat.keep();
                locked.new_line(key.hash, owned)
            });
            let output = self.serve(&mut locked, at, now, op, &mut wakers, &mut gone);
            drop(locked);
            return Ok(output);
        };
        let output = self.serve(&mut shard, at, now, op, &mut wakers, &mut gone);
        drop(shard);
        Ok(output)
    }

    fn serve<T>(
        &self,
        shard: &mut Shard<K>,
        at: LineAt,
        now: Timestamp,
        op: impl FnOnce(&mut Line, &mut Wakers) -> T,
        wakers: &mut Wakers,
        gone: &mut Option<K>,
    ) -> T {
        let line = &mut shard.lines.at_mut(at).line;
        let output = op(line, wakers);
        line.serve(now, wakers);
        *gone = self.tidy(shard, at, now);
        output
    }
}

impl<K, S, C> KeyedLimiter<K, S, C> {
    /// As `in_line`, of the bucket that all keys without a place share.
    pub(crate) fn in_shared_line<T>(
        &self,
        now: Timestamp,
        op: impl FnOnce(&mut Line, &mut Wakers) -> T,
    ) -> T {
        // Woken once the lock is released.
        let mut wakers = Wakers::default();
        let mut shared = self.caught_up(self.shared.write());
        let at = match shared.lines.find(SHARED) {
            Some(at) => at,
            None => shared.new_line(SHARED.hash, ()),
        };
        let line = &mut shared.lines.at_mut(at).line;
        let output = op(line, &mut wakers);
        line.serve(now, &mut wakers);
        drop(shared);
        output
    }
}

impl<K: Hash, S: BuildHasher, C: Clock> KeyedLimiter<K, S, C> {
    /// Gives a key a quota of its own, in force from `now` on, or from when nobody can take unseen.
    pub(crate) fn set_own<Q>(
        &self,
        key: Hashed<'_, Q>,
        (quota, carry): (Quota, CarryOver),
        now: Option<Timestamp>,
    ) -> Result<(), QuotaError>
    where
        K: Borrow<Q>,
        Q: Eq + ToKey<K> + ?Sized,
    {
        let units = quota.units()?;
        // The caller's own code, so without the lock; and dropped after it is released.
        let mut owned = Some(key.key.to_key());
        let mut wakers = Wakers::default();
        let mut shard = self.lock(self.shard_of(key.hash));
        // The caller's clock and `Eq` before anything is changed.
        let now = now.unwrap_or_else(|| self.clock.now());
        let found = shard.find_line(key, self.carry());
        let at = match (found, owned.take()) {
            (Some(at), unused) => {
                owned = unused;
                at
            }
            (None, Some(owned)) => {
                let at = shard.new_line(key.hash, owned);
                shard.lines.at_mut(at).has_seat = false;
                at
            }
            (None, None) => unreachable!("it was not taken before"),
        };
        let line = shard.lines.at_mut(at);
        line.configure(units, carry, now);
        line.own = Some(quota);
        self.seats.free(std::mem::take(&mut line.has_seat).into());
        line.line.serve(now, &mut wakers);
        drop(shard);
        drop(owned);
        Ok(())
    }
}
