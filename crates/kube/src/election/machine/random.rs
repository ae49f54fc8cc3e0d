//! The generator of the jitter: `SplitMix64`.

use std::time::Duration;

#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// Returns `period`, lengthened by up to a fifth.
    pub(super) fn jitter(&mut self, period: Duration) -> Duration {
        let fifth = u64::try_from(period.as_nanos() / 5).unwrap_or(u64::MAX);
        period.saturating_add(Duration::from_nanos(self.next() % fifth.saturating_add(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_lies_between_the_period_and_six_fifths_of_it() {
        let (mut random, period) = (Random::new(7), Duration::from_secs(2));
        let drawn: Vec<_> = (0..1_000).map(|_| random.jitter(period)).collect();
        assert!(
            drawn
                .iter()
                .all(|wait| *wait >= period && *wait <= period * 6 / 5)
        );
        let distinct: std::collections::HashSet<_> = drawn.iter().collect();
        assert!(distinct.len() > 990, "{}", distinct.len());
        assert_eq!(
            random.jitter(Duration::from_nanos(4)),
            Duration::from_nanos(4)
        );
    }
}
