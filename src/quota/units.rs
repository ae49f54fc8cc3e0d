//! A quota in whole units.

/// A quota scaled so that both a nanosecond and a token are a whole number of *units*: N / P in
/// lowest terms. One token is `per_token` units, one nanosecond accrues `per_nano`. Every sum of
/// them is exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Units {
    /// 0: nothing ever accrues.
    pub(crate) per_nano: u64,
    /// 0: tokens cost nothing; the quota is unlimited.
    pub(crate) per_token: u64,
    pub(crate) burst: u64,
}

/// How long `amount` units take to accrue, at a rate that is not zero.
#[inline]
pub(crate) const fn nanos_for(amount: u64, per_nano: u64) -> u64 {
    // Of most rates it is one, and a division takes longer than all the rest of a denial.
    if per_nano == 1 {
        amount
    } else {
        amount.div_ceil(per_nano)
    }
}

impl Units {
    /// The burst in units.
    pub(crate) fn depth(self) -> u128 {
        u128::from(self.burst) * u128::from(self.per_token)
    }
}

/// The greatest common divisor.
pub(super) const fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use super::super::{Quota, SECOND};

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
