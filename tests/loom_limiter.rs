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
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use contend::{explained, in_turns};
use exact::{Exact, bound, exact_skew};
use explore::{TestClock, Waiter, block_on, explore, explore_in_turns};
use loom::thread;
use tollgate::limiter::Acquire;
use tollgate::{
    AtomicTokenBucket, CarryOver, Denied, LockedTokenBucket, ManualClock, Quota, RateLimiter,
    Timestamp, Wait,
};

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
    // Bounded by one preemption, which is the stall: with two it is 700,000 executions, which passed.
    contend(
        "acquire x four re-anchorings",
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
    // The second needs the base that the first begins, and the one after that. Bounded: with
    // four preemptions it is 236,066 executions, which passed.
    contend(
        "re-anchor twice x re-anchor",
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
fn a_reader_sees_a_bucket_that_was() {
    explore("re-anchor x available", None, || {
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
        bucket.at(at(0)).try_acquire(2).unwrap();
        let canceller = {
            let bucket = Arc::clone(&bucket);
            thread::spawn(move || {
                let _: Poll<_> = cancelled_acquire!(bucket);
            })
        };
        let taker = {
            let bucket = Arc::clone(&bucket);
            thread::spawn(move || bucket.at(at(SECOND)).try_acquire(1).is_ok())
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
        let there = bucket.at(at(ready)).available();
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
        bucket.at(at(0)).try_acquire(1).unwrap();
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

type Waited = Arc<AtomicTokenBucket<TestClock>>;
type Waiting = Waiter<Wait<Acquire<Waited>>>;

/// A bucket without a token at `spent`, and its clock, which reads that.
fn spent(quota: &str, spent: u64) -> (Waited, TestClock) {
    let (quota, clock): (Quota, _) = (quota.parse().unwrap(), TestClock::default());
    clock.pass(spent);
    let bucket = AtomicTokenBucket::with_clock(quota, clock.clone()).unwrap();
    bucket.at(at(spent)).try_acquire(quota.max_burst()).unwrap();
    (Arc::new(bucket), clock)
}

fn waiter(bucket: &Waited, n: u64) -> Waiting {
    Waiter::new(Acquire::of(Arc::clone(bucket), n))
}

fn joined(bucket: &Waited, n: u64) -> Waiting {
    Waiter::pending(Acquire::of(Arc::clone(bucket), n))
}

/// Takes of single tokens at these times on another thread: how many are admitted.
fn taker(bucket: &Waited, times: &'static [u64]) -> thread::JoinHandle<u64> {
    let bucket = Arc::clone(bucket);
    let take = move |nanos: &&u64| bucket.at(at(**nanos)).try_acquire(1).is_ok();
    thread::spawn(move || times.iter().filter(take).count() as u64)
}

/// Runs on another thread.
fn beside<T: 'static>(
    bucket: &Waited,
    run: impl FnOnce(&AtomicTokenBucket<TestClock>) -> T + 'static,
) -> thread::JoinHandle<T> {
    let bucket = Arc::clone(bucket);
    thread::spawn(move || run(&bucket))
}

#[test]
fn a_waiter_that_joins_is_passed_by_no_later_taker() {
    const S: u64 = SECOND;
    explore_in_turns("join x acquire, stale clocks", None, |spawned| {
        let (bucket, clock) = spent("1/s burst 2", 0);
        clock.pass(S);
        let has_joined = Arc::new(AtomicBool::new(false));
        let taker = {
            let (bucket, has_joined) = (Arc::clone(&bucket), Arc::clone(&has_joined));
            thread::spawn(move || {
                let take = |now| {
                    let is_late = has_joined.load(Ordering::SeqCst);
                    let taken = bucket.at(at(now)).try_acquire(1).is_ok();
                    assert!(!taken || !is_late, "it overtakes the waiter");
                    u64::from(taken)
                };
                take(S) + take(0) + take(S)
            })
        };
        spawned();
        let waiting = joined(&bucket, 2);
        has_joined.store(true, Ordering::SeqCst);
        let taken = taker.join().unwrap();
        assert!(taken <= 1, "one token has come by then");
        assert!(bucket.at(at(S)).try_acquire(1).is_err());
        let (served, outcome) = waiting.finish(&clock);
        assert_eq!((served, outcome), ((2 + taken) * S, Ok(())));
        assert_eq!(bucket.at(at(served)).available(), 0);
    });
}

#[test]
fn a_waiter_that_leaves_hands_the_word_back_as_it_was() {
    const S: u64 = SECOND;
    explore_in_turns("leave x acquire, stale clocks", None, |spawned| {
        let (bucket, clock) = spent("1/s burst 2", 0);
        let waiting = joined(&bucket, 2);
        clock.pass(S);
        let taker = taker(&bucket, &[S, 0, S]);
        spawned();
        drop(waiting);
        let taken = taker.join().unwrap();
        assert_eq!(taken + bucket.at(at(S)).available(), 1);
    });
    // Its turn has come: the newcomers find nothing.
    explore_in_turns("serve x acquire, stale clocks", None, |spawned| {
        let (bucket, clock) = spent("1/s burst 2", 0);
        let mut waiting = joined(&bucket, 2);
        clock.pass(2 * S);
        let taker = taker(&bucket, &[2 * S, S]);
        spawned();
        assert_eq!(waiting.poll(), Poll::Ready(Ok(())));
        assert_eq!(taker.join().unwrap(), 0);
        assert_eq!(bucket.at(at(2 * S)).available(), 0);
    });
}

#[test]
fn a_word_that_is_handed_back_with_another_base_or_quota_is_read_whole() {
    // The base has to move when the line ends, and a taker still counts by the old one.
    explore_in_turns("serve x re-anchor x acquire", None, |spawned| {
        let (bucket, clock) = spent("999983/s burst 2", HORIZON - 100);
        let mut waiting = joined(&bucket, 2);
        clock.pass(HORIZON + 3_000);
        let taker = taker(&bucket, &[HORIZON + 3_000, HORIZON - 1]);
        spawned();
        assert_eq!(waiting.poll(), Poll::Ready(Ok(())));
        assert_eq!(taker.join().unwrap(), 0);
        assert_eq!(bucket.at(at(HORIZON + 3_000)).available(), 0);
    });
    // The word is held for the change only, or for the waiter too.
    explore_in_turns("serve x set_quota x acquire", Some(3), |spawned| {
        let (bucket, clock) = spent("1/h burst 2", 0);
        let mut waiting = joined(&bucket, 1);
        let changer = beside(&bucket, |bucket| {
            let quota = "1/s burst 3".parse().unwrap();
            bucket.set_quota(quota, CarryOver::Tokens).unwrap();
            bucket.at(at(SECOND)).try_acquire(1).is_ok()
        });
        let taker = taker(&bucket, &[SECOND, 0]);
        spawned();
        let polled = waiting.poll();
        let more = u64::from(changer.join().unwrap());
        let taken = taker.join().unwrap() + more;
        // By then there is one token, which is the waiter's, also if a taker of that time came first.
        let ended = match polled {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => waiting.finish(&clock).1,
        };
        assert_eq!((ended, taken), (Ok(()), 0));
        assert_eq!(bucket.at(at(SECOND)).available(), 0);
    });
}

#[test]
fn a_cancelled_waiter_is_stepped_over() {
    const S: u64 = SECOND;
    // Bounded: three threads, one of which is the timer's.
    explore_in_turns("wait x cancel x acquire", Some(3), |spawned| {
        let (bucket, clock) = spent("1/s burst 1", 0);
        let (first, second) = (joined(&bucket, 1), joined(&bucket, 1));
        let taker = taker(&bucket, &[S, 0, S]);
        let canceller = {
            let clock = clock.clone();
            thread::spawn(move || {
                clock.pass(S);
                drop(first);
            })
        };
        spawned();
        assert_eq!(taker.join().unwrap(), 0, "newcomers pass the second");
        canceller.join().unwrap();
        assert_eq!(second.finish(&clock), (S, Ok(())));
        assert_eq!(bucket.at(at(S)).available(), 0);
    });
    explore_in_turns("cancel x poll of the next", None, |spawned| {
        let (bucket, clock) = spent("1/s burst 1", 0);
        let (first, mut second) = (joined(&bucket, 1), joined(&bucket, 1));
        let canceller = thread::spawn(move || drop(first));
        spawned();
        assert!(second.poll().is_pending());
        canceller.join().unwrap();
        assert_eq!(second.finish(&clock), (S, Ok(())));
    });
    // The first was granted its token, by whoever polls the second, and is cancelled.
    explore_in_turns(
        "cancel of a granted waiter x poll of the next",
        None,
        |spawned| {
            let (bucket, clock) = spent("1/s burst 1", 0);
            let (first, mut second) = (joined(&bucket, 1), joined(&bucket, 1));
            clock.pass(S);
            let canceller = thread::spawn(move || drop(first));
            spawned();
            let polled = second.poll();
            canceller.join().unwrap();
            if polled.is_pending() {
                assert_eq!(second.finish(&clock), (S, Ok(())));
            }
            assert_eq!(bucket.at(at(S)).available(), 0);
        },
    );
}

#[test]
fn a_waiter_is_told_of_what_changes_its_turn() {
    const S: u64 = SECOND;
    explore_in_turns("wait x set_quota", None, |spawned| {
        let (bucket, clock) = spent("1/h burst 1", 0);
        let changer = beside(&bucket, |bucket| {
            let quota = "1/s burst 1".parse().unwrap();
            bucket.set_quota(quota, CarryOver::Tokens).unwrap();
        });
        let mut waiting = waiter(&bucket, 1);
        spawned();
        assert!(waiting.poll().is_pending());
        changer.join().unwrap();
        assert_eq!(waiting.finish(&clock), (S, Ok(())));
    });
    // Bounded: three threads.
    explore_in_turns("wait x refund x acquire", Some(4), |spawned| {
        let (bucket, clock) = spent("1/h burst 1", 0);
        let refunder = beside(&bucket, |bucket| bucket.at(at(0)).refund(1));
        let taker = taker(&bucket, &[0, 0]);
        let mut waiting = waiter(&bucket, 1);
        spawned();
        let polled = waiting.poll();
        refunder.join().unwrap();
        let taken = taker.join().unwrap();
        assert!(taken <= 1);
        if polled.is_ready() {
            assert_eq!(taken, 0);
        } else {
            // The token is the waiter's at once, or a newcomer had it before the waiter came.
            assert_eq!(waiting.finish(&clock), (taken * 3_600 * S, Ok(())));
        }
    });
    explore_in_turns("wait x pause", None, |spawned| {
        let (bucket, clock) = spent("1/s burst 1", 0);
        let pauser = beside(&bucket, |bucket| {
            bucket.at(at(0)).pause_until(at(5 * S)).unwrap();
            bucket.at(at(4 * S)).try_acquire(1).is_ok()
        });
        let mut waiting = waiter(&bucket, 1);
        spawned();
        assert!(waiting.poll().is_pending());
        assert!(!pauser.join().unwrap());
        assert_eq!(waiting.finish(&clock), (5 * S, Ok(())));
    });
    explore_in_turns("wait x close x acquire", None, |spawned| {
        let (bucket, clock) = spent("1/s burst 1", 0);
        let closer = beside(&bucket, AtomicTokenBucket::close);
        let mut waiting = waiter(&bucket, 1);
        spawned();
        let polled = waiting.poll();
        let newcomer = bucket.at(at(S)).try_acquire(1);
        closer.join().unwrap();
        let ended = match polled {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => waiting.finish(&clock).1,
        };
        // The newcomer's time is that of the waiter's turn, so it may have been served before.
        assert!(matches!(ended, Err(Denied::Closed) | Ok(())), "{ended:?}");
        assert!(newcomer.is_err(), "it passes the waiter");
        assert_eq!(bucket.at(at(S)).try_acquire(1), Err(Denied::Closed));
    });
}

#[test]
fn a_reservation_behind_a_waiter_delays_nobody_and_comes_back() {
    const S: u64 = SECOND;
    explore_in_turns("wait x cancel of a reservation behind", None, |spawned| {
        let (bucket, clock) = spent("1/s burst 1", 0);
        let mut waiting = joined(&bucket, 1);
        let reservation = Arc::clone(&bucket).reserve_owned(1, Duration::MAX).unwrap();
        assert_eq!(reservation.ready_at(), at(2 * S));
        clock.pass(S);
        let canceller = thread::spawn(move || reservation.cancel());
        spawned();
        assert_eq!(waiting.poll(), Poll::Ready(Ok(())));
        canceller.join().unwrap();
        assert_eq!(bucket.at(at(S)).available(), 0);
        assert_eq!(bucket.at(at(2 * S)).available(), 1);
    });
    explore_in_turns("wait x commit of a reservation behind", None, |spawned| {
        let (bucket, clock) = spent("1/s burst 1", 0);
        let mut waiting = joined(&bucket, 1);
        let reservation = Arc::clone(&bucket).reserve_owned(1, Duration::MAX).unwrap();
        let committer = thread::spawn(move || reservation.commit());
        spawned();
        assert!(waiting.poll().is_pending());
        committer.join().unwrap();
        assert_eq!(waiting.finish(&clock), (S, Ok(())));
        assert!(bucket.at(at(2 * S)).try_acquire(1).is_err());
        assert!(bucket.at(at(3 * S)).try_acquire(1).is_ok());
    });
    // Bounded: three threads.
    explore_in_turns(
        "cancel x commit of a reservation behind x acquire",
        Some(3),
        |spawned| {
            let (bucket, _) = spent("1/s burst 1", 0);
            let waiting = joined(&bucket, 1);
            let reservation = Arc::clone(&bucket).reserve_owned(1, Duration::MAX).unwrap();
            let leaver = thread::spawn(move || drop(waiting));
            let taker = taker(&bucket, &[S, 0]);
            spawned();
            reservation.commit();
            leaver.join().unwrap();
            // One token a second, and one of the first two is reserved.
            let taken = taker.join().unwrap();
            let there = bucket.at(at(2 * S)).available();
            // If the waiter left after its turn, the reservation has built on what it gave back.
            assert!(taken + there <= 1, "{taken} + {there}");
        },
    );
}
