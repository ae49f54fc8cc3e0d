//! The caller's code in limiters. Each call of it panics once, after which the limiter works as before; the calls
//! that run without a lock may also call the limiter again.
#![cfg(not(tollgate_loom))]
#![allow(dropping_copy_types, reason = "each row is one expression")]
#![allow(clippy::unnecessary_operation, reason = "as above")]

#[allow(dead_code, reason = "shared with other tests")]
#[path = "model/trap.rs"]
mod trap;

use std::convert::identity;
use std::fmt::Debug;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tollgate::{
    AllOf, AtomicTokenBucket, CarryOver, Clock, Denied, IntervalTokenBucket, KeyedLimiter,
    Leasable, LockedTokenBucket, Metered, OnFull, Quota, QuotaLimiter, RateLimiter, SlidingWindow,
    Timestamp,
};

use trap::{
    ALL, Call, Key, Name, OUTSIDE, TrapClock, TrapHasher, Waiter, trapped, without_deadlock,
};

type Keyed = KeyedLimiter<Key, TrapHasher, TrapClock>;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

fn quota(text: &str) -> Quota {
    text.parse().unwrap()
}

/// A limiter of two tokens an hour, none of which is left.
struct Subject<'a> {
    limiter: &'a dyn RateLimiter,
    /// For limiters that have a single quota.
    quota: Option<&'a dyn QuotaLimiter>,
    close: &'a dyn Fn(),
    /// Takes a token by a lease and drops it, if the limiter has leases.
    lease: &'a dyn Fn(),
    /// Saves the fill and restores it, if the limiter can.
    save: &'a dyn Fn(),
    clock: &'a TrapClock,
    /// Calls the limiter again, from within the caller's code.
    reenter: Rc<dyn Fn()>,
}

impl<'a> Subject<'a> {
    /// A limiter without a quota to change, leases, or a fill to save.
    fn new(
        limiter: &'a dyn RateLimiter,
        clock: &'a TrapClock,
        close: &'a dyn Fn(),
        reenter: impl Fn() + 'static,
    ) -> Self {
        Self {
            limiter,
            quota: None,
            close,
            lease: &|| (),
            save: &|| (),
            clock,
            reenter: Rc::new(reenter),
        }
    }
}

type Scenario<'a> = &'a mut dyn FnMut(&Subject<'_>);

/// Runs a scenario on a new limiter.
type Setup = fn(Scenario<'_>);

const LIMITERS: &[(&str, Setup)] = &[
    ("AtomicTokenBucket", atomic),
    ("LockedTokenBucket", locked),
    ("Metered", metered),
    ("SlidingWindow", |scenario| {
        alone(
            scenario,
            |clock| SlidingWindow::with_clock(2, HOUR, clock),
            SlidingWindow::close,
        );
    }),
    ("IntervalTokenBucket", |scenario| {
        let make = |clock| IntervalTokenBucket::with_clock(2, HOUR, 2, Timestamp::ZERO, clock);
        alone(scenario, make, IntervalTokenBucket::close);
    }),
    ("a borrowed key", borrowed_key),
    ("OwnedKey", owned_key),
    ("a key of the shared bucket", shared_bucket),
    ("AllOf", all_of),
];

fn try_all(limiter: &dyn RateLimiter) {
    let _ = limiter.try_acquire(1);
    limiter.available();
    limiter.status(1);
    drop(limiter.reserve(1, DAY));
}

fn lease(limiter: &impl Leasable) {
    if let Ok(mut lease) = limiter.lease(1) {
        let _ = lease.try_acquire(1);
    }
}

fn alone<L: RateLimiter + 'static, E: Debug>(
    scenario: Scenario<'_>,
    make: impl FnOnce(TrapClock) -> Result<L, E>,
    close: impl Fn(&L),
) {
    let clock = TrapClock::default();
    let limiter = Arc::new(make(clock.clone()).unwrap());
    let again = Arc::clone(&limiter);
    let close = || close(&limiter);
    scenario(&Subject::new(&*limiter, &clock, &close, move || {
        try_all(&*again)
    }));
}

/// A token bucket, which `limiter` wraps.
macro_rules! bucket {
    ($name:ident, $bucket:ident, $wrap:expr, $inner:expr) => {
        fn $name(scenario: Scenario<'_>) {
            let clock = TrapClock::default();
            let bucket = $bucket::with_clock(quota("2/h"), clock.clone()).unwrap();
            let limiter = Arc::new($wrap(bucket));
            let again = Arc::clone(&limiter);
            let bucket: &$bucket<TrapClock> = $inner(&*limiter);
            let close = || bucket.close();
            let now = SystemTime::UNIX_EPOCH;
            scenario(&Subject {
                quota: Some(bucket),
                lease: &|| lease(bucket),
                save: &|| bucket.restore(&bucket.save(now), now),
                ..Subject::new(&*limiter, &clock, &close, move || try_all(&*again))
            });
        }
    };
}

bucket!(atomic, AtomicTokenBucket, identity, identity);
bucket!(locked, LockedTokenBucket, identity, identity);
bucket!(metered, AtomicTokenBucket, Metered::new, Metered::inner);

fn keyed(clock: &TrapClock, capacity: usize, on_full: OnFull) -> Arc<Keyed> {
    let builder = KeyedLimiter::builder(quota("2/h"), capacity);
    let builder = builder.hasher(TrapHasher).clock(clock.clone());
    Arc::new(builder.on_full(on_full).build().unwrap())
}

fn borrowed_key(scenario: Scenario<'_>) {
    let clock = TrapClock::default();
    let limiter = keyed(&clock, 4, OnFull::Deny);
    let again = Arc::clone(&limiter);
    let key = limiter.key(&Name(7));
    let reenter = move || {
        try_all(&again.key(&Name(7)));
        try_all(&again.key(&Name(8)));
        again.len();
    };
    scenario(&Subject {
        quota: Some(&key),
        ..Subject::new(&key, &clock, &|| limiter.close(), reenter)
    });
    assert_no_place_is_lost(&limiter, &clock);
}

fn owned_key(scenario: Scenario<'_>) {
    let clock = TrapClock::default();
    let limiter = keyed(&clock, 4, OnFull::Deny);
    let again = Arc::clone(&limiter);
    let key = limiter.owned_key(Key(Name(7)));
    let reenter = move || try_all(&again.owned_key(Key(Name(7))));
    scenario(&Subject::new(&key, &clock, &|| limiter.close(), reenter));
    assert_no_place_is_lost(&limiter, &clock);
}

/// A key that found no place, and shares its bucket with all such keys.
fn shared_bucket(scenario: Scenario<'_>) {
    let clock = TrapClock::default();
    let limiter = keyed(&clock, 1, OnFull::Shared);
    limiter.key(&Name(1)).charge(1_000);
    let again = Arc::clone(&limiter);
    let key = limiter.key(&Name(7));
    let reenter = move || try_all(&again.key(&Name(7)));
    scenario(&Subject::new(&key, &clock, &|| limiter.close(), reenter));
}

fn all_of(scenario: Scenario<'_>) {
    let clock = TrapClock::default();
    let limiter = keyed(&clock, 4, OnFull::Deny);
    let bucket = Arc::new(AtomicTokenBucket::with_clock(quota("2/h"), clock.clone()).unwrap());
    let (again, bucket_again) = (Arc::clone(&limiter), Arc::clone(&bucket));
    let all = AllOf::new((&*bucket, limiter.key(&Name(7))));
    let reenter = move || {
        try_all(&again.key(&Name(7)));
        try_all(&*bucket_again);
    };
    scenario(&Subject::new(&all, &clock, &|| bucket.close(), reenter));
    clock.0.advance(DAY);
    assert_eq!(bucket.available(), 2, "a member has lost tokens");
    assert_no_place_is_lost(&limiter, &clock);
}

/// Full buckets need no place, so after a day a full set of other keys finds one each.
fn assert_no_place_is_lost(limiter: &Keyed, clock: &TrapClock) {
    clock.0.advance(DAY);
    if limiter.is_closed() {
        return;
    }
    for name in 0..limiter.capacity() as u64 {
        // A new key tries a few places only.
        let take = |_| limiter.key(&Name(1_000 + name)).try_acquire(1).is_ok();
        assert!((0..16).any(take), "{name} of {}", limiter.len());
    }
    let more = limiter.key(&Name(9_999)).try_acquire(1);
    assert_eq!(more, Err(Denied::TooManyKeys));
    // A key with a quota of its own takes no place.
    let more = limiter.len() - limiter.capacity();
    assert!(more <= 1, "{more} keys too many");
}

type Op = fn(&Subject<'_>, &mut [Waiter<'_, Result<(), Denied>>; 2]);

/// Each operation, and whether it may add tokens.
const OPS: &[(&str, bool, Op)] = &[
    ("try_acquire", false, |s, _| drop(s.limiter.try_acquire(1))),
    ("try_acquire_up_to", false, |s, _| {
        drop(s.limiter.try_acquire_up_to(2))
    }),
    ("try_acquire_above", false, |s, _| {
        drop(s.limiter.try_acquire_above(1, 1));
    }),
    ("try_acquire_with_status", false, |s, _| {
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
        s.clock.0.advance(DAY);
        waiters[1].poll();
        waiter.poll();
    }),
    ("acquire more than the burst, drop", true, |s, waiters| {
        let mut waiter = Waiter::new(s.limiter.acquire_many(5));
        waiter.poll();
        waiters.iter_mut().for_each(Waiter::leave);
        s.clock.0.advance(HOUR);
        waiter.poll();
    }),
    ("acquire more than the burst", true, |s, waiters| {
        let mut waiter = Waiter::new(s.limiter.acquire_many(3));
        waiter.poll();
        waiters.iter_mut().for_each(Waiter::leave);
        for _ in 0..2 {
            s.clock.0.advance(HOUR);
            waiter.poll();
        }
    }),
    ("cancel a waiter", false, |_, waiters| {
        waiters[0].leave();
    }),
    ("grant to a waiter", true, |s, waiters| {
        s.clock.0.advance(Duration::from_secs(30 * 60));
        waiters[0].poll();
        waiters[1].poll();
    }),
    ("grant to a waiter that is cancelled", true, |s, waiters| {
        s.clock.0.advance(Duration::from_secs(30 * 60));
        s.limiter.refund(0);
        s.limiter.reserve(1, DAY).map(|one| one.cancel()).ok();
        waiters[0].leave();
    }),
    ("refund", true, |s, _| s.limiter.refund(2)),
    ("charge", false, |s, _| s.limiter.charge(2)),
    ("pause", false, |s, _| {
        let until = s.clock.0.now().saturating_add(Duration::from_secs(10 * 60));
        let _ = s.limiter.pause_until(until);
    }),
    ("lease", false, |s, _| (s.lease)()),
    ("lease of an available token", true, |s, _| {
        s.clock.0.advance(DAY);
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

/// Runs an operation with the n-th call trapped; returns false if there were fewer calls.
fn run_trapped(
    limiter: &str,
    s: &Subject<'_>,
    n: usize,
    calls: &'static [Call],
    reenters: bool,
    op: usize,
) -> bool {
    let (name, adds_tokens, op) = OPS[op];
    s.limiter.charge(2);
    let mut waiters = [(); 2].map(|()| Waiter::pending(s.limiter.acquire(1)));
    let action = reenters.then(|| Rc::clone(&s.reenter));
    let (fired, panicked) = trapped(n, calls, action, || op(s, &mut waiters));
    let context = format!("{limiter}, {name}, call {n}: {panicked:?}");
    assert_eq!(panicked.is_some(), fired && !reenters, "{context}");
    if !adds_tokens {
        let taken = s.limiter.try_acquire(1);
        assert!(taken.is_err(), "{context}: a token from nowhere");
    }
    for (at, waiter) in waiters.iter_mut().enumerate() {
        let woken = waiter.woken();
        let ended = waiter.poll();
        assert!(ended.is_none() || woken > 0, "{context}: {at} not woken");
    }
    for _ in 0..waiters.len() {
        s.clock.0.advance(DAY);
        for waiter in &mut waiters {
            waiter.poll();
        }
    }
    let lost = waiters.iter().filter(|waiter| waiter.is_alive()).count();
    assert_eq!(lost, 0, "{context}: a waiter is lost");
    drop(waiters);
    s.clock.0.advance(DAY);
    let status = s.limiter.status(1);
    assert_eq!(
        status.waiting, 0,
        "{context}: a cancelled waiter stays in line"
    );
    assert!(status.remaining >= 2, "{context}: tokens are lost");
    let wait = s.limiter.status(2).retry_after.unwrap_or_default();
    assert!(
        wait.is_zero(),
        "{context}: tokens are kept for a cancelled waiter"
    );
    fired
}

fn every_call(calls: &'static [Call], reenters: bool) {
    for (name, setup) in LIMITERS {
        for op in 0..OPS.len() {
            let mut fired = true;
            for n in 1.. {
                setup(&mut |subject| fired = run_trapped(name, subject, n, calls, reenters, op));
                if !fired {
                    break;
                }
            }
        }
    }
}

#[test]
fn a_panic_in_any_call_leaves_the_limiter_intact() {
    without_deadlock(|| every_call(ALL, false));
}

#[test]
fn keys_and_wakers_may_call_the_limiter() {
    without_deadlock(|| every_call(OUTSIDE, true));
}
