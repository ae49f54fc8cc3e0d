use crate::clock::Timestamp;
use crate::limiter::core::fill::{Beyond, Fill, Held};
use crate::limiter::core::rate::{Instant, Rate, View};
use crate::limiter::shell::cell::WordCell;
use crate::quota::Units;

/// The fill of a bucket, wherever it is kept while the bucket's lock is held.
#[derive(Debug)]
pub(crate) enum BucketFill<'a> {
    Held(&'a mut Held),
    Word(&'a WordCell),
}

impl Fill for BucketFill<'_> {
    fn update<T, E>(
        &mut self,
        now: impl Fn() -> Timestamp,
        decide: impl Fn(&View, Timestamp) -> Result<(Instant, T), E>,
    ) -> Result<Result<T, E>, Beyond> {
        match self {
            Self::Held(held) => held.update(now, decide),
            Self::Word(cell) => cell.update(now, decide),
        }
    }

    fn configure(
        &mut self,
        units: Units,
        now: impl Fn() -> Timestamp,
        full_at: impl Fn(&View, &Rate, Timestamp) -> Instant,
    ) -> Result<(), Beyond> {
        match self {
            Self::Held(held) => held.configure(units, now, full_at),
            Self::Word(cell) => cell.configure(units, now, full_at),
        }
    }

    fn read<T>(&self, read: impl Fn(&View) -> T) -> T {
        match self {
            Self::Held(held) => held.read(read),
            // The word is not held by the holder of the lock, so by nobody.
            Self::Word(cell) => loop {
                if let Some(output) = cell.peek(&read) {
                    break output;
                }
            },
        }
    }
}
