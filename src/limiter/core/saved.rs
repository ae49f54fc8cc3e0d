//! The fill of a bucket across a restart, by the wall clock, exact to the part of a token.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::clock::{Timestamp, saturating_nanos};
use crate::limiter::core::carry::{CarryOver, QuotaChange};
use crate::limiter::core::fill::LockedFill;
use crate::limiter::core::rate::{Instant, Rate};
use crate::quota::Quota;

/// How full a bucket was at an instant of the wall clock: from
/// [`save`](crate::AtomicTokenBucket::save), for
/// [`restore`](crate::AtomicTokenBucket::restore).
///
/// Its `Display` and `FromStr` are one line of text.
///
/// ```
/// use std::time::SystemTime;
///
/// use tollgate::{AtomicTokenBucket, Saved};
///
/// let bucket = AtomicTokenBucket::new("100/s burst 20".parse()?)?;
/// let saved = bucket.save(SystemTime::now());
/// assert_eq!(saved.to_string().parse::<Saved>()?, saved);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saved {
    quota: Quota,
    /// What was missing to a full bucket, in units of the quota.
    missing: Instant,
    /// How much longer a pause lasted, in nanoseconds.
    paused: u64,
    /// When it was saved, in nanoseconds since the Unix epoch.
    wall: u64,
}

impl Saved {
    pub(crate) fn new(quota: Quota, missing: Instant, paused: Duration, wall: SystemTime) -> Self {
        Self {
            quota,
            missing,
            paused: saturating_nanos(paused),
            wall: nanos_of(wall),
        }
    }

    /// Returns the nanoseconds since it was saved; zero if the clock was set back.
    fn since(&self, wall: SystemTime) -> u64 {
        nanos_of(wall).saturating_sub(self.wall)
    }

    /// Returns when a bucket of this `rate` is full that lacks what was missing, less what has accrued
    /// since.
    pub(crate) fn full_at(&self, rate: &Rate, now: Timestamp, wall: SystemTime) -> Instant {
        let Ok(units) = self.quota.units() else {
            return 0;
        };
        let mut before = LockedFill::new(units);
        let accrued = before.rate.at(Timestamp::from_nanos(self.since(wall)));
        before.full_at = before.rate.at(now) + self.missing.saturating_sub(accrued);
        QuotaChange::new(CarryOver::Tokens).full_at(&before.view(), rate, now)
    }

    /// Returns how much longer a pause lasts.
    pub(crate) fn paused(&self, wall: SystemTime) -> Duration {
        Duration::from_nanos(self.paused.saturating_sub(self.since(wall)))
    }
}

fn nanos_of(wall: SystemTime) -> u64 {
    saturating_nanos(wall.duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// The text is not that of a [`Saved`] bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedError(());

impl fmt::Display for SavedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "not a saved bucket (expected, for example, `missing 5 paused 0 at 1800000000000000000 of 1/s burst 1`)",
        )
    }
}

impl std::error::Error for SavedError {}

impl fmt::Display for Saved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (missing, paused, wall, quota) = (self.missing, self.paused, self.wall, self.quota);
        write!(f, "missing {missing} paused {paused} at {wall} of {quota}")
    }
}

impl FromStr for Saved {
    type Err = SavedError;

    fn from_str(text: &str) -> Result<Self, SavedError> {
        // Sums with a larger debt could overflow.
        const MAX_MISSING: Instant = 1 << 126;
        fn read(text: &str) -> Option<Saved> {
            let text = text.trim().strip_prefix("missing ")?;
            let (missing, text) = text.split_once(" paused ")?;
            let (paused, text) = text.split_once(" at ")?;
            let (wall, quota) = text.split_once(" of ")?;
            Some(Saved {
                quota: quota.parse().ok()?,
                missing: missing.parse().ok().filter(|it| *it <= MAX_MISSING)?,
                paused: paused.parse().ok()?,
                wall: wall.parse().ok()?,
            })
        }
        read(text).ok_or(SavedError(()))
    }
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use super::*;

    #[test]
    fn malformed_texts_are_refused() {
        for text in [
            "",
            "missing",
            "missing 1 paused 0 at 5 of",
            "missing -1 paused 0 at 5 of 1/s",
            "missing 1 paused 0 at 5 of 1/x",
            "missing 340282366920938463463374607431768211455 paused 0 at 5 of 1/s",
        ] {
            assert!(text.parse::<Saved>().is_err(), "{text}");
        }
    }
}
