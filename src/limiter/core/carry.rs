//! What becomes of the fill of a bucket when its quota changes.

use crate::clock::Timestamp;
use crate::limiter::core::rate::{Instant, Rate, View};
use crate::quota::Units;

/// How the fill of a bucket carries over to a new quota.
///
/// By one rule other than [`Full`](Self::Full), changing a quota back and forth gains nothing.
/// [`Tokens`](Self::Tokens) and [`Empty`](Self::Empty) never add a token;
/// [`Fraction`](Self::Fraction) adds as many as the new burst is larger, and takes them away again, so
/// do not go one way by it and back by another rule. No limit is a grant, too: a limiter that had none
/// had as many tokens as were asked for, and starts full, unless by [`Empty`](Self::Empty).
///
/// What leases hold counts as taken. A [pause](crate::RateLimiter::pause_until)
/// stays, and may grow as debt does: at a rate of zero it never ends.
///
/// ```
/// use tollgate::{AtomicTokenBucket, CarryOver, Quota, RateLimiter};
///
/// for (rule, left) in [
///     (CarryOver::Tokens, 5),
///     (CarryOver::Fraction, 50),
///     (CarryOver::Empty, 0),
///     (CarryOver::Full, 100),
/// ] {
///     let bucket = AtomicTokenBucket::new(Quota::per_day(10)?)?;
///     assert!(bucket.try_acquire(5).is_ok());
///     bucket.set_quota(Quota::per_day(100)?, rule)?;
///     assert_eq!(bucket.available(), left);
/// }
/// # Ok::<(), tollgate::QuotaError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CarryOver {
    /// The tokens stay, and so does the debt. What the new burst cannot hold is lost.
    #[default]
    Tokens,
    /// The bucket stays as full as it was: of half a bucket, half the new one. Debt stays, in
    /// tokens.
    Fraction,
    /// The bucket starts empty. Debt stays.
    Empty,
    /// The bucket starts full: a grant, and the end of all debt and of a pause.
    Full,
}

impl CarryOver {
    /// What is missing to full after the change, in units of `new`, if `missing` units of `old`
    /// were missing before: rounded up, so that rounding never adds a token.
    fn missing(self, old: Units, new: Units, missing: u128) -> u128 {
        let (old_depth, new_depth) = (old.depth(), new.depth());
        if new.per_token == 0 || self == Self::Full {
            return 0;
        }
        let debt = convert(missing.saturating_sub(old_depth), old, new);
        let kept = match self {
            Self::Tokens => {
                // Rounding down what is there is rounding up what is missing.
                let there = old_depth.saturating_sub(missing);
                new_depth.saturating_sub(convert_down(there, old, new).min(new_depth))
            }
            Self::Fraction => mul_div_up(missing.min(old_depth), new_depth, old_depth),
            Self::Empty | Self::Full => new_depth,
        };
        // Far more than can ever be paid, and far less than would overflow.
        kept.saturating_add(debt).min(1 << 126)
    }
}

/// A change of the quota, and what it leaves as it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    pub(crate) carry: CarryOver,
    /// Tokens that leases have carved out of the bursts before and after.
    pub(crate) carved: u64,
    /// No token is to be had before.
    pub(crate) paused: Timestamp,
}

impl Change {
    /// While there are no leases and no pause.
    pub(crate) const fn new(carry: CarryOver) -> Self {
        Self {
            carry,
            carved: 0,
            paused: Timestamp::ZERO,
        }
    }

    /// When a bucket is full by the rate `new`, in force from `now` on.
    pub(crate) fn full_at(&self, bucket: &View, new: &Rate, now: Timestamp) -> Instant {
        let (old, since) = (&bucket.rate, bucket.since(now));
        let missing = bucket.full_at.saturating_sub(old.at(since));
        let missing = self.missing(old.units, new.units, missing);
        let carried = new.at(since).saturating_add(missing);
        carried.max(new.first_after(self.paused, now))
    }

    /// As [`CarryOver::missing`], where what is carved out counts as missing to the whole.
    fn missing(&self, old: Units, new: Units, missing: u128) -> u128 {
        let carved = |units: Units| u128::from(self.carved) * u128::from(units.per_token);
        let whole = |units: Units| Units {
            burst: units.burst.saturating_add(self.carved),
            ..units
        };
        let missing = missing.saturating_add(carved(old));
        let whole = self.carry.missing(whole(old), whole(new), missing);
        whole.saturating_sub(carved(new))
    }
}

/// Units of `old` as units of `new`, for the same tokens. An unlimited quota has as many tokens as
/// are asked for.
fn convert_down(amount: u128, old: Units, new: Units) -> u128 {
    if old.per_token == 0 {
        return u128::MAX;
    }
    let (from, to) = (u128::from(old.per_token), u128::from(new.per_token));
    // Below 2^62 each, so the second product fits; whole tokens times their cost are bounded by the
    // quota's maxima.
    (amount / from)
        .saturating_mul(to)
        .saturating_add(amount % from * to / from)
}

fn convert(amount: u128, old: Units, new: Units) -> u128 {
    // Without a limit nothing is owed.
    if old.per_token == 0 {
        return 0;
    }
    let (from, to) = (u128::from(old.per_token), u128::from(new.per_token));
    (amount / from)
        .saturating_mul(to)
        .saturating_add((amount % from * to).div_ceil(from))
}

/// `a * b / c`, rounded up, for a <= c; exact although the product needs 256 bits. 0 / 0 is 0.
fn mul_div_up(a: u128, b: u128, c: u128) -> u128 {
    if c == 0 {
        return 0;
    }
    // Long multiplication from the top bit of b: quotient and remainder double with each bit. As a
    // <= c, neither step leaves more than 2c + a behind, and c is below 2^125.
    let (mut quotient, mut rest) = (0_u128, 0_u128);
    for bit in (0..u128::BITS).rev() {
        let add = if b >> bit & 1 == 1 { a } else { 0 };
        let sum = 2 * rest + add;
        quotient = 2 * quotient + sum / c;
        rest = sum % c;
    }
    quotient + u128::from(rest > 0)
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn units() -> impl Strategy<Value = Units> {
        (0..1_000_u64, 1..1_000_u64, 1..1_000_u64).prop_map(|(per_nano, per_token, burst)| Units {
            per_nano,
            per_token,
            burst,
        })
    }

    /// Tokens there, in 1 / (per_token) parts: to compare fills of different quotas exactly.
    fn there(units: Units, missing: u128) -> (i128, i128) {
        (
            (units.depth() as i128) - missing as i128,
            i128::from(units.per_token),
        )
    }

    proptest! {
        #[test]
        fn no_rule_but_full_adds_a_token(old in units(), new in units(), missing in 0..3_000_000_u128) {
            for rule in [CarryOver::Tokens, CarryOver::Empty] {
                let (before, before_scale) = there(old, missing);
                let (after, after_scale) = there(new, rule.missing(old, new, missing));
                prop_assert!(after * before_scale <= before * after_scale || (after <= 0 && before <= 0 && rule == CarryOver::Empty));
            }
        }

        #[test]
        fn back_and_forth_gains_nothing(old in units(), new in units(), missing in 0..3_000_000_u128) {
            for rule in [CarryOver::Tokens, CarryOver::Fraction, CarryOver::Empty] {
                let there = rule.missing(old, new, missing);
                prop_assert!(rule.missing(new, old, there) >= missing);
            }
        }

        #[test]
        fn a_fraction_is_rounded_up_by_less_than_a_unit(a in 0..1_u128 << 60, b in 0..1_u128 << 60, c in 1..1_u128 << 60) {
            let a = a % (c + 1);
            prop_assert_eq!(mul_div_up(a, b, c), (a * b).div_ceil(c));
        }
    }

    #[test]
    fn tokens_stay_and_fractions_stay() {
        let old = Units {
            per_nano: 1,
            per_token: 10,
            burst: 10,
        };
        let new = Units {
            per_nano: 1,
            per_token: 5,
            burst: 100,
        };
        // 4 of 10 are there.
        assert_eq!(CarryOver::Tokens.missing(old, new, 60), 500 - 20);
        assert_eq!(CarryOver::Fraction.missing(old, new, 60), 300);
        assert_eq!(CarryOver::Empty.missing(old, new, 60), 500);
        assert_eq!(CarryOver::Full.missing(old, new, 60), 0);
        // 3 tokens of debt.
        assert_eq!(CarryOver::Tokens.missing(old, new, 130), 515);
        assert_eq!(CarryOver::Full.missing(old, new, 130), 0);
    }

    #[test]
    fn the_largest_quotas_do_not_overflow() {
        let huge = Units {
            per_nano: 1,
            per_token: 3_153_600_000_000_000_000,
            burst: 1_000_000_000_000_000_000,
        };
        let small = Units {
            per_nano: 1,
            per_token: 1,
            burst: 1,
        };
        for rule in [CarryOver::Tokens, CarryOver::Fraction, CarryOver::Empty] {
            for missing in [0, 1, huge.depth() / 2, huge.depth(), huge.depth() * 4] {
                let there = rule.missing(huge, small, missing);
                assert!(rule.missing(small, huge, there.min(1)) <= huge.depth());
                assert_eq!(
                    rule.missing(huge, huge, missing),
                    if rule == CarryOver::Empty {
                        missing.max(huge.depth())
                    } else {
                        missing
                    }
                );
            }
        }
    }
}
