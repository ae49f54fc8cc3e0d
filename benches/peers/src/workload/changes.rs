//! Judges limiters whose quota changes while threads take.
//!
//! A change keeps the current tokens and mints none. So a limiter whose quota goes up and down
//! admits at most what its bucket held plus what accrued at the rates in force.

use std::thread;
use std::time::Duration;

use super::Bench;
use super::drive::{self, together};
use super::keys::traffic::number_keys;
use crate::judge::{Admission, Change, Course, Kept, Record, judge_changing};
use crate::keyed::{self, Key, Keyed};
use crate::limiter::{self, Handle, Limiter};
use crate::quota::Quota;
use crate::report::{Body, Pattern, Probed, Table};
use crate::subject::About;

/// The initial quota, in force again after every second change.
pub const SMALL: Quota = Quota {
    tokens: 1_000,
    period: Quota::SECOND,
    burst: 100,
};

/// The quota in between.
pub const LARGE: Quota = Quota {
    tokens: 10_000,
    burst: 1_000,
    ..SMALL
};

/// The pauses between changes, in turn: an odd number, so that each quota lasts for each of them.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(4),
];

/// The leases of more threads would hold all of the small burst.
const MOST_TAKERS: usize = 16;

/// Few enough that takers ask for each key faster than its tokens accrue.
const KEYS: usize = 64;

/// A limiter whose quota may change.
pub trait Changeable {
    /// Takes from it for `slice` with `threads` threads while another thread changes its quota, and
    /// judges the admissions; `None` if its quota cannot be changed.
    ///
    /// # Errors
    /// The reason why the limiter's process failed.
    fn change(&self, threads: usize, slice: Duration) -> anyhow::Result<Option<Kept>>;
}

impl<L: Limiter> Changeable for drive::Of<L> {
    fn change(&self, threads: usize, slice: Duration) -> anyhow::Result<Option<Kept>> {
        let limiter = &L::new(SMALL);
        let subject = Subject {
            keys: 1,
            nanos: || limiter.nanos(),
            taker: || {
                let mut handle = limiter.handle(threads);
                move |_| handle.try_acquire(1)
            },
            set_quota: |quota| limiter.set_quota(quota),
        };
        Ok(subject.under_load(threads, slice))
    }
}

/// Does the same as [`Changeable::change`] for a keyed limiter.
pub fn of_keys<K: Key, L: Keyed<K>>(keys: &[K], threads: usize, slice: Duration) -> Option<Kept> {
    let limiter = &L::new(SMALL, keys.len());
    let subject = Subject {
        keys: keys.len(),
        nanos: || limiter.nanos(),
        taker: || |key: usize| limiter.try_acquire(&keys[key]),
        set_quota: |quota| limiter.set_quota(quota),
    };
    subject.under_load(threads, slice)
}

/// A limiter of one bucket or of many.
struct Subject<N, T, S> {
    keys: usize,
    /// Reads its clock.
    nanos: N,
    /// Makes a thread's function that takes one token of a key.
    taker: T,
    /// Changes the quota; returns whether that is supported.
    set_quota: S,
}

impl<N, T, S, F> Subject<N, T, S>
where
    N: Fn() -> u64 + Sync,
    T: Fn() -> F + Sync,
    S: Fn(Quota) -> bool + Sync,
    F: FnMut(usize) -> bool,
{
    fn under_load(&self, threads: usize, slice: Duration) -> Option<Kept> {
        if !(self.set_quota)(SMALL) {
            return None;
        }
        let start = (self.nanos)();
        let end = start + slice.as_nanos() as u64;
        let (changes, records) = thread::scope(|scope| {
            let changer = scope.spawn(|| self.change_until(end));
            let records = together(threads, |_| {
                let take = (self.taker)();
                move |_| self.take_until(end, take)
            });
            (changer.join().expect("no change panics"), records)
        });
        let course = Course::changing(start, SMALL, &changes);
        let kept = (0..self.keys).map(|key| {
            let of_key = records.iter().map(|records| records[key].clone());
            judge_changing(&course, of_key.collect())
        });
        kept.reduce(Kept::and)
    }

    fn change_until(&self, end: u64) -> Vec<Change> {
        let mut changes = Vec::new();
        let quotas = [LARGE, SMALL].into_iter().cycle();
        for (quota, pause) in quotas.zip(PAUSES.into_iter().cycle()) {
            thread::sleep(pause);
            let before = (self.nanos)();
            if before >= end {
                break;
            }
            assert!((self.set_quota)(quota), "the quota could be changed before");
            let after = (self.nanos)();
            changes.push(Change {
                quota,
                before,
                after,
            });
        }
        changes
    }

    /// Takes at full speed from key after key; returns the record of each.
    fn take_until(&self, end: u64, mut take: F) -> Vec<Record> {
        let mut records = vec![Record::default(); self.keys];
        let mut before = (self.nanos)();
        while before < end {
            for (key, record) in records.iter_mut().enumerate() {
                let admitted = take(key);
                let after = (self.nanos)();
                let call = Admission {
                    before,
                    after,
                    n: 1,
                };
                record.add(call, admitted);
                before = after;
            }
        }
        records
    }
}

/// Judges every limiter while its quota changes.
pub fn changes(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    let threads = bench.threads.min(MOST_TAKERS);
    let slice = bench.effort.watch;
    let mut buckets = Vec::new();
    let limiters = std::iter::once(limiter::one_key()).chain(limiter::all());
    for limiter in limiters.filter(|limiter| limiter.about().judged) {
        bench.progress.step(limiter.about().name);
        let kept = limiter.change(threads, slice)?;
        buckets.push(probed(limiter.about(), kept));
    }
    let keys = number_keys(KEYS);
    let mut keyed = Vec::new();
    for limiter in keyed::all::<u64>() {
        bench.progress.step(limiter.about().name);
        let kept = limiter.change(&keys, threads, slice);
        keyed.push(probed(limiter.about(), kept));
    }
    let pauses = PAUSES.map(|pause| pause.as_millis().to_string()).join(", ");
    let note = format!(
        "{threads} threads take without a pause while another thread changes the quota, after {pauses} ms in turn. A change takes effect at some instant within its call; for the length of the call the more generous quota counts."
    );
    let table = |name: &str, title: &str, rows| Table {
        name: name.into(),
        title: title.into(),
        note: note.clone(),
        body: Body::Probed(vec![TOLD], rows),
    };
    Ok(vec![
        table(
            "changes",
            "The quota of one bucket changes under load",
            buckets,
        ),
        table(
            "keyed-changes",
            "Keyed: the quota of all 64 keys changes under load",
            keyed,
        ),
    ])
}

const TOLD: Pattern = Pattern {
    name: "1 000/s, burst 100, to 10 000/s, burst 1 000, and back",
    // A change that waits for a lock makes the bound generous, so no share of it can be required.
    saturates: false,
};

fn probed(about: &About, kept: Option<Kept>) -> Probed {
    Probed {
        about: about.clone(),
        kept: vec![kept],
    }
}

#[cfg(test)]
mod tests {
    use tollgate::{AtomicTokenBucket, CarryOver, KeyedLimiter};

    use super::*;

    const SLICE: Duration = Duration::from_millis(100);

    /// Our limiter, but every change fills the bucket.
    struct Grants<L>(L);

    impl Limiter for Grants<AtomicTokenBucket> {
        type Handle<'a> = &'a AtomicTokenBucket;

        fn new(quota: Quota) -> Self {
            Self(Limiter::new(quota))
        }

        fn handle(&self, _callers: usize) -> &AtomicTokenBucket {
            &self.0
        }

        fn nanos(&self) -> u64 {
            self.0.nanos()
        }

        fn set_quota(&self, quota: Quota) -> bool {
            let granted = self.0.set_quota(quota.tollgate(), CarryOver::Full);
            granted.is_ok()
        }
    }

    impl Keyed<u64> for Grants<KeyedLimiter<u64>> {
        fn new(quota: Quota, capacity: usize) -> Self {
            Self(Keyed::new(quota, capacity))
        }

        fn try_acquire(&self, key: &u64) -> bool {
            Keyed::try_acquire(&self.0, key)
        }

        fn nanos(&self) -> u64 {
            Keyed::nanos(&self.0)
        }

        fn set_quota(&self, quota: Quota) -> bool {
            let granted = self.0.set_quota(quota.tollgate(), CarryOver::Full);
            granted.is_ok()
        }
    }

    fn bucket<L: Limiter + 'static>() -> Option<Kept> {
        use crate::subject::Family::Ours;

        let limiter = drive::Of::<L>::boxed(About::new("it", Ours, ""));
        limiter.change(2, SLICE).unwrap()
    }

    fn keyed<L: Keyed<u64>>() -> Kept {
        of_keys::<u64, L>(&number_keys(8), 2, SLICE).unwrap()
    }

    #[test]
    fn a_change_that_makes_tokens_is_found_and_others_are_not_accused() {
        for right in [
            bucket::<AtomicTokenBucket>().unwrap(),
            keyed::<KeyedLimiter<u64>>(),
        ] {
            // Finite if anything was admitted. No share: a taker that begins after the first change finds
            // less than the burst then in force.
            let admits = right.excess.is_finite();
            assert!(admits && right.excess <= 0.0, "{right:?}");
        }
        let grants = [
            bucket::<Grants<AtomicTokenBucket>>().unwrap(),
            keyed::<Grants<KeyedLimiter<u64>>>(),
        ];
        for wrong in grants {
            assert!(wrong.excess > 100.0, "{wrong:?}");
        }
    }
}
