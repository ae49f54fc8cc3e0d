//! The decimal numbers of a quota's text, and the exact rates that they make.

use std::time::Duration;

use super::{Quota, QuotaError};

/// A decimal fraction: `whole` + `fraction` / 10^`scale`.
///
/// Kept as digits, so that no rate is rounded between the text and the quota.
pub(super) struct Decimal {
    /// Saturates at [`u64::MAX`], which breaks every bound that an error can name.
    pub(super) whole: u64,
    pub(super) fraction: u64,
    /// At most [`Decimal::MAX_SCALE`]; minimal, so the last digit is not 0.
    pub(super) scale: u32,
}

impl Decimal {
    /// The most digits after the point: 10^18 fits 64 bits, and `whole` * 10^18 fits 128.
    pub(super) const MAX_SCALE: u32 = 18;

    /// Returns the denominator: a power of ten.
    const fn unit(&self) -> u128 {
        10_u128.pow(self.scale)
    }

    pub(super) const fn is_zero(&self) -> bool {
        self.whole == 0 && self.fraction == 0
    }

    /// Returns the quota of `self` tokens per `period`; `None` if no whole number of tokens per
    /// period within the bounds has this rate.
    ///
    /// A fraction of a token becomes whole tokens in a longer period, as short as possible. The
    /// burst is the tokens of one `period`, rounded up.
    pub(super) const fn per(&self, period: u64) -> Option<Result<Quota, QuotaError>> {
        if self.scale == 0 || period == 0 || self.whole > Quota::MAX_TOKENS {
            return Some(Quota::new(self.whole, Duration::from_nanos(period)));
        }
        let tokens = self.whole as u128 * self.unit() + self.fraction as u128;
        let divisor = gcd(tokens, self.unit());
        // `0.5/s` becomes 1 per 2 s.
        let (mut tokens, mut nanos) = (tokens / divisor, period as u128 * (self.unit() / divisor));
        let most = Quota::MAX_TOKENS as u128;
        let longest = Quota::MAX_PERIOD.as_nanos();
        if tokens > most || nanos > longest {
            let divisor = gcd(tokens, nanos);
            (tokens, nanos) = (tokens / divisor, nanos / divisor);
        }
        if tokens > most || nanos > longest {
            return None;
        }
        let period = Duration::from_nanos(saturate(nanos));
        Some(match Quota::new(saturate(tokens), period) {
            Ok(quota) => quota.burst(self.whole + 1),
            Err(error) => Err(error),
        })
    }

    /// Returns `self` * `nanos`, if that is a whole number.
    pub(super) const fn times(&self, nanos: u64) -> Option<u128> {
        let part = self.fraction as u128 * nanos as u128;
        if !part.is_multiple_of(self.unit()) {
            return None;
        }
        Some(self.whole as u128 * nanos as u128 + part / self.unit())
    }
}

pub(super) const fn gcd(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Converts to 64 bits, saturating.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the branch checks the bound"
)]
pub(super) const fn saturate(value: u128) -> u64 {
    if value > u64::MAX as u128 {
        u64::MAX
    } else {
        value as u64
    }
}
