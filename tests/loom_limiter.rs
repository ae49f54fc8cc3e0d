//! The atomic token bucket under the model checker: whatever the interleaving and whatever a thread
//! sees late, the answers are those of an exact bucket in some order of the calls. And: no
//! interleaving loses a waiter.
//!
//! No model is capped in time or permutations, which would make it pass early. Where one would not
//! end, its preemptions are bounded, which is said there. Each prints how many executions it took.
#![cfg(tollgate_loom)]

#[path = "model/contend.rs"]
mod contend;
#[allow(dead_code, reason = "the operations are for other tests")]
#[path = "model/limiter.rs"]
mod exact;
#[path = "model/explore.rs"]
mod explore;

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use contend::{explained, in_turns};
use exact::{Exact, bound, exact_skew};
use explore::{block_on, explore};
use loom::thread;
use tollgate::{AtomicTokenBucket, LockedTokenBucket, ManualClock, Quota, RateLimiter, Timestamp};

const SECOND: u64 = 1_000_000_000;

/// A take of so many tokens at an instant.
type Take = (u64, u64);

fn at(nanos: u64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

/// The instant by which a take is judged, and the bases after it that a thread with a later time
/// may have begun: then it may be denied, since what was before a base is forgotten.
fn judged_at(quota: Quota, now: u64, all: &[u64]) -> Vec<u64> {
    let base = |later: &u64| (later.saturating_sub(exact_skew(quota)) >> 18) << 18;
    let later = all.iter().map(base).filter(|base| *base > now);
    std::iter::once(now).chain(later).collect()
}

/// A take: how many, the instants by which it may be judged, and whether it was admitted.
type Taken = (u64, Vec<u64>, bool);

/// Runs `before`, then each list of takes on a thread of its own; the outcome must have an
/// explanation.
fn contend(
    name: &str,
    preemptions: Option<usize>,
    quota: &str,
    before: &'static [Take],
    threads: &'static [&'static [Take]],
    probe: u64,
) {
    let quota: Quota = quota.parse().unwrap();
    for threads in in_turns(threads) {
        explore(name, preemptions, move || {
            contend_once(quota, before, threads.clone(), probe);
        });
    }
}

fn contend_once(quota: Quota, before: &[Take], threads: Vec<&'static [Take]>, probe: u64) {
    let bucket = Arc::new(AtomicTokenBucket::with_clock(quota, ManualClock::new()).unwrap());
    let mut exact = Exact::new(quota);
    for &(n, now) in before {
        let admitted = bucket.try_acquire_at(n, at(now)).is_ok();
        assert_eq!(admitted, exact.try_acquire(n, now).is_ok());
    }
    let times: Vec<u64> = threads
        .iter()
        .copied()
        .flatten()
        .map(|take| take.1)
        .collect();
    let run = move |bucket: &AtomicTokenBucket<ManualClock>, takes: &[Take]| {
        let take = |&(n, now): &Take| {
            let admitted = bucket.try_acquire_at(n, at(now)).is_ok();
            (n, judged_at(quota, now, &times), admitted)
        };
        takes.iter().map(take).collect::<Vec<Taken>>()
    };
    let spawn = |&takes: &&'static [Take]| {
        let (bucket, run) = (Arc::clone(&bucket), run.clone());
        thread::spawn(move || run(&bucket, takes))
    };
    let spawned: Vec<_> = threads[1..].iter().map(spawn).collect();
    let mut taken = vec![run(&bucket, threads[0])];
    taken.extend(spawned.into_iter().map(|thread| thread.join().unwrap()));
    let there = bucket.available_at(at(probe));
    let after = |exact: &Exact, (n, instants, admitted): &Taken| {
        let mut after = *exact;
        let same = after.try_acquire(*n, instants[0]).is_ok() == *admitted;
        let before_a_base = instants.len() > 1 && !admitted;
        let states = [same.then_some(after), before_a_base.then_some(*exact)];
        states.into_iter().flatten().collect()
    };
    let threads: Vec<_> = taken.iter().map(Vec::as_slice).collect();
    assert!(
        explained(&exact, &threads, &after, &|exact: &Exact| exact
            .available(probe)
            == there),
        "{taken:?}, then {there}"
    );
}

#[test]
fn stale_clocks_mint_nothing() {
    const S: u64 = SECOND;
    contend(
        "two threads, stale clocks",
        None,
        "1/s burst 2",
        &[(1, 0)],
        &[&[(1, 10 * S), (1, 10 * S)], &[(1, 9 * S), (1, S)]],
        11 * S,
    );
    // Bounded: three threads of two takes each.
    contend(
        "three threads, stale clocks",
        Some(3),
        "1/s burst 2",
        &[],
        &[
            &[(2, 3 * S), (1, 4 * S)],
            &[(1, 0), (1, 3 * S)],
            &[(1, 2 * S)],
        ],
        6 * S,
    );
}

/// Nanoseconds after which a bucket of 999,983 a second moves its base.
const HORIZON: u64 = (1 << 54) / 999_983;

#[test]
fn a_re_anchoring_keeps_every_token_that_was_taken() {
    assert_eq!(HORIZON / 8, exact_skew(Quota::per_second(999_983).unwrap()));
    // The bucket is empty just before the horizon: one thread moves the base, another still takes
    // at the old one.
    contend(
        "re-anchor x acquire",
        None,
        "999983/s burst 2",
        &[(2, HORIZON - 600)],
        &[&[(1, HORIZON + 1)], &[(1, HORIZON - 1), (1, HORIZON + 500)]],
        HORIZON + 1_500,
    );
    contend(
        "re-anchor x acquire, many to spare",
        None,
        "999983/s burst 100",
        &[(97, HORIZON - 600)],
        &[
            &[(1, HORIZON + 1), (2, HORIZON + 2)],
            &[(2, HORIZON - 1), (1, HORIZON)],
        ],
        HORIZON + 1_500,
    );
}

#[test]
fn a_thread_that_stalls_while_every_slot_is_used_again_is_not_misled() {
    // It reads the word of the first generation and the anchor of the fifth, which lies in the same
    // slot.
    const LATER: u64 = 4 * HORIZON + 5_000;
    // Bounded by two preemptions: many steps, of which the stall takes one.
    contend(
        "acquire x four re-anchorings",
        Some(2),
        "999983/s burst 2",
        &[(2, HORIZON - 100)],
        &[
            &[(1, LATER)],
            &[
                (1, HORIZON + 1),
                (1, 2 * HORIZON + 2),
                (1, 3 * HORIZON + 3),
                (1, 4 * HORIZON + 4),
            ],
        ],
        LATER + 10,
    );
}

#[test]
fn re_anchorings_at_once_are_one() {
    // So far apart that they would choose different bases.
    contend(
        "re-anchor x re-anchor, a millisecond apart",
        None,
        "999983/s burst 2000",
        &[(2_000, HORIZON - 100)],
        &[&[(1, HORIZON + 2_000)], &[(2, HORIZON + 1_000_000)]],
        HORIZON + 1_001_000,
    );
    // Bounded: three threads, two of which move the base.
    contend(
        "re-anchor x re-anchor x acquire",
        Some(3),
        "999983/s burst 3",
        &[(2, HORIZON - 100)],
        &[
            &[(1, HORIZON + 1)],
            &[(1, HORIZON + 2)],
            &[(1, HORIZON - 50)],
        ],
        HORIZON + 1_000,
    );
    // The second needs the base that the first begins, and the one after that. Bounded: without, it
    // is 1.4 million executions, which passed.
    contend(
        "re-anchor twice x re-anchor",
        Some(4),
        "999983/s burst 2",
        &[(1, HORIZON - 100)],
        &[
            &[(1, HORIZON + 1), (1, 3 * HORIZON)],
            &[(1, HORIZON + 2), (1, 3 * HORIZON + 9)],
        ],
        3 * HORIZON + 20,
    );
}

#[test]
fn a_reader_sees_a_bucket_that_was() {
    explore("re-anchor x available", None, || {
        let quota: Quota = "999983/s burst 3".parse().unwrap();
        let bucket = Arc::new(AtomicTokenBucket::with_clock(quota, ManualClock::new()).unwrap());
        bucket.try_acquire_at(2, at(HORIZON - 100)).unwrap();
        let reader = {
            let bucket = Arc::clone(&bucket);
            thread::spawn(move || [(); 2].map(|()| bucket.available_at(at(HORIZON + 1))))
        };
        assert!(bucket.try_acquire_at(1, at(HORIZON + 1)).is_ok());
        let [first, second] = reader.join().unwrap();
        assert!(second <= first && first <= 1, "{first}, {second}");
        assert_eq!(bucket.available_at(at(HORIZON + 1)), 0);
    });
}

/// Polls `acquire(1)` once, and drops it.
macro_rules! cancelled_acquire {
    ($bucket:expr) => {{
        let mut cx = Context::from_waker(Waker::noop());
        let mut future = pin!($bucket.acquire(1));
        future.as_mut().poll(&mut cx)
    }};
}

#[test]
fn a_cancelled_acquire_gives_back_no_more_than_it_took() {
    use std::future::Future;
    explore("cancel x reserve x try_acquire", None, || {
        let quota: Quota = "1/s burst 2".parse().unwrap();
        let clock = ManualClock::new();
        let bucket = Arc::new(AtomicTokenBucket::with_clock(quota, clock.clone()).unwrap());
        bucket.try_acquire_at(2, at(0)).unwrap();
        let canceller = {
            let bucket = Arc::clone(&bucket);
            thread::spawn(move || {
                let _: Poll<_> = cancelled_acquire!(bucket);
            })
        };
        let taker = {
            let bucket = Arc::clone(&bucket);
            thread::spawn(move || bucket.try_acquire_at(1, at(SECOND)).is_ok())
        };
        let mut cx = Context::from_waker(Waker::noop());
        let mut waiting = pin!(bucket.acquire(1));
        assert!(waiting.as_mut().poll(&mut cx).is_pending());
        let mut events = vec![(0, 2)];
        if taker.join().unwrap() {
            events.push((SECOND, 1));
        }
        canceller.join().unwrap();
        // Whoever waits is served in the end, and what is used never exceeds the bound.
        let ready = (1..=4).find(|second| {
            clock.set(at(second * SECOND));
            waiting.as_mut().poll(&mut cx).is_ready()
        });
        let ready = ready.expect("three tokens in debt at most") * SECOND;
        events.push((ready, 1));
        let there = bucket.available_at(at(ready));
        events.push((ready, there));
        exact::assert_never_over(quota, &events);
        let used: u64 = events.iter().map(|event| event.1).sum();
        assert!(u128::from(used) <= bound(quota, ready));
    });
}

#[test]
fn whoever_is_behind_a_cancelled_waiter_is_woken() {
    use std::future::Future;
    // Bounded: without, it is 451,527 executions, which passed.
    explore("locked: cancel x wait x advance", Some(4), || {
        let clock = ManualClock::new();
        let quota: Quota = "1/s burst 1".parse().unwrap();
        let bucket = Arc::new(LockedTokenBucket::with_clock(quota, clock.clone()).unwrap());
        bucket.try_acquire_at(1, at(0)).unwrap();
        let canceller = {
            let (bucket, clock) = (Arc::clone(&bucket), clock.clone());
            thread::spawn(move || {
                // Granted or not when it is dropped, depending on who was first; if it was served,
                // time has to go on.
                if cancelled_acquire!(bucket).is_ready() {
                    clock.advance(Duration::from_secs(1));
                }
            })
        };
        let waiter = {
            let bucket = Arc::clone(&bucket);
            thread::spawn(move || block_on(bucket.acquire(1)))
        };
        clock.advance(Duration::from_secs(1));
        assert!(waiter.join().unwrap().is_ok());
        canceller.join().unwrap();
    });
}
