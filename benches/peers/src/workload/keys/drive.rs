//! Drives one keyed limiter: at full speed, or with every call on record.

use std::hint::black_box;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use super::traffic::Traffic;
use crate::judge::{Answers, Call, Kept, judge_keys};
use crate::keyed::{Key, Keyed};
use crate::quota::Quota;
use crate::subject::About;
use crate::workload::changes;
use crate::workload::drive::{BATCH, Spun, together};

/// The most calls recorded, of all callers together.
const RECORDED: usize = 1 << 21;

/// Any keyed limiter.
pub trait Driven<K> {
    /// Returns its description.
    fn about(&self) -> &About;

    /// Makes a limiter that has seen each key once.
    fn build(&self, quota: Quota, keys: &[K]) -> Box<dyn Built<K>>;

    /// Calls a new limiter with room for `capacity` keys, and judges its answers.
    fn judge(&self, traffic: &Traffic<K>, capacity: usize, slice: Duration) -> Answers;

    /// Takes from these keys for `slice` with `threads` threads while another thread changes the
    /// quota of all keys, and judges the admissions; `None` if the quota cannot be changed.
    fn change(&self, keys: &[K], threads: usize, slice: Duration) -> Option<Kept>;
}

/// A keyed limiter that holds its keys.
pub trait Built<K> {
    /// Takes from each of these keys once. So a round finds the limiter's own table in the cache,
    /// as far as it fits, and not what the previous contender left there.
    fn warm_up(&self, asked: &[K]);

    /// Takes from these keys one after the other at full speed; returns the calls per nanosecond.
    fn spin(&self, asked: &[K], threads: usize, slice: Duration) -> f64;
}

/// A keyed limiter of type `L`.
pub struct Of<L> {
    about: About,
    limiter: PhantomData<fn() -> L>,
}

impl<L: 'static> Of<L> {
    /// Makes it a trait object.
    pub fn boxed<K: Key>(about: About) -> Box<dyn Driven<K>>
    where
        L: Keyed<K>,
    {
        Box::new(Self {
            about,
            limiter: PhantomData,
        })
    }
}

impl<K: Key, L: Keyed<K> + 'static> Driven<K> for Of<L> {
    fn about(&self) -> &About {
        &self.about
    }

    fn build(&self, quota: Quota, keys: &[K]) -> Box<dyn Built<K>> {
        let limiter = L::new(quota, keys.len());
        for key in keys {
            limiter.try_acquire(key);
        }
        Box::new(limiter)
    }

    fn judge(&self, traffic: &Traffic<K>, capacity: usize, slice: Duration) -> Answers {
        let quota = traffic.judged_by;
        let limiter = L::new(quota, capacity);
        let end = limiter.nanos() + slice.as_nanos() as u64;
        let calls = together(traffic.threads, |caller| {
            let limiter = &limiter;
            move |_| record(limiter, traffic, caller, end)
        });
        judge_keys(quota, calls.concat())
    }

    fn change(&self, keys: &[K], threads: usize, slice: Duration) -> Option<Kept> {
        changes::of_keys::<K, L>(keys, threads, slice)
    }
}

fn record<K, L: Keyed<K>>(limiter: &L, traffic: &Traffic<K>, caller: usize, end: u64) -> Vec<Call> {
    let first = traffic.order.len() / traffic.threads * caller;
    let keys = traffic.order.iter().cycle().skip(first);
    let mut calls = Vec::with_capacity(RECORDED / traffic.threads);
    for &key in keys.take(calls.capacity()) {
        let before = limiter.nanos();
        if before >= end {
            break;
        }
        let admitted = limiter.try_acquire(&traffic.keys[key as usize]);
        calls.push(Call {
            key,
            admitted,
            before,
            after: limiter.nanos(),
        });
    }
    calls
}

impl<K: Key, L: Keyed<K>> Built<K> for L {
    fn warm_up(&self, asked: &[K]) {
        for key in asked {
            black_box(self.try_acquire(black_box(key)));
        }
    }

    fn spin(&self, asked: &[K], threads: usize, slice: Duration) -> f64 {
        let spun = together(threads, |caller| {
            let mut next = asked.len() / threads * caller;
            move |start: Instant| {
                let mut spun = Spun::default();
                while spun.took < slice {
                    if next + BATCH > asked.len() {
                        next = 0;
                    }
                    for key in &asked[next..next + BATCH] {
                        black_box(self.try_acquire(black_box(key)));
                    }
                    next += BATCH;
                    spun.calls += BATCH as u64;
                    spun.took = start.elapsed();
                }
                spun
            }
        });
        spun.iter().map(Spun::per_nano).sum()
    }
}

#[cfg(test)]
mod tests {
    use tollgate::KeyedLimiter;

    use super::super::traffic::number_keys;
    use super::*;
    use crate::subject::Family;

    /// Our limiter, but with a fixed wrong answer now and then.
    struct Faulty<const ANSWER: bool>(KeyedLimiter<u64>);

    impl<const ANSWER: bool> Keyed<u64> for Faulty<ANSWER> {
        fn new(quota: Quota, capacity: usize) -> Self {
            Self(Keyed::new(quota, capacity))
        }

        fn try_acquire(&self, key: &u64) -> bool {
            match Keyed::try_acquire(&self.0, key) {
                _ if self.nanos() % 100 == 0 => ANSWER,
                answer => answer,
            }
        }

        fn nanos(&self) -> u64 {
            Keyed::<u64>::nanos(&self.0)
        }
    }

    fn judged<L: Keyed<u64> + 'static>() -> Answers {
        let traffic = Traffic {
            threads: 2,
            ..Traffic::zipf(number_keys(100))
        };
        let limiter = Of::<L>::boxed(About::new("it", Family::Ours, ""));
        limiter.judge(&traffic, 100, Duration::from_millis(50))
    }

    #[test]
    fn wrong_answers_are_found_and_right_ones_are_not_accused() {
        let ours = judged::<KeyedLimiter<u64>>();
        assert!(ours.right() && ours.admitted > 0, "{ours:?}");
        let denies = judged::<Faulty<false>>();
        assert!(denies.missed > 0 && denies.excess <= 0.0, "{denies:?}");
        let admits = judged::<Faulty<true>>();
        assert!(admits.missed == 0 && admits.excess > 0.0, "{admits:?}");
    }
}
