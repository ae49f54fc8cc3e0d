//! What the queue knows of a key.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::list::{Index, Linked, Links};
use crate::queue::core::priority::Priority;
use crate::queue::core::wheel::Timed;

/// Delays are counted in ticks of a millisecond, rounded up: never early.
pub(crate) const TICK: u64 = 1_000_000;
/// The tick of what will not happen.
pub(crate) const NEVER: u64 = u64::MAX;

/// The tick at whose beginning `at` has passed.
pub(crate) const fn tick_after(at: Timestamp) -> u64 {
    at.as_nanos().div_ceil(TICK)
}

/// The tick at which a delay is over that begins at `now`; 0 if there is none.
#[inline]
pub(crate) fn tick_of(delay: Duration, now: Timestamp) -> u64 {
    if delay.is_zero() {
        0
    } else {
        tick_after(now.saturating_add(delay))
    }
}

/// The last tick whose beginning has passed at `at`. At the end of time all have: there is no later
/// time at which to look.
pub(crate) const fn tick_at(at: Timestamp) -> u64 {
    if at.as_nanos() == u64::MAX {
        tick_after(at)
    } else {
        at.as_nanos() / TICK
    }
}

pub(crate) const fn start_of(tick: u64) -> Timestamp {
    Timestamp::from_nanos(tick.saturating_mul(TICK))
}

/// Laid out by hand, in small words: 40 bytes.
#[derive(Debug)]
pub(crate) struct Entry {
    /// What the index goes by, so that it can grow without the caller's `Hash`.
    pub(crate) hash: Hash,
    pub(crate) links: Links,
    pub(crate) phase: Phase,
    pub(crate) priority: Priority,
    /// Failures in a row; no backoff and no dashboard tells 65,535 of them from more.
    pub(crate) failures: u16,
    /// When the backoff after the last failure is over.
    pub(crate) until: Timestamp,
    /// Ready: since when. Processing: when it was started. Delayed or at rest: when it was started last, or
    /// the end of time.
    pub(crate) since: Timestamp,
    /// Delayed: the tick at which it becomes ready. Processing: the same, for when it is finished,
    /// or `NEVER`.
    pub(crate) due: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It is no key's.
    Free,
    Ready,
    Delayed,
    Processing,
    /// Processing, and added again meanwhile.
    Dirty,
    /// As `Dirty`, but the key is to wait for the backoff, should this run fail.
    DirtyHeld,
    /// No work is pending until `due`, and then it is forgotten.
    Resting,
    /// As `Resting`, of a key that was given up.
    GivenUp,
}

/// A key's hash, folded in half: enough to find its slot among 2^32, and to tell keys apart before
/// they are compared. Both halves count, for hashers that leave one of them empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hash(u32);

impl Hash {
    #[expect(clippy::cast_possible_truncation, reason = "folded")]
    pub(crate) const fn new(whole: u64) -> Self {
        Self((whole >> 32 ^ whole) as u32)
    }

    #[inline]
    pub(crate) const fn bits(self) -> u32 {
        self.0
    }

    /// For a table that wants different bits from both ends.
    #[inline]
    pub(crate) const fn spread(self) -> u64 {
        (self.0 as u64) << 32 | self.0 as u64
    }
}

/// A key's failures in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Failures {
    pub(crate) count: u16,
    /// When the backoff after the last of them is over.
    pub(crate) until: Timestamp,
}

impl Failures {
    /// The tick at which the backoff is over; 0 if there is none.
    pub(crate) const fn tick(self) -> u64 {
        tick_after(self.until)
    }
}

impl Entry {
    #[inline]
    pub(crate) const fn had(&self) -> Failures {
        Failures {
            count: self.failures,
            until: self.until,
        }
    }

    /// A key that is ready, but in no list yet.
    #[inline]
    pub(crate) const fn new(hash: Hash, priority: Priority, now: Timestamp) -> Self {
        Self {
            hash,
            links: Links::new(),
            phase: Phase::Ready,
            priority,
            failures: 0,
            until: Timestamp::ZERO,
            since: now,
            due: NEVER,
        }
    }
}

/// Those that are delayed.
pub(crate) fn delayed(slots: &[Entry]) -> impl Iterator<Item = (Index, &Entry)> {
    let numbered = (0..).zip(slots);
    numbered.filter(|(_, entry)| entry.phase == Phase::Delayed)
}

impl Linked for Entry {
    #[inline]
    fn links(&self) -> &Links {
        &self.links
    }

    #[inline]
    fn links_mut(&mut self) -> &mut Links {
        &mut self.links
    }
}

impl Timed for Entry {
    #[inline]
    fn tick(&self) -> u64 {
        self.due
    }
}
