use std::fmt;

use super::Quota;

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
