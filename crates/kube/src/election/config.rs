//! The durations of an election, and what makes them valid.

use std::time::Duration;

/// The longest lease duration that a record is believed to mean: a day.
pub(super) const LONGEST_LEASE: Duration = Duration::from_secs(24 * 60 * 60);

/// The durations of an election; the defaults are client-go's: 15 s, 10 s, 2 s.
///
/// The candidates of one Lease may have different durations, for instance during a rolling update:
/// each record is judged by the duration that its holder wrote into it.
///
/// The ratio of [`lease_duration`](Self::lease_duration) to
/// [`renew_deadline`](Self::renew_deadline) is the ratio of clock rates that the election
/// tolerates. With the defaults, a candidate's clock may run 1.5 times as fast as the holder's.
///
/// ```
/// use std::time::Duration;
/// use tollgate_kube::election::{ConfigError, ElectionConfig};
///
/// let mut config = ElectionConfig::default();
/// config.validate()?;
/// config.renew_deadline = Duration::from_secs(20);
/// assert!(config.validate().unwrap_err().to_string().contains("below the lease duration"));
/// # Ok::<(), ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ElectionConfig {
    /// How long a candidate sees a record unchanged before it takes the lease over. Whole seconds,
    /// from 1 s to a day: the record has no finer unit.
    pub lease_duration: Duration,
    /// How long a holder is valid after it sent its last successful renewal. Less than the lease
    /// duration.
    pub renew_deadline: Duration,
    /// The time from one request to the next. Each is lengthened at random by up to a fifth, so
    /// that candidates which started together do not stay together. 1.2 times this is less than the
    /// renew deadline.
    pub retry_period: Duration,
}

impl Default for ElectionConfig {
    fn default() -> Self {
        Self {
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

/// Why an [`ElectionConfig`] or the options of an election are invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The lease duration is not a whole number of seconds from 1 s to a day.
    #[error("the lease duration must be whole seconds from 1 s to 86400 s, not {0:?}")]
    LeaseDuration(Duration),
    /// The renew deadline is not less than the lease duration.
    #[error("the renew deadline ({renew:?}) must be below the lease duration ({lease:?})")]
    RenewDeadline {
        /// The renew deadline.
        renew: Duration,
        /// The lease duration.
        lease: Duration,
    },
    /// The retry period, lengthened by a fifth, is not less than the renew deadline.
    #[error("1.2 times the retry period ({retry:?}) must be below the renew deadline ({renew:?})")]
    RetryPeriod {
        /// The retry period.
        retry: Duration,
        /// The renew deadline.
        renew: Duration,
    },
    /// The retry period is zero.
    #[error("the retry period must be above zero")]
    NoRetryPeriod,
    /// A name is empty.
    #[error("the {0} of the election must not be empty")]
    Empty(&'static str),
}

impl ElectionConfig {
    /// Checks the durations against each other.
    ///
    /// # Errors
    /// The first rule that is broken, with the values that break it.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let (lease, renew, retry) = (self.lease_duration, self.renew_deadline, self.retry_period);
        if lease.is_zero() || lease.subsec_nanos() != 0 || lease > LONGEST_LEASE {
            return Err(ConfigError::LeaseDuration(lease));
        }
        if renew >= lease {
            return Err(ConfigError::RenewDeadline { renew, lease });
        }
        if retry.is_zero() {
            return Err(ConfigError::NoRetryPeriod);
        }
        if retry.saturating_mul(6) >= renew * 5 {
            return Err(ConfigError::RetryPeriod { retry, renew });
        }
        Ok(())
    }

    /// Returns the lease duration as the record's field.
    pub(super) fn lease_seconds(&self) -> i32 {
        i32::try_from(self.lease_duration.as_secs()).expect("validated to be at most a day")
    }

    /// Returns the time after which a request without an answer is abandoned: half the renew
    /// deadline, so that a holder can try again.
    pub(super) fn request_timeout(&self) -> Duration {
        self.renew_deadline / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(lease: u64, renew: u64, retry: u64) -> ElectionConfig {
        let [lease, renew, retry] = [lease, renew, retry].map(Duration::from_millis);
        ElectionConfig {
            lease_duration: lease,
            renew_deadline: renew,
            retry_period: retry,
        }
    }

    #[test]
    fn valid_configurations_are_accepted() {
        assert_eq!(ElectionConfig::default().validate(), Ok(()));
        assert_eq!(config(1_000, 999, 832).validate(), Ok(()));
        assert_eq!(config(86_400_000, 80_000_000, 1).validate(), Ok(()));
    }

    #[test]
    fn each_broken_rule_is_named() {
        for (lease, renew, retry, text) in [
            (0, 10_000, 2_000, "whole seconds"),
            (999, 500, 100, "whole seconds"),
            (15_500, 10_000, 2_000, "whole seconds"),
            (86_401_000, 10_000, 2_000, "whole seconds"),
            (15_000, 15_000, 2_000, "below the lease duration"),
            (15_000, 10_000, 0, "above zero"),
            (15_000, 12_000, 10_000, "below the renew deadline"),
            (15_000, 0, 1, "below the renew deadline"),
        ] {
            let error = config(lease, renew, retry).validate().unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}
