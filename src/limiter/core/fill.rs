//! The fill of a bucket, in either of its places: behind the lock, or in the word that takers go by.
//! In both a [`View`] decides, so both decide alike.

use crate::clock::Timestamp;
use crate::limiter::core::rate::{Instant, Rate, Refused, View};
use crate::quota::Units;

/// The fill of a bucket behind its lock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LockedFill {
    pub(crate) rate: Rate,
    /// When the bucket is full again.
    pub(crate) full_at: Instant,
    /// The latest time at which a caller took, or at which the quota came into force.
    pub(crate) known_since: Timestamp,
}

impl LockedFill {
    /// Creates a full bucket.
    pub(crate) const fn new(units: Units) -> Self {
        Self {
            rate: Rate::new(units),
            full_at: 0,
            known_since: Timestamp::ZERO,
        }
    }

    /// Takes a fill over from where it was.
    pub(crate) const fn of(view: &View) -> Self {
        Self {
            rate: view.rate,
            full_at: view.full_at,
            known_since: view.known_since,
        }
    }

    #[inline]
    pub(crate) const fn view(&self) -> View {
        View {
            rate: self.rate,
            full_at: self.full_at,
            known_since: self.known_since,
            max_full_at: Instant::MAX,
        }
    }

    /// Takes `n` tokens if `floor` remain.
    #[inline]
    pub(crate) fn take(&mut self, n: u64, floor: u64, now: Timestamp) -> Result<(), Refused> {
        // Not by a `View`, which would copy the fill.
        if let Some(next) = self.rate.take(self.full_at, n, floor, now)? {
            self.known_since = self.known_since.max(now);
            self.full_at = next;
        }
        Ok(())
    }

    /// Sets when the bucket is full, by a decision at `now`.
    #[inline]
    pub(crate) fn set(&mut self, full_at: Instant, now: Timestamp) {
        if full_at > self.full_at {
            self.known_since = self.known_since.max(now);
        }
        self.full_at = full_at;
    }
}

/// A word cannot hold the result: the fill has to move behind the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WordOverflow;

/// Unwraps what was done to a fill behind the lock, which holds every result.
pub(crate) fn never_overflows<T>(done: Result<T, WordOverflow>) -> T {
    done.unwrap_or_else(|WordOverflow| unreachable!("only a word overflows"))
}

/// The fill of a bucket, as the holder of its lock changes it.
pub(crate) trait Fill {
    /// Sets when the bucket is full to what `decide` returns; returns the output of `decide`. A denial
    /// returns the instant unchanged.
    ///
    /// `now` is read when no taker can have used a later time unseen: after the word, and again if
    /// another thread has changed the word.
    ///
    /// # Errors
    /// [`WordOverflow`]; nothing was changed.
    fn update<T>(
        &mut self,
        now: impl Fn() -> Timestamp,
        decide: impl Fn(&View, Timestamp) -> (Instant, T),
    ) -> Result<T, WordOverflow>;

    /// Puts another quota in force, from the time that `now` reads; `full_at` says how the fill
    /// carries over.
    ///
    /// # Errors
    /// [`WordOverflow`]; nothing was changed.
    fn configure(
        &mut self,
        units: Units,
        now: impl Fn() -> Timestamp,
        full_at: impl Fn(&View, &Rate, Timestamp) -> Instant,
    ) -> Result<(), WordOverflow>;

    /// Returns what `read` makes of the bucket.
    fn read<T>(&self, read: impl Fn(&View) -> T) -> T;
}

impl Fill for LockedFill {
    fn update<T>(
        &mut self,
        now: impl Fn() -> Timestamp,
        decide: impl Fn(&View, Timestamp) -> (Instant, T),
    ) -> Result<T, WordOverflow> {
        let now = now();
        let (full_at, output) = decide(&self.view(), now);
        self.set(full_at, now);
        Ok(output)
    }

    fn configure(
        &mut self,
        units: Units,
        now: impl Fn() -> Timestamp,
        full_at: impl Fn(&View, &Rate, Timestamp) -> Instant,
    ) -> Result<(), WordOverflow> {
        let (now, rate) = (now(), Rate::new(units));
        self.full_at = full_at(&self.view(), &rate, now);
        self.known_since = self.known_since.max(now);
        self.rate = rate;
        Ok(())
    }

    fn read<T>(&self, read: impl Fn(&View) -> T) -> T {
        read(&self.view())
    }
}
