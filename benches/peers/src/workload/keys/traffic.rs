//! The order in which keys are requested.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Zipf};

use crate::quota::Quota;

/// The calls of one pass over the traffic; passes repeat.
pub const CALLS: usize = 1 << 20;

/// Keys and the order of their requests.
pub struct Traffic<K> {
    /// All keys.
    pub keys: Vec<K>,
    /// The indexes of the keys, in the order of the requests.
    pub order: Vec<u32>,
    /// The quota of each key while the limiter is timed.
    pub quota: Quota,
    /// The quota of each key while answers are judged: low enough for denials, high enough for
    /// refills.
    pub judged_by: Quota,
    /// The number of callers.
    pub threads: usize,
}

impl<K: Clone> Traffic<K> {
    /// Returns the keys in the order of the requests, side by side: a request carries its key, and
    /// the driver looks up none.
    pub fn asked(&self) -> Vec<K> {
        let keys = self.order.iter().map(|n| &self.keys[*n as usize]);
        keys.cloned().collect()
    }
}

impl<K> Traffic<K> {
    /// For keys that are requested more than a thousand times a second.
    const OFTEN: Quota = Quota {
        tokens: 1_000,
        period: Quota::SECOND,
        burst: 20,
    };

    /// Draws keys uniformly. A key of a million is requested a few times a second, a key of a
    /// thousand some thousand times.
    pub fn uniform(keys: Vec<K>) -> Self {
        let n = keys.len() as u32;
        let judged_by = if keys.len() > 100_000 {
            Quota::per_second(1, Duration::from_secs(2))
        } else {
            Self::OFTEN
        };
        Self {
            judged_by,
            ..Self::drawn(keys, |random| random.random_range(0..n))
        }
    }

    /// Draws keys by Zipf's law: few keys make most of the traffic.
    pub fn zipf(keys: Vec<K>) -> Self {
        let ranks = Zipf::new(keys.len() as f64, 1.1).expect("the exponent is positive");
        Self::drawn(keys, |random| ranks.sample(random) as u32 - 1)
    }

    fn drawn(keys: Vec<K>, mut draw: impl FnMut(&mut SmallRng) -> u32) -> Self {
        let mut random = SmallRng::seed_from_u64(1);
        let order = (0..CALLS).map(|_| draw(&mut random)).collect();
        Self {
            keys,
            order,
            quota: Quota::GENEROUS,
            judged_by: Self::OFTEN,
            threads: 1,
        }
    }
}

/// Returns `n` integer keys.
pub fn number_keys(n: usize) -> Vec<u64> {
    (0..n as u64).map(scrambled).collect()
}

/// Returns `n` string keys of 30 bytes.
pub fn string_keys(n: usize) -> Vec<String> {
    (0..n)
        .map(|n| format!("namespace-{:04}/name-{n:010}", n % 10_000))
        .collect()
}

/// Maps each number to a distinct key without order.
pub fn scrambled(n: u64) -> u64 {
    n.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(32)
}
