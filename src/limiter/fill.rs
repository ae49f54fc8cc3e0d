//! Where the fill of a bucket is kept while its lock is held: in the state behind the lock, or in
//! the word that takers go by. Whatever is decided is decided by a [`View`], and is the same.

use super::cell::{Beyond, WordCell};
use super::rate::{Instant, Rate, View};
use crate::clock::Timestamp;
use crate::quota::Units;

/// The fill of a bucket behind a lock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) rate: Rate,
    /// When the bucket is full again.
    pub(super) full_at: Instant,
    /// The latest instant at which a caller took, or since when the quota is in force.
    pub(super) known: Timestamp,
}

impl Held {
    /// A full bucket.
    pub(super) const fn new(units: Units) -> Self {
        Self {
            rate: Rate::new(units),
            full_at: 0,
            known: Timestamp::ZERO,
        }
    }

    #[inline]
    pub(super) const fn view(&self) -> View {
        View {
            rate: self.rate,
            full_at: self.full_at,
            known: self.known,
            most: Instant::MAX,
        }
    }

    /// Sets when the bucket is full, by a decision at `now`.
    #[inline]
    pub(super) fn set(&mut self, full_at: Instant, now: Timestamp) {
        if full_at > self.full_at {
            self.known = self.known.max(now);
        }
        self.full_at = full_at;
    }
}

/// The fill of a bucket, to be changed by the holder of its lock.
#[derive(Debug)]
pub(super) enum Fill<'a> {
    Held(&'a mut Held),
    Word(&'a WordCell),
}

impl Fill<'_> {
    /// Changes when the bucket is full to what `decide` makes of it, unless it denies. The time is
    /// read once no taker can have used a later one unseen: after the word, and anew if another
    /// thread has changed it.
    ///
    /// # Errors
    /// [`Beyond`]: a word cannot hold that. Nothing was changed.
    pub(super) fn update<T, E>(
        &mut self,
        now: impl Fn() -> Timestamp,
        decide: impl Fn(&View, Timestamp) -> Result<(Instant, T), E>,
    ) -> Result<Result<T, E>, Beyond> {
        match self {
            Self::Word(cell) => cell.update(now, decide),
            Self::Held(held) => {
                let now = now();
                Ok(decide(&held.view(), now).map(|(full_at, output)| {
                    held.set(full_at, now);
                    output
                }))
            }
        }
    }

    /// Puts another quota in force, from the time that is read for it; `full_at` says how the fill
    /// carries over.
    ///
    /// # Errors
    /// [`Beyond`]: a word cannot hold that. Nothing was changed.
    pub(super) fn configure(
        &mut self,
        units: Units,
        now: impl Fn() -> Timestamp,
        full_at: impl Fn(&View, &Rate, Timestamp) -> Instant,
    ) -> Result<(), Beyond> {
        match self {
            Self::Word(cell) => cell.configure(units, now, full_at),
            Self::Held(held) => {
                let (now, rate) = (now(), Rate::new(units));
                held.full_at = full_at(&held.view(), &rate, now);
                held.known = held.known.max(now);
                held.rate = rate;
                Ok(())
            }
        }
    }

    /// What `read` makes of the bucket.
    pub(super) fn read<T>(&self, read: impl Fn(&View) -> T) -> T {
        match self {
            Self::Held(held) => read(&held.view()),
            // The word is not held by the holder of the lock, so by nobody.
            Self::Word(cell) => loop {
                if let Some(output) = cell.peek(&read) {
                    break output;
                }
            },
        }
    }
}
