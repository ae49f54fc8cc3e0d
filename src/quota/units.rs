//! A quota scaled to whole units, so that all arithmetic is on integers.

use super::decimal::{gcd, saturate};
use super::{Quota, QuotaError};

impl Quota {
    /// Returns the quota in units, or [`QuotaError::ZeroBurst`] if it could never admit anything.
    pub(crate) const fn units(&self) -> Result<Units, QuotaError> {
        if self.is_unlimited() {
            return Ok(Units {
                per_nano: 0,
                per_token: 0,
                burst: u64::MAX,
            });
        }
        if self.burst == 0 {
            return Err(QuotaError::ZeroBurst);
        }
        let divisor = saturate(gcd(self.tokens as u128, self.period as u128));
        Ok(Units {
            per_nano: self.tokens / divisor,
            per_token: self.period / divisor,
            burst: self.burst,
        })
    }
}

/// A quota scaled so that a nanosecond and a token are both a whole number of *units*: N / P in
/// lowest terms. A token is `per_token` units, a nanosecond accrues `per_nano` units, and every sum
/// of them is exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Units {
    /// 0 if nothing ever accrues.
    pub(crate) per_nano: u64,
    /// 0 if tokens cost nothing: the quota is unlimited.
    pub(crate) per_token: u64,
    pub(crate) burst: u64,
}

/// Returns how long `amount` units take to accrue, rounded up to a nanosecond. `per_nano` is not
/// zero.
#[inline]
pub(crate) const fn nanos_for(amount: u64, per_nano: u64) -> u64 {
    // Most rates have 1 here, and the division would cost more than the rest of a denial.
    if per_nano == 1 {
        amount
    } else {
        amount.div_ceil(per_nano)
    }
}

impl Units {
    /// Returns the burst in units.
    pub(crate) const fn depth(self) -> u128 {
        self.burst as u128 * self.per_token as u128
    }
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use super::*;
    use crate::quota::SECOND;

    #[test]
    fn units_are_in_lowest_terms() {
        let units = |quota: Quota| quota.units().map(|u| (u.per_nano, u.per_token));
        assert_eq!(units(Quota::per_second(100).unwrap()), Ok((1, 10_000_000)));
        assert_eq!(
            units(Quota::per_second(999_983).unwrap()),
            Ok((999_983, SECOND))
        );
        assert_eq!(units(Quota::per_second(600_000_000).unwrap()), Ok((3, 5)));
        assert_eq!(
            units(Quota::per_second(1_000_000_000_000).unwrap()),
            Ok((1_000, 1))
        );
        assert_eq!(
            units(Quota::per_day(0).unwrap().burst(3).unwrap()),
            Ok((0, 1))
        );
    }
}
