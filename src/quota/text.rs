//! The text of a quota: `100/s burst 20`.

use std::fmt;
use std::str::FromStr;

use super::parse::{UNITS, quota};
use super::{Quota, QuotaError};

impl Quota {
    /// Parses the quota of a `const` or a `static`, at compile time.
    ///
    /// Accepts every form that [`FromStr`](#impl-FromStr-for-Quota) accepts. For text that is not
    /// known at compile time use [`str::parse`], which returns an error.
    ///
    /// # Panics
    /// If `text` is not a quota. In a `const` or a `static` the panic is a compile error whose
    /// message says what to write: this one says `1000` or `1_000`.
    ///
    /// ```compile_fail,E0080
    /// const API: tollgate::Quota = tollgate::Quota::from_static("1,000/s");
    /// ```
    #[track_caller]
    pub const fn from_static(text: &'static str) -> Self {
        match quota(text) {
            Ok(quota) => quota,
            Err(error) => panic!("{}", error.reason()),
        }
    }
}

/// Prints the tokens, `/`, a count unless it is 1, a unit (`ns us ms s min h d`), and `burst` with
/// a number unless the burst is the tokens of one period. [`FromStr`](#impl-FromStr-for-Quota)
/// parses the same quota back.
impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_unlimited() {
            return f.write_str("unlimited");
        }
        write!(f, "{}/", self.tokens)?;
        // The largest unit that divides the period, but a period of weeks is printed in days.
        let mut units = UNITS[1..].iter();
        if let Some((names, nanos)) = units.find(|(_, nanos)| self.period.is_multiple_of(*nanos)) {
            if self.period != *nanos {
                write!(f, "{}", self.period / nanos)?;
            }
            f.write_str(names[0])?;
        }
        if self.burst != self.tokens {
            write!(f, " burst {}", self.burst)?;
        }
        Ok(())
    }
}

/// Parses `unlimited`, or a rate and optionally a burst. Case, and space between the parts, are
/// ignored.
///
/// | part | forms |
/// |---|---|
/// | tokens | `100`, `1_000`, `0.5`; `r`, `req`, `requests` or `tokens` may follow |
/// | between | `/` or `per` |
/// | period | `s`, `10s`, `1.5s`, `1m30s` |
/// | unit | `ns`, `us`, `ms`, `s`, `m` or `min` (a minute), `h`, `d`, `w`, and their names: `sec`, `hour`, `days` |
/// | burst | `burst 20`, `, burst 20`, `burst=20` |
///
/// Every number is exact: a fraction of a token becomes whole tokens in a longer period, so `1.5/s`
/// is 3 per 2 s. Without a burst, the burst is the tokens of one period as written, rounded up to a
/// whole token: 2 for `1.5/s`, 3 for `3/2s`, 1 for `0.1/s`. A rate of zero needs a burst, as in
/// `0/s burst 3`: limiters refuse a burst of zero.
///
/// # Errors
/// [`QuotaError::Syntax`] with the wrong part and what to write, or the bound that is broken.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use tollgate::Quota;
///
/// let quota: Quota = "0.1 requests per second, burst=5".parse()?;
/// assert_eq!(quota, Quota::new(1, Duration::from_secs(10))?.burst(5)?);
/// assert_eq!("30r/m".parse(), Quota::per_minute(30));
/// assert_eq!("1/1m30s".parse(), Quota::new(1, Duration::from_secs(90)));
/// assert_eq!("1.5/s".parse::<Quota>()?.to_string(), "3/2s burst 2");
/// # Ok::<(), tollgate::QuotaError>(())
/// ```
impl FromStr for Quota {
    type Err = QuotaError;

    fn from_str(text: &str) -> Result<Self, QuotaError> {
        quota(text)
    }
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests;
