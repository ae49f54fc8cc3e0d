//! Drives one limiter: at full speed, at a fixed pace, or with every call on record.
//!
//! A workload is data and a limiter a type. Each loop below is compiled for each limiter, so no
//! call in it is indirect, and all limiters run the same code.

use std::hint::{black_box, spin_loop};
use std::marker::PhantomData;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::changes::Changeable;
use super::fairness::Fair;
use crate::judge::{Admission, Kept, Record, judge};
use crate::limiter::{Handle, Limiter};
use crate::quota::Quota;
use crate::subject::About;

/// Tokens a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// The same number each time.
    Same(u32),
    /// 1 to 16, in a pseudo-random order.
    Mixed,
}

impl Weights {
    /// Returns the tokens that `calls` calls request; `calls` is a multiple of 16.
    pub const fn asked(self, calls: u64) -> u64 {
        match self {
            Self::Same(n) => calls * n as u64,
            // Each weight occurs equally often: 17 tokens in two calls on average.
            Self::Mixed => calls / 2 * 17,
        }
    }
}

/// How a limiter is called.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// The quota.
    pub quota: Quota,
    /// Tokens a call.
    pub weights: Weights,
    /// The number of callers.
    pub threads: usize,
    /// Whether the burst is spent before the measurement.
    pub spent: bool,
}

impl Load {
    /// Single tokens, one caller, a full bucket.
    pub const fn of(quota: Quota) -> Self {
        Self {
            quota,
            weights: Weights::Same(1),
            threads: 1,
            spent: false,
        }
    }
}

/// The result of calling at full speed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Calls per nanosecond, of all callers together.
    pub per_nano: f64,
    /// Tokens requested.
    pub asked: u64,
    /// Tokens admitted.
    pub admitted: u64,
    /// Tokens taken before the measurement to empty the bucket.
    pub spent: u64,
    /// Nanoseconds from the full bucket to the end of the last call, by the limiter's clock.
    pub lived: u64,
}

/// A pattern of calls for judging a limiter.
#[derive(Clone, Copy, Debug)]
pub enum Pattern {
    /// Poll without a pause.
    Saturate,
    /// One call, a rest of nine tenths of the time in which the bucket fills, six tenths of
    /// polling; repeated.
    OneRestAll,
}

impl Pattern {
    /// Whether it polls without a pause, so that a correct limiter admits its full rate.
    pub const fn saturates(self) -> bool {
        matches!(self, Self::Saturate)
    }
}

/// The largest latency that the histogram holds; slower calls count as this.
pub const SLOWEST: u64 = 60_000_000_000;

/// Any limiter.
pub trait Driven: Changeable + Fair {
    /// Returns its description.
    fn about(&self) -> &About;

    /// Calls it for `slice` at full speed.
    fn spin(&self, load: Load, slice: Duration) -> anyhow::Result<Tally>;

    /// Calls it for `slice` in a pattern and judges its admissions.
    fn record(&self, load: Load, pattern: Pattern, slice: Duration) -> anyhow::Result<Kept>;

    /// Calls it at fixed instants, `pace` apart, and records how long after its instant each call
    /// returned (open loop): a delayed call delays the next ones, and their latency includes that.
    fn pace(&self, load: Load, pace: Duration, slice: Duration) -> anyhow::Result<Histogram<u64>>;
}

/// A limiter of type `L`.
pub struct Of<L> {
    about: About,
    limiter: PhantomData<fn() -> L>,
}

impl<L: Limiter + 'static> Of<L> {
    /// Makes it a trait object.
    pub fn boxed(about: About) -> Box<dyn Driven> {
        Box::new(Self {
            about,
            limiter: PhantomData,
        })
    }
}

impl<L: Limiter> Of<L> {
    /// Empties a new limiter if the load requires it; returns the tokens taken.
    fn spend(&self, limiter: &L, load: Load) -> u64 {
        let burst = load.quota.burst;
        if !load.spent {
            return 0;
        }
        let mut handle = limiter.handle(1);
        // Halve the request at each denial, to need few calls; stop at the burst, since a bound
        // never denies.
        let (mut taken, mut n) = (0, if self.about.weights { burst as u32 } else { 1 });
        while n > 0 && taken < burst {
            match handle.try_acquire(n) {
                true => taken += u64::from(n),
                false => n /= 2,
            }
        }
        taken
    }
}

impl<L: Limiter> Driven for Of<L> {
    fn about(&self) -> &About {
        &self.about
    }

    fn spin(&self, load: Load, slice: Duration) -> anyhow::Result<Tally> {
        let limiter = L::new(load.quota);
        let made = limiter.nanos();
        let spent = self.spend(&limiter, load);
        let spun = together(load.threads, |caller| {
            let mut handle = limiter.handle(load.threads);
            let limiter = &limiter;
            move |start| {
                let mut spun = match load.weights {
                    Weights::Same(n) => spin(&mut handle, start, slice, || n),
                    Weights::Mixed => {
                        let mut n = caller as u32;
                        spin(&mut handle, start, slice, move || {
                            n = n.wrapping_mul(5).wrapping_add(3);
                            n % 16 + 1
                        })
                    }
                };
                // Untimed: takes the tokens that accrued while the last calls were delayed.
                let left = if load.spent { DRAINED } else { 0 };
                spun.admitted += (0..left).take_while(|_| handle.try_acquire(1)).count() as u64;
                (spun, limiter.nanos())
            }
        });
        let ended = spun.iter().map(|(_, ended)| *ended).max();
        let mut tally = Tally {
            spent,
            lived: ended.map_or(0, |ended| ended - made),
            ..Tally::default()
        };
        for (spun, _) in spun {
            tally.per_nano += spun.per_nano();
            tally.asked += load.weights.asked(spun.calls);
            tally.admitted += spun.admitted;
        }
        Ok(tally)
    }

    fn record(&self, load: Load, pattern: Pattern, slice: Duration) -> anyhow::Result<Kept> {
        let n = match load.weights {
            Weights::Same(n) => n,
            Weights::Mixed => 1,
        };
        let limiter = L::new(load.quota);
        let end = limiter.nanos() + slice.as_nanos() as u64;
        let records = together(load.threads, |_| {
            let mut handle = limiter.handle(load.threads);
            let limiter = &limiter;
            move |_| match pattern {
                Pattern::Saturate => {
                    let mut record = Record::default();
                    poll_until(limiter, &mut handle, n, end, &mut record);
                    record
                }
                Pattern::OneRestAll => one_rest_all(limiter, &mut handle, load.quota, end),
            }
        });
        Ok(judge(load.quota, records))
    }

    fn pace(&self, load: Load, pace: Duration, slice: Duration) -> anyhow::Result<Histogram<u64>> {
        let limiter = L::new(load.quota);
        self.spend(&limiter, load);
        let histograms = together(load.threads, |_| {
            let mut handle = limiter.handle(load.threads);
            move |start| paced(start, pace, slice, || handle.try_acquire(1))
        });
        let mut all = latencies();
        for histogram in histograms {
            all.add(histogram)?;
        }
        Ok(all)
    }
}

/// Makes an empty histogram of nanoseconds.
pub fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, SLOWEST, 3).expect("the bounds are valid")
}

/// Runs `threads` callers, which wait for one another at a barrier before they start.
pub fn together<F, T>(threads: usize, caller: impl Fn(usize) -> F + Sync) -> Vec<T>
where
    F: FnOnce(Instant) -> T,
    T: Send,
{
    let barrier = Barrier::new(threads);
    thread::scope(|scope| {
        let callers: Vec<_> = (0..threads)
            .map(|n| {
                let (barrier, caller) = (&barrier, &caller);
                scope.spawn(move || {
                    let run = caller(n);
                    barrier.wait();
                    run(Instant::now())
                })
            })
            .collect();
        callers
            .into_iter()
            .map(|caller| caller.join().expect("a caller does not panic"))
            .collect()
    })
}

/// The calls of one caller.
#[derive(Default)]
pub struct Spun {
    /// The number of calls.
    pub calls: u64,
    /// Tokens admitted.
    pub admitted: u64,
    /// The time from the first call to the last.
    pub took: Duration,
}

impl Spun {
    /// Calls per nanosecond.
    pub fn per_nano(&self) -> f64 {
        self.calls as f64 / self.took.as_nanos() as f64
    }
}

/// Calls between two clock reads of the driver, so that their cost is negligible.
pub const BATCH: usize = 512;

/// The most tokens taken after the timed part: at a rate as high as that of the calls, draining
/// would never end.
const DRAINED: u32 = 1 << 20;

fn spin(
    handle: &mut impl Handle,
    start: Instant,
    slice: Duration,
    mut weight: impl FnMut() -> u32,
) -> Spun {
    let mut spun = Spun::default();
    while spun.took < slice {
        for _ in 0..BATCH {
            let n = black_box(weight());
            if black_box(&mut *handle).try_acquire(n) {
                spun.admitted += u64::from(n);
            }
        }
        spun.calls += BATCH as u64;
        spun.took = start.elapsed();
    }
    spun
}

fn poll_until<L: Limiter>(
    limiter: &L,
    handle: &mut L::Handle<'_>,
    n: u32,
    end: u64,
    record: &mut Record,
) {
    let mut before = limiter.nanos();
    while before < end {
        before = call(limiter, handle, n, before, record);
    }
}

/// Makes one call; `before` is the clock before it. Returns the clock after it.
fn call<L: Limiter>(
    limiter: &L,
    handle: &mut L::Handle<'_>,
    n: u32,
    before: u64,
    record: &mut Record,
) -> u64 {
    let admitted = handle.try_acquire(n);
    let after = limiter.nanos();
    let n = n.into();
    record.add(Admission { before, after, n }, admitted);
    after
}

fn one_rest_all<L: Limiter>(
    limiter: &L,
    handle: &mut L::Handle<'_>,
    quota: Quota,
    end: u64,
) -> Record {
    let fills = (quota.burst as f64 / quota.per_nano()) as u64;
    let mut record = Record::default();
    while limiter.nanos() < end {
        let start = limiter.nanos();
        call(limiter, handle, 1, start, &mut record);
        while limiter.nanos() < start + fills / 10 * 9 {
            spin_loop();
        }
        poll_until(limiter, handle, 1, start + fills / 10 * 15, &mut record);
    }
    record
}

fn paced(
    start: Instant,
    pace: Duration,
    slice: Duration,
    mut call: impl FnMut() -> bool,
) -> Histogram<u64> {
    let mut histogram = latencies();
    let mut due = Duration::ZERO;
    while due < slice {
        while start.elapsed() < due {
            spin_loop();
        }
        black_box(call());
        let late = start.elapsed().saturating_sub(due);
        histogram.saturating_record(late.as_nanos() as u64);
        due += pace;
    }
    histogram
}
