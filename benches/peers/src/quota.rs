//! A rate and a burst that convert to every peer's terms.

use std::time::Duration;

/// `tokens` per `period`, and at most `burst` at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Tokens per period.
    pub tokens: u64,
    /// The period in which they accrue.
    pub period: Duration,
    /// Tokens of a full bucket.
    pub burst: u64,
}

impl Quota {
    /// The usual period.
    pub const SECOND: Duration = Duration::from_secs(1);

    /// Never denies within a benchmark.
    pub const GENEROUS: Self = Self {
        tokens: 1_000_000_000,
        period: Self::SECOND,
        burst: 1_000_000_000,
    };

    /// Once spent, never admits within a benchmark.
    pub const STINGY: Self = Self {
        tokens: 1,
        period: Duration::from_secs(3_600),
        burst: 1_000,
    };

    /// `rate` tokens per second, with the burst that accrues in `filled_in`.
    pub fn per_second(rate: u64, filled_in: Duration) -> Self {
        Self {
            tokens: rate,
            period: Self::SECOND,
            burst: (u128::from(rate) * filled_in.as_nanos() / 1_000_000_000) as u64,
        }
    }

    /// Tokens per nanosecond.
    pub fn per_nano(self) -> f64 {
        self.tokens as f64 / self.period.as_nanos() as f64
    }

    /// Converts to a tollgate quota.
    pub fn tollgate(self) -> tollgate::Quota {
        tollgate::Quota::new(self.tokens, self.period)
            .and_then(|quota| quota.burst(self.burst))
            .expect("the workloads' quotas are within range")
    }

    /// Converts to a governor quota: one token per whole number of nanoseconds, rounded down.
    pub fn governor(self) -> governor::Quota {
        let burst = u32::try_from(self.burst)
            .ok()
            .and_then(std::num::NonZeroU32::new);
        let per_token = self.period / u32::try_from(self.tokens).expect("a rate below 2^32");
        governor::Quota::with_period(per_token)
            .zip(burst)
            .map(|(quota, burst)| quota.allow_burst(burst))
            .expect("the workloads' quotas are within range")
    }
}
