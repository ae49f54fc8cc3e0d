//! How the fill of a bucket carries over when its quota changes. Rounding never adds a token.

use crate::clock::Timestamp;
use crate::limiter::core::rate::{Instant, Rate, View};
use crate::quota::Units;

/// How the fill of a bucket carries over to a new quota.
///
/// A quota that changes back and forth by one rule, other than [`Full`](Self::Full), mints nothing.
/// [`Tokens`](Self::Tokens) and [`Empty`](Self::Empty) never add a token.
/// [`Fraction`](Self::Fraction) adds tokens when the burst grows, and takes them away when it shrinks,
/// so do not go one way by it and back by another rule. An unlimited quota is a grant, too: the bucket
/// has every token that a caller asks for, and starts the next quota full, except by
/// [`Empty`](Self::Empty).
///
/// What leases hold counts as taken. A [pause](crate::RateLimiter::pause_until) stays, and may grow as
/// debt does: at a rate of zero it never ends.
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
    /// The tokens stay, and so does the debt. Tokens that the new burst cannot hold are lost.
    #[default]
    Tokens,
    /// The bucket keeps its fraction: half a bucket becomes half of the new one. Debt stays, in tokens.
    Fraction,
    /// The bucket starts empty. Debt stays.
    Empty,
    /// The bucket starts full: a grant, which ends all debt and a pause.
    Full,
}

impl CarryOver {
    /// Returns what is missing to a full bucket after the change, in units of `new`, if `missing` units
    /// of `old` were missing before. It rounds up, so that rounding never adds a token.
    fn missing(self, old: Units, new: Units, missing: u128) -> u128 {
        let (old_depth, new_depth) = (old.depth(), new.depth());
        if new.per_token == 0 || self == Self::Full || old.per_token == 0 && self != Self::Empty {
            return 0;
        }
        let debt = convert(missing.saturating_sub(old_depth), old, new, u128::div_ceil);
        let kept = match self {
            Self::Tokens => {
                // What is there is rounded down, so what is missing is rounded up.
                let there = old_depth.saturating_sub(missing);
                new_depth.saturating_sub(convert(there, old, new, u128::div_euclid).min(new_depth))
            }
            Self::Fraction => mul_div_up(missing.min(old_depth), new_depth, old_depth),
            Self::Empty | Self::Full => new_depth,
        };
        // More than can ever be paid off, and small enough that no later sum overflows.
        kept.saturating_add(debt).min(1 << 126)
    }
}

/// A change of the quota, with the leases and the pause that it keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QuotaChange {
    pub(crate) carry: CarryOver,
    /// Tokens that leases have carved out of the burst, before and after.
    pub(crate) leased: u64,
    /// Until when a server has paused the bucket.
    pub(crate) paused: Timestamp,
}

impl QuotaChange {
    /// Creates a change without leases and without a pause.
    pub(crate) const fn new(carry: CarryOver) -> Self {
        Self {
            carry,
            leased: 0,
            paused: Timestamp::ZERO,
        }
    }

    /// Returns when a bucket is full by the rate `new`, in force from `now` on.
    pub(crate) fn full_at(&self, bucket: &View, new: &Rate, now: Timestamp) -> Instant {
        let (old, since) = (&bucket.rate, bucket.effective_now(now));
        let missing = bucket.full_at.saturating_sub(old.at(since));
        let missing = self.missing(old.units, new.units, missing);
        let carried = new.at(since).saturating_add(missing);
        carried.max(new.paused_full_at(self.paused, now))
    }

    /// Same as [`CarryOver::missing`], where what leases hold counts as missing to the whole burst.
    fn missing(&self, old: Units, new: Units, missing: u128) -> u128 {
        let leased = |units: Units| u128::from(self.leased) * u128::from(units.per_token);
        let whole = |units: Units| Units {
            burst: units.burst.saturating_add(self.leased),
            ..units
        };
        let missing = missing.saturating_add(leased(old));
        let whole = self.carry.missing(whole(old), whole(new), missing);
        whole.saturating_sub(leased(new))
    }
}

/// Converts an amount of tokens from the units of one quota to those of another, by the given division.
fn convert(amount: u128, old: Units, new: Units, divide: fn(u128, u128) -> u128) -> u128 {
    // An unlimited quota has no tokens in units, and no debt.
    let (from, to) = (u128::from(old.per_token.max(1)), u128::from(new.per_token));
    // Both are below 2^62, so the second product fits. The bounds of `Quota` bound the first.
    (amount / from)
        .saturating_mul(to)
        .saturating_add(divide(amount % from * to, from))
}

/// Returns `a * b / c` rounded up, for a <= c; exact although the product needs 256 bits.
fn mul_div_up(a: u128, b: u128, c: u128) -> u128 {
    // Multiplies from the top bit of b down: quotient and remainder double with each bit. Since a <= c,
    // no sum is above 2c + a, and c is below 2^125.
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
mod tests;
