//! [`Quota`]: the exact rate and burst that every limiter is built from, its text, and its integer
//! arithmetic.

mod decimal;
mod error;
mod parse;
mod text;
mod units;

use std::time::Duration;

pub use error::{QuotaError, QuotaSyntaxError};
pub(crate) use units::{Units, nanos_for};

/// The rate and burst of a token bucket: N tokens per period P, with a burst of B, all integers.
///
/// A bucket holds at most B tokens, starts full, and gains N tokens in every P. It admits at most B
/// + floor(T * N / P) tokens in any window of length T. No rate is rounded.
///
/// The burst is N unless [`burst`](Self::burst) sets another.
///
/// A quota is read from and printed as [text](#impl-FromStr-for-Quota): `100/s burst 20`, `0.5/s`,
/// `5000/h`, `1/90ms`, `unlimited`. Constants are made at compile time, by
/// [`from_static`](Self::from_static) or by the `const` constructors.
///
/// ```
/// use std::time::Duration;
/// use tollgate::Quota;
///
/// const API: Quota = Quota::from_static("100/s burst 20");
///
/// let quota = Quota::per_second(100)?.burst(20)?;
/// assert_eq!(quota, API);
/// assert_eq!(quota.to_string(), "100/s burst 20");
/// assert_eq!(Quota::new(1, Duration::from_millis(90))?, "1/90ms".parse()?);
/// # Ok::<(), tollgate::QuotaError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    tokens: u64,
    /// In nanoseconds; 0 marks an unlimited quota.
    period: u64,
    burst: u64,
}

/// Nanoseconds per second.
const SECOND: u64 = 1_000_000_000;

impl Quota {
    /// The largest number of tokens per period, and the largest burst: 10^18.
    pub const MAX_TOKENS: u64 = 1_000_000_000_000_000_000;
    /// The longest period: 100 years of 365 days.
    pub const MAX_PERIOD: Duration = Duration::from_secs(100 * 365 * 86_400);
    /// The fastest rate: 1000 tokens per nanosecond, 10^12 per second.
    pub const MAX_TOKENS_PER_NANO: u64 = 1_000;

    /// Creates a quota of `tokens` per `period`, with a burst of `tokens`.
    ///
    /// With 0 tokens per period a bucket never refills: set the burst, which is then all that it
    /// ever admits.
    ///
    /// # Errors
    /// [`QuotaError::ZeroPeriod`], [`QuotaError::PeriodTooLong`], [`QuotaError::TooManyTokens`] or
    /// [`QuotaError::RateTooHigh`]: the bound that is broken.
    pub const fn new(tokens: u64, period: Duration) -> Result<Self, QuotaError> {
        let nanos = period.as_nanos();
        if nanos > Self::MAX_PERIOD.as_nanos() {
            return Err(QuotaError::PeriodTooLong);
        }
        if nanos == 0 {
            return Err(QuotaError::ZeroPeriod);
        }
        if tokens > Self::MAX_TOKENS {
            return Err(QuotaError::TooManyTokens);
        }
        if tokens as u128 > nanos * Self::MAX_TOKENS_PER_NANO as u128 {
            return Err(QuotaError::RateTooHigh);
        }
        Ok(Self {
            tokens,
            period: decimal::saturate(nanos),
            burst: tokens,
        })
    }

    /// Creates a quota of `tokens` per second.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub const fn per_second(tokens: u64) -> Result<Self, QuotaError> {
        Self::new(tokens, Duration::from_secs(1))
    }

    /// Creates a quota of `tokens` per minute.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub const fn per_minute(tokens: u64) -> Result<Self, QuotaError> {
        Self::new(tokens, Duration::from_secs(60))
    }

    /// Creates a quota of `tokens` per hour.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub const fn per_hour(tokens: u64) -> Result<Self, QuotaError> {
        Self::new(tokens, Duration::from_secs(3_600))
    }

    /// Creates a quota of `tokens` per day of 24 hours.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub const fn per_day(tokens: u64) -> Result<Self, QuotaError> {
        Self::new(tokens, Duration::from_secs(86_400))
    }

    /// Creates a quota that never denies.
    pub const fn unlimited() -> Self {
        Self {
            tokens: 0,
            period: 0,
            burst: u64::MAX,
        }
    }

    /// Returns the same rate with a burst of `burst` tokens. An unlimited quota stays unlimited.
    ///
    /// # Errors
    /// [`QuotaError::ZeroBurst`] or [`QuotaError::TooManyTokens`].
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

    /// Returns N, the tokens gained in each [`period`](Self::period).
    pub const fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Returns P, the time in which [`tokens`](Self::tokens) are gained; zero if the quota is
    /// unlimited.
    pub const fn period(&self) -> Duration {
        Duration::from_nanos(self.period)
    }

    /// Returns B, the most tokens that a bucket holds; [`u64::MAX`] if the quota is unlimited.
    pub const fn max_burst(&self) -> u64 {
        self.burst
    }

    /// Returns true if the quota never denies.
    pub const fn is_unlimited(&self) -> bool {
        self.period == 0
    }
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use super::*;

    #[test]
    fn named_periods_have_their_lengths() {
        let of = |seconds| Quota::new(7, Duration::from_secs(seconds));
        assert_eq!(Quota::per_second(7), of(1));
        assert_eq!(Quota::per_minute(7), of(60));
        assert_eq!(Quota::per_hour(7), of(60 * 60));
        assert_eq!(Quota::per_day(7), of(24 * 60 * 60));
        assert_eq!(Quota::MAX_PERIOD.as_secs(), 3_153_600_000);
    }

    #[test]
    fn each_bound_has_its_own_error() {
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
