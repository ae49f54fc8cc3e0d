//! The word that a bucket is kept in, by an [`AtomicTokenBucket`](crate::AtomicTokenBucket) and for each
//! key: its layout, and the hot path's arithmetic, without the atomics.
//!
//! A word is `[generation: 7 | held: 1 | virtual time: 56]`. Virtual time is the instant at which the
//! bucket is full again, in units since the *base* of the generation. The base moves forward, with
//! the generation, long before the units of a word run out. While `held` is set, the fill is not
//! here: it is behind the lock, where waiters stand in line.

use crate::clock::Timestamp;
use crate::limiter::core::denied::Denied;
use crate::limiter::core::rate::{Instant, Rate, View, wait_for};
use crate::quota::{QuotaError, Units};

/// Bits of virtual time.
const TIME_BITS: u32 = 56;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;
/// The largest virtual time that a word can hold.
pub(crate) const TIME_MAX: u64 = TIME_MASK;
/// Set while the fill is kept behind the lock. No word of the hot path has it: each lies less than
/// [`TIME_MAX`] beyond the word of its generation at the virtual time zero.
pub(crate) const HELD: u64 = 1 << TIME_BITS;
const GENERATION_SHIFT: u32 = TIME_BITS + 1;
/// Generations that a word tells apart.
pub(crate) const DISTINCT: u64 = 1 << (u64::BITS - GENERATION_SHIFT);
/// Depth, elapsed time and debt each stay below a quarter of the word, so that their sum always
/// fits.
const QUARTER: u64 = 1 << (TIME_BITS - 2);

/// Bases are multiples of 2^18 ns.
const BASE_SHIFT: u32 = 18;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    /// Its low bits count.
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

    /// Whether it is of the generation of that full number, or of one that a word cannot tell from it.
    pub(crate) const fn is_of(self, generation: u64) -> bool {
        self.generation == generation % DISTINCT
    }
}

/// What the virtual times of a generation count from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Base {
    at: Timestamp,
    /// In units since the clock's origin.
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

    /// The bucket of a virtual time.
    #[inline]
    pub(crate) fn view(self, rate: Rate, time: u64) -> View {
        self.view_of(rate, self.units + Instant::from(time))
    }

    /// A bucket that is full at some instant.
    #[inline]
    pub(crate) fn view_of(self, rate: Rate, full_at: Instant) -> View {
        View {
            rate,
            full_at,
            known: self.at,
            most: self.units + Instant::from(TIME_MAX),
        }
    }

    /// Whether a word can hold a bucket that is full at an instant.
    pub(crate) fn holds(self, full_at: Instant) -> bool {
        full_at.saturating_sub(self.units) <= Instant::from(TIME_MAX)
    }

    /// The virtual time of a bucket. Before the base it is full; debt that a word cannot hold is
    /// held as far as it can be.
    #[inline]
    pub(crate) fn time_of(self, full_at: Instant) -> u64 {
        let time = full_at.saturating_sub(self.units);
        u64::try_from(time).unwrap_or(TIME_MAX).min(TIME_MAX)
    }
}

/// A quota as the word sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    pub(crate) units: Units,
    /// The burst in units.
    pub(crate) depth: u64,
    /// Beyond this many nanoseconds after the base, the base has to move.
    pub(crate) horizon: u64,
}

impl Scale {
    /// # Errors
    /// [`QuotaError::BeyondWord`] if burst or rate leave no room in a word.
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

    /// As the arithmetic has it.
    pub(crate) fn rate(&self) -> Rate {
        Rate {
            units: self.units,
            depth: self.depth.into(),
        }
    }

    pub(crate) const fn pace(&self) -> Pace {
        Pace {
            per_nano: self.units.per_nano,
            per_token: self.units.per_token,
            depth: self.depth,
            horizon: self.horizon,
        }
    }

    /// The base for a generation that begins at `now`: some way back, so that threads with an older
    /// time still count from their own.
    pub(crate) const fn base_at(&self, now: u64) -> u64 {
        now.saturating_sub(self.horizon / 8) >> BASE_SHIFT << BASE_SHIFT
    }
}

/// The part of a [`Scale`] that takes go by: no more, since of loads and instructions the hot path
/// has few.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// As in [`Units`].
    pub(crate) per_nano: u64,
    pub(crate) per_token: u64,
    /// As in [`Scale`].
    pub(crate) depth: u64,
    pub(crate) horizon: u64,
}

/// A generation as its words see it: all that most calls need.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words {
    /// The word of a bucket that is full at the base.
    pub(crate) zero: u64,
    /// In nanoseconds.
    pub(crate) base: u64,
    pub(crate) pace: Pace,
}

impl Words {
    pub(crate) const fn new(generation: u64, base: u64, pace: Pace) -> Self {
        let zero = Word {
            generation,
            time: 0,
        };
        Self {
            zero: zero.pack(),
            base,
            pace,
        }
    }

    /// What becomes of a word if `n` tokens are taken at `now` and `floor` remain; `Some(Ok(None))`,
    /// nothing. `None`: it is not for the hot path to say, as the word is not of this generation,
    /// `now` is before the base or too far from it, or the burst is exceeded.
    ///
    /// The word is to be read after the rest: if it is of this generation, the rest is right. Else
    /// the rest may have been read while it changed, and nothing is computed from it.
    #[inline]
    pub(crate) fn take(
        &self,
        word: u64,
        n: u64,
        floor: u64,
        now: u64,
    ) -> Option<Result<Option<u64>, TooEarly>> {
        let Pace {
            per_nano,
            per_token,
            depth,
            horizon,
        } = self.pace;
        let cost = n.saturating_mul(per_token);
        let needed = cost.saturating_add(floor.saturating_mul(per_token));
        let elapsed = now.checked_sub(self.base)?;
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
}

/// Tokens cannot be taken before so many units more have accrued.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TooEarly {
    short: u64,
    per_nano: u64,
}

impl TooEarly {
    /// Whether it is at least so many nanoseconds before they can, and they ever can.
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
mod tests {
    use super::*;
    use crate::quota::Quota;

    #[test]
    fn words_survive_packing_and_none_is_held() {
        for (generation, time) in [(0, 0), (127, TIME_MAX), (7, 1 << 40)] {
            let word = Word { generation, time };
            assert_eq!(Word::unpack(word.pack()), word);
            assert_eq!(Word::unpack(word.pack() | HELD), word);
            assert_eq!(word.pack() & HELD, 0);
            assert!(word.is_of(generation) && word.is_of(generation + DISTINCT));
            assert!(!word.is_of(generation + 1));
        }
    }

    #[test]
    fn a_take_leaves_a_held_word_alone() {
        let scale = Scale::new(Units {
            per_nano: 1,
            per_token: 1,
            burst: 5,
        })
        .unwrap();
        for generation in [0, 1, 126, 127] {
            let words = Words::new(generation, 0, scale.pace());
            for time in [0, 1, TIME_MAX] {
                let word = Word { generation, time }.pack();
                assert!(words.take(word, 1, 0, QUARTER).is_some());
                assert!(words.take(word | HELD, 1, 0, QUARTER).is_none());
            }
        }
    }

    #[test]
    fn the_largest_burst_that_is_named_fits_and_one_more_does_not() {
        let scale = |quota: Quota| Scale::new(quota.units().unwrap());
        let quota = Quota::per_second(999_983).unwrap();
        let Err(QuotaError::BeyondWord { max_burst }) = scale(quota.burst(1_000_000_000).unwrap())
        else {
            panic!("10^9 tokens of 10^9 units do not fit")
        };
        assert!(scale(quota.burst(max_burst).unwrap()).is_ok());
        assert_eq!(
            scale(quota.burst(max_burst + 1).unwrap()).unwrap_err(),
            QuotaError::BeyondWord { max_burst }
        );
    }

    #[test]
    fn a_new_base_is_always_later() {
        for rate in [1, 7, 999_983, 999_999_937, 1_000_000_000_000] {
            let scale = Scale::new(
                Quota::per_second(rate)
                    .unwrap()
                    .burst(1)
                    .unwrap()
                    .units()
                    .unwrap(),
            )
            .unwrap();
            let now = scale.horizon.saturating_add(1);
            assert!(scale.base_at(now) > 0, "{rate}");
            assert!(scale.base_at(now) <= now);
        }
    }

    #[test]
    fn a_pace_read_while_it_is_written_admits_no_word_of_another_generation() {
        let torn = Pace {
            per_nano: 999_983,
            per_token: 1_000_000_000,
            depth: QUARTER,
            horizon: QUARTER,
        };
        let words = Words::new(0, 0, torn);
        for generation in 1..DISTINCT {
            let word = Word {
                generation,
                time: 1 << 50,
            };
            for at in [1 << 36, 1_000_000_000_000, QUARTER] {
                let taken = words.take(word.pack(), 1, 0, at);
                assert!(!matches!(taken, Some(Ok(_))), "{generation}");
            }
        }
    }

    #[test]
    fn a_take_never_carries_into_the_generation() {
        let scale = Scale::new(Units {
            per_nano: 1,
            per_token: QUARTER,
            burst: 1,
        })
        .unwrap();
        for generation in [0, 1, 126, 127] {
            let words = Words::new(generation, 0, scale.pace());
            let take = |word| words.take(word, 1, 0, scale.horizon);
            let full = words.zero + QUARTER;
            assert_eq!(take(words.zero).unwrap().unwrap(), Some(full + QUARTER));
            assert_eq!(take(full).unwrap().unwrap(), Some(full + QUARTER));
            // In debt, however deep.
            for time in [QUARTER + 1, TIME_MAX - QUARTER + 1, TIME_MAX] {
                let Some(Err(TooEarly { short, .. })) = take(words.zero + time) else {
                    panic!("{time} is in debt")
                };
                assert_eq!(short, time - QUARTER);
            }
            // Of the generations before and after.
            assert!(take(words.zero.wrapping_sub(1)).is_none());
            assert!(take(words.zero.wrapping_add(2 * (TIME_MAX + 1))).is_none());
        }
    }
}
