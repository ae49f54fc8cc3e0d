//! Waiters beside takers and changes: no interleaving loses a wake-up, and none lets a newcomer pass a
//! waiter.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use loom::thread;
use tollgate::limiter::Acquire;
use tollgate::{
    AtomicTokenBucket, CarryOver, Denied, LockedTokenBucket, ManualClock, Quota, RateLimiter, Wait,
};

use crate::exact::{self, bound};
use crate::explore::{TestClock, Waiter, block_on, explore, explore_in_turns};
use crate::{HORIZON, SECOND, at};

/// Polls `acquire(1)` once, and drops it.
macro_rules! cancelled_acquire {
    ($bucket:expr) => {{
        let mut cx = Context::from_waker(Waker::noop());
        let mut future = pin!($bucket.acquire(1));
        future.as_mut().poll(&mut cx)
    }};
}

#[test]
fn a_cancelled_acquire_returns_at_most_what_it_took() {
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
        // The waiter is served in the end, and the tokens used never exceed the bound.
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
fn a_waiter_behind_a_cancelled_one_is_woken() {
    // Bounded: all 451,527 executions without the bound passed.
    explore("locked: cancel x wait x advance", Some(4), || {
        let clock = ManualClock::new();
        let quota: Quota = "1/s burst 1".parse().unwrap();
        let bucket = Arc::new(LockedTokenBucket::with_clock(quota, clock.clone()).unwrap());
        bucket.at(at(0)).try_acquire(1).unwrap();
        let canceller = {
            let (bucket, clock) = (Arc::clone(&bucket), clock.clone());
            thread::spawn(move || {
                // The waiter is dropped before or after its grant. If it was served, the next token
                // needs another second.
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

/// A bucket that was emptied at `spent`, and its clock, which reads that instant.
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

/// Takes single tokens at these times on another thread, which returns how many are admitted.
fn taker(bucket: &Waited, times: &'static [u64]) -> thread::JoinHandle<u64> {
    let bucket = Arc::clone(bucket);
    let take = move |nanos: &&u64| bucket.at(at(**nanos)).try_acquire(1).is_ok();
    thread::spawn(move || times.iter().filter(take).count() as u64)
}

/// Runs `run` on another thread.
fn beside<T: 'static>(
    bucket: &Waited,
    run: impl FnOnce(&AtomicTokenBucket<TestClock>) -> T + 'static,
) -> thread::JoinHandle<T> {
    let bucket = Arc::clone(bucket);
    thread::spawn(move || run(&bucket))
}

#[test]
fn a_later_taker_does_not_pass_a_new_waiter() {
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
                    assert!(!taken || !is_late, "a later taker passes the waiter");
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
fn a_dropped_waiter_releases_the_word_unchanged() {
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
    // The waiter's turn has come: newcomers find no token.
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
fn a_word_released_with_another_base_or_quota_is_read_whole() {
    // The base moves when the line ends, and a taker still counts by the old one.
    explore_in_turns("serve x base move x acquire", None, |spawned| {
        let (bucket, clock) = spent("999983/s burst 2", HORIZON - 100);
        let mut waiting = joined(&bucket, 2);
        clock.pass(HORIZON + 3_000);
        let taker = taker(&bucket, &[HORIZON + 3_000, HORIZON - 1]);
        spawned();
        assert_eq!(waiting.poll(), Poll::Ready(Ok(())));
        assert_eq!(taker.join().unwrap(), 0);
        assert_eq!(bucket.at(at(HORIZON + 3_000)).available(), 0);
    });
    // The change may hold the word alone, or together with the waiter. Bounded: three threads.
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
        // At 1 s there is one token: the waiter's, even if a taker of that time came first.
        let ended = match polled {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => waiting.finish(&clock).1,
        };
        assert_eq!((ended, taken), (Ok(()), 0));
        assert_eq!(bucket.at(at(SECOND)).available(), 0);
    });
}

#[test]
fn a_cancelled_waiter_does_not_block_the_next() {
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
        assert_eq!(
            taker.join().unwrap(),
            0,
            "a newcomer passes the second waiter"
        );
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
    // The poll of the second waiter grants the first its token, and the first is cancelled.
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
fn every_change_of_its_turn_reaches_a_waiter() {
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
            // The waiter gets the token at once, or a taker got it before the waiter joined.
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
        // The newcomer's time is that of the waiter's turn, so the waiter may be served before the close.
        assert!(matches!(ended, Err(Denied::Closed) | Ok(())), "{ended:?}");
        assert!(newcomer.is_err(), "the newcomer passes the waiter");
        assert_eq!(bucket.at(at(S)).try_acquire(1), Err(Denied::Closed));
    });
}

#[test]
fn a_wait_that_is_not_polled_neither_wakes_nor_delays_the_next() {
    const S: u64 = SECOND;
    // With room for the token that the first does not fetch.
    let raise = |bucket: &AtomicTokenBucket<TestClock>| {
        let quota = "1/s burst 2".parse().unwrap();
        bucket.set_quota(quota, CarryOver::Tokens).unwrap();
    };
    explore_in_turns(
        "set_quota x poll of the second of a task's waits",
        None,
        move |spawned| {
            let (bucket, clock) = spent("1/h burst 2", 0);
            let [mut first, mut second] = [(); 2].map(|()| Acquire::of(Arc::clone(&bucket), 1));
            let mut polls = 0;
            let mut waiting = Waiter::pending(poll_fn(move |cx| {
                polls += 1;
                assert!(polls < 8, "the polls of the task wake it");
                if polls == 1 {
                    assert!(Pin::new(&mut first).poll(cx).is_pending());
                }
                Pin::new(&mut second).poll(cx)
            }));
            let changer = beside(&bucket, raise);
            spawned();
            assert!(waiting.poll().is_pending());
            changer.join().unwrap();
            assert_eq!(waiting.finish(&clock), (2 * S, Ok(())));
        },
    );
    explore_in_turns(
        "set_quota x poll behind a wait that is not polled",
        None,
        move |spawned| {
            let (bucket, clock) = spent("1/h burst 2", 0);
            let (_first, mut second) = (joined(&bucket, 1), joined(&bucket, 1));
            let changer = beside(&bucket, raise);
            spawned();
            assert!(second.poll().is_pending());
            changer.join().unwrap();
            assert_eq!(second.finish(&clock), (2 * S, Ok(())));
        },
    );
    // The change times the first two anew, and a poll of the first times the third.
    explore_in_turns(
        "set_quota x poll of the second of three",
        None,
        move |spawned| {
            let (bucket, clock) = spent("1/h burst 2", 0);
            let [first, mut second, third] = [(); 3].map(|()| joined(&bucket, 1));
            let changer = beside(&bucket, raise);
            spawned();
            assert!(second.poll().is_pending());
            changer.join().unwrap();
            let ended = [first, second, third].map(|waiting| waiting.finish(&clock));
            assert_eq!(ended, [S, 2 * S, 3 * S].map(|at| (at, Ok(()))));
        },
    );
    explore_in_turns("set_quota x poll, set_quota", None, move |spawned| {
        let (bucket, clock) = spent("1/h burst 2", 0);
        let mut waiting = joined(&bucket, 1);
        let changer = beside(&bucket, |bucket| {
            let quota = "1/min burst 2".parse().unwrap();
            bucket.set_quota(quota, CarryOver::Tokens).unwrap();
        });
        spawned();
        assert!(waiting.poll().is_pending());
        changer.join().unwrap();
        assert!(waiting.poll().is_pending());
        raise(&bucket);
        assert_eq!(waiting.finish(&clock), (S, Ok(())));
    });
}

#[test]
fn a_reservation_behind_a_waiter_does_not_delay_it_and_returns_its_token() {
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
            // If the waiter left after its turn, the reservation uses its token.
            assert!(taken + there <= 1, "{taken} + {there}");
        },
    );
}
