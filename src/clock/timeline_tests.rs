//! A fake 3 GHz counter beside a fake reference clock of another rate.

#![allow(clippy::cast_possible_truncation)]

use std::thread;

use super::*;

/// The rate that the timeline starts with: 3 GHz.
const THIRD: u64 = u64::MAX / 3;
const SECOND: u64 = 3_000_000_000;
/// The machine booted before the process started.
const ORIGIN: u64 = 1 << 50;

/// A counter that each reading advances by `step`.
struct Fake {
    ticks: AtomicU64,
    step: u64,
    /// How much faster than 3 GHz the reference runs, in parts in a million: up to the first of
    /// [`TURNS`], up to the second, and after.
    ppm: [i64; 3],
    /// Ticks that a sample takes besides its gap: a stalled writer.
    stall: u64,
    samples: AtomicU64,
}

/// The rate changes a minute after the start, and again ten seconds later.
const TURNS: [u64; 2] = [60 * SECOND, 70 * SECOND];

impl Fake {
    fn new(ppm: [i64; 3], step: u64, stall: u64) -> Self {
        Self {
            ticks: AtomicU64::new(ORIGIN),
            step,
            ppm,
            stall,
            samples: AtomicU64::new(0),
        }
    }

    fn started(&self) -> Timeline {
        let timeline = Timeline::new();
        timeline.start(self.sample(), THIRD);
        timeline
    }

    fn advance(&self, by: u64) -> u64 {
        self.ticks.fetch_add(by, Ordering::AcqRel) + by
    }

    /// Returns what the reference reads at `ticks`.
    fn nanos(&self, ticks: u64) -> u64 {
        let since = ticks - ORIGIN;
        let parts = [
            since.min(TURNS[0]),
            since.clamp(TURNS[0], TURNS[1]) - TURNS[0],
            since.saturating_sub(TURNS[1]),
        ];
        let nanos =
            |(part, ppm): (u64, i64)| i128::from(part) * i128::from(1_000_000 + ppm) / 3_000_000;
        parts.into_iter().zip(self.ppm).map(nanos).sum::<i128>() as u64
    }
}

impl Source for Fake {
    fn ticks(&self) -> u64 {
        self.advance(self.step)
    }

    fn sample(&self) -> Sample {
        let before = self.ticks();
        let nth = self.samples.fetch_add(1, Ordering::Relaxed);
        // The reference is read at either end of the gap; every fifth gap is a second long.
        let gap = if nth % 5 == 3 { SECOND } else { 120 };
        let nanos = self.nanos(before + gap * (nth % 2));
        self.advance(gap + self.stall);
        let ticks = before + gap / 2;
        Sample { ticks, nanos, gap }
    }

    fn process(&self) -> u64 {
        1
    }
}

fn read(timeline: &Timeline, fake: &Fake) -> u64 {
    let at_once = timeline.read(|| fake.ticks());
    at_once.unwrap_or_else(|| timeline.settle(fake))
}

/// Returns the (reference, timeline) readings at each second; asserts that none is less than the
/// one before.
fn seconds(fake: &Fake, count: usize, step_of: impl Fn(u64) -> u64) -> Vec<(u64, u64)> {
    let timeline = fake.started();
    let (mut seen, mut last, mut nth) = (Vec::new(), 0, 0);
    while seen.len() < count {
        nth += 1;
        fake.advance(step_of(nth));
        let now = read(&timeline, fake);
        let ticks = fake.ticks.load(Ordering::Relaxed);
        assert!(now >= last, "{last} then {now}");
        last = now;
        if ticks - ORIGIN >= seen.len() as u64 * SECOND {
            seen.push((fake.nanos(ticks), now));
        }
    }
    seen
}

/// Returns by how many parts in a million the timeline is off between two of the readings.
fn error(seen: &[(u64, u64)], from: usize, to: usize) -> f64 {
    let (start, end) = (seen[from], seen[to]);
    let (truth, told) = ((end.0 - start.0) as f64, (end.1 - start.1) as f64);
    #[expect(clippy::float_arithmetic, reason = "for the message only")]
    {
        (told / truth - 1.0) * 1e6
    }
}

#[test]
fn the_rate_is_within_5_ppm_ten_seconds_after_the_start() {
    for ppm in [-300, -100, -64, -1, 0, 18, 100, 300] {
        let fake = Fake::new([ppm; 3], 30, 0);
        let seen = seconds(&fake, 120, |nth| 1 << (10 + nth % 15));
        for from in 10..119 {
            let off = [error(&seen, from, from + 1), error(&seen, from, 119)];
            assert!(
                off.iter().all(|off| off.abs() < 5.0),
                "{ppm}, from {from}: {off:?}"
            );
        }
    }
}

#[test]
fn a_change_of_rate_is_followed_within_ten_seconds() {
    for ppm in [[100, -100, -100], [-100, 100, 100], [0, 50, 50]] {
        let fake = Fake::new(ppm, 30, 0);
        let seen = seconds(&fake, 120, |nth| 1 << (10 + nth % 15));
        for from in (10..59).chain(70..119) {
            let off = error(&seen, from, from + 1);
            assert!(off.abs() < 5.0, "{ppm:?}, from {from}: {off}");
        }
    }
}

#[test]
fn hourly_readings_follow_the_rate_of_that_hour() {
    let fake = Fake::new([80; 3], 30, 0);
    let timeline = fake.started();
    let seen = [(); 10].map(|()| {
        fake.advance(3_600 * SECOND);
        read(&timeline, &fake); // may take a sample, which advances the counter
        let now = read(&timeline, &fake);
        (fake.nanos(fake.ticks.load(Ordering::Relaxed)), now)
    });
    for to in 1..10 {
        // A late sample is refused, and the earlier rate is kept.
        let off = error(&seen, to - 1, to);
        assert!(off.abs() < 5.0, "to {to}: {off}");
    }
}

#[test]
fn a_suspend_does_not_change_the_rate() {
    // The reference stands for ten seconds while the counter advances, as across a suspend.
    let fake = Fake::new([0, -1_000_000, 50], 30, 0);
    let timeline = fake.started();
    let seen: Vec<_> = (0..120)
        .map(|_| {
            fake.advance(SECOND);
            read(&timeline, &fake);
            let now = read(&timeline, &fake);
            let ticks = fake.ticks.load(Ordering::Relaxed);
            ((ticks - ORIGIN) / 3, fake.nanos(ticks), now)
        })
        .collect();
    let (by_ticks, by_reference): (Vec<_>, Vec<_>) = seen
        .into_iter()
        .map(|(ticks, reference, now)| ((ticks, now), (reference, now)))
        .unzip();
    for to in 1..60 {
        let off = error(&by_ticks, to - 1, to);
        assert!(off.abs() < 5.0, "to {to}: {off}");
    }
    for to in 90..120 {
        let off = error(&by_reference, to - 1, to);
        assert!(off.abs() < 5.0, "to {to}: {off}");
    }
}

/// A source whose samples are slow: other threads read the timeline meanwhile.
struct Stopped<'a> {
    fake: &'a Fake,
    timeline: &'a Timeline,
    others: AtomicU64,
}

impl Source for Stopped<'_> {
    fn ticks(&self) -> u64 {
        self.fake.ticks()
    }

    fn sample(&self) -> Sample {
        let sample = self.fake.sample();
        for _ in 0..100 {
            self.fake.advance(1 << 20);
            let now = read(self.timeline, self.fake);
            assert!(now >= self.others.load(Ordering::Relaxed));
            self.others.store(now, Ordering::Relaxed);
        }
        sample
    }

    fn process(&self) -> u64 {
        1
    }
}

#[test]
fn a_stalled_writer_does_not_set_time_back() {
    for ppm in [-100, 100] {
        let fake = Fake::new([ppm; 3], 30, 0);
        let timeline = fake.started();
        let stopped = Stopped {
            fake: &fake,
            timeline: &timeline,
            others: AtomicU64::new(0),
        };
        for _ in 0..20 {
            fake.advance(SECOND);
            let now = timeline.settle(&stopped);
            let others = stopped.others.load(Ordering::Relaxed);
            assert!(now >= others, "{now} after {others}");
        }
    }
}

/// Asserts that no thread reads less than another has read before.
fn threads_agree(stall: u64) {
    for ppm in [[100, -100, 100], [-100, 100, -100], [300; 3]] {
        let fake = Fake::new(ppm, 1 << 19, stall);
        let (timeline, latest) = (fake.started(), AtomicU64::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100_000 {
                        let floor = latest.load(Ordering::Acquire);
                        let now = read(&timeline, &fake);
                        assert!(now >= floor, "{floor} then {now}");
                        let mut seen = floor;
                        while seen < now
                            && let Err(newer) = latest.compare_exchange(
                                seen,
                                now,
                                Ordering::AcqRel,
                                Ordering::Acquire,
                            )
                        {
                            seen = newer;
                        }
                    }
                });
            }
        });
        let generation = timeline.state.load(Ordering::Relaxed) & GENERATION_MASK;
        assert!(generation > 20, "corrected {generation} times");
    }
}

#[test]
fn readings_are_monotonic_across_threads() {
    threads_agree(0);
}

#[test]
fn readings_are_monotonic_with_stalled_writers() {
    threads_agree(1 << 24);
}

#[test]
fn a_writer_lost_in_a_fork_does_not_block_corrections() {
    let fake = Fake::new([100; 3], 30, 0);
    let timeline = fake.started();
    // A thread of the parent was the writer at the fork.
    timeline.writer.store(7, Ordering::Relaxed);
    fake.advance(SECOND);
    read(&timeline, &fake);
    assert_eq!(timeline.state.load(Ordering::Relaxed) & GENERATION_MASK, 1);
    // A thread of this process is the writer.
    timeline.writer.store(1, Ordering::Relaxed);
    fake.advance(100 * SECOND);
    read(&timeline, &fake);
    assert_eq!(timeline.state.load(Ordering::Relaxed) & GENERATION_MASK, 1);
}
