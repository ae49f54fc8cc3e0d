//! How much, how fast: the exact rate and burst that every limiter is built from.

mod decimal;
mod error;
mod parse;
mod text;
mod units;

use std::time::Duration;

pub use error::{QuotaError, QuotaSyntaxError};
pub(crate) use units::{Units, nanos_for};

/// N tokens per period P, with a burst of B: all integers, so that no rate is rounded.
///
/// A bucket holds at most `burst` tokens, starts full, and gains N tokens in every P. What it
/// admits in any window of length T is at most B + floor(T * N / P).
///
/// The burst is N unless [`burst`](Self::burst) sets another.
///
/// A quota reads and prints as [text](#impl-FromStr-for-Quota): `100/s burst 20`, `0.5/s`,
/// `5000/h`, `1/90ms`, `unlimited`. [`from_static`](Self::from_static) reads the text of a constant
/// at compile time. The constructors are `const fn` too:
///
/// ```
/// use tollgate::Quota;
///
/// const API: Quota = Quota::from_static("100/s burst 20");
/// const REPORTS: Quota = match Quota::per_hour(5_000) {
///     Ok(quota) => quota,
///     Err(_) => panic!("5,000 an hour is within the bounds"),
/// };
/// assert_eq!((API.max_burst(), REPORTS.max_burst()), (20, 5_000));
/// ```
///
/// # Examples
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
    pub const fn new(tokens: u64, period: Duration) -> Result<Self, QuotaError> {
        if period.as_nanos() > Self::MAX_PERIOD.as_nanos() {
            return Err(QuotaError::PeriodTooLong);
        }
        Self::from_nanos(
            tokens,
            period.as_secs() * SECOND + period.subsec_nanos() as u64,
        )
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
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use super::*;

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
        let burst = |burst| Quota::per_second(1).unwrap().burst(burst);
        assert!(burst(Quota::MAX_TOKENS).is_ok());
        assert_eq!(burst(Quota::MAX_TOKENS + 1), Err(QuotaError::TooManyTokens));
        assert_eq!(
            Quota::per_second(0).unwrap().units(),
            Err(QuotaError::ZeroBurst)
        );
        assert_eq!(Quota::unlimited().burst(0), Ok(Quota::unlimited()));
    }
}
