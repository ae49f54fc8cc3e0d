//! The x86-64 time-stamp counter (TSC) as a [`Source`] beside the operating system's clock.

use super::timeline::{Sample, Source};
use super::{Clock, MonotonicClock};
use crate::sync::read_time_stamp_counter;

/// Samples per calibration; the one with the shortest gap is kept.
const SAMPLES: u32 = 8;

pub(super) struct Tsc;

impl Source for Tsc {
    fn ticks(&self) -> u64 {
        read_time_stamp_counter()
    }

    fn sample(&self) -> Sample {
        let clock = MonotonicClock::new();
        clock.now(); // The first reading sets the origin.
        let one = |_| {
            let before = self.ticks();
            let nanos = clock.now().as_nanos();
            // The thread may have moved to a core whose counter is behind: such a sample is
            // useless.
            let gap = self.ticks().checked_sub(before).unwrap_or(u64::MAX);
            let ticks = before.saturating_add(gap / 2);
            Sample { ticks, nanos, gap }
        };
        let samples = (0..SAMPLES).map(one);
        samples
            .min_by_key(|sample| sample.gap)
            .expect("SAMPLES is not zero")
    }

    fn process(&self) -> u64 {
        std::process::id().into()
    }
}

/// Returns the length of a tick of `clock` in 2^-64 ns, if `clock` reads the counter.
///
/// No other source of `quanta` has ticks shorter than a nanosecond.
pub(super) fn tick_of(clock: &quanta::Clock) -> Option<u64> {
    let counts = clock.delta_as_nanos(0, 1 << 32) < 1 << 32;
    counts.then(|| clock.delta_as_nanos(0, 1 << 63) * 2)
}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use super::super::timeline::scaled;
    use super::*;

    #[test]
    fn ticks_are_as_many_nanoseconds_as_their_source_says() {
        let clock = quanta::Clock::new();
        let Some(tick) = tick_of(&clock) else {
            let long = clock.delta_as_nanos(0, 1 << 32) >= 1 << 32;
            assert!(long, "without the counter a tick is at least a nanosecond");
            return;
        };
        let (before, raw, after) = (Tsc.ticks(), clock.raw(), Tsc.ticks());
        // An upper bound on how far the counter of a core that this thread moves to may be behind.
        let apart = 1 << 32;
        assert!(
            before < raw + apart && raw < after + apart,
            "quanta does not read the same counter"
        );
        for n in 0..10_000_u64 {
            // Every magnitude, up to centuries.
            let ticks = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (n % 60 + 1);
            let expected = clock.delta_as_nanos(0, ticks);
            assert!(scaled(ticks, tick).abs_diff(expected) <= 1, "{ticks}");
        }
    }
}
