//! Takes at current and at stale times: under every interleaving, and whatever a thread sees late, the
//! answers are those of an exact bucket in some order of the calls.

use std::sync::Arc;

use loom::thread;
use tollgate::{AtomicTokenBucket, ManualClock, Quota, RateLimiter};

use crate::contend::{explained, in_turns};
use crate::exact::{Exact, exact_skew};
use crate::explore::explore;
use crate::{HORIZON, SECOND, at};

/// A take: how many tokens, and at which instant.
type Take = (u64, u64);

/// The instant of a take, and the later bases that another thread with a later time may have begun.
/// Behind such a base the take may be denied, since the word forgets what was before it.
fn judged_at(quota: Quota, now: u64, all: &[u64]) -> Vec<u64> {
    let base = |later: &u64| (later.saturating_sub(exact_skew(quota)) >> 18) << 18;
    let later = all.iter().map(base).filter(|base| *base > now);
    std::iter::once(now).chain(later).collect()
}

/// The outcome of a take: how many tokens, the instants by which it may be judged, and whether it was
/// admitted.
type Taken = (u64, Vec<u64>, bool);

/// Runs `before`, then each list of takes on its own thread. Some interleaving on an exact bucket must
/// explain the outcome.
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
        let admitted = bucket.at(at(now)).try_acquire(n).is_ok();
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
            let admitted = bucket.at(at(now)).try_acquire(n).is_ok();
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
    let there = bucket.at(at(probe)).available();
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
fn takes_by_stale_clocks_mint_nothing() {
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

#[test]
fn a_move_of_the_base_forgets_no_take() {
    assert_eq!(HORIZON / 8, exact_skew(Quota::per_second(999_983).unwrap()));
    // The bucket is empty just before the horizon: one thread moves the base, another still takes by the
    // old one.
    contend(
        "base move x acquire",
        None,
        "999983/s burst 2",
        &[(2, HORIZON - 600)],
        &[&[(1, HORIZON + 1)], &[(1, HORIZON - 1), (1, HORIZON + 500)]],
        HORIZON + 1_500,
    );
    contend(
        "base move x acquire, many to spare",
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
fn a_stalled_taker_is_not_misled_by_a_reused_slot() {
    // The taker reads the word of the first generation and the base of the fifth, from the same slot.
    const LATER: u64 = 4 * HORIZON + 5_000;
    // Bounded by one preemption, the stall; all 700,000 executions with two passed.
    contend(
        "acquire x four base moves",
        Some(1),
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
fn concurrent_moves_of_the_base_count_once() {
    // The times are so far apart that the threads would choose different bases.
    contend(
        "base move x base move, a millisecond apart",
        None,
        "999983/s burst 2000",
        &[(2_000, HORIZON - 100)],
        &[&[(1, HORIZON + 2_000)], &[(2, HORIZON + 1_000_000)]],
        HORIZON + 1_001_000,
    );
    // Bounded: three threads, two of which move the base.
    contend(
        "base move x base move x acquire",
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
    // The second thread needs the base that the first begins, and the next one. Bounded: all 236,066
    // executions with four preemptions passed.
    contend(
        "two base moves x base move",
        Some(3),
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
fn a_read_beside_a_move_of_the_base_sees_a_past_state() {
    explore("base move x available", None, || {
        let quota: Quota = "999983/s burst 3".parse().unwrap();
        let bucket = Arc::new(AtomicTokenBucket::with_clock(quota, ManualClock::new()).unwrap());
        bucket.at(at(HORIZON - 100)).try_acquire(2).unwrap();
        let reader = {
            let bucket = Arc::clone(&bucket);
            thread::spawn(move || [(); 2].map(|()| bucket.at(at(HORIZON + 1)).available()))
        };
        assert!(bucket.at(at(HORIZON + 1)).try_acquire(1).is_ok());
        let [first, second] = reader.join().unwrap();
        assert!(second <= first && first <= 1, "{first}, {second}");
        assert_eq!(bucket.at(at(HORIZON + 1)).available(), 0);
    });
}
