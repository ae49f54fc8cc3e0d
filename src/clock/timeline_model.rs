//! Loom model: every interleaving of a reader with a writer of two pieces, of which the second
//! overwrites the words that the reader may have begun to load.

use std::sync::Arc;

use loom::model::Builder;
use loom::thread;

use super::*;

const THIRD: u64 = u64::MAX / 3;
const ORIGIN: u64 = 1 << 50;
/// Longer than the first pieces.
const STEP: u64 = 1 << 31;

/// A counter whose accesses are Relaxed, so that only the timeline's fences order it with the
/// pieces. The writer's thread advances it between its steps.
struct Fake(AtomicU64);

impl Source for Fake {
    fn ticks(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// The reference is slower than the counter by a ten-thousandth, then faster.
    fn sample(&self) -> Sample {
        let ticks = self.ticks();
        let since = (ticks - ORIGIN) / 3;
        let nanos = match (ticks - ORIGIN) / STEP {
            0 => since,
            n if n % 2 == 0 => since + since / 10_000,
            _ => since - since / 10_000,
        };
        let gap = 10;
        Sample { ticks, nanos, gap }
    }

    fn process(&self) -> u64 {
        1
    }
}

fn timeline() -> Timeline {
    let word = || AtomicU64::new(0);
    let pair = || [word(), word()];
    Timeline {
        state: word(),
        from: pair(),
        tick: pair(),
        offset: pair(),
        writer: word(),
        base_ticks: word(),
        base_nanos: word(),
        first_tick: word(),
    }
}

fn read(timeline: &Timeline, fake: &Fake) -> u64 {
    let at_once = timeline.read(|| fake.ticks());
    at_once.unwrap_or_else(|| timeline.settle(fake))
}

#[test]
fn a_reader_discards_a_piece_that_is_overwritten_meanwhile() {
    let mut model = Builder::new();
    model.preemption_bound = Some(2);
    // Counts over all executions, so loom must not reset it.
    let written = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let most = Arc::clone(&written);
    model.check(move || {
        let fake = Fake(AtomicU64::new(ORIGIN));
        let timeline = timeline();
        timeline.start(fake.sample(), THIRD);
        let shared = Arc::new((timeline, fake, AtomicU64::new(0)));
        let reader = Arc::clone(&shared);
        let reader = thread::spawn(move || {
            let (timeline, fake, latest) = &*reader;
            // Acquire pairs with the Release below: a reading that happened before is a lower
            // bound.
            let floor = latest.load(Ordering::Acquire);
            let now = read(timeline, fake);
            assert!(now >= floor, "{floor}, then {now}");
            // A mixture of two pieces would be off by a hundred seconds.
            let ticks = fake.0.load(Ordering::Relaxed);
            assert!(now <= (ticks - ORIGIN) / 3 * 1_001 / 1_000, "{now}");
        });
        let (timeline, fake, latest) = &*shared;
        let mut last = 0;
        for _ in 0..2 {
            fake.0.fetch_add(STEP, Ordering::Relaxed);
            let now = read(timeline, fake);
            assert!(now >= last);
            last = now;
            latest.store(now, Ordering::Release);
        }
        reader.join().unwrap();
        let generation = timeline.state.load(Ordering::Relaxed) & GENERATION_MASK;
        most.fetch_max(generation, Ordering::Relaxed);
    });
    assert_eq!(written.load(Ordering::Relaxed), 2, "pieces published");
}
