//! How long to wait before a retry.

use std::time::Duration;

use crate::clock::saturating_nanos;
use crate::sync::{AtomicU64, Ordering};

/// How long a key waits after it has failed.
///
/// Closures `Fn(failures, random) -> Duration` are backoffs too.
///
/// ```
/// use std::time::Duration;
/// use tollgate::Backoff;
///
/// let fast_then_slow = |failures: u32, _random: u64| Duration::from_secs(if failures < 3 { 1 } else { 60 });
/// assert_eq!(fast_then_slow.delay(3, 0), Duration::from_secs(60));
/// ```
pub trait Backoff: Send + Sync {
    /// The delay after `failures` failures in a row, which is at least 1. `random` is uniform over
    /// all of `u64`, from the queue's own seeded source: use it for jitter.
    fn delay(&self, failures: u32, random: u64) -> Duration;
}

impl<F: Fn(u32, u64) -> Duration + Send + Sync> Backoff for F {
    fn delay(&self, failures: u32, random: u64) -> Duration {
        self(failures, random)
    }
}

/// Doubles the delay with each failure, up to a maximum, and takes a random part off so that keys
/// that failed together do not come back together.
///
/// The default is that of Kubernetes' controllers, 5 ms doubling up to 1000 s, with a jitter of
/// 10%.
///
/// ```
/// use std::time::Duration;
/// use tollgate::{Backoff, ExponentialBackoff};
///
/// let backoff = ExponentialBackoff::new(Duration::from_millis(5), Duration::from_secs(1000)).jitter(0);
/// assert_eq!(backoff.delay(1, 0), Duration::from_millis(5));
/// assert_eq!(backoff.delay(4, 0), Duration::from_millis(40));
/// assert_eq!(backoff.delay(u32::MAX, 0), Duration::from_secs(1000));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExponentialBackoff {
    base: Duration,
    max: Duration,
    jitter: u8,
}

impl ExponentialBackoff {
    /// As the default.
    pub(crate) const DEFAULT: Self = Self::new(Duration::from_millis(5), Duration::from_secs(1000));

    /// `base` after the first failure, doubled with each further one, at most `max`; with a jitter
    /// of 10%.
    pub const fn new(base: Duration, max: Duration) -> Self {
        Self {
            base,
            max,
            jitter: 10,
        }
    }

    /// Takes off a random part of up to `percent` of the delay; over 100 counts as 100.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{Backoff, ExponentialBackoff};
    ///
    /// let backoff = ExponentialBackoff::new(Duration::from_secs(1), Duration::from_secs(1)).jitter(50);
    /// assert_eq!(backoff.delay(1, 0), Duration::from_secs(1));
    /// assert!(backoff.delay(1, u64::MAX) >= Duration::from_millis(500));
    /// ```
    pub const fn jitter(self, percent: u8) -> Self {
        Self {
            jitter: if percent > 100 { 100 } else { percent },
            ..self
        }
    }
}

impl Default for ExponentialBackoff {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Backoff for ExponentialBackoff {
    fn delay(&self, failures: u32, random: u64) -> Duration {
        let doublings = failures.saturating_sub(1);
        let delay = self
            .base
            .saturating_mul(1u32.checked_shl(doublings).unwrap_or(u32::MAX));
        let delay = u128::from(saturating_nanos(delay.min(self.max)));
        // Exact in 128 bits: below 2^64 * 2^7 before the division, below 2^64 * 2^64 after it.
        let most = delay * u128::from(self.jitter) / 100;
        let off = (most * u128::from(random)) >> 64;
        Duration::from_nanos(u64::try_from(delay - off).unwrap_or(u64::MAX))
    }
}

/// The queue's random numbers: splitmix64 (Steele, Lea and Flood, 2014), so that a seed replays a
/// run.
#[derive(Debug)]
pub(crate) struct Random(AtomicU64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    pub(crate) fn next(&self) -> u64 {
        const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
        // Relaxed: each caller gets a number of its own, in no order with anything else.
        let z = self
            .0
            .fetch_add(GAMMA, Ordering::Relaxed)
            .wrapping_add(GAMMA);
        let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn grows_stays_in_its_bounds_and_never_panics(
            base: Duration, max: Duration, jitter: u8, failures: u32, random: u64,
        ) {
            let backoff = ExponentialBackoff::new(base, max).jitter(jitter);
            let whole = backoff.jitter(0).delay(failures, random);
            let delay = backoff.delay(failures, random);
            prop_assert!(delay <= whole && whole <= max);
            prop_assert!(whole <= backoff.jitter(0).delay(failures.saturating_add(1), random));
            let least = saturating_nanos(whole) as u128 * u128::from(100 - jitter.min(100)) / 100;
            prop_assert!(delay.as_nanos() >= least);
        }
    }

    #[test]
    fn random_numbers_follow_the_published_sequence() {
        let random = Random::new(0);
        assert_eq!(random.next(), 0xe220_a839_7b1d_cdaf);
        assert_eq!(random.next(), 0x6e78_9e6a_a1b9_65f4);
    }
}
