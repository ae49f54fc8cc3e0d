//! The layout and arithmetic of the one word of an [`AtomicTokenBucket`](super::AtomicTokenBucket),
//! without the atomics.
//!
//! A word is `[generation: 8 | virtual time: 56]`. Virtual time is the instant at which the bucket
//! is full again, in units since the *base* of the generation. The base stands in a slot, as an
//! anchor `[generation: 16 | configuration: 2 | base: 46]`; it moves forward, with the generation,
//! long before the units of a word run out.

use crate::quota::{QuotaError, Units};

/// Bits of virtual time.
const TIME_BITS: u32 = 56;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;
/// The largest virtual time that a word can hold.
pub(super) const TIME_MAX: u64 = TIME_MASK;
/// Depth, elapsed time and debt each stay below a quarter of the word, so that their sum always
/// fits.
const QUARTER: u64 = 1 << (TIME_BITS - 2);

/// A base is kept in steps of 2^18 ns, so that 46 bits reach as far as the clock does.
const BASE_SHIFT: u32 = 18;
const BASE_BITS: u32 = 46;

/// Configurations that an anchor can name.
pub(super) const CONFIGS: u8 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) generation: u8,
    pub(super) time: u64,
}

impl Word {
    pub(super) const fn unpack(bits: u64) -> Self {
        Self {
            generation: (bits >> TIME_BITS) as u8,
            time: bits & TIME_MASK,
        }
    }

    pub(super) const fn pack(self) -> u64 {
        (self.generation as u64) << TIME_BITS | self.time & TIME_MASK
    }
}

/// What a slot says of a generation: its full number, its configuration, and its base in
/// nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Anchor {
    pub(super) generation: u16,
    pub(super) config: u8,
    pub(super) base: u64,
}

impl Anchor {
    #[expect(clippy::cast_possible_truncation, reason = "two bits are left")]
    pub(super) const fn unpack(bits: u64) -> Self {
        Self {
            generation: (bits >> 48) as u16,
            config: (bits >> BASE_BITS & (CONFIGS as u64 - 1)) as u8,
            base: bits << (u64::BITS - BASE_BITS) >> (u64::BITS - BASE_BITS - BASE_SHIFT),
        }
    }

    pub(super) const fn pack(self) -> u64 {
        (self.generation as u64) << 48 | (self.config as u64) << BASE_BITS | self.base >> BASE_SHIFT
    }

    /// The generation as a word has it.
    #[expect(clippy::cast_possible_truncation, reason = "the low bits are meant")]
    pub(super) const fn short_generation(self) -> u8 {
        self.generation as u8
    }

    /// Whether a word of this generation may be read with this anchor.
    pub(super) const fn is_for(self, word: Word) -> bool {
        self.short_generation() == word.generation
    }
}

/// A quota as the word sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    pub(super) units: Units,
    /// The burst in units.
    pub(super) depth: u64,
    /// Beyond this many nanoseconds after the base, the base has to move.
    pub(super) horizon: u64,
}

impl Scale {
    /// # Errors
    /// [`QuotaError::BeyondWord`] if burst or rate leave no room in a word.
    pub(super) fn new(units: Units) -> Result<Self, QuotaError> {
        let horizon = QUARTER.checked_div(units.per_nano).unwrap_or(u64::MAX);
        if horizon >> BASE_SHIFT < 8 {
            return Err(QuotaError::BeyondWord { max_burst: 0 });
        }
        let depth = match units.per_token {
            0 => 0,
            per_token => {
                let depth = units
                    .burst
                    .checked_mul(per_token)
                    .filter(|depth| *depth <= QUARTER);
                depth.ok_or(QuotaError::BeyondWord {
                    max_burst: QUARTER / per_token,
                })?
            }
        };
        Ok(Self {
            units,
            depth,
            horizon,
        })
    }

    /// The same rate with another burst, no larger than one that fitted.
    pub(super) fn with_burst(&self, burst: u64) -> Self {
        let units = Units {
            burst,
            ..self.units
        };
        Self {
            units,
            depth: burst.wrapping_mul(self.units.per_token),
            ..*self
        }
    }

    /// The base for a generation that begins at `now`: some way back, so that threads with an older
    /// time still count from their own.
    pub(super) const fn base_at(&self, now: u64) -> u64 {
        now.saturating_sub(self.horizon / 8) >> BASE_SHIFT << BASE_SHIFT
    }

    /// A virtual time counted from `base`, counted from the later base `to`. One that lies before
    /// it is full: zero.
    pub(super) const fn rebase(&self, time: u64, base: u64, to: u64) -> u64 {
        time.saturating_sub(to.saturating_sub(base).saturating_mul(self.units.per_nano))
    }

    /// With the bucket full at `time`, and now `at`: the virtual time after `cost` is taken, if
    /// `floor` is left then; else the one that would have had to come. Wraps rather than panics on
    /// values that were read while they changed; the caller finds that out.
    #[inline]
    pub(super) const fn take(&self, time: u64, at: u64, cost: u64, floor: u64) -> Result<u64, u64> {
        let next = (if time > at { time } else { at }).wrapping_add(cost);
        let limit = at.wrapping_add(self.depth);
        let wanted = next.wrapping_add(floor);
        if wanted <= limit {
            Ok(next)
        } else {
            Err(wanted)
        }
    }
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use super::*;
    use crate::Quota;

    #[test]
    fn words_and_anchors_survive_packing() {
        for (generation, time) in [(0, 0), (255, TIME_MAX), (7, 1 << 40)] {
            let word = Word { generation, time };
            assert_eq!(Word::unpack(word.pack()), word);
        }
        let anchor = Anchor {
            generation: 0xabcd,
            config: 3,
            base: u64::MAX >> BASE_SHIFT << BASE_SHIFT,
        };
        assert_eq!(Anchor::unpack(anchor.pack()), anchor);
        assert!(anchor.is_for(Word {
            generation: 0xcd,
            time: 0
        }));
        assert!(!anchor.is_for(Word {
            generation: 0xce,
            time: 0
        }));
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
}
