//! Examples of each rule by which the fill carries over, and random changes back and forth.

use super::*;
use proptest::prelude::*;

fn units() -> impl Strategy<Value = Units> {
    (0..1_000_u64, 1..1_000_u64, 1..1_000_u64).prop_map(|(per_nano, per_token, burst)| Units {
        per_nano,
        per_token,
        burst,
    })
}

/// Returns the tokens that are there, as a fraction, so that fills of different quotas compare exactly.
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
    fn a_change_back_and_forth_mints_nothing(old in units(), new in units(), missing in 0..3_000_000_u128) {
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
fn each_rule_keeps_what_it_says() {
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
    // 4 of 10 tokens are there.
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
