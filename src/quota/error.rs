//! Errors of quotas: the bound that is broken, or the part of the text that is wrong.

use std::fmt;

/// Why a quota is refused.
///
/// ```
/// use tollgate::{AtomicTokenBucket, Quota, QuotaError};
///
/// let quota = Quota::per_second(999_983)?.burst(1_000_000_000)?;
/// let _bucket = match AtomicTokenBucket::new(quota) {
///     Err(QuotaError::BeyondWord { max_burst }) => AtomicTokenBucket::new(quota.burst(max_burst)?)?,
///     other => other?,
/// };
/// # Ok::<(), QuotaError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuotaError {
    /// The period is zero.
    ZeroPeriod,
    /// The period is longer than [`Quota::MAX_PERIOD`](super::Quota::MAX_PERIOD).
    PeriodTooLong,
    /// The tokens per period or the burst exceed [`Quota::MAX_TOKENS`](super::Quota::MAX_TOKENS).
    TooManyTokens,
    /// The rate exceeds [`Quota::MAX_TOKENS_PER_NANO`](super::Quota::MAX_TOKENS_PER_NANO).
    RateTooHigh,
    /// The burst is zero: such a bucket would admit nothing.
    ZeroBurst,
    /// The text is not a quota. The error names the wrong part and what to write.
    Syntax(QuotaSyntaxError),
    /// The quota does not fit the word of an `AtomicTokenBucket`. A `LockedTokenBucket` accepts it.
    BeyondWord {
        /// The largest burst that fits at this rate; 0 if the rate itself does not fit.
        max_burst: u64,
    },
}

impl QuotaError {
    /// Returns the text of `Display` without the parts that need formatting: usable in a `const`.
    pub(super) const fn reason(&self) -> &'static str {
        match self {
            Self::ZeroPeriod => "the period of a quota must be at least 1 ns",
            Self::PeriodTooLong => {
                "the period of a quota must be at most 100 years of 365 days (3153600000 s)"
            }
            Self::TooManyTokens => "a quota must have at most 1000000000000000000 tokens",
            Self::RateTooHigh => "the rate of a quota must be at most 1000 tokens per ns",
            Self::ZeroBurst => {
                "the burst of a quota must be at least 1: a burst of 0 admits nothing"
            }
            Self::Syntax(error) => error.expected,
            Self::BeyondWord { .. } => {
                "the rate does not fit the word of an AtomicTokenBucket; use a LockedTokenBucket"
            }
        }
    }
}

impl fmt::Display for QuotaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(error) => error.fmt(f),
            &Self::BeyondWord { max_burst } if max_burst > 0 => write!(
                f,
                "at this rate the word of an AtomicTokenBucket holds a burst of at most {max_burst}; \
                 use a LockedTokenBucket"
            ),
            _ => f.write_str(self.reason()),
        }
    }
}

impl std::error::Error for QuotaError {}

/// A text that is not a quota: the wrong part, and what to write there.
///
/// Holds a copy of the text, truncated to what fits without an allocation.
///
/// ```
/// use tollgate::{Quota, QuotaError};
///
/// let error = "1,000/s".parse::<Quota>().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "not a quota: \"1,000/s\", at \"1,000\": \
///      write 1000 or 1_000 for a thousand, and 1.5 for one and a half",
/// );
/// let QuotaError::Syntax(error) = error else { panic!("the rate is within all bounds") };
/// assert_eq!((error.text(), error.part()), ("1,000/s", "1,000"));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct QuotaSyntaxError {
    /// The first `len` bytes are whole characters of the text.
    bytes: [u8; Self::CAPACITY],
    len: u8,
    /// The wrong part, as a range of `bytes`.
    start: u8,
    end: u8,
    /// Whether the text is truncated.
    cut: bool,
    expected: &'static str,
}

impl QuotaSyntaxError {
    /// Longer than most quotas. Bounds the size of every `Result` with a [`QuotaError`].
    const CAPACITY: usize = 60;

    /// Creates the error at `start..end` of `text`, both on character boundaries. A text that is
    /// too long is kept from its start, or from the wrong part if that lies beyond the capacity.
    #[expect(clippy::cast_possible_truncation, reason = "at most CAPACITY")]
    pub(super) const fn new(text: &str, start: usize, end: usize, expected: &'static str) -> Self {
        let from = if end > Self::CAPACITY { start } else { 0 };
        let kept = text.split_at(from).1;
        let mut len = kept.len();
        while len > Self::CAPACITY || !kept.is_char_boundary(len) {
            len -= 1;
        }
        let mut bytes = [0; Self::CAPACITY];
        let (kept, _) = kept.as_bytes().split_at(len);
        bytes.split_at_mut(len).0.copy_from_slice(kept);
        let end = if end - from > len { len } else { end - from };
        Self {
            bytes,
            len: len as u8,
            start: (start - from) as u8,
            end: end as u8,
            cut: len < text.len(),
            expected,
        }
    }

    /// Returns the text that was read, truncated if it is long.
    pub fn text(&self) -> &str {
        self.slice(0, self.len)
    }

    /// Returns the wrong part of [`text`](Self::text); empty where something is missing.
    pub fn part(&self) -> &str {
        self.slice(self.start, self.end)
    }

    /// Returns what to write instead, with an example.
    pub const fn expected(&self) -> &'static str {
        self.expected
    }

    fn slice(&self, start: u8, end: u8) -> &str {
        let bytes = &self.bytes[usize::from(start)..usize::from(end)];
        str::from_utf8(bytes).unwrap_or_default()
    }
}

impl fmt::Debug for QuotaSyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuotaSyntaxError")
            .field("text", &self.text())
            .field("part", &self.part())
            .field("expected", &self.expected)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for QuotaSyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (text, part) = (self.text(), self.part());
        let more = if self.cut { "..." } else { "" };
        write!(f, "not a quota: {text:?}{more}")?;
        if part != text && !part.is_empty() {
            write!(f, ", at {part:?}")?;
        }
        write!(f, ": {}", self.expected)
    }
}

impl std::error::Error for QuotaSyntaxError {}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use super::*;
    use crate::quota::Quota;

    #[test]
    fn every_error_names_its_bound() {
        let says = |error: QuotaError, what: &str| {
            let text = error.to_string();
            assert!(text.contains(what), "{text:?} does not name {what:?}");
        };
        says(QuotaError::ZeroPeriod, "1 ns");
        says(QuotaError::PeriodTooLong, "3153600000 s");
        says(QuotaError::TooManyTokens, "1000000000000000000");
        says(QuotaError::RateTooHigh, "1000 tokens per ns");
        says(QuotaError::ZeroBurst, "at least 1");
        let syntax = QuotaSyntaxError::new("1/fortnight", 2, 11, "a unit");
        says(QuotaError::Syntax(syntax), "1/fortnight");
        says(QuotaError::Syntax(syntax), "a unit");
        says(QuotaError::BeyondWord { max_burst: 0 }, "rate");
        says(QuotaError::BeyondWord { max_burst: 5_003 }, "5003");
        // The messages contain the bounds as literals.
        let bounds = [Quota::MAX_TOKENS, Quota::MAX_TOKENS_PER_NANO].map(|bound| bound.to_string());
        says(QuotaError::TooManyTokens, &bounds[0]);
        says(QuotaError::RateTooHigh, &bounds[1]);
        says(
            QuotaError::PeriodTooLong,
            &Quota::MAX_PERIOD.as_secs().to_string(),
        );
    }

    #[test]
    fn a_long_text_is_kept_from_the_wrong_part_on() {
        let error = |text: &str, start, end| QuotaSyntaxError::new(text, start, end, "less");
        let long = "\u{221e}".repeat(100);
        let head = error(&long, 3, 6);
        assert_eq!((head.text(), head.part()), (&long[..60], "\u{221e}"));
        let tail = error(&long, 270, 300);
        assert_eq!((tail.text(), tail.part()), (&long[270..], &long[270..]));
        let all = error(&long, 0, 300);
        assert_eq!((all.text(), all.part()), (&long[..60], &long[..60]));
        assert!(all.to_string().contains("...: less"));
        // A character that does not fit whole is left out.
        let odd = error(&format!("ab{long}"), 0, 0);
        assert_eq!((odd.text().len(), odd.part()), (59, ""));
    }
}
