//! How much, how fast: the exact rate and burst that every limiter is built from.

mod text;

use std::fmt;
use std::time::Duration;

use crate::clock::saturating_nanos;

/// N tokens per period P, with a burst of B: all integers, so that no rate is rounded.
///
/// A bucket holds at most `burst` tokens, starts full, and gains N tokens in every P. What it
/// admits in any window of length T is at most B + floor(T * N / P).
///
/// The burst is N unless [`burst`](Self::burst) sets another. A quota reads and prints as text:
/// `100/s burst 20`, `5000/h`, `1/90ms`, `unlimited`.
///
/// ```
/// use std::time::Duration;
/// use tollgate::Quota;
///
/// let quota = Quota::per_second(100)?.burst(20)?;
/// assert_eq!(quota, "100/s burst 20".parse()?);
/// assert_eq!(quota.to_string(), "100/s burst 20");
/// assert_eq!(Quota::new(1, Duration::from_millis(90))?.to_string(), "1/90ms");
/// # Ok::<(), tollgate::QuotaError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    tokens: u64,
    /// In nanoseconds; 0 is an unlimited quota.
    period: u64,
    burst: u64,
}

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

impl Quota {
    /// The most tokens a period may have, and the largest burst: 10^18.
    ///
    /// ```
    /// use tollgate::{Quota, QuotaError};
    ///
    /// assert!(Quota::per_day(1)?.burst(Quota::MAX_TOKENS).is_ok());
    /// let more = Quota::per_day(1)?.burst(Quota::MAX_TOKENS + 1);
    /// assert_eq!(more, Err(QuotaError::TooManyTokens));
    /// # Ok::<(), QuotaError>(())
    /// ```
    pub const MAX_TOKENS: u64 = 1_000_000_000_000_000_000;
    /// The longest period: 100 years of 365 days.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{Quota, QuotaError};
    ///
    /// assert!(Quota::new(1, Quota::MAX_PERIOD).is_ok());
    /// let longer = Quota::new(1, Quota::MAX_PERIOD + Duration::from_nanos(1));
    /// assert_eq!(longer, Err(QuotaError::PeriodTooLong));
    /// ```
    pub const MAX_PERIOD: Duration = Duration::from_hours(100 * 365 * 24);
    /// The fastest rate: 1000 tokens a nanosecond, 10^12 a second.
    ///
    /// ```
    /// use tollgate::{Quota, QuotaError};
    ///
    /// let fastest = Quota::MAX_TOKENS_PER_NANO * 1_000_000_000;
    /// assert!(Quota::per_second(fastest).is_ok());
    /// assert_eq!(Quota::per_second(fastest + 1), Err(QuotaError::RateTooHigh));
    /// ```
    pub const MAX_TOKENS_PER_NANO: u64 = 1_000;

    /// `tokens` per `period`. Zero tokens is a quota too: the burst, which must then be set, and
    /// nothing after it.
    ///
    /// # Errors
    /// The bound that was broken, as a [`QuotaError`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{Quota, QuotaError};
    ///
    /// assert_eq!(Quota::new(1, Duration::ZERO), Err(QuotaError::ZeroPeriod));
    /// assert_eq!(Quota::new(1_001, Duration::from_nanos(1)), Err(QuotaError::RateTooHigh));
    /// ```
    pub fn new(tokens: u64, period: Duration) -> Result<Self, QuotaError> {
        if period > Self::MAX_PERIOD {
            return Err(QuotaError::PeriodTooLong);
        }
        Self::from_nanos(tokens, saturating_nanos(period))
    }

    const fn from_nanos(tokens: u64, period: u64) -> Result<Self, QuotaError> {
        if period == 0 {
            return Err(QuotaError::ZeroPeriod);
        }
        if tokens > Self::MAX_TOKENS {
            return Err(QuotaError::TooManyTokens);
        }
        if tokens as u128 > period as u128 * Self::MAX_TOKENS_PER_NANO as u128 {
            return Err(QuotaError::RateTooHigh);
        }
        Ok(Self {
            tokens,
            period,
            burst: tokens,
        })
    }

    /// `tokens` per second.
    ///
    /// ```
    /// assert_eq!(tollgate::Quota::per_second(7)?, "7/s".parse()?);
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    pub const fn per_second(tokens: u64) -> Result<Self, QuotaError> {
        Self::from_nanos(tokens, SECOND)
    }

    /// `tokens` per minute.
    ///
    /// ```
    /// assert_eq!(tollgate::Quota::per_minute(60)?, "60/min".parse()?);
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    pub const fn per_minute(tokens: u64) -> Result<Self, QuotaError> {
        Self::from_nanos(tokens, 60 * SECOND)
    }

    /// `tokens` per hour.
    ///
    /// ```
    /// assert_eq!(tollgate::Quota::per_hour(5_000)?, "5000/h".parse()?);
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    pub const fn per_hour(tokens: u64) -> Result<Self, QuotaError> {
        Self::from_nanos(tokens, 3_600 * SECOND)
    }

    /// `tokens` per day of 24 hours.
    ///
    /// ```
    /// assert_eq!(tollgate::Quota::per_day(1)?, "1/d".parse()?);
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    pub const fn per_day(tokens: u64) -> Result<Self, QuotaError> {
        Self::from_nanos(tokens, 86_400 * SECOND)
    }

    /// A quota that never denies.
    ///
    /// ```
    /// assert!(tollgate::Quota::unlimited().is_unlimited());
    /// ```
    pub const fn unlimited() -> Self {
        Self {
            tokens: 0,
            period: 0,
            burst: u64::MAX,
        }
    }

    /// The same rate with a burst of `burst` tokens. An unlimited quota stays as it is.
    ///
    /// # Errors
    /// [`QuotaError::ZeroBurst`] and [`QuotaError::TooManyTokens`].
    ///
    /// ```
    /// use tollgate::{Quota, QuotaError};
    ///
    /// assert_eq!(Quota::per_second(5)?.burst(1)?.max_burst(), 1);
    /// assert_eq!(Quota::per_second(5)?.burst(0), Err(QuotaError::ZeroBurst));
    /// # Ok::<(), QuotaError>(())
    /// ```
    pub const fn burst(self, burst: u64) -> Result<Self, QuotaError> {
        if self.is_unlimited() {
            return Ok(self);
        }
        if burst == 0 {
            return Err(QuotaError::ZeroBurst);
        }
        if burst > Self::MAX_TOKENS {
            return Err(QuotaError::TooManyTokens);
        }
        Ok(Self { burst, ..self })
    }

    /// N: the tokens gained in each [`period`](Self::period).
    ///
    /// ```
    /// assert_eq!(tollgate::Quota::per_hour(9)?.tokens(), 9);
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    pub const fn tokens(&self) -> u64 {
        self.tokens
    }

    /// P: the time in which [`tokens`](Self::tokens) are gained; zero if the quota is unlimited.
    ///
    /// ```
    /// use std::time::Duration;
    /// assert_eq!(tollgate::Quota::per_hour(9)?.period(), Duration::from_secs(3600));
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    pub const fn period(&self) -> Duration {
        Duration::from_nanos(self.period)
    }

    /// B: the most tokens that a bucket holds; [`u64::MAX`] if the quota is unlimited.
    ///
    /// ```
    /// assert_eq!(tollgate::Quota::per_second(9)?.max_burst(), 9);
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    pub const fn max_burst(&self) -> u64 {
        self.burst
    }

    /// Whether nothing is ever denied.
    ///
    /// ```
    /// assert!(!tollgate::Quota::per_second(9)?.is_unlimited());
    /// # Ok::<(), tollgate::QuotaError>(())
    /// ```
    pub const fn is_unlimited(&self) -> bool {
        self.period == 0
    }

    /// The quota in units, or the error of a quota that could never pass anything.
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
        let divisor = gcd(self.tokens, self.period);
        Ok(Units {
            per_nano: self.tokens / divisor,
            per_token: self.period / divisor,
            burst: self.burst,
        })
    }
}

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

const fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Why a quota was refused.
///
/// ```
/// use tollgate::{AtomicTokenBucket, Quota, QuotaError};
///
/// let error = "5/0s".parse::<Quota>().unwrap_err();
/// assert_eq!(error, QuotaError::ZeroPeriod);
/// assert_eq!(error.to_string(), "the period of a quota must be at least 1 ns");
///
/// let quota = Quota::per_second(999_983)?.burst(1_000_000_000)?;
/// let Err(QuotaError::BeyondWord { max_burst }) = AtomicTokenBucket::new(quota) else {
///     panic!("the burst is too large for this rate")
/// };
/// assert!(AtomicTokenBucket::new(quota.burst(max_burst)?).is_ok());
/// assert!(AtomicTokenBucket::new(quota.burst(max_burst + 1)?).is_err());
/// # Ok::<(), QuotaError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuotaError {
    /// The period is zero.
    ZeroPeriod,
    /// The period is over [`Quota::MAX_PERIOD`].
    PeriodTooLong,
    /// More than [`Quota::MAX_TOKENS`] tokens, in a period or as a burst.
    TooManyTokens,
    /// The rate is over [`Quota::MAX_TOKENS_PER_NANO`].
    RateTooHigh,
    /// The burst is zero: nothing could ever pass.
    ZeroBurst,
    /// The text is not of the form `100/s burst 20`.
    Syntax(String),
    /// The quota does not fit the word of an `AtomicTokenBucket`; a `LockedTokenBucket` takes it.
    BeyondWord {
        /// The largest burst that fits at this rate; 0 if the rate itself is what does not fit.
        max_burst: u64,
    },
    /// The debt or the pause of an `AtomicTokenBucket` does not fit its word under this quota; a
    /// `LockedTokenBucket` keeps any.
    DebtBeyondWord,
}

impl fmt::Display for QuotaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ZeroPeriod => f.write_str("the period of a quota must be at least 1 ns"),
            Self::PeriodTooLong => write!(
                f,
                "the period of a quota must be at most {:?}",
                Quota::MAX_PERIOD
            ),
            Self::TooManyTokens => write!(f, "a quota has at most {} tokens", Quota::MAX_TOKENS),
            Self::RateTooHigh => {
                write!(
                    f,
                    "the rate of a quota must be at most {} tokens per ns",
                    Quota::MAX_TOKENS_PER_NANO
                )
            }
            Self::DebtBeyondWord => f.write_str(
                "what is owed under the quota in force does not fit the word of an atomic bucket under the new one",
            ),
            Self::ZeroBurst => {
                f.write_str("the burst of a quota must be at least 1, or nothing could ever pass")
            }
            Self::Syntax(text) => {
                write!(
                    f,
                    "not a quota: {text:?} (expected, for example, `100/s burst 20`, `1/90ms` or `unlimited`)"
                )
            }
            Self::BeyondWord { max_burst: 0 } => f.write_str(
                "the rate does not fit the word of an AtomicTokenBucket; use a LockedTokenBucket",
            ),
            Self::BeyondWord { max_burst } => write!(
                f,
                "at this rate the word of an AtomicTokenBucket holds a burst of at most {max_burst}; \
                 use a LockedTokenBucket"
            ),
        }
    }
}

impl std::error::Error for QuotaError {}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use super::*;

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

    #[test]
    fn the_named_periods_are_as_long_as_they_say() {
        let of = |seconds| Quota::new(7, Duration::from_secs(seconds));
        assert_eq!(Quota::per_second(7), of(1));
        assert_eq!(Quota::per_minute(7), of(60));
        assert_eq!(Quota::per_hour(7), of(60 * 60));
        assert_eq!(Quota::per_day(7), of(24 * 60 * 60));
        assert_eq!(Quota::MAX_PERIOD.as_secs(), 3_153_600_000);
    }

    #[test]
    fn each_bound_is_its_own_error() {
        let century = Quota::MAX_PERIOD;
        assert!(Quota::new(Quota::MAX_TOKENS, century).is_ok());
        assert!(Quota::new(1, century).is_ok());
        assert_eq!(
            Quota::new(1, century + Duration::from_nanos(1)),
            Err(QuotaError::PeriodTooLong)
        );
        assert_eq!(Quota::new(1, Duration::MAX), Err(QuotaError::PeriodTooLong));
        assert_eq!(
            Quota::new(Quota::MAX_TOKENS + 1, century),
            Err(QuotaError::TooManyTokens)
        );
        assert_eq!(
            Quota::per_second(1_000_000_000_001),
            Err(QuotaError::RateTooHigh)
        );
        assert!(Quota::per_second(1_000_000_000_000).is_ok());
        assert!(
            Quota::per_second(1)
                .unwrap()
                .burst(Quota::MAX_TOKENS)
                .is_ok()
        );
        assert_eq!(
            Quota::per_second(1).unwrap().burst(Quota::MAX_TOKENS + 1),
            Err(QuotaError::TooManyTokens)
        );
        assert_eq!(
            Quota::per_second(0).unwrap().units(),
            Err(QuotaError::ZeroBurst)
        );
        assert_eq!(Quota::unlimited().burst(0), Ok(Quota::unlimited()));
    }

    #[test]
    fn every_error_names_its_bound() {
        let says = |error: QuotaError, what: &str| {
            let text = error.to_string();
            assert!(text.contains(what), "{text:?} does not name {what:?}");
        };
        says(QuotaError::ZeroPeriod, "1 ns");
        says(QuotaError::PeriodTooLong, "3153600000s");
        says(QuotaError::TooManyTokens, "1000000000000000000");
        says(QuotaError::RateTooHigh, "1000 tokens per ns");
        says(QuotaError::ZeroBurst, "at least 1");
        says(QuotaError::Syntax("1/fortnight".into()), "1/fortnight");
        says(QuotaError::BeyondWord { max_burst: 0 }, "rate");
        says(QuotaError::BeyondWord { max_burst: 5_003 }, "5003");
    }
}
