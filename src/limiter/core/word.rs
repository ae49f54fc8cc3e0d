//! The word that a bucket is kept in, by an [`AtomicTokenBucket`](crate::AtomicTokenBucket) and for each
//! key: its layout, and the arithmetic of the hot path, without the atomics.
//!
//! A word is `[generation: 7 | held: 1 | virtual time: 56]`. Virtual time is the instant at which the
//! bucket is full again, in units since the *base* of the generation. The base moves forward, with the
//! generation, long before the units of a word run out. While `held` is set, the fill is behind the
//! lock, where waiters stand in line.

use crate::clock::Timestamp;
use crate::limiter::core::denied::Denied;
use crate::limiter::core::rate::{Instant, Rate, View, wait_for};
use crate::quota::{QuotaError, Units};

/// The bits of virtual time.
const TIME_BITS: u32 = 56;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;
/// The largest virtual time that a word can hold.
pub(crate) const TIME_MAX: u64 = TIME_MASK;
/// Set while the fill is behind the lock. The hot path rejects such a word by the comparison that also
/// rejects other generations: it lies more than [`TIME_MAX`] beyond its generation's virtual time zero.
pub(crate) const HELD: u64 = 1 << TIME_BITS;
const GENERATION_SHIFT: u32 = TIME_BITS + 1;
/// The number of generations that words tell apart.
pub(crate) const DISTINCT: u64 = 1 << (u64::BITS - GENERATION_SHIFT);
/// Depth, elapsed time and debt each stay below a quarter of virtual time, so that their sum fits.
const QUARTER: u64 = 1 << (TIME_BITS - 2);

/// Bases are multiples of 2^18 ns.
const BASE_SHIFT: u32 = 18;

/// A word in its parts, except for [`HELD`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    /// Only its low bits fit the word.
    pub(crate) generation: u64,
    pub(crate) time: u64,
}

impl Word {
    pub(crate) const fn unpack(bits: u64) -> Self {
        Self {
            generation: bits >> GENERATION_SHIFT,
            time: bits & TIME_MASK,
        }
    }

    pub(crate) const fn pack(self) -> u64 {
        (self.generation << GENERATION_SHIFT) + (self.time & TIME_MASK)
    }

    /// Returns whether the word is of the generation with that full number, or of one that words cannot
    /// tell from it.
    pub(crate) const fn is_of(self, generation: u64) -> bool {
        self.generation == generation % DISTINCT
    }
}

/// The instant from which a generation counts virtual time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Base {
    at: Timestamp,
    /// The same instant, in units since the clock's origin.
    units: Instant,
}

impl Base {
    pub(crate) fn new(rate: &Rate, nanos: u64) -> Self {
        let at = Timestamp::from_nanos(nanos);
        let units = rate.at(at);
        Self { at, units }
    }

    #[inline]
    pub(crate) const fn as_nanos(self) -> u64 {
        self.at.as_nanos()
    }

    /// Returns the bucket of a virtual time.
    #[inline]
    pub(crate) fn view(self, rate: Rate, time: u64) -> View {
        self.view_of(rate, self.units + Instant::from(time))
    }

    /// Returns the bucket that is full at an instant.
    #[inline]
    pub(crate) fn view_of(self, rate: Rate, full_at: Instant) -> View {
        View {
            rate,
            full_at,
            known_since: self.at,
            max_full_at: self.units + Instant::from(TIME_MAX),
        }
    }

    /// Returns whether a word can hold a bucket that is full at an instant.
    pub(crate) fn holds(self, full_at: Instant) -> bool {
        full_at.saturating_sub(self.units) <= Instant::from(TIME_MAX)
    }

    /// Returns the virtual time of a bucket, clamped to what a word can hold.
    #[inline]
    pub(crate) fn time_of(self, full_at: Instant) -> u64 {
        let time = full_at.saturating_sub(self.units);
        u64::try_from(time).unwrap_or(TIME_MAX).min(TIME_MAX)
    }
}

/// A quota that fits the word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WordQuota {
    pub(crate) units: Units,
    /// The burst in units.
    pub(crate) depth: u64,
    /// The time after the base, in nanoseconds, beyond which the base has to move.
    pub(crate) horizon: u64,
}

impl WordQuota {
    /// # Errors
    /// [`QuotaError::BeyondWord`] if burst or rate do not fit the word.
    pub(crate) const fn new(units: Units) -> Result<Self, QuotaError> {
        let horizon = match QUARTER.checked_div(units.per_nano) {
            Some(horizon) => horizon,
            None => u64::MAX,
        };
        if horizon >> BASE_SHIFT < 8 {
            return Err(QuotaError::BeyondWord { max_burst: 0 });
        }
        let depth = match units.burst.checked_mul(units.per_token) {
            _ if units.per_token == 0 => 0,
            Some(depth) if depth <= QUARTER => depth,
            _ => {
                return Err(QuotaError::BeyondWord {
                    max_burst: QUARTER / units.per_token,
                });
            }
        };
        Ok(Self {
            units,
            depth,
            horizon,
        })
    }

    /// Returns the quota for arithmetic in 128 bits.
    pub(crate) fn rate(&self) -> Rate {
        Rate {
            units: self.units,
            depth: self.depth.into(),
        }
    }

    /// Returns the base for a generation that begins at `now`: earlier by an eighth of the horizon, so
    /// that a thread with a stale time is still judged by its own time.
    pub(crate) const fn base_at(&self, now: u64) -> u64 {
        now.saturating_sub(self.horizon / 8) >> BASE_SHIFT << BASE_SHIFT
    }
}

/// A generation as the hot path reads it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HotGeneration {
    /// The word of a bucket that is full at the base.
    zero: u64,
    /// The base in nanoseconds.
    base: u64,
    /// Without its burst, which takes do not read: each field is a load on the hot path.
    quota: WordQuota,
}

impl HotGeneration {
    pub(crate) const fn new(generation: u64, base: u64, quota: WordQuota) -> Self {
        let zero = Word {
            generation,
            time: 0,
        };
        Self {
            zero: zero.pack(),
            base,
            quota,
        }
    }

    /// Takes `n` tokens at `now` from a bucket's word, if `floor` remain; returns the next word, or
    /// `Ok(None)` if the word stays.
    ///
    /// `None` means that the hot path cannot decide: the word is held or not of this generation, `now`
    /// is before the base or too far from it, or the burst is exceeded.
    ///
    /// The caller loads the word after the generation. A word of this generation proves that the
    /// generation was read whole; otherwise it may be torn, and nothing is computed from it.
    #[inline]
    pub(crate) fn take(
        &self,
        word: u64,
        n: u64,
        floor: u64,
        now: u64,
    ) -> Option<Result<Option<u64>, TooEarly>> {
        let WordQuota {
            units,
            depth,
            horizon,
        } = self.quota;
        let (per_nano, per_token) = (units.per_nano, units.per_token);
        let cost = n.saturating_mul(per_token);
        let needed = cost.saturating_add(floor.saturating_mul(per_token));
        let elapsed = now.checked_sub(self.base)?;
        // One comparison rejects other generations and held words: both lie outside.
        let time = word.wrapping_sub(self.zero);
        if time > TIME_MAX || elapsed > horizon || needed > depth {
            return None;
        }
        if cost == 0 {
            return Some(Ok(None));
        }
        let at = elapsed * per_nano;
        let latest = at + (depth - needed);
        Some(if time <= latest {
            Ok(Some(word.max(self.zero + at) + cost))
        } else {
            let short = time - latest;
            Err(TooEarly { short, per_nano })
        })
    }

    /// Returns the units that are left at `now` once [`take`](Self::take) at that time has returned `next`.
    #[inline]
    pub(crate) const fn left(&self, next: u64, now: u64) -> u64 {
        let at = (now - self.base) * self.quota.units.per_nano;
        self.zero + at + self.quota.depth - next
    }
}

/// A denial by the hot path: `short` units have to accrue first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TooEarly {
    short: u64,
    per_nano: u64,
}

impl TooEarly {
    /// Returns whether the units accrue at all, and take at least `nanos` nanoseconds.
    #[inline]
    pub(crate) const fn is_at_least(self, nanos: u64) -> bool {
        self.per_nano > 0 && self.short >= nanos.saturating_mul(self.per_nano)
    }

    #[inline]
    pub(crate) fn denied(self, now: Timestamp) -> Denied {
        Denied::after(wait_for(self.short, self.per_nano, now))
    }
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests;
