//! The caller's own code in limiters: whatever of it panics, at whichever call, leaves a limiter
//! that is as good as before; and what runs without a lock may call the limiter.
#![cfg(not(tollgate_loom))]
#![allow(
    dropping_copy_types,
    clippy::unnecessary_operation,
    reason = "each row is one expression without an output"
)]

#[allow(dead_code, reason = "shared with other tests")]
#[path = "model/trap.rs"]
mod trap;

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tollgate::{
    AllOf, AtomicTokenBucket, CarryOver, Clock, Denied, IntervalTokenBucket, KeyedLimiter,
    Leasable, LockedTokenBucket, Metered, OnFull, Quota, QuotaLimiter, RateLimiter, SlidingWindow,
    Timestamp,
};
use trap::{ALL, Call, Hashers, Key, Name, OUTSIDE, Waiter, Watch, trapped, without_deadlock};

type Keyed = KeyedLimiter<Key, Hashers, Watch>;

const DAY: Duration = Duration::from_hours(24);

fn quota(text: &str) -> Quota {
    text.parse().unwrap()
}

/// A limiter of two tokens an hour, none of which is left.
struct Subject<'a> {
    limiter: &'a dyn RateLimiter,
    /// Of limiters that have a single quota.
    quota: Option<&'a dyn QuotaLimiter>,
    close: &'a dyn Fn(),
    /// Takes a token by a lease, where there are any, and drops it.
    lease: &'a dyn Fn(),
    /// Saves the fill, where it can be, and restores it.
    save: &'a dyn Fn(),
    watch: &'a Watch,
    /// What the caller's code does that calls it.
    calls: Rc<dyn Fn()>,
}

type Scenario<'a> = &'a mut dyn FnMut(&Subject<'_>);

fn asks(limiter: &dyn RateLimiter) {
    let _ = limiter.try_acquire(1);
    limiter.available();
    limiter.status(1);
    drop(limiter.reserve(1, DAY));
}

macro_rules! single {
    ($name:ident, $make:expr, $quota:expr, $lease:expr, $save:expr) => {
        fn $name(scenario: Scenario<'_>) {
            let watch = Watch::default();
            let limiter = Arc::new($make(watch.clone()).unwrap());
            let again = Arc::clone(&limiter);
            scenario(&Subject {
                limiter: &*limiter,
                quota: $quota(&*limiter),
                close: &|| limiter.close(),
                lease: &|| $lease(&*limiter),
                save: &|| $save(&*limiter),
                watch: &watch,
                calls: Rc::new(move || asks(&*again)),
            });
        }
    };
}

fn one_quota(limiter: &impl QuotaLimiter) -> Option<&dyn QuotaLimiter> {
    Some(limiter)
}

fn lease(limiter: &impl Leasable) {
    if let Ok(mut lease) = limiter.lease(1) {
        let _ = lease.try_acquire(1);
    }
}

fn nothing<L>(_: &L) {}

fn no_quota<L>(_: &L) -> Option<&dyn QuotaLimiter> {
    None
}

const HOUR: Duration = Duration::from_hours(1);
const START: Timestamp = Timestamp::ZERO;

single!(
    atomic,
    |watch| AtomicTokenBucket::with_clock(quota("2/h"), watch),
    one_quota,
    lease,
    |bucket: &AtomicTokenBucket<Watch>| bucket
        .restore(&bucket.save(SystemTime::UNIX_EPOCH), SystemTime::UNIX_EPOCH)
);
single!(
    locked,
    |watch| LockedTokenBucket::with_clock(quota("2/h"), watch),
    one_quota,
    lease,
    |bucket: &LockedTokenBucket<Watch>| bucket
        .restore(&bucket.save(SystemTime::UNIX_EPOCH), SystemTime::UNIX_EPOCH)
);
single!(
    window,
    |watch| SlidingWindow::with_clock(2, HOUR, watch),
    no_quota,
    nothing,
    nothing
);
single!(
    interval,
    |watch| IntervalTokenBucket::with_clock(2, HOUR, 2, START, watch),
    no_quota,
    nothing,
    nothing
);

fn metered(scenario: Scenario<'_>) {
    let watch = Watch::default();
    let bucket = AtomicTokenBucket::with_clock(quota("2/h"), watch.clone()).unwrap();
    let limiter = Arc::new(Metered::new(bucket));
    let again = Arc::clone(&limiter);
    let bucket = limiter.inner();
    scenario(&Subject {
        limiter: &*limiter,
        quota: Some(bucket),
        close: &|| bucket.close(),
        lease: &|| lease(bucket),
        save: &|| bucket.restore(&bucket.save(SystemTime::UNIX_EPOCH), SystemTime::UNIX_EPOCH),
        watch: &watch,
        calls: Rc::new(move || asks(&*again)),
    });
}

fn keyed_limiter(watch: &Watch, capacity: usize) -> Keyed {
    let builder = KeyedLimiter::builder(quota("2/h"), capacity);
    let builder = builder.hasher(Hashers).clock(watch.clone());
    builder.on_full(OnFull::Deny).build().unwrap()
}

fn a_key(scenario: Scenario<'_>) {
    let watch = Watch::default();
    let limiter = Arc::new(keyed_limiter(&watch, 4));
    let again = Arc::clone(&limiter);
    let key = limiter.key(&Name(7));
    scenario(&Subject {
        limiter: &key,
        quota: Some(&key),
        close: &|| limiter.close(),
        lease: &|| (),
        save: &|| (),
        watch: &watch,
        calls: Rc::new(move || {
            asks(&again.key(&Name(7)));
            asks(&again.key(&Name(8)));
            again.len();
        }),
    });
    // A full bucket needs no place: a full set of others finds one each.
    fill(&limiter, &watch);
}

/// Takes the places of all keys, once their buckets are full.
fn fill(limiter: &Keyed, watch: &Watch) {
    watch.0.advance(DAY);
    if limiter.is_closed() {
        return;
    }
    for name in 0..limiter.capacity() as u64 {
        // A new key looks at a few places only.
        let take = |_| limiter.key(&Name(1_000 + name)).try_acquire(1).is_ok();
        assert!((0..16).any(take), "{name} of {}", limiter.len());
    }
    let more = limiter.key(&Name(9_999)).try_acquire(1);
    assert_eq!(more, Err(Denied::TooManyKeys));
    // One with a quota of its own takes no place.
    let more = limiter.len() - limiter.capacity();
    assert!(more <= 1, "{more} keys too many");
}

fn an_owned_key(scenario: Scenario<'_>) {
    let watch = Watch::default();
    let limiter = Arc::new(keyed_limiter(&watch, 4));
    let again = Arc::clone(&limiter);
    let key = limiter.owned_key(Key(Name(7)));
    scenario(&Subject {
        limiter: &key,
        quota: None,
        close: &|| limiter.close(),
        lease: &|| (),
        save: &|| (),
        watch: &watch,
        calls: Rc::new(move || asks(&again.owned_key(Key(Name(7))))),
    });
    fill(&limiter, &watch);
}

/// A key that shares its bucket with all that found no place.
fn shared(scenario: Scenario<'_>) {
    let watch = Watch::default();
    let builder = KeyedLimiter::builder(quota("2/h"), 1);
    let builder = builder.hasher(Hashers).clock(watch.clone());
    let limiter: Arc<Keyed> = Arc::new(builder.on_full(OnFull::Shared).build().unwrap());
    limiter.key(&Name(1)).charge(1_000);
    let again = Arc::clone(&limiter);
    let key = limiter.key(&Name(7));
    scenario(&Subject {
        limiter: &key,
        quota: None,
        close: &|| limiter.close(),
        lease: &|| (),
        save: &|| (),
        watch: &watch,
        calls: Rc::new(move || asks(&again.key(&Name(7)))),
    });
}

fn all_of(scenario: Scenario<'_>) {
    let watch = Watch::default();
    let limiter = Arc::new(keyed_limiter(&watch, 4));
    let bucket = Arc::new(AtomicTokenBucket::with_clock(quota("2/h"), watch.clone()).unwrap());
    let (again, bucket_again) = (Arc::clone(&limiter), Arc::clone(&bucket));
    let all = AllOf::new((&*bucket, limiter.key(&Name(7))));
    scenario(&Subject {
        limiter: &all,
        quota: None,
        close: &|| bucket.close(),
        lease: &|| (),
        save: &|| (),
        watch: &watch,
        calls: Rc::new(move || {
            asks(&again.key(&Name(7)));
            asks(&*bucket_again);
        }),
    });
    watch.0.advance(DAY);
    assert_eq!(bucket.available(), 2, "nothing is lost of one member");
    fill(&limiter, &watch);
}

type Op = fn(&Subject<'_>, &mut [Waiter<'_, Result<(), Denied>>; 2]);

/// Each with whether it may bring tokens.
const OPS: &[(&str, bool, Op)] = &[
    ("try_acquire", false, |s, _| drop(s.limiter.try_acquire(1))),
    ("up to", false, |s, _| drop(s.limiter.try_acquire_up_to(2))),
    ("above", false, |s, _| {
        drop(s.limiter.try_acquire_above(1, 1));
    }),
    ("with status", false, |s, _| {
        let _ = s.limiter.try_acquire_with_status(1);
    }),
    ("reserve, drop", false, |s, _| {
        drop(s.limiter.reserve(1, DAY));
    }),
    ("reserve, cancel", false, |s, _| {
        s.limiter.reserve(1, DAY).map(|one| one.cancel()).ok();
    }),
    ("reserve, commit", false, |s, _| {
        s.limiter.reserve(1, DAY).map(|one| one.commit()).ok();
    }),
    ("acquire, drop", false, |s, _| {
        let mut waiter = Waiter::new(s.limiter.acquire(1));
        waiter.poll();
        waiter.poll();
    }),
    ("acquire above a floor, drop", false, |s, _| {
        let mut waiter = Waiter::new(s.limiter.acquire_above(1, 1));
        waiter.poll();
        waiter.poll();
    }),
    ("acquire above a floor", true, |s, waiters| {
        let mut waiter = Waiter::new(s.limiter.acquire_above(1, 1));
        waiter.poll();
        waiters[0].leave();
        s.watch.0.advance(DAY);
        waiters[1].poll();
        waiter.poll();
    }),
    ("acquire more than the burst, drop", true, |s, waiters| {
        let mut waiter = Waiter::new(s.limiter.acquire_many(5));
        waiter.poll();
        waiters.iter_mut().for_each(Waiter::leave);
        s.watch.0.advance(HOUR);
        waiter.poll();
    }),
    ("acquire more than the burst", true, |s, waiters| {
        let mut waiter = Waiter::new(s.limiter.acquire_many(3));
        waiter.poll();
        waiters.iter_mut().for_each(Waiter::leave);
        for _ in 0..2 {
            s.watch.0.advance(HOUR);
            waiter.poll();
        }
    }),
    ("leave", false, |_, waiters| {
        waiters[0].leave();
    }),
    ("a turn", true, |s, waiters| {
        s.watch.0.advance(Duration::from_mins(30));
        waiters[0].poll();
        waiters[1].poll();
    }),
    ("a turn that is not used", true, |s, waiters| {
        s.watch.0.advance(Duration::from_mins(30));
        s.limiter.refund(0);
        s.limiter.reserve(1, DAY).map(|one| one.cancel()).ok();
        waiters[0].leave();
    }),
    ("refund", true, |s, _| s.limiter.refund(2)),
    ("charge", false, |s, _| s.limiter.charge(2)),
    ("pause", false, |s, _| {
        let until = s.watch.0.now().saturating_add(Duration::from_mins(10));
        let _ = s.limiter.pause_until(until);
    }),
    ("lease", false, |s, _| (s.lease)()),
    ("lease of what is there", true, |s, _| {
        s.watch.0.advance(DAY);
        s.limiter.refund(0);
        (s.lease)();
    }),
    ("save, restore", false, |s, _| (s.save)()),
    ("reads", false, |s, _| {
        s.limiter.available();
        s.limiter.status(1);
    }),
    ("set_quota", true, |s, _| {
        if let Some(limiter) = s.quota {
            limiter.set_quota(quota("4/h"), CarryOver::Full).unwrap();
        }
    }),
    ("set_quota back", false, |s, _| {
        if let Some(limiter) = s.quota {
            limiter.sync_remaining(0);
            limiter.set_quota(quota("2/h"), CarryOver::Tokens).unwrap();
        }
    }),
    ("close", false, |s, _| (s.close)()),
];

/// Does an operation with the n-th call trapped: whether there were so many.
fn done(s: &Subject<'_>, n: usize, calls: &'static [Call], reenters: bool, op: usize) -> bool {
    let (name, brings, op) = OPS[op];
    s.limiter.charge(2);
    let mut waiters = [(); 2].map(|()| Waiter::pending(s.limiter.acquire(1)));
    let action = reenters.then(|| Rc::clone(&s.calls));
    let (fired, panicked) = trapped(n, calls, action, || op(s, &mut waiters));
    let context = format!("{name}, call {n}: {panicked:?}");
    assert_eq!(panicked.is_some(), fired && !reenters, "{context}");
    if !brings {
        let taken = s.limiter.try_acquire(1);
        assert!(taken.is_err(), "{context}: a token from nowhere");
    }
    for (at, waiter) in waiters.iter_mut().enumerate() {
        let woken = waiter.woken();
        let ended = waiter.poll();
        assert!(ended.is_none() || woken > 0, "{context}: {at} not woken");
    }
    for _ in 0..waiters.len() {
        s.watch.0.advance(DAY);
        for waiter in &mut waiters {
            waiter.poll();
        }
    }
    let lost = waiters.iter().filter(|waiter| waiter.is_alive()).count();
    assert_eq!(lost, 0, "{context}: a waiter is lost");
    drop(waiters);
    s.watch.0.advance(DAY);
    let status = s.limiter.status(1);
    assert_eq!(status.waiting, 0, "{context}: a ghost waits");
    assert!(status.remaining >= 2, "{context}: tokens are lost");
    let wait = s.limiter.status(2).retry_after.unwrap_or_default();
    assert!(wait.is_zero(), "{context}: tokens are kept for a ghost");
    fired
}

fn every_call(calls: &'static [Call], reenters: bool) {
    for limiter in [
        atomic,
        locked,
        window,
        interval,
        metered,
        a_key,
        an_owned_key,
        shared,
        all_of,
    ] {
        for op in 0..OPS.len() {
            let mut fired = true;
            for n in 1.. {
                limiter(&mut |subject| fired = done(subject, n, calls, reenters, op));
                if !fired {
                    break;
                }
            }
        }
    }
}

#[test]
fn a_panic_at_any_call_leaves_a_limiter_that_is_as_good_as_before() {
    without_deadlock(|| every_call(ALL, false));
}

#[test]
fn keys_and_wakers_may_call_the_limiter() {
    without_deadlock(|| every_call(OUTSIDE, true));
}
