//! Threads on one word: the sweep that chose what follows a contended take. One command judges another
//! processor: `cargo bench --bench contention`.
//!
//! Each candidate is a clock read and a compare-and-swap, and differs from the others only in what a
//! thread does after a take that another thread was in the way of. The last rows are the bucket that
//! ships, with the candidate that was chosen.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a bench uses the clocks and atomics that the library wraps"
)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::float_arithmetic,
    missing_docs
)]

/// The library's own file, so that the bench measures what ships.
#[path = "../src/limiter/shell/turn.rs"]
mod turn;

/// What that file imports.
#[path = "peers/src/sync.rs"]
#[allow(unreachable_pub, reason = "another package's file")]
mod sync;

use std::env;
use std::hint::{black_box, spin_loop};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use crossbeam_utils::CachePadded;
use tollgate::{AtomicTokenBucket, Clock, MonotonicClock, Quota, RateLimiter, SystemClock};

use turn::{TURN, Turn};

/// What follows a contended take.
#[derive(Clone, Copy, Debug)]
enum After {
    Nothing,
    /// A number of spin hints, which last differently long on each processor.
    Hints(u32),
    /// A rest of so many nanoseconds.
    Rest(u64),
    /// A turn of so many nanoseconds.
    Turn(u64),
}

/// Whose calls are measured.
#[derive(Clone, Copy, Debug)]
enum Contender {
    /// A word for each thread: what the machine allows, and how evenly it runs the threads.
    Apart,
    Word(After),
    Bucket,
}

const CONTENDERS: &[Contender] = &[
    Contender::Apart,
    Contender::Word(After::Nothing),
    Contender::Word(After::Hints(32)),
    Contender::Word(After::Rest(1_000)),
    Contender::Word(After::Rest(4_000)),
    Contender::Word(After::Turn(250)),
    Contender::Word(After::Turn(500)),
    Contender::Word(After::Turn(1_000)),
    Contender::Word(After::Turn(2_000)),
    Contender::Word(After::Turn(4_000)),
    Contender::Bucket,
];

/// A word, and the turn of its threads.
struct Shared {
    word: CachePadded<AtomicU64>,
    turn: Turn,
}

impl Shared {
    const fn new() -> Self {
        Self {
            word: CachePadded::new(AtomicU64::new(0)),
            turn: Turn::new(),
        }
    }

    #[inline]
    fn try_take(&self) -> bool {
        let seen = self.word.load(Relaxed);
        let swapped = self
            .word
            .compare_exchange_weak(seen, seen + 1, Relaxed, Relaxed);
        swapped.is_ok()
    }

    #[inline]
    fn take(&self, after: After) {
        if !self.try_take() {
            self.take_contended(after);
        }
    }

    #[cold]
    fn take_contended(&self, after: After) {
        while !self.try_take() {}
        let nanos = || MonotonicClock::new().now().as_nanos();
        match after {
            After::Nothing => {}
            After::Hints(n) => (0..n).for_each(|_| spin_loop()),
            After::Rest(length) => {
                let end = nanos() + length;
                while nanos() < end {
                    spin_loop();
                }
            }
            After::Turn(length) => self.turn.contended(length, nanos),
        }
    }
}

/// How the threads call.
#[derive(Clone, Copy, Debug)]
enum Pace {
    /// One call after the other, each with a clock read.
    Clock,
    /// One call after the other, at a given time.
    Given,
    /// As `Clock`, each call timed.
    Timed,
    /// As `Timed`, with work of 100 to 300 ns before each call.
    Work,
}

/// The calls of one thread.
#[derive(Default)]
struct Calls {
    count: u64,
    took: u64,
    /// The calls up to the end of each window of 10 ms.
    windows: Vec<u64>,
    /// The times of single calls.
    each: Vec<u64>,
}

const WINDOW: u64 = 10_000_000;
const BATCH: u64 = 64;

fn call_for(slice: Duration, pace: Pace, take: impl Fn()) -> Calls {
    let clock = SystemClock::new();
    let now = || clock.now().as_nanos();
    let (woken, slice) = (now(), slice.as_nanos() as u64);
    // Not measured: the operating system may run the threads on one core at first.
    while now() - woken < slice / 8 {
        take();
    }
    let start = now();
    let mut calls = Calls::default();
    let mut draw = start | 1;
    while calls.took < slice {
        for _ in 0..BATCH {
            match pace {
                Pace::Clock | Pace::Given => take(),
                Pace::Timed => calls.each.push(time(now, &take)),
                Pace::Work => {
                    draw = draw.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                    let free = now() + 100 + (draw >> 33) % 200;
                    while now() < free {}
                    calls.each.push(time(now, &take));
                }
            }
        }
        calls.count += BATCH;
        calls.took = now() - start;
        while calls.took / WINDOW > calls.windows.len() as u64 {
            calls.windows.push(calls.count);
        }
    }
    calls
}

fn time(now: impl Fn() -> u64, take: impl Fn()) -> u64 {
    let before = now();
    take();
    now() - before
}

/// Lets `threads` threads call the contender at once.
fn run(contender: Contender, threads: usize, pace: Pace, slice: Duration) -> Vec<Calls> {
    let words: Vec<Shared> = (0..threads).map(|_| Shared::new()).collect();
    let quota = Quota::per_second(1_000_000_000_000).unwrap();
    let bucket = AtomicTokenBucket::new(quota.burst(1_000_000_000).unwrap()).unwrap();
    let clock = SystemClock::new();
    let given = bucket.now();
    let with_clock = !matches!(pace, Pace::Given);
    together(threads, |thread| {
        let word = |word: &Shared, after| {
            call_for(slice, pace, || {
                if with_clock {
                    black_box(clock.now());
                }
                word.take(after);
            })
        };
        match (contender, with_clock) {
            (Contender::Apart, _) => word(&words[thread], After::Nothing),
            (Contender::Word(after), _) => word(&words[0], after),
            (Contender::Bucket, true) => call_for(slice, pace, || {
                black_box(bucket.try_acquire(1).is_ok());
            }),
            (Contender::Bucket, false) => call_for(slice, pace, || {
                black_box(bucket.at(given).try_acquire(1).is_ok());
            }),
        }
    })
}

fn together(threads: usize, work: impl Fn(usize) -> Calls + Sync) -> Vec<Calls> {
    let barrier = Barrier::new(threads);
    thread::scope(|scope| {
        let runs: Vec<_> = (0..threads)
            .map(|thread| {
                let (barrier, work) = (&barrier, &work);
                scope.spawn(move || {
                    barrier.wait();
                    work(thread)
                })
            })
            .collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    })
}

/// The figures of one contender, one of each round.
#[derive(Default)]
struct Figures {
    clock: Vec<f64>,
    given: Vec<f64>,
    /// The worst window's calls of the slowest thread, over those of the fastest.
    even: Vec<f64>,
    p99: Vec<f64>,
    p999: Vec<f64>,
    /// The mean time of a call between work.
    work: Vec<f64>,
}

impl Figures {
    fn add_round(&mut self, contender: Contender, threads: usize, slice: Duration) {
        let run = |pace, slice| run(contender, threads, pace, slice);
        let calls = run(Pace::Clock, slice);
        self.clock.push(nanos_per_call(&calls));
        self.even.extend(worst_window(&calls));
        self.given
            .push(nanos_per_call(&run(Pace::Given, slice / 4)));
        let mut each = times(run(Pace::Timed, slice / 4));
        self.p99.push(quantile(&mut each, 0.99));
        self.p999.push(quantile(&mut each, 0.999));
        let mut each = times(run(Pace::Work, slice / 4));
        // Without the slowest, in which the thread was descheduled.
        each.sort_unstable();
        each.truncate(each.len() - each.len() / 10_000);
        self.work
            .push(each.iter().sum::<u64>() as f64 / each.len() as f64);
    }
}

/// Returns the time of a call, of all threads together.
fn nanos_per_call(calls: &[Calls]) -> f64 {
    let rate = |calls: &Calls| calls.count as f64 / calls.took as f64;
    1.0 / calls.iter().map(rate).sum::<f64>()
}

fn worst_window(calls: &[Calls]) -> Option<f64> {
    let windows = calls.iter().map(|calls| calls.windows.len()).min()?;
    let even = (1..windows).map(|n| {
        let of = |calls: &Calls| calls.windows[n] - calls.windows[n - 1];
        let (slow, fast) = (calls.iter().map(of).min(), calls.iter().map(of).max());
        slow.unwrap_or(0) as f64 / fast.unwrap_or(0).max(1) as f64
    });
    even.min_by(f64::total_cmp)
}

fn times(calls: Vec<Calls>) -> Vec<u64> {
    calls.into_iter().flat_map(|calls| calls.each).collect()
}

fn quantile(each: &mut [u64], part: f64) -> f64 {
    let at = (each.len() as f64 * part) as usize;
    *each.select_nth_unstable(at).1 as f64
}

/// Returns the median.
fn median(rounds: &mut [f64]) -> f64 {
    rounds.sort_by(f64::total_cmp);
    rounds.get(rounds.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Prints the median and the range.
fn spread(rounds: &mut [f64]) -> String {
    let middle = median(rounds);
    let (least, most) = (rounds[0], rounds[rounds.len() - 1]);
    format!("{middle:.1} ({least:.1} to {most:.1})")
}

fn name(contender: Contender) -> String {
    match contender {
        Contender::Apart => "a word each".into(),
        Contender::Word(After::Nothing) => "nothing".into(),
        Contender::Word(After::Hints(n)) => format!("{n} spin hints"),
        Contender::Word(After::Rest(length)) => format!("a rest of {length} ns"),
        Contender::Word(After::Turn(length)) => format!("turns of {length} ns"),
        Contender::Bucket => format!("`AtomicTokenBucket` (turns of {TURN} ns)"),
    }
}

fn main() {
    // `cargo test` runs it without the flag, to see that it works.
    let is_measured = env::args().any(|arg| arg == "--bench");
    let (rounds, slice) = match is_measured {
        true => (15, Duration::from_millis(60)),
        false => (1, Duration::from_millis(1)),
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let hint = {
        let start = MonotonicClock::new().now();
        (0..10_000).for_each(|_| spin_loop());
        (MonotonicClock::new().now() - start).as_nanos() as f64 / 1e4
    };
    println!("A spin hint takes {hint:.1} ns.");
    let counts = std::iter::successors(Some(1), |n| Some(n * 2));
    for threads in counts.take_while(|n| *n <= cores) {
        // One thread is never contended.
        let slice = if threads == 1 { slice / 8 } else { slice };
        sweep(threads, rounds, slice);
    }
}

/// Measures all contenders in turns, and prints their table.
fn sweep(threads: usize, rounds: usize, slice: Duration) {
    let mut all: Vec<Figures> = CONTENDERS.iter().map(|_| Figures::default()).collect();
    for _ in 0..rounds {
        for (contender, figures) in CONTENDERS.iter().zip(&mut all) {
            figures.add_round(*contender, threads, slice);
        }
    }
    let plural = if threads == 1 { "" } else { "s" };
    println!("\n{threads} thread{plural}: ns/call of all together, median (range of the rounds)");
    println!(
        "| after a contended take | clock read + CAS | CAS at a given time | slowest over fastest thread, worst 10 ms | a call: p99, ns | p99.9 | between work, mean |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|");
    for (contender, figures) in CONTENDERS.iter().zip(&mut all) {
        println!(
            "| {} | {} | {} | {} | {:.0} | {:.0} | {:.0} |",
            name(*contender),
            spread(&mut figures.clock),
            spread(&mut figures.given),
            match median(&mut figures.even) {
                even if even.is_nan() => "–".into(),
                even => format!("{even:.2}"),
            },
            median(&mut figures.p99),
            median(&mut figures.p999),
            median(&mut figures.work),
        );
    }
}
