//! Who asks for what, how often.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Zipf};

use crate::quota::Quota;

/// How many calls a pass over the traffic has; they come again and again.
pub const CALLS: usize = 1 << 20;

/// Who asks for what, how often.
pub struct Traffic<K> {
    /// All that there are.
    pub keys: Vec<K>,
    /// Their numbers, as they are asked for.
    pub order: Vec<u32>,
    /// What each key is limited to while times are taken.
    pub quota: Quota,
    /// What each is limited to while answers are judged: some are denied, and some come back.
    pub judged_by: Quota,
    /// Callers.
    pub threads: usize,
}

impl<K: Clone> Traffic<K> {
    /// The keys as they are asked for, side by side: a request brings its key with it, and does not
    /// look for it in a table of all keys.
    pub fn asked(&self) -> Vec<K> {
        let keys = self.order.iter().map(|n| &self.keys[*n as usize]);
        keys.cloned().collect()
    }
}

impl<K> Traffic<K> {
    /// For keys that are asked for more often than a thousand times a second.
    const OFTEN: Quota = Quota {
        tokens: 1_000,
        period: Quota::SECOND,
        burst: 20,
    };

    /// Each as often as the others. A key of a million is asked for a few times a second, and one
    /// of a thousand some thousand times.
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

    /// Few keys make most of the traffic.
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

/// Integers for keys.
pub fn number_keys(n: usize) -> Vec<u64> {
    (0..n as u64).map(scrambled).collect()
}

/// Names for keys, of 30 bytes.
pub fn string_keys(n: usize) -> Vec<String> {
    (0..n)
        .map(|n| format!("namespace-{:04}/name-{n:010}", n % 10_000))
        .collect()
}

/// Keys with no order to them, and no two alike.
pub fn scrambled(n: u64) -> u64 {
    n.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(32)
}
