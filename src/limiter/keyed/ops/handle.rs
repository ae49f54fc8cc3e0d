use std::borrow::Borrow;
use std::cell::Cell;
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::task::Waker;
use std::time::Duration;

use crate::clock::{Clock, SystemClock, Timestamp};
use crate::limiter::core::account::Account;
use crate::limiter::core::acquire_turn::AcquireTurn;
use crate::limiter::core::carry::CarryOver;
use crate::limiter::core::denied::Denied;
use crate::limiter::core::line::Line;
use crate::limiter::core::rate::View;
use crate::limiter::core::reserved_part::{Parts, ReservedPart};
use crate::limiter::core::status::Status;
use crate::limiter::keyed::core::hashed::Hashed;
use crate::limiter::keyed::core::table::Slot;
use crate::limiter::keyed::core::to_key::ToKey;
use crate::limiter::keyed::shell::admit::{Decision, SHARED};
use crate::limiter::keyed::shell::keyed_limiter::KeyedLimiter;
use crate::limiter::ops::acquire::Acquire;
use crate::limiter::ops::limiter::Limiter;
use crate::limiter::ops::quota_limiter::QuotaLimiter;
use crate::limiter::ops::quota_limiter::quota_methods;
use crate::limiter::ops::rate_limiter::RateLimiter;
use crate::limiter::shell::ordered_lock::OrderedLock;
use crate::quota::{Quota, QuotaError};
use crate::unwind::Panics;
use crate::wait::{Progress, Wait};
use crate::wake::Wakers;

/// The bucket of one key: from [`KeyedLimiter::key`].
///
/// It is a [`RateLimiter`], and goes wherever one is asked for. A handle finds its key anew at each
/// call. A key that callers wait for, or have reservations of, is kept apart from the others, with
/// its line; the rest stay eight bytes.
///
/// # Waiting
/// As [every limiter](RateLimiter#waiting), each key by itself: see
/// [`KeyedLimiter`](KeyedLimiter#waiting). A waiter keeps the key's place until it is served or leaves; a
/// new key that finds no place is denied with [`Denied::TooManyKeys`] before it waits, unless it shares
/// a bucket. Dropping a waiter costs nothing.
///
/// ```
/// use tollgate::{KeyedLimiter, Quota, RateLimiter};
///
/// let limiter: KeyedLimiter<String> = KeyedLimiter::new(Quota::per_hour(3)?, 1_000)?;
/// let ada = limiter.key("ada");
/// assert!(ada.try_acquire(2).is_ok());
/// ada.refund(1);
/// assert_eq!(ada.available(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct KeyHandle<'a, K, Q: ?Sized, S = RandomState, C = SystemClock> {
    limiter: &'a KeyedLimiter<K, S, C>,
    key: Hashed<'a, Q>,
}

/// Cache lines of places that are prefetched. Up to four places of 16 bytes in a line come first, and
/// most keys are among those.
const LINES: usize = 3;

impl<K, Q: ?Sized, S, C> Clone for KeyHandle<'_, K, Q, S, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, Q: ?Sized, S, C> Copy for KeyHandle<'_, K, Q, S, C> {}

impl<'a, K, Q: ?Sized, S, C> KeyHandle<'a, K, Q, S, C> {
    #[inline]
    pub(crate) fn new(limiter: &'a KeyedLimiter<K, S, C>, key: Hashed<'a, Q>) -> Self {
        let handle = Self { limiter, key };
        // Each call looks the key up: its cache line comes while the clock is read and a lock taken.
        let table = limiter.shards[handle.shard()].whereabouts.read();
        table.ask::<Slot<K>>(key.hash, LINES);
        handle
    }

    fn shard(&self) -> usize {
        self.limiter.shard_of(self.key.hash)
    }
}

impl<K, Q, S, C> KeyHandle<'_, K, Q, S, C>
where
    K: Hash + Borrow<Q>,
    Q: Eq + ToKey<K> + ?Sized,
    S: BuildHasher,
    C: Clock,
{
    /// What `read` makes of the bucket; takes nothing.
    fn peek<T>(
        &self,
        now: Timestamp,
        by_word: impl FnOnce(&View) -> T,
        in_line: impl FnOnce(&Line) -> T,
    ) -> T {
        // Woken once the lock is released.
        let mut wakers = Wakers::default();
        let mut shard = self.limiter.lock(self.shard());
        if let Some(line) = shard.lines.get_mut(self.key) {
            line.line.serve(now, &mut wakers);
            let output = in_line(&line.line);
            drop(shard);
            return output;
        }
        by_word(&shard.view(self.key, self.limiter.carry()))
    }

    /// Changes what a closed limiter changes too. A new key that finds no place is denied everything
    /// anyway.
    fn change(
        &self,
        now: Timestamp,
        by_word: impl Fn(&View) -> Result<u128, Denied>,
        in_line: impl Fn(&mut Line) -> Result<(), Denied>,
    ) -> Result<(), Denied> {
        if !self.limiter.lock(self.shard()).generation().covers(now) {
            self.limiter.move_base(now);
        }
        let decision = Decision {
            now,
            takes: false,
            by_word: |view: &View| by_word(view).map(|full_at| (full_at, ())),
            in_line,
        };
        self.limiter.decide(self.key, &decision)
    }

    /// Runs `op` on the line in which a reservation or a turn stands, if that is still there. What
    /// leaves goes also if the caller's `Eq` or clock panics: else it would stand there for ever.
    fn in_its_line(&self, is_shared: bool, op: impl FnOnce(&mut Line, Timestamp, &mut Wakers)) {
        let limiter = self.limiter;
        // Goes on once all is done.
        let mut panics = Panics::default();
        // Woken, and dropped, once the lock is released.
        let (mut wakers, mut gone) = (Wakers::default(), None);
        let run = |line: &mut Line, panics: &mut Panics| {
            // Under the lock, so that no taker before has used a later time.
            let now = panics.catch(|| limiter.clock.now());
            let now = now.unwrap_or(line.tokens.fill.known_since);
            op(line, now, &mut wakers);
            line.serve(now, &mut wakers);
            now
        };
        if is_shared {
            let mut shared = limiter.caught_up(limiter.shared.write());
            if let Some(line) = shared.lines.get_mut(SHARED) {
                run(&mut line.line, &mut panics);
            }
            drop(shared);
        } else {
            let mut shard = limiter.lock(self.shard());
            let found = panics.catch(|| shard.lines.find(self.key));
            let found = found.unwrap_or_else(|| shard.lines.find_by_hash(self.key.hash));
            if let Some(at) = found {
                let now = run(&mut shard.lines.at_mut(at).line, &mut panics);
                gone = limiter.tidy(&mut shard, at, now);
            }
            drop(shard);
        }
        drop(gone);
    }
}

impl<K, Q, S, C> RateLimiter for KeyHandle<'_, K, Q, S, C>
where
    K: Hash + Borrow<Q> + Send + Sync,
    Q: Eq + ToKey<K> + Sync + ?Sized,
    S: BuildHasher + Send + Sync,
    C: Clock,
{
}

impl<K, Q, S, C> Limiter for KeyHandle<'_, K, Q, S, C>
where
    K: Hash + Borrow<Q> + Send + Sync,
    Q: Eq + ToKey<K> + Sync + ?Sized,
    S: BuildHasher + Send + Sync,
    C: Clock,
{
    #[inline]
    fn clock_now(&self) -> Timestamp {
        self.limiter.clock.now()
    }

    #[inline]
    fn try_acquire_above_at(&self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        if n == 0 {
            return Ok(());
        }
        self.limiter.take(self.key, n, floor, now)
    }

    fn try_acquire_with_status_at(&self, n: u64, now: Timestamp) -> (Result<(), Denied>, Status) {
        let by_word = |view: &View| Ok(Status::of_take(view, n, now));
        let in_line = |line: &mut Line| {
            let taken = line.take(n, 0, now);
            Ok((taken, line.status(n, now)))
        };
        let decision = Decision {
            now,
            takes: true,
            by_word,
            in_line,
        };
        let decided = self.limiter.decide(self.key, &decision);
        decided.unwrap_or_else(|denied| (Err(denied), self.status_at(n, now)))
    }

    fn try_acquire_up_to_at(&self, n: u64, now: Timestamp) -> u64 {
        let decision = Decision {
            now,
            takes: true,
            by_word: |view: &View| Ok(view.take_up_to(n, now)),
            in_line: |line: &mut Line| Ok(line.take_up_to(n, now)),
        };
        self.limiter.decide(self.key, &decision).unwrap_or(0)
    }

    fn refund_at(&self, n: u64, now: Timestamp) {
        // Those of keys that are not here are all there already.
        if !self.limiter.lock(self.shard()).has(self.key) {
            return;
        }
        let refunded = self.change(
            now,
            |view| Ok(view.refund(n, Timestamp::ZERO, now).0),
            |line| {
                line.on_fill(|account, fill| account.refund(fill, n, || now));
                Ok(())
            },
        );
        debug_assert!(refunded.is_ok(), "it has a place");
    }

    fn charge_at(&self, n: u64, now: Timestamp) {
        // A new key that finds no place shares a bucket, or is denied everything anyway.
        let _: Result<(), Denied> = self.change(
            now,
            |view| Ok(view.full_at_after_charge(n, now)),
            |line| {
                line.debit_all_reserved(now);
                line.on_fill(|_, fill| Account::charge(fill, n, now));
                Ok(())
            },
        );
    }

    fn pause_until_at(&self, until: Timestamp, now: Timestamp) -> Result<(), Denied> {
        self.change(
            now,
            |view| view.pause_until(until, now).map(|(full_at, ())| full_at),
            |line| {
                line.debit_all_reserved(now);
                // A word has only debt for it, and a key may be moved back to one.
                line.on_fill(|_, fill| Account::pause_as_debt(fill, until, now))
            },
        )
    }

    fn available_at(&self, now: Timestamp) -> u64 {
        self.peek(
            now,
            |view| view.available(now),
            |line| line.tokens.fill.view().available(now),
        )
    }

    fn status_at(&self, n: u64, now: Timestamp) -> Status {
        self.peek(
            now,
            |view| Status::of(view, n, now),
            |line| line.status(n, now),
        )
    }

    fn as_dyn(&self) -> &dyn Limiter {
        self
    }

    fn clock(&self) -> &dyn Clock {
        &self.limiter.clock
    }

    fn ordered_lock(&self) -> Option<&OrderedLock> {
        Some(&self.limiter.shards[self.shard()].ordered_lock)
    }

    fn ask(&self, n: u64, floor: u64, now: Timestamp) -> Result<(), Denied> {
        if n == 0 {
            return Ok(());
        }
        self.limiter.lock(self.shard()).check_open()?;
        self.peek(
            now,
            |view| view.take(n, floor, now).map(drop),
            |line| line.ask(n, floor, now),
        )
    }

    fn reserve_at(&self, n: u64, max_wait: Duration, now: Timestamp) -> Result<Parts, Denied> {
        if n == 0 {
            return Ok(Parts::new());
        }
        let (mut panics, mut reserved, is_shared) = (Panics::default(), None, Cell::new(false));
        let reserve = |line: &mut Line, _: &mut Wakers| {
            let is_shared = is_shared.get();
            let taken = line.reserve(n, max_wait, now);
            reserved =
                Some(taken.map(|taken| Parts::from_elem(ReservedPart { is_shared, ..taken }, 1)));
        };
        let found = panics.catch(|| self.limiter.in_line(self.key, now, &is_shared, reserve));
        // Another's waker or key has panicked, and nobody will know of it.
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
        for taken in parts {
            self.in_its_line(taken.is_shared, |line, read, _| {
                line.give_back(taken, now.unwrap_or(read));
            });
        }
    }

    fn commit(&self, parts: &Parts) {
        for taken in parts {
            self.in_its_line(taken.is_shared, |line, _, _| line.commit(taken));
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
            // First, so that it is known where to leave from if a waker panics.
            turn.is_shared = is_shared.get();
            line.poll_turn(turn, now, waker, wakers, &mut stale)
        };
        let polled = self.limiter.in_line(self.key, now, &is_shared, poll);
        polled.unwrap_or_else(|denied| Progress::Done(Err(denied)))
    }

    fn leave_turn(&self, turn: &mut AcquireTurn) {
        let mut left = None;
        self.in_its_line(turn.is_shared, |line, now, wakers| {
            let behind;
            (left, behind) = line.leave(turn, now);
            wakers.extend(behind);
        });
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
        self.limiter.set_own(self.key, (quota, carry), now)
    }

    fn tighten_at(&self, remaining: u64, now: Timestamp) {
        let _: Result<(), Denied> = self.change(
            now,
            |view| Ok(view.tighten(remaining, now)),
            |line| {
                line.debit_all_reserved(now);
                line.on_fill(|_, fill| Account::tighten(fill, remaining, now));
                Ok(())
            },
        );
    }
}

/// As in [`QuotaLimiter`] and [`RateLimiter`], without importing them, or for as long as the limiter
/// is borrowed.
impl<K, Q, S, C> KeyHandle<'_, K, Q, S, C>
where
    K: Hash + Borrow<Q> + Send + Sync,
    Q: Eq + ToKey<K> + Sync + ?Sized,
    S: BuildHasher + Send + Sync,
    C: Clock,
{
    quota_methods!();

    /// As [`RateLimiter::acquire`], of a handle that the future holds by value.
    ///
    /// # Errors
    /// As there, and [`Denied::TooManyKeys`].
    ///
    /// # Cancel safety
    /// As there.
    ///
    /// ```
    /// use tollgate::{KeyedLimiter, Quota, RateLimiter};
    ///
    /// let limiter = KeyedLimiter::<u64>::new(Quota::per_hour(2)?, 100)?;
    /// limiter.key(&7).acquire(2).wait()?; // `.await?` in a task
    /// assert!(limiter.key(&7).try_acquire(1).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn acquire(self, n: u64) -> Wait<Acquire<Self>> {
        Acquire::of(self, n)
    }

    /// As [`RateLimiter::acquire_timeout`], of a handle that the future holds by value.
    ///
    /// # Errors
    /// As there, and [`Denied::TooManyKeys`].
    ///
    /// # Cancel safety
    /// As there.
    pub fn acquire_timeout(self, n: u64, timeout: Duration) -> Wait<Acquire<Self>> {
        Acquire::of_timeout(self, n, timeout)
    }
}

impl<K, Q: ?Sized, S, C> fmt::Debug for KeyHandle<'_, K, Q, S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the key, which need not be printable.
        f.debug_struct("KeyHandle")
            .field("limiter", self.limiter)
            .finish_non_exhaustive()
    }
}
