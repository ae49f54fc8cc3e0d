//! `100/s burst 20`: how a quota is written.

use std::fmt;
use std::str::FromStr;

use super::{Quota, QuotaError, SECOND};

/// Units of time in nanoseconds, largest first; `Display` takes the first that divides the period.
const UNITS: [(&str, u64); 7] = [
    ("d", 86_400 * SECOND),
    ("h", 3_600 * SECOND),
    ("min", 60 * SECOND),
    ("s", SECOND),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// As the configuration files write it: tokens, `/`, an optional count, a unit (`ns us ms s min h
/// d`), and an optional `burst` with a number. Without it the burst is the tokens of one period.
impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((unit, nanos)) = UNITS
            .into_iter()
            .find(|(_, nanos)| self.period.is_multiple_of(*nanos))
        else {
            unreachable!("1 ns divides every period")
        };
        if self.is_unlimited() {
            return f.write_str("unlimited");
        }
        write!(f, "{}/", self.tokens)?;
        if self.period != nanos {
            write!(f, "{}", self.period / nanos)?;
        }
        f.write_str(unit)?;
        if self.burst != self.tokens {
            write!(f, " burst {}", self.burst)?;
        }
        Ok(())
    }
}

/// Reads what `Display` prints. Space around the parts is free.
impl FromStr for Quota {
    type Err = QuotaError;

    fn from_str(text: &str) -> Result<Self, QuotaError> {
        let syntax = || QuotaError::Syntax(text.to_owned());
        if text.trim() == "unlimited" {
            return Ok(Self::unlimited());
        }
        let (tokens, rest) = text.split_once('/').ok_or_else(syntax)?;
        let mut words = rest.split_whitespace();
        let period = words.next().ok_or_else(syntax)?;
        let quota = Self::from_nanos(
            number(tokens.trim()).ok_or_else(syntax)?,
            period_nanos(period, text)?,
        )?;
        match (words.next(), words.next(), words.next()) {
            (None, ..) => Ok(quota),
            (Some("burst"), Some(burst), None) => quota.burst(number(burst).ok_or_else(syntax)?),
            _ => Err(syntax()),
        }
    }
}

fn period_nanos(period: &str, text: &str) -> Result<u64, QuotaError> {
    let syntax = || QuotaError::Syntax(text.to_owned());
    let digits = period.bytes().take_while(u8::is_ascii_digit).count();
    let (count, unit) = period.split_at(digits);
    let count = if count.is_empty() {
        1
    } else {
        number(count).ok_or_else(syntax)?
    };
    let (_, nanos) = UNITS
        .into_iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(syntax)?;
    let period = count
        .checked_mul(nanos)
        .filter(|&ns| u128::from(ns) <= Quota::MAX_PERIOD.as_nanos());
    period.ok_or(QuotaError::PeriodTooLong)
}

/// Digits only: `u64::from_str` would also take a sign. A number that is too large is the largest,
/// which is beyond every bound that the error can then name.
fn number(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    #[test]
    fn a_number_that_is_too_large_names_its_bound() {
        let quota = |text: &str| text.parse::<Quota>();
        let huge = "99999999999999999999";
        let of = |text: &str| quota(&text.replace('N', huge)).unwrap_err();
        assert_eq!(of("N/s"), QuotaError::TooManyTokens);
        assert_eq!(of("1/s burst N"), QuotaError::TooManyTokens);
        assert_eq!(of("1/Ns"), QuotaError::PeriodTooLong);
        for text in ["/s", "1/s burst", "-1/s", "1/s burst +2"] {
            assert_eq!(quota(text), Err(QuotaError::Syntax(text.to_owned())));
        }
    }

    #[test]
    fn reads_what_people_write() {
        let quota = |text: &str| text.parse::<Quota>();
        assert_eq!(
            quota(" 100 / s  burst 20 "),
            Quota::per_second(100).unwrap().burst(20)
        );
        assert_eq!(quota("60/min"), Quota::per_minute(60));
        assert_eq!(quota("5000/h"), Quota::per_hour(5_000));
        assert_eq!(quota("1/d"), Quota::per_day(1));
        assert_eq!(quota("1/90ms"), Quota::new(1, Duration::from_millis(90)));
        assert_eq!(quota("unlimited"), Ok(Quota::unlimited()));
    }

    #[test]
    fn refuses_the_rest_by_name() {
        for text in [
            "",
            "/",
            "5",
            "5/",
            "5/x",
            "/s",
            "-5/s",
            "+5/s",
            "5/s burst",
            "5/s burst x",
            "5/s burst 1 1",
            "5/s 1",
        ] {
            assert_eq!(
                text.parse::<Quota>(),
                Err(QuotaError::Syntax(text.into())),
                "{text:?}"
            );
        }
        assert_eq!("5/0s".parse::<Quota>(), Err(QuotaError::ZeroPeriod));
        assert_eq!("5/s burst 0".parse::<Quota>(), Err(QuotaError::ZeroBurst));
        assert_eq!(
            "5/18446744073709551615d".parse::<Quota>(),
            Err(QuotaError::PeriodTooLong)
        );
        assert!("99999999999999999999/s".parse::<Quota>().is_err());
    }

    proptest! {
        #[test]
        fn prints_what_it_reads(tokens in 1..=Quota::MAX_TOKENS, period in 1..u64::MAX / 8, burst in 1..=Quota::MAX_TOKENS) {
            if let Ok(quota) = Quota::new(tokens, Duration::from_nanos(period)) {
                let quota = quota.burst(burst).unwrap();
                prop_assert_eq!(quota.to_string().parse::<Quota>(), Ok(quota));
            }
        }

        #[test]
        fn never_panics(text in ".{0,24}") {
            let _ = text.parse::<Quota>();
        }
    }
}
