//! The operations of a [`RateLimiter`] and a [`QuotaLimiter`] on one key.

use std::borrow::Borrow;
use std::cell::Cell;
use std::hash::{BuildHasher, Hash};
use std::task::Waker;
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::limiter::core::account::Account;
use crate::limiter::core::acquire_turn::AcquireTurn;
use crate::limiter::core::carry::CarryOver;
use crate::limiter::core::denied::Denied;
use crate::limiter::core::line::Line;
use crate::limiter::core::reserved_part::{Parts, ReservedPart};
use crate::limiter::core::status::Status;
use crate::limiter::core::tokens::TokenCount;
use crate::limiter::keyed::core::to_key::ToKey;
use crate::limiter::keyed::ops::handle::KeyHandle;
use crate::limiter::keyed::shell::decide::Decision;
use crate::limiter::keyed::shell::keyed_limiter::SHARED_KEY;
use crate::limiter::ops::acquire::Acquire;
use crate::limiter::ops::limiter::Limiter;
use crate::limiter::ops::quota_limiter::{QuotaLimiter, quota_methods};
use crate::limiter::ops::rate_limiter::RateLimiter;
use crate::limiter::shell::ordered_lock::OrderedLock;
use crate::quota::{Quota, QuotaError};
use crate::unwind::Panics;
use crate::wait::{Progress, Wait};
use crate::wake::Wakers;

impl<K, Q: ?Sized, S, C> RateLimiter for KeyHandle<'_, K, Q, S, C> where Self: Limiter {}

impl<K, Q, S, C> Limiter for KeyHandle<'_, K, Q, S, C>
where
    K: Hash + Borrow<Q> + Send + Sync,
    Q: Eq + ToKey<K> + Sync + ?Sized,
    S: BuildHasher + Send + Sync,
    C: Clock,
{
    fn as_dyn(&self) -> &dyn Limiter {
        self
    }

    fn clock(&self) -> &dyn Clock {
        &self.limiter.clock
    }

    #[inline]
    fn clock_now(&self) -> Timestamp {
        self.limiter.clock.now()
    }

    fn ordered_lock(&self) -> Option<&OrderedLock> {
        Some(&self.limiter.shards[self.shard()].ordered_lock)
    }

    #[inline]
    fn try_acquire_above_at(&self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        if n == 0 {
            return Ok(());
        }
        self.limiter.take(self.key, n, floor, now)
    }

    fn ask(&self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        self.read(now, |line| line.ask(n, floor, now))
    }

    fn try_acquire_with_status_at(&self, n: u64, now: Timestamp) -> (Result<(), Denied>, Status) {
        let take = |line: &mut Line| Ok((line.take(n, 0, now), line.status(n, now)));
        let decided = self.decide(now, true, take);
        decided.unwrap_or_else(|denied| (Err(denied), self.status_at(n, now)))
    }

    fn try_acquire_up_to_at(&self, n: u64, now: Timestamp) -> u64 {
        let decided = self.decide(now, true, |line| Ok(line.take_up_to(n, now)));
        decided.unwrap_or(0)
    }

    fn refund_at(&self, n: u64, now: Timestamp) {
        // The bucket of an absent key is full.
        if !self.limiter.lock(self.shard()).has(self.key) {
            return;
        }
        let refunded = self.change(now, |line| {
            line.on_fill(|account, fill| account.refund(fill, n, || now));
            Ok(())
        });
        debug_assert!(refunded.is_ok(), "it has a place");
    }

    fn charge_at(&self, n: u64, now: Timestamp) {
        // A new key without a place is denied everything anyway, so its debt is not kept.
        let _: Result<(), Denied> = self.change(now, |line| {
            line.debit_all_reserved(now);
            line.on_fill(|_, fill| Account::charge(fill, n, now));
            Ok(())
        });
    }

    fn pause_until_at(&self, until: Timestamp, now: Timestamp) -> Result<(), Denied> {
        self.change(now, |line| {
            line.debit_all_reserved(now);
            // As debt, which is all that a word can hold: the key may become a word again.
            line.on_fill(|_, fill| Account::pause_as_debt(fill, until, now))
        })
    }

    fn available_at(&self, now: Timestamp) -> u64 {
        self.read(now, |line| line.tokens.available(now))
    }

    fn status_at(&self, n: u64, now: Timestamp) -> Status {
        self.read(now, |line| line.status(n, now))
    }

    fn reserve_at(&self, n: u64, max_wait: Duration, now: Timestamp) -> Result<Parts, Denied> {
        if n == 0 {
            return Ok(Parts::default());
        }
        let (mut panics, mut reserved, is_shared) = (Panics::default(), None, Cell::new(false));
        let reserve = |line: &mut Line, _: &mut Wakers| {
            let is_shared = is_shared.get();
            let taken = line.reserve(n, max_wait, now);
            reserved = Some(taken.map(|taken| Parts::of(ReservedPart { is_shared, ..taken })));
        };
        let found = panics.catch(|| self.limiter.with_line(self.key, now, &is_shared, reserve));
        // If another waiter's waker or another key has panicked, the caller never sees the reservation.
        if !panics.is_empty()
            && let Some(Ok(taken)) = &reserved
        {
            self.give_back(taken, Some(now));
        }
        drop(panics);
        match (found, reserved) {
            (Some(Err(denied)), _) => Err(denied),
            (_, Some(reserved)) => reserved,
            (_, None) => unreachable!("it ran to its end"),
        }
    }

    fn give_back(&self, parts: &Parts, now: Option<Timestamp>) {
        for taken in parts.iter() {
            self.with_existing_line(taken.is_shared, |line, read| {
                line.give_back(taken, now.unwrap_or(read));
            });
        }
    }

    fn commit(&self, parts: &Parts) {
        for taken in parts.iter() {
            self.with_existing_line(taken.is_shared, |line, _| line.commit(taken));
        }
    }

    fn poll_turn(
        &self,
        turn: &mut AcquireTurn,
        now: Timestamp,
        waker: &Waker,
    ) -> Progress<Result<(), Denied>> {
        if turn.n == 0 {
            return Progress::Done(Ok(()));
        }
        // Dropped once the lock is released.
        let (mut stale, in_line) = (None, turn.is_in_line());
        let is_shared = Cell::new(in_line && turn.is_shared);
        let poll = |line: &mut Line, wakers: &mut Wakers| {
            // Before the poll: if a waker panics there, the turn still knows which line to leave.
            turn.is_shared = is_shared.get();
            line.poll_turn(turn, now, waker, wakers, &mut stale)
        };
        let polled = self.limiter.with_line(self.key, now, &is_shared, poll);
        polled.unwrap_or_else(|denied| Progress::Done(Err(denied)))
    }

    fn leave_turn(&self, turn: &mut AcquireTurn) {
        let mut left = None;
        self.with_existing_line(turn.is_shared, |line, now| left = line.leave(turn, now));
        // Its own waker, dropped once the lock is released.
        drop(left);
    }
}

impl<K, Q, S, C> QuotaLimiter for KeyHandle<'_, K, Q, S, C>
where
    K: Hash + Borrow<Q> + Send + Sync,
    Q: Eq + ToKey<K> + Sync + ?Sized,
    S: BuildHasher + Send + Sync,
    C: Clock,
{
    fn quota(&self) -> Quota {
        self.limiter.lock(self.shard()).quota(self.key)
    }

    fn set_quota_from(
        &self,
        quota: Quota,
        carry: CarryOver,
        now: Option<Timestamp>,
    ) -> Result<(), QuotaError> {
        self.limiter.set_own_quota(self.key, (quota, carry), now)
    }

    fn tighten_at(&self, remaining: u64, now: Timestamp) {
        // As in `charge_at`.
        let _: Result<(), Denied> = self.change(now, |line| {
            line.debit_all_reserved(now);
            line.on_fill(|_, fill| Account::tighten(fill, remaining, now));
            Ok(())
        });
    }
}

/// The methods of [`QuotaLimiter`] and the waiting ones of [`RateLimiter`](crate::RateLimiter), for
/// callers that have not imported the traits.
impl<K, Q, S, C> KeyHandle<'_, K, Q, S, C>
where
    K: Hash + Borrow<Q> + Send + Sync,
    Q: Eq + ToKey<K> + Sync + ?Sized,
    S: BuildHasher + Send + Sync,
    C: Clock,
{
    quota_methods!();

    /// Same as [`RateLimiter::acquire`](crate::RateLimiter::acquire); the future holds the handle by
    /// value, so it lives as long as the limiter and the key are borrowed.
    ///
    /// # Errors
    /// As [`RateLimiter::acquire`](crate::RateLimiter::acquire), and
    /// [`Denied::TooManyKeys`](crate::Denied::TooManyKeys).
    ///
    /// # Cancel safety
    /// As [`RateLimiter::acquire`](crate::RateLimiter::acquire).
    pub fn acquire(self, n: u64) -> Wait<Acquire<Self>> {
        Acquire::of(self, n)
    }

    /// Same as [`RateLimiter::acquire_timeout`](crate::RateLimiter::acquire_timeout); the future holds
    /// the handle by value.
    ///
    /// # Errors
    /// As [`RateLimiter::acquire_timeout`](crate::RateLimiter::acquire_timeout), and
    /// [`Denied::TooManyKeys`](crate::Denied::TooManyKeys).
    ///
    /// # Cancel safety
    /// As [`RateLimiter::acquire`](crate::RateLimiter::acquire).
    pub fn acquire_timeout(self, n: u64, timeout: Duration) -> Wait<Acquire<Self>> {
        Acquire::of_timeout(self, n, timeout)
    }

    /// Reads the bucket, after its waiters whose turn has come were served.
    fn read<T>(&self, now: Timestamp, read: impl FnOnce(&Line) -> T) -> T {
        let shard = self.limiter.lock(self.shard());
        let Some(at) = shard.lines.find(self.key) else {
            return shard.read(self.key, self.limiter.read_old(), read);
        };
        self.limiter.on_line_at(shard, at, now, |line, wakers| {
            line.serve(now, wakers);
            read(line)
        })
    }

    fn decide<T>(
        &self,
        now: Timestamp,
        takes: bool,
        op: impl Fn(&mut Line) -> Result<T, Denied>,
    ) -> Result<T, Denied> {
        self.limiter.decide(self.key, &Decision { now, takes, op })
    }

    /// Changes the bucket, of a closed limiter too.
    fn change(
        &self,
        now: Timestamp,
        op: impl Fn(&mut Line) -> Result<(), Denied>,
    ) -> Result<(), Denied> {
        if !self.limiter.lock(self.shard()).config().covers(now) {
            self.limiter.move_base(now);
        }
        self.decide(now, false, op)
    }

    /// Runs `op` on the line that a reservation or a turn stands in, if there still is one.
    ///
    /// `op` runs even if the caller's `Eq` or clock panics, and the panic goes on afterwards: a turn that
    /// did not leave would stay in line for ever.
    fn with_existing_line(&self, is_shared: bool, op: impl FnOnce(&mut Line, Timestamp)) {
        let limiter = self.limiter;
        let mut panics = Panics::default();
        // Declared before the lock, and so dropped after it.
        let (mut wakers, mut removed) = (Wakers::default(), None);
        let run = |line: &mut Line, panics: &mut Panics| {
            // Read under the lock, so no taker before has used a later time.
            let now = panics.catch(|| limiter.clock.now());
            let now = now.unwrap_or(line.tokens.fill.known_since);
            op(line, now);
            line.serve(now, &mut wakers);
            now
        };
        if is_shared {
            let mut shared = limiter.caught_up(limiter.shared.write());
            if let Some(at) = shared.lines.find(SHARED_KEY) {
                run(&mut shared.lines.at_mut(at).line, &mut panics);
            }
            drop(shared);
        } else {
            let mut shard = limiter.lock(self.shard());
            let found = panics.catch(|| shard.lines.find(self.key));
            // After a panic in `Eq`, by the hash, which runs no code of the caller's.
            let found = found.unwrap_or_else(|| shard.lines.find_by_hash(self.key.hash));
            if let Some(at) = found {
                let now = run(&mut shard.lines.at_mut(at).line, &mut panics);
                removed = limiter.retire_line(&mut shard, at, now);
            }
            drop(shard);
        }
        drop(removed);
    }
}
