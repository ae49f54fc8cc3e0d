//! Where the fill of a bucket is kept while its lock is held: in the state behind the lock, or in
//! the word that takers go by. Whatever is decided is decided by a [`View`], and is the same.

use crate::clock::Timestamp;
use crate::limiter::core::rate::{Instant, Rate, View};
use crate::quota::Units;

/// The fill of a bucket behind a lock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) rate: Rate,
    /// When the bucket is full again.
    pub(crate) full_at: Instant,
    /// The latest instant at which a caller took, or since when the quota is in force.
    pub(crate) known: Timestamp,
}

impl Held {
    /// A full bucket.
    pub(crate) const fn new(units: Units) -> Self {
        Self {
            rate: Rate::new(units),
            full_at: 0,
            known: Timestamp::ZERO,
        }
    }

    #[inline]
    pub(crate) const fn view(&self) -> View {
        View {
            rate: self.rate,
            full_at: self.full_at,
            known: self.known,
            most: Instant::MAX,
        }
    }

    /// Sets when the bucket is full, by a decision at `now`.
    #[inline]
    pub(crate) fn set(&mut self, full_at: Instant, now: Timestamp) {
        if full_at > self.full_at {
            self.known = self.known.max(now);
        }
        self.full_at = full_at;
    }
}

/// A word cannot hold that: its fill has to be held behind the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Beyond;

/// The fill of a bucket, to be changed by the holder of its lock: [`Held`], or a word.
pub(crate) trait Fill {
    /// Changes when the bucket is full to what `decide` makes of it, unless it denies. The time is
    /// read once no taker can have used a later one unseen: after the word, and anew if another
    /// thread has changed it.
    ///
    /// # Errors
    /// [`Beyond`]: a word cannot hold that. Nothing was changed.
    fn update<T, E>(
        &mut self,
        now: impl Fn() -> Timestamp,
        decide: impl Fn(&View, Timestamp) -> Result<(Instant, T), E>,
    ) -> Result<Result<T, E>, Beyond>;

    /// Puts another quota in force, from the time that is read for it; `full_at` says how the fill
    /// carries over.
    ///
    /// # Errors
    /// [`Beyond`]: a word cannot hold that. Nothing was changed.
    fn configure(
        &mut self,
        units: Units,
        now: impl Fn() -> Timestamp,
        full_at: impl Fn(&View, &Rate, Timestamp) -> Instant,
    ) -> Result<(), Beyond>;

    /// What `read` makes of the bucket.
    fn read<T>(&self, read: impl Fn(&View) -> T) -> T;
}

impl Fill for Held {
    fn update<T, E>(
        &mut self,
        now: impl Fn() -> Timestamp,
        decide: impl Fn(&View, Timestamp) -> Result<(Instant, T), E>,
    ) -> Result<Result<T, E>, Beyond> {
        let now = now();
        Ok(decide(&self.view(), now).map(|(full_at, output)| {
            self.set(full_at, now);
            output
        }))
    }

    fn configure(
        &mut self,
        units: Units,
        now: impl Fn() -> Timestamp,
        full_at: impl Fn(&View, &Rate, Timestamp) -> Instant,
    ) -> Result<(), Beyond> {
        let (now, rate) = (now(), Rate::new(units));
        self.full_at = full_at(&self.view(), &rate, now);
        self.known = self.known.max(now);
        self.rate = rate;
        Ok(())
    }

    fn read<T>(&self, read: impl Fn(&View) -> T) -> T {
        read(&self.view())
    }
}
