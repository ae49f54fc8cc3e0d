//! Drives one limiter: as fast as it goes, at a set pace, or with every call on record.
//!
//! A workload is data and a limiter a type: each loop below is compiled for each limiter, so no
//! call in it is indirect, and all limiters run the same code.

use std::hint::{black_box, spin_loop};
use std::marker::PhantomData;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::changes::Changeable;
use crate::judge::{Admission, Kept, Record, judge};
use crate::limiter::{Handle, Limiter};
use crate::quota::Quota;
use crate::subject::About;

/// Tokens a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// The same each time.
    Same(u32),
    /// 1 to 16, as they come.
    Mixed,
}

impl Weights {
    /// What so many calls ask for: a multiple of 16.
    pub const fn asked(self, calls: u64) -> u64 {
        match self {
            Self::Same(n) => calls * n as u64,
            // Each weight comes as often as the others.
            Self::Mixed => calls / 2 * 17,
        }
    }
}

/// How a limiter is called.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// What it is limited to.
    pub quota: Quota,
    /// Tokens a call.
    pub weights: Weights,
    /// Callers.
    pub threads: usize,
    /// Whether its burst is spent before.
    pub spent: bool,
}

impl Load {
    /// Single tokens, one caller, from full.
    pub const fn of(quota: Quota) -> Self {
        Self {
            quota,
            weights: Weights::Same(1),
            threads: 1,
            spent: false,
        }
    }
}

/// What came of calling as fast as it goes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Calls per nanosecond, all callers together.
    pub per_nano: f64,
    /// Tokens asked for.
    pub asked: u64,
    /// Tokens admitted of them.
    pub admitted: u64,
    /// Tokens taken before, so that the bucket was empty.
    pub spent: u64,
    /// Nanoseconds from when the bucket was full to after the last call, by the limiter's clock.
    pub lived: u64,
}

/// A pattern of calls to be judged by.
#[derive(Clone, Copy, Debug)]
pub enum Pattern {
    /// Poll all the time.
    Saturate,
    /// One call, a rest of nine tenths of the time in which the bucket fills, then six tenths of
    /// polling, and again.
    OneRestAll,
}

impl Pattern {
    /// Whether it polls all the time, so that all that the rate gives should be admitted.
    pub const fn saturates(self) -> bool {
        matches!(self, Self::Saturate)
    }
}

/// Latencies are counted up to this; what is slower counts as this.
pub const SLOWEST: u64 = 1_000_000_000;

/// A limiter, whichever.
pub trait Driven: Changeable {
    /// Who it is.
    fn about(&self) -> &About;

    /// Calls it for `slice`, as fast as it goes.
    fn spin(&self, load: Load, slice: Duration) -> anyhow::Result<Tally>;

    /// Calls it for `slice` in a pattern, and judges what it admitted.
    fn record(&self, load: Load, pattern: Pattern, slice: Duration) -> anyhow::Result<Kept>;

    /// Calls it at fixed instants, `pace` apart, and counts how long after its instant each call
    /// ended. A call that is held up makes the next ones late too, and they count as late.
    fn pace(&self, load: Load, pace: Duration, slice: Duration) -> anyhow::Result<Histogram<u64>>;
}

/// A limiter of type `L`.
pub struct Of<L> {
    about: About,
    limiter: PhantomData<fn() -> L>,
}

impl<L: Limiter + 'static> Of<L> {
    /// As one of many.
    pub fn boxed(about: About) -> Box<dyn Driven> {
        Box::new(Self {
            about,
            limiter: PhantomData,
        })
    }
}

impl<L: Limiter> Of<L> {
    /// Empties a new one, if the load wants that; how many tokens it took.
    fn spend(&self, limiter: &L, load: Load) -> u64 {
        let burst = load.quota.burst;
        if !load.spent {
            return 0;
        }
        let mut handle = limiter.handle(1);
        // As few calls as it takes; no more tokens than there can be, since a bound never denies.
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
                // What came while the last calls were held up is still there, out of the time.
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

/// A histogram of nanoseconds.
pub fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, SLOWEST, 3).expect("the bounds are valid")
}

/// Runs `threads` callers that are all there before the first starts.
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

/// What one caller did.
#[derive(Default)]
pub struct Spun {
    /// Calls.
    pub calls: u64,
    /// Tokens admitted.
    pub admitted: u64,
    /// From the first call to the last.
    pub took: Duration,
}

impl Spun {
    /// Calls per nanosecond.
    pub fn per_nano(&self) -> f64 {
        self.calls as f64 / self.took.as_nanos() as f64
    }
}

/// Calls between two looks at the time, so that the looks cost next to nothing.
pub const BATCH: usize = 512;

/// At most so many tokens are taken after the time: at the rate of the calls it never ends.
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

/// One call, of which the time before it is known; returns that after it.
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
