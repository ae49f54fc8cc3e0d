//! The fill of a bucket while its lock is held: in the word, or behind the lock.

use crate::clock::Timestamp;
use crate::limiter::core::fill::{Fill, LockedFill, WordOverflow};
use crate::limiter::core::rate::{Instant, Rate, View};
use crate::limiter::shell::word_cell::WordCell;
use crate::quota::Units;

#[derive(Debug)]
pub(crate) enum BucketFill<'a> {
    Locked(&'a mut LockedFill),
    Word(&'a WordCell),
}

impl Fill for BucketFill<'_> {
    fn update<T>(
        &mut self,
        now: impl Fn() -> Timestamp,
        decide: impl Fn(&View, Timestamp) -> (Instant, T),
    ) -> Result<T, WordOverflow> {
        match self {
            Self::Locked(fill) => fill.update(now, decide),
            Self::Word(cell) => cell.update(now, decide),
        }
    }

    fn configure(
        &mut self,
        units: Units,
        now: impl Fn() -> Timestamp,
        full_at: impl Fn(&View, &Rate, Timestamp) -> Instant,
    ) -> Result<(), WordOverflow> {
        match self {
            Self::Locked(fill) => fill.configure(units, now, full_at),
            Self::Word(cell) => cell.configure(units, now, full_at),
        }
    }

    fn read<T>(&self, read: impl Fn(&View) -> T) -> T {
        match self {
            Self::Locked(fill) => fill.read(read),
            Self::Word(cell) => {
                let output = cell.peek(read);
                output.expect("only the writer holds the word, and it has not")
            }
        }
    }
}
