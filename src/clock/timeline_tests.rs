//! A fake counter of 3 GHz beside a fake reference clock, whose rates differ.

#![allow(clippy::cast_possible_truncation)]

use std::thread;

use super::*;

/// The rate that the timeline starts with: 3 GHz.
const THIRD: u64 = u64::MAX / 3;
const SECOND: u64 = 3_000_000_000;
/// Boot was before the process started.
const ORIGIN: u64 = 1 << 50;

/// Each reading moves the counter on.
struct Fake {
    ticks: AtomicU64,
    step: u64,
    /// By how much the reference is faster than 3 GHz have it: up to each of [`TURNS`], and after.
    ppm: [i64; 3],
    /// What a sample moves the counter by, besides: a writer that is stopped.
    stall: u64,
    samples: AtomicU64,
}

/// The rate changes a minute after the start, and ten seconds after that.
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

    /// What the reference reads at `ticks`.
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
        // The reference is read at one end of the gap or the other, and now and then much later.
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

/// The reading at each of the fake's seconds, and it never steps back between.
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

/// How many parts in a million the readings from `from` to `to` are off.
fn error(seen: &[(u64, u64)], from: usize, to: usize) -> f64 {
    let (start, end) = (seen[from], seen[to]);
    let (truth, told) = ((end.0 - start.0) as f64, (end.1 - start.1) as f64);
    #[expect(clippy::float_arithmetic, reason = "a figure for people")]
    {
        (told / truth - 1.0) * 1e6
    }
}

#[test]
fn ten_seconds_after_the_start_the_rate_is_right_to_five_parts_in_a_million() {
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
fn a_rate_that_changes_is_followed_in_seconds() {
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
fn a_process_that_reads_the_clock_once_an_hour_has_the_rate_of_that_hour() {
    let fake = Fake::new([80; 3], 30, 0);
    let timeline = fake.started();
    let seen = [(); 10].map(|()| {
        fake.advance(3_600 * SECOND);
        read(&timeline, &fake); // may take a sample, which moves the counter on
        let now = read(&timeline, &fake);
        (fake.nanos(fake.ticks.load(Ordering::Relaxed)), now)
    });
    for to in 1..10 {
        // A sample that was taken late is refused, and the rate is that of before.
        let off = error(&seen, to - 1, to);
        assert!(off.abs() < 5.0, "to {to}: {off}");
    }
}

#[test]
fn a_machine_that_slept_changes_no_rate() {
    // The reference stands for ten seconds, and the counter does not.
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

/// While its writer takes a sample, others read.
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
fn a_writer_that_was_stopped_takes_back_nothing_that_others_have_read() {
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

/// Each thread reads what is no less than what another has read before it.
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
        let generation = timeline.state.load(Ordering::Relaxed) & GENERATIONS;
        assert!(generation > 20, "corrected {generation} times");
    }
}

#[test]
fn no_thread_reads_less_than_another_has_read() {
    threads_agree(0);
}

#[test]
fn no_thread_reads_less_though_writers_are_stopped() {
    threads_agree(1 << 24);
}

#[test]
fn a_writer_that_another_process_has_left_behind_stops_nothing() {
    let fake = Fake::new([100; 3], 30, 0);
    let timeline = fake.started();
    // The parent's thread was writing at the fork.
    timeline.writer.store(7, Ordering::Relaxed);
    fake.advance(SECOND);
    read(&timeline, &fake);
    assert_eq!(timeline.state.load(Ordering::Relaxed) & GENERATIONS, 1);
    // One of this process.
    timeline.writer.store(1, Ordering::Relaxed);
    fake.advance(100 * SECOND);
    read(&timeline, &fake);
    assert_eq!(timeline.state.load(Ordering::Relaxed) & GENERATIONS, 1);
}
