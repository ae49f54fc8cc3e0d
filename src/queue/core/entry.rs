//! The entry of a key: its phase, its due tick and its failures. Time is counted in ticks.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::list::{Linked, Links};
use crate::queue::core::priority::Priority;

/// The length of a tick in nanoseconds: 1 ms. Delays are rounded up to ticks, so no key is early.
pub(crate) const TICK: u64 = 1_000_000;
/// The tick of a key that is not scheduled.
pub(crate) const NEVER: u64 = u64::MAX;

/// Returns the first tick that starts at or after `at`.
pub(crate) const fn tick_after(at: Timestamp) -> u64 {
    at.as_nanos().div_ceil(TICK)
}

/// Returns the tick at which a delay from `now` ends; 0 for no delay.
#[inline]
pub(crate) fn tick_of(delay: Duration, now: Timestamp) -> u64 {
    if delay.is_zero() {
        0
    } else {
        tick_after(now.saturating_add(delay))
    }
}

/// Returns the last tick that starts at or before `at`. At `Timestamp::MAX` it rounds up: no clock
/// reads a later time, so a key that is due then would never be.
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

/// 40 bytes: small integers in an order without padding.
pub(crate) struct KeyEntry {
    /// Kept so that the index can grow without calling the caller's `Hash` under the lock.
    pub(crate) hash: KeyHash,
    pub(crate) links: Links,
    pub(crate) phase: Phase,
    pub(crate) priority: Priority,
    /// Failures in a row, saturating.
    pub(crate) failures: u16,
    /// The end of the backoff after the last failure.
    pub(crate) backoff_until: Timestamp,
    /// Ready: when the key became ready. Processing: its start. Delayed or resting: its last start,
    /// or `Timestamp::MAX` if it was never started.
    pub(crate) since: Timestamp,
    /// Delayed: the tick at which the key becomes ready. Processing: the tick of its next run, or
    /// `NEVER`. Resting: the tick at which it becomes absent.
    pub(crate) due: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The slot is free; in the index it is a tombstone.
    Free,
    Ready,
    Delayed,
    Processing,
    /// Processing, and added again since the start.
    Dirty,
    /// Same as `Dirty`, but if this run fails the key waits for its backoff.
    DirtyHoldBackoff,
    /// No work is pending; the key is remembered until `due`.
    Resting,
    /// Same as `Resting`, for a key that was given up.
    GivenUp,
}

/// A key's hash, folded to 32 bits: enough to find one of 2^32 slots, and to tell most keys apart
/// before `Eq` is called. Folding keeps the entropy of hashers that leave one half empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyHash(u32);

impl KeyHash {
    #[expect(clippy::cast_possible_truncation, reason = "folded")]
    pub(crate) const fn new(whole: u64) -> Self {
        Self((whole >> 32 ^ whole) as u32)
    }

    #[inline]
    pub(crate) const fn bits(self) -> u32 {
        self.0
    }

    /// Returns a hash for `hashbrown`, which takes the bucket from the low bits and the tag from the
    /// high ones.
    #[inline]
    pub(crate) const fn spread(self) -> u64 {
        (self.0 as u64) << 32 | self.0 as u64
    }
}

/// A key's failures in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Failures {
    pub(crate) count: u16,
    /// The end of the backoff after the last of them; zero without one.
    pub(crate) backoff_until: Timestamp,
}

impl Failures {
    /// Returns the tick at which the backoff ends; 0 without one.
    pub(crate) const fn backoff_tick(self) -> u64 {
        tick_after(self.backoff_until)
    }
}

impl KeyEntry {
    #[inline]
    pub(crate) const fn recorded_failures(&self) -> Failures {
        Failures {
            count: self.failures,
            backoff_until: self.backoff_until,
        }
    }

    /// Creates the entry of a ready key, which is in no list yet.
    #[inline]
    pub(crate) const fn new(hash: KeyHash, priority: Priority, now: Timestamp) -> Self {
        Self {
            hash,
            links: Links::new(),
            phase: Phase::Ready,
            priority,
            failures: 0,
            backoff_until: Timestamp::ZERO,
            since: now,
            due: NEVER,
        }
    }
}

impl Linked for KeyEntry {
    #[inline]
    fn links(&self) -> &Links {
        &self.links
    }

    #[inline]
    fn links_mut(&mut self) -> &mut Links {
        &mut self.links
    }
}
