//! Accepted and refused texts of quotas.

use super::*;
use crate::quota::SECOND;
use proptest::prelude::*;
use std::time::Duration;

fn parse(text: &str) -> Result<Quota, QuotaError> {
    text.parse()
}

/// Returns N, P in nanoseconds, and B.
fn parts(text: &str) -> (u64, u128, u64) {
    let quota = parse(text).unwrap_or_else(|error| panic!("{error}"));
    (quota.tokens(), quota.period().as_nanos(), quota.max_burst())
}

const S: u128 = SECOND as u128;

#[test]
fn parses_the_common_forms() {
    let cases = [
        ("0.5/s", (1, 2 * S, 1)),
        ("0.1/s", (1, 10 * S, 1)),
        ("1.5/s", (3, 2 * S, 2)),
        ("2.50/s", (5, 2 * S, 3)),
        ("2.00/s", (2, S, 2)),
        ("1/2s", (1, 2 * S, 1)),
        ("1/1.5s", (1, 3 * S / 2, 1)),
        ("0.25/0.5s", (1, 2 * S, 1)),
        ("3/2s", (3, 2 * S, 3)),
        ("1/1m30s", (1, 90 * S, 1)),
        ("1 per 1 hour 30 min", (1, 5_400 * S, 1)),
        ("100 per second", (100, S, 100)),
        ("100/second", (100, S, 100)),
        ("100/sec", (100, S, 100)),
        ("100/S", (100, S, 100)),
        ("10r/s", (10, S, 10)),
        ("30r/m", (30, 60 * S, 30)),
        ("5 requests per minute", (5, 60 * S, 5)),
        ("100/m", (100, 60 * S, 100)),
        ("60/min", (60, 60 * S, 60)),
        ("60/minute", (60, 60 * S, 60)),
        ("5000/h", (5_000, 3_600 * S, 5_000)),
        ("5000/hour", (5_000, 3_600 * S, 5_000)),
        ("1000/d", (1_000, 86_400 * S, 1_000)),
        ("1000/day", (1_000, 86_400 * S, 1_000)),
        ("7/week", (7, 604_800 * S, 7)),
        ("20/1s", (20, S, 20)),
        ("1/90ms", (1, 90_000_000, 1)),
        ("1/5\u{b5}s", (1, 5_000, 1)),
        ("1/5\u{3bc}s", (1, 5_000, 1)),
        ("1_000/s", (1_000, S, 1_000)),
        ("1_000.000_5/s", (2_000_001, 2_000 * S, 1_001)),
        ("100/s burst 20", (100, S, 20)),
        ("100/s, burst 20", (100, S, 20)),
        ("100/s burst=20", (100, S, 20)),
        ("100/s Burst = 1_000", (100, S, 1_000)),
        ("0.5/s burst 7", (1, 2 * S, 7)),
        (" 100 / s  burst 20 ", (100, S, 20)),
        ("0/s burst 1", (0, S, 1)),
        ("0.0/s", (0, S, 0)),
        ("unlimited", (0, 0, u64::MAX)),
        (" Unlimited\n", (0, 0, u64::MAX)),
    ];
    for (text, expected) in cases {
        assert_eq!(parts(text), expected, "{text:?}");
    }
}

#[test]
fn a_syntax_error_names_the_part_and_the_remedy() {
    let cases = [
        ("", "", "as in `100/s`"),
        ("/s", "", "a number of tokens comes first"),
        ("NaN/s", "NaN", "a number of tokens comes first"),
        ("burst 20", "burst", "a number of tokens comes first"),
        ("1,000/s", "1,000", "write 1000 or 1_000"),
        ("0,5/s", "0,5", "1.5 for one and a half"),
        ("5k/s", "5k", "`5000/s` or `5_000/s`"),
        ("1e9/s", "1e9", "all digits"),
        ("1.5e-3/s", "1.5e-3", "all digits"),
        ("-5/s", "-5", "no sign"),
        ("+5/s", "+5", "no sign"),
        (".5/s", ".5", "`0.5/s`"),
        ("5./s", "5.", "`0.5/s`"),
        ("1.2.3/s", "1.2.3", "between two digits"),
        ("1__0/s", "1__0", "`1_000/s`"),
        ("1_/s", "1_", "`1_000/s`"),
        ("100", "", "`100/s` or `100 per second`"),
        ("0", "0", "write `unlimited` for no limit"),
        ("0.5", "", "a period follow"),
        ("5/", "", "a period follow"),
        ("5 a second", "a", "`100 per second`"),
        ("10rps", "rps", "`100/s`"),
        ("off", "off", "write `unlimited`"),
        ("none", "none", "write `unlimited`"),
        ("\u{221e}", "\u{221e}", "write `unlimited`"),
        ("unlimited burst 5", "burst", "stands alone"),
        ("5/x", "x", "ns, us, ms, s, min (or m), h, d or w"),
        ("1/fortnight", "fortnight", "a unit of time is"),
        ("1000/month", "month", "`1000/30d`"),
        ("5/10", "", "`100/10s`"),
        ("5/10 burst 3", "burst", "`100/10s`"),
        ("1/30s1m", "1m", "`1/1m30s`"),
        ("1/1s1s", "1s", "`1/1m30s`"),
        ("1/0.5ns", "0.5ns", "a whole number of nanoseconds"),
        ("1/-1s", "-1s", "no sign"),
        ("5/s 1", "1", "`100/s burst 20`"),
        ("5/s, 1", ",", "`100/s burst 20`"),
        ("5/s burst", "", "a whole number of tokens follows `burst`"),
        ("5/s burst x", "x", "a whole number of tokens follows"),
        ("5/s burst 1.5", "1.5", "a whole number of tokens follows"),
        ("5/s burst 1,000", "1,000", "write 1000 or 1_000"),
        ("5/s burst 2k", "2k", "all digits"),
        ("5/s burst -1", "-1", "no sign"),
        ("5/s burst 1 1", "1", "only a burst follows"),
        ("1.0000000001/s", "1.0000000001/s", "fewer digits"),
        ("0.000000001/d burst 5", "0.000000001/d", "over 100 years"),
        (
            "1.0000000000000000001/s",
            "1.0000000000000000001",
            "at most 18 digits",
        ),
    ];
    for (text, part, expected) in cases {
        let Err(QuotaError::Syntax(error)) = parse(text) else {
            panic!("{text:?}: {:?}", parse(text))
        };
        assert_eq!((error.text(), error.part()), (text, part), "{text:?}");
        let message = error.to_string();
        assert!(message.contains(expected), "{text:?}: {message}");
    }
}

#[test]
fn an_error_names_the_broken_bound() {
    let huge = "99999999999999999999999999999999999999999999";
    let of = |text: &str| parse(&text.replace('N', huge)).unwrap_err();
    assert_eq!(of("N/s"), QuotaError::TooManyTokens);
    assert_eq!(of("N.5/s"), QuotaError::TooManyTokens);
    assert_eq!(
        of("1000000000000000000.5/36500d"),
        QuotaError::TooManyTokens
    );
    assert_eq!(of("1/s burst N"), QuotaError::TooManyTokens);
    assert_eq!(of("1/Ns"), QuotaError::PeriodTooLong);
    assert_eq!(of("1/Nw Nd Nh"), QuotaError::PeriodTooLong);
    assert_eq!(of("1/36500d1ns"), QuotaError::PeriodTooLong);
    assert_eq!(of("1001/ns"), QuotaError::RateTooHigh);
    assert_eq!(of("1000.5/ns"), QuotaError::RateTooHigh);
    assert_eq!(of("5/0s"), QuotaError::ZeroPeriod);
    assert_eq!(of("0.5/0.0s"), QuotaError::ZeroPeriod);
    assert_eq!(of("5/s burst 0"), QuotaError::ZeroBurst);
    assert_eq!(parts("1/36500d").1, Quota::MAX_PERIOD.as_nanos());
}

#[test]
fn a_fraction_that_fits_only_in_lowest_terms_parses() {
    // As 5 per 73,000 days it would exceed the longest period.
    assert_eq!(parts("2.5/36500d"), (1, 14_600 * 86_400 * S, 3));
}

#[test]
fn a_constant_parses_at_compile_time() {
    const API: Quota = Quota::from_static("0.5/s, burst 20");
    static NONE: Quota = Quota::from_static("unlimited");
    const HALF: Result<Quota, QuotaError> = Quota::new(1, Duration::from_millis(500));
    assert_eq!(parse("1/2s burst 20"), Ok(API));
    assert_eq!(NONE, Quota::unlimited());
    assert_eq!(parse("1/500ms"), HALF);
    const WRONG: Result<Quota, QuotaError> = quota("100/fortnight");
    assert_eq!(WRONG, parse("100/fortnight"));
}

#[test]
#[should_panic(expected = "write 1000 or 1_000")]
fn a_wrong_constant_panics_with_the_remedy() {
    let _ = Quota::from_static("1,000/s");
}

/// A quota, or nearly one: each part may be noise instead.
fn nearly_a_quota() -> impl Strategy<Value = String> {
    let or_noise =
        |part: &'static str| prop_oneof![6 => part, 1 => "[0-9a-z/ .,_=+\u{b5}\u{221e}-]{0,3}"];
    let number = "[0-9]{1,2}[0-9_]{0,19}(\\.[0-9]{1,20})?";
    let period = "[0-9]{0,21}(\\.[0-9]{1,20})?(ns|us|\u{b5}s|ms|s|min|h|d)";
    let burst = "(,? ?burst[ =][0-9]{1,21})?";
    let parts = (
        or_noise(number),
        or_noise("(/| per )"),
        or_noise(period),
        or_noise(burst),
    );
    parts.prop_map(|(number, per, period, burst)| [number, per, period, burst].concat())
}

proptest! {
    #[test]
    fn display_and_parse_round_trip(tokens in 0..=Quota::MAX_TOKENS, period in 1..u64::MAX / 8, burst in 1..=Quota::MAX_TOKENS) {
        if let Ok(quota) = Quota::new(tokens, Duration::from_nanos(period)) {
            prop_assert_eq!(parse(&quota.to_string()), Ok(quota));
            let quota = quota.burst(burst).unwrap();
            prop_assert_eq!(parse(&quota.to_string()), Ok(quota));
        }
    }

    #[test]
    fn never_panics(text in prop_oneof![".{0,99}", nearly_a_quota()]) {
        match parse(&text) {
            Ok(quota) => prop_assert_eq!(parse(&quota.to_string()), Ok(quota)),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn fractions_are_exact(
        whole in 0..100_000_u128, digits in "[0-9]{1,4}", count in 1..1_000_u128, tenths in 0..10_u128, unit in 0..7_usize,
    ) {
        let (names, unit) = UNITS[unit + 1];
        let places = 10_u128.pow(u32::try_from(digits.len()).unwrap());
        let scaled = whole * places + digits.parse::<u128>().unwrap();
        let nanos = (count * 10 + tenths) * u128::from(unit);
        let text = format!("{whole}.{digits}/{count}.{tenths}{}", names[0]);
        if scaled > 0 && let Ok(quota) = parse(&text) {
            // N / P is scaled / places per nanos / 10.
            let (n, p) = (u128::from(quota.tokens()), quota.period().as_nanos());
            prop_assert_eq!(n * places * nanos, scaled * p * 10, "{}", text);
            prop_assert_eq!(u128::from(quota.max_burst()), scaled.div_ceil(places));
        } else {
            let beyond = nanos * places / 10 > Quota::MAX_PERIOD.as_nanos()
                || scaled * 10 > 1_000 * nanos * places
                || !nanos.is_multiple_of(10);
            prop_assert!(scaled == 0 || beyond, "{}", text);
        }
    }
}
