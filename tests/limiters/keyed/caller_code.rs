//! The caller's own code in a keyed limiter: after a panic at any of its calls, every place can be used
//! again, no debt is lost, and every waiter has its turn.
#![allow(
    dropping_copy_types,
    clippy::unnecessary_operation,
    reason = "each row is one expression without an output"
)]

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tollgate::{CarryOver, Denied, KeyedLimiter, RateLimiter};

use crate::support::quota;
use crate::trap;
use crate::trap::{
    ALL, Call, Key, Name, OUTSIDE, TrapClock, TrapHasher, Waiter, trapped, without_deadlock,
};

type Keyed = KeyedLimiter<Key, TrapHasher, TrapClock>;
type Waiting<'a> = Waiter<'a, Result<(), Denied>>;

const DAY: Duration = Duration::from_secs(24 * 3_600);
const CAPACITY: usize = 16;
/// Keys with a waiter, with a quota of its own, and not yet placed.
const WAITED_FOR: Name = Name(100);
const OWN: Name = Name(101);
const NEW: Name = Name(102);

fn limiter(clock: &TrapClock, capacity: usize) -> Keyed {
    let builder = KeyedLimiter::builder(quota("2/h"), capacity);
    builder
        .hasher(TrapHasher)
        .clock(clock.clone())
        .build()
        .unwrap()
}

fn drain(limiter: &Keyed, name: u64) -> bool {
    limiter.key(&Name(name)).try_acquire(2).is_ok()
}

type Op = fn(&Keyed, &mut Waiting<'_>);

/// Each operation, and whether it may add tokens to key 0.
const OPS: &[(&str, bool, Op)] = &[
    ("take", false, |l, _| drop(l.key(&Name(0)).try_acquire(1))),
    ("take of a new key", false, |l, _| {
        drop(l.key(&NEW).try_acquire(1));
    }),
    ("take of a new key, cloned", false, |l, _| {
        drop(l.key(&Key(NEW)).try_acquire(1));
    }),
    ("up to", false, |l, _| {
        drop(l.key(&NEW).try_acquire_up_to(9))
    }),
    ("reserve", false, |l, _| {
        drop(l.key(&NEW).reserve(1, DAY));
    }),
    ("reserve later", false, |l, _| {
        drop(l.key(&Name(0)).reserve(1, DAY));
        l.key(&WAITED_FOR)
            .reserve(1, DAY)
            .map(|one| one.commit())
            .ok();
    }),
    ("acquire", false, |l, _| {
        let _ = l.key(&NEW).acquire(1).wait();
        Waiter::new(l.key(&Name(0)).acquire(1)).poll();
    }),
    ("leave", false, |_, waiter| waiter.leave()),
    ("charge", false, |l, _| l.key(&NEW).charge(5)),
    ("pause", false, |l, _| {
        let _ = l
            .key(&NEW)
            .pause_until(l.key(&NEW).now().saturating_add(DAY / 2));
    }),
    ("refund", true, |l, _| l.key(&Name(0)).refund(1)),
    ("remove", true, |l, _| drop(l.remove(&Name(0)))),
    ("remove others", false, |l, _| {
        for name in [NEW, OWN, WAITED_FOR] {
            l.remove(&name);
        }
    }),
    ("retain", false, |l, _| {
        l.retain(|key, _| {
            trap::call(Call::Closure);
            key.0.0 == 0
        });
    }),
    ("retain nothing", true, |l, _| l.retain(|_, _| false)),
    ("iter", false, |l, _| drop(l.iter().collect::<Vec<_>>())),
    ("reads", false, |l, _| {
        l.key(&Name(0)).available();
        l.key(&NEW).quota();
        (l.len(), l.stats(), l.is_empty(), l.allocated(), l.quota());
    }),
    ("set_quota", false, |l, _| {
        l.set_quota(quota("2/day"), CarryOver::Tokens).unwrap();
    }),
    ("set_quota_for", false, |l, _| {
        for name in [Name(0), NEW, OWN] {
            l.key(&name)
                .set_quota(quota("2/h"), CarryOver::Tokens)
                .unwrap();
        }
    }),
    ("set_quota of a handle", true, |l, _| {
        let (key, waited_for) = (l.key(&Name(0)), l.key(&WAITED_FOR));
        key.set_quota(quota("9/h"), CarryOver::Full).unwrap();
        waited_for.set_quota(quota("9/h"), CarryOver::Full).unwrap();
    }),
    ("close", false, |l, _| l.close()),
];

/// Runs an operation with its `n`-th call trapped; `false` if it makes fewer calls.
fn traps(n: usize, calls: &'static [Call], reenters: bool, placed: u64, op: usize) -> bool {
    let (name, brings, op) = OPS[op];
    let clock = TrapClock::default();
    let limiter = Arc::new(limiter(&clock, CAPACITY));
    let own = limiter.key(&OWN).set_quota(quota("5/h"), CarryOver::Full);
    assert_eq!(own, Ok(()));
    if placed > CAPACITY as u64 {
        // Every bucket is full again, so every place can be reused.
        assert!((1..CAPACITY as u64).all(|name| drain(&limiter, 200 + name)));
        clock.0.advance(DAY);
    }
    assert!(limiter.key(&WAITED_FOR).try_acquire(2).is_ok());
    let key = limiter.key(&WAITED_FOR);
    let mut waiter = Waiter::pending(key.acquire(1));
    // Placed last, so that three of them fill the first table, and seven the next.
    assert!((0..placed % CAPACITY as u64).all(|name| drain(&limiter, name)));
    let again = Arc::clone(&limiter);
    let action: Rc<dyn Fn()> = Rc::new(move || {
        for name in [Name(0), Name(300), WAITED_FOR] {
            let _ = again.key(&name).try_acquire(1);
            drop(again.key(&name).reserve(1, DAY));
        }
        again.len();
    });
    let trapped = trapped(n, calls, reenters.then_some(action), || {
        op(&limiter, &mut waiter);
    });
    let (fired, panicked) = trapped;
    let context = format!("{name}, call {n}: {panicked:?}, {placed} placed");
    assert_eq!(panicked.is_some(), fired && !reenters, "{context}");
    // Up to three keys have a quota of their own.
    assert!(
        limiter.len() <= CAPACITY + 3,
        "{context}: {}",
        limiter.len()
    );
    let taken = limiter.key(&Name(0)).try_acquire(1);
    assert!(brings || taken.is_err(), "{context}: a debt is lost");
    let woken = waiter.woken();
    assert!(waiter.poll().is_none() || woken > 0, "{context}: not woken");
    clock.0.advance(DAY);
    waiter.poll();
    assert!(!waiter.is_alive(), "{context}: a waiter is lost");
    drop(waiter);
    let gives_own = name.starts_with("set_quota");
    limiter.remove(&OWN);
    for name in [Name(0), NEW, WAITED_FOR] {
        assert_eq!(limiter.key(&name).status(1).waiting, 0, "{context}");
        if gives_own {
            limiter.remove(&name);
        }
    }
    if !limiter.is_closed() {
        clock.0.advance(10 * DAY);
        let full = fill(&limiter);
        assert_eq!(full, CAPACITY, "{context}: places are lost");
    }
    fired
}

/// Places new keys with several attempts each; returns how many found a place.
fn fill(limiter: &Keyed) -> usize {
    for name in 0..2 * limiter.capacity() as u64 {
        let take = |_| limiter.key(&Name(1_000 + name)).try_acquire(2).is_ok();
        (0..16).any(take);
    }
    let mine = limiter.iter().filter(|(key, _)| key.0.0 >= 1_000);
    mine.count()
}

fn every_call(calls: &'static [Call], reenters: bool) {
    for placed in [2, 3, 7, 14, 17, 20] {
        for (op, (name, ..)) in OPS.iter().enumerate() {
            if reenters && *name == "iter" {
                // `iter` clones keys under a lock.
                continue;
            }
            (1..).find(|n| !traps(*n, calls, reenters, placed, op));
        }
    }
}

#[test]
fn a_panic_at_any_call_loses_no_place_and_no_debt() {
    without_deadlock(|| every_call(ALL, false));
}

#[test]
fn keys_and_wakers_may_call_the_limiter() {
    without_deadlock(|| every_call(OUTSIDE, true));
}

/// Changes the quota, or closes, over many shards with waiters, with the `n`-th call trapped. Each
/// change of the quota also evicts a part of the keys.
fn traps_change(n: usize, calls: &'static [Call], closes: bool) -> bool {
    let clock = TrapClock::default();
    let limiter = limiter(&clock, 400);
    let change = |text| limiter.set_quota(quota(text), CarryOver::Tokens).unwrap();
    (0..40).for_each(|_| ["2/day", "2/h"].into_iter().for_each(change));
    assert!((0..300).all(|name| drain(&limiter, name)));
    clock.0.advance(DAY);
    let names: [Name; 20] = std::array::from_fn(|name| Name(500 + name as u64));
    assert!(names.iter().all(|name| drain(&limiter, name.0)));
    let wait = |name| Waiter::pending(limiter.key(name).acquire(1));
    let mut waiters: Vec<_> = names.iter().map(wait).collect();
    let (fired, panicked) = trapped(n, calls, None, || {
        if closes {
            limiter.close();
        } else {
            let full = limiter.set_quota(quota("4/h"), CarryOver::Full);
            assert_eq!(full, Ok(()));
        }
    });
    let is_changed = limiter.is_closed() || limiter.quota() == quota("4/h");
    for (name, waiter) in names.iter().zip(&mut waiters) {
        let woken = waiter.woken() > 0;
        assert_eq!(woken, is_changed, "{name:?}, call {n}: {panicked:?}");
        assert_eq!(waiter.poll().is_some(), is_changed, "{name:?}");
    }
    fired
}

#[test]
fn a_panic_in_a_change_leaves_every_waiter_woken_or_none() {
    without_deadlock(|| {
        for closes in [false, true] {
            (1..).find(|n| !traps_change(*n, ALL, closes));
        }
    });
}
