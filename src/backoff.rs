//! Backoffs: the delay before a retry, and the random numbers of its jitter.

use std::time::Duration;

use crate::clock::saturating_nanos;
use crate::sync::{AtomicU64, Ordering};

/// The delay of a key after it has failed.
///
/// Closures `Fn(failures, random) -> Duration` implement it.
///
/// ```
/// use std::time::Duration;
/// use tollgate::Backoff;
///
/// let fast_then_slow = |failures: u32, _random: u64| Duration::from_secs(if failures < 3 { 1 } else { 60 });
/// assert_eq!(fast_then_slow.delay(3, 0), Duration::from_secs(60));
/// ```
pub trait Backoff: Send + Sync {
    /// Returns the delay after `failures` failures in a row, which is at least 1.
    ///
    /// `random` is uniform over all of `u64`, from the queue's own seeded generator: use it for
    /// jitter.
    fn delay(&self, failures: u32, random: u64) -> Duration;

    /// Wraps the backoff in a maximum of `max`.
    fn capped(self, max: Duration) -> CappedBackoff<Self>
    where
        Self: Sized,
    {
        CappedBackoff { backoff: self, max }
    }
}

impl<F: Fn(u32, u64) -> Duration + Send + Sync> Backoff for F {
    fn delay(&self, failures: u32, random: u64) -> Duration {
        self(failures, random)
    }
}

/// Doubles the delay with each failure up to a maximum, minus a random jitter, so that keys that
/// failed together do not return together.
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
    /// Same as `default()`, in a constant.
    pub(crate) const DEFAULT: Self = Self::new(Duration::from_millis(5), Duration::from_secs(1000));

    /// Creates a backoff of `base` after the first failure, doubled with each further one up to
    /// `max`, with a jitter of 10%.
    pub const fn new(base: Duration, max: Duration) -> Self {
        Self {
            base,
            max,
            jitter: 10,
        }
    }

    /// Sets the jitter: up to `percent` of the delay is taken off at random; over 100 counts as
    /// 100.
    pub const fn jitter(mut self, percent: u8) -> Self {
        self.jitter = percent;
        self
    }
}

impl Default for ExponentialBackoff {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Backoff for ExponentialBackoff {
    fn delay(&self, failures: u32, random: u64) -> Duration {
        // 127 doublings of any base but zero exceed every maximum.
        let doublings = failures.saturating_sub(1).min(127);
        let nanos = self.base.as_nanos().saturating_mul(1 << doublings);
        // More than 64 bits of nanoseconds, 584 years, count as the maximum.
        let delay = u64::try_from(nanos).map_or(self.max, Duration::from_nanos);
        jittered(delay.min(self.max), self.jitter, random)
    }
}

/// The same delay after every failure, without jitter unless it is set.
///
/// ```
/// use std::time::Duration;
/// use tollgate::{Backoff, FixedBackoff};
///
/// let backoff = FixedBackoff::new(Duration::from_secs(10)).jitter(20);
/// assert_eq!(backoff.delay(1, 0), Duration::from_secs(10));
/// assert!(backoff.delay(9, u64::MAX) >= Duration::from_secs(8));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedBackoff {
    delay: Duration,
    jitter: u8,
}

impl FixedBackoff {
    /// Creates a backoff of `delay` after every failure.
    pub const fn new(delay: Duration) -> Self {
        let jitter = 0;
        Self { delay, jitter }
    }

    /// Sets the jitter: up to `percent` of the delay is taken off at random; over 100 counts as
    /// 100.
    pub const fn jitter(mut self, percent: u8) -> Self {
        self.jitter = percent;
        self
    }
}

impl Backoff for FixedBackoff {
    fn delay(&self, _: u32, random: u64) -> Duration {
        jittered(self.delay, self.jitter, random)
    }
}

/// A few fast retries, then slow ones: for failures that mostly pass at once and otherwise last.
///
/// ```
/// use std::time::Duration;
/// use tollgate::{Backoff, FastSlowBackoff};
///
/// let (fast, slow) = (Duration::from_millis(5), Duration::from_secs(60));
/// let backoff = FastSlowBackoff::new(fast, 3, slow);
/// assert_eq!([1, 3, 4].map(|failures| backoff.delay(failures, 0)), [fast, fast, slow]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FastSlowBackoff {
    fast: Duration,
    fast_retries: u32,
    slow: Duration,
    jitter: u8,
}

impl FastSlowBackoff {
    /// Creates a backoff of `fast` after each of the first `fast_retries` failures in a row, and of
    /// `slow` after every further one.
    pub const fn new(fast: Duration, fast_retries: u32, slow: Duration) -> Self {
        Self {
            fast,
            fast_retries,
            slow,
            jitter: 0,
        }
    }

    /// Sets the jitter: up to `percent` of the delay is taken off at random; over 100 counts as
    /// 100.
    pub const fn jitter(mut self, percent: u8) -> Self {
        self.jitter = percent;
        self
    }
}

impl Backoff for FastSlowBackoff {
    fn delay(&self, failures: u32, random: u64) -> Duration {
        let delay = if failures <= self.fast_retries {
            self.fast
        } else {
            self.slow
        };
        jittered(delay, self.jitter, random)
    }
}

/// A backoff with a maximum, from [`Backoff::capped`].
///
/// ```
/// use std::time::Duration;
/// use tollgate::Backoff;
///
/// let linear = |failures: u32, _random: u64| Duration::from_secs(failures.into());
/// let backoff = linear.capped(Duration::from_secs(30));
/// assert_eq!(backoff.delay(7, 0), Duration::from_secs(7));
/// assert_eq!(backoff.delay(99, 0), Duration::from_secs(30));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CappedBackoff<B> {
    backoff: B,
    max: Duration,
}

impl<B: Backoff> Backoff for CappedBackoff<B> {
    fn delay(&self, failures: u32, random: u64) -> Duration {
        self.backoff.delay(failures, random).min(self.max)
    }
}

/// Takes a random part of at most `jitter` percent, or all, off a delay.
fn jittered(delay: Duration, jitter: u8, random: u64) -> Duration {
    let delay = u128::from(saturating_nanos(delay));
    // Exact in 128 bits: below 2^64 * 2^7 before the division, below 2^64 * 2^64 after it.
    let most = delay * u128::from(jitter.min(100)) / 100;
    let off = (most * u128::from(random)) >> 64;
    Duration::from_nanos(u64::try_from(delay - off).unwrap_or(u64::MAX))
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
        // Relaxed: each caller gets a number of its own, unordered with everything else.
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
        fn a_delay_grows_within_its_bounds_and_never_panics(
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
    fn jitter_takes_off_a_random_part() {
        const SECOND: Duration = Duration::from_secs(1);
        let random = [0, 1 << 63, u64::MAX];
        let after =
            |backoff: &dyn Backoff| random.map(|random| backoff.delay(1, random).as_millis());
        assert_eq!(after(&FixedBackoff::new(SECOND)), [1_000; 3]);
        assert_eq!(
            after(&FixedBackoff::new(SECOND).jitter(40)),
            [1_000, 800, 600]
        );
        assert_eq!(
            after(&FixedBackoff::new(SECOND).jitter(200)),
            [1_000, 500, 0]
        );
        let fast = FastSlowBackoff::new(SECOND, 1, SECOND).jitter(40);
        assert_eq!(after(&fast), [1_000, 800, 600]);
        let exponential = ExponentialBackoff::new(SECOND, SECOND).jitter(40);
        assert_eq!(after(&exponential), [1_000, 800, 600]);
    }

    #[test]
    fn delays_are_fast_then_slow_and_capped() {
        let [fast, slow, cap] = [1, 9, 5].map(Duration::from_secs);
        let backoff = FastSlowBackoff::new(fast, 2, slow);
        let delays = [1, 2, 3, u32::MAX].map(|failures| backoff.delay(failures, 0));
        assert_eq!(delays, [fast, fast, slow, slow]);
        let capped = backoff.capped(cap);
        assert_eq!(
            [1, 3].map(|failures| capped.delay(failures, 0)),
            [fast, cap]
        );
    }

    #[test]
    fn delays_double_up_to_the_maximum() {
        let max = Duration::from_secs(1_000);
        let backoff = ExponentialBackoff::new(Duration::from_nanos(1), max).jitter(0);
        assert_eq!(backoff.delay(39, 0), Duration::from_nanos(1 << 38));
        assert_eq!(backoff.delay(41, 0), max);
        assert_eq!(backoff.delay(u32::MAX, 0), max);
    }

    #[test]
    fn random_numbers_follow_the_published_sequence() {
        let random = Random::new(0);
        assert_eq!(random.next(), 0xe220_a839_7b1d_cdaf);
        assert_eq!(random.next(), 0x6e78_9e6a_a1b9_65f4);
    }
}
