//! Several limits at once: all or nothing, an honest wait, and no order that starves.
#![cfg(not(tollgate_loom))]

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;

use tollgate::{
    AllOf, AtomicTokenBucket, CarryOver, Clock, Denied, KeyedLimiter, LockedTokenBucket,
    ManualClock, Quota, RateLimiter, Timestamp,
};

fn bucket(quota: &str, clock: &ManualClock) -> AtomicTokenBucket<ManualClock> {
    AtomicTokenBucket::with_clock(quota.parse().unwrap(), clock.clone()).unwrap()
}

#[test]
fn a_denial_takes_nothing_and_its_wait_is_honest_for_the_whole() {
    let clock = ManualClock::new();
    let (fast, slow) = (
        bucket("10/s burst 2", &clock),
        bucket("3/s burst 1", &clock),
    );
    let all = AllOf::new((&fast, &slow));
    assert!(all.try_acquire(1).is_ok());
    fast.try_acquire(1).unwrap();
    let wait = all.try_acquire(1).unwrap_err().retry_after().unwrap();
    assert_eq!(wait, Duration::from_nanos(333_333_334));
    assert_eq!((fast.available(), slow.available()), (0, 0));
    let nanos = u64::try_from(wait.as_nanos()).unwrap();
    assert!(
        all.at(Timestamp::from_nanos(nanos - 1))
            .try_acquire(1)
            .is_err()
    );
    assert!(all.at(Timestamp::from_nanos(nanos)).try_acquire(1).is_ok());
    assert_eq!(all.try_acquire(2), Err(Denied::ExceedsBurst { burst: 1 }));
}

#[test]
fn members_of_every_kind_and_the_same_one_twice() {
    let clock = ManualClock::new();
    let builder = KeyedLimiter::builder(Quota::per_hour(9).unwrap(), 10).clock(clock.clone());
    let keyed: KeyedLimiter<u64, _, _> = builder.build().unwrap();
    let global = bucket("4/h", &clock);
    let locked = LockedTokenBucket::with_clock(Quota::per_hour(6).unwrap(), clock).unwrap();
    let tenants = AllOf::new((keyed.key(&1), keyed.key(&2)));
    let all = AllOf::new((tenants, &locked, [&global, &global]));
    assert!(all.try_acquire(1).is_ok());
    assert_eq!(global.available(), 2);
    assert!(all.try_acquire(1).is_ok());
    assert!(all.try_acquire(1).is_err());
    assert_eq!(
        (keyed.key(&1).available(), keyed.key(&2).available()),
        (7, 7)
    );
    assert_eq!((locked.available(), global.available()), (4, 0));
    let none: [&AtomicTokenBucket; 0] = [];
    assert!(AllOf::new(none).try_acquire(7).is_ok());
}

#[test]
fn what_all_have_is_found_without_counting_down_to_it() {
    let clock = ManualClock::new();
    let many = "1000/s burst 1000000000";
    let twice = bucket(many, &clock);
    let pair = AllOf::new([&twice, &twice]);
    assert_eq!(pair.try_acquire_up_to(999_999_999), 500_000_000);
    assert_eq!(twice.available(), 0);

    // What a waiter wants is not there for others.
    let locked = LockedTokenBucket::with_clock(many.parse().unwrap(), clock).unwrap();
    locked.try_acquire(1).unwrap();
    let mut waiting = Box::pin(locked.acquire(1_000_000_000).into_future());
    let context = &mut Context::from_waker(Waker::noop());
    assert!(waiting.as_mut().poll(context).is_pending());
    assert_eq!(locked.available(), 999_999_999);
    assert_eq!(AllOf::new([&locked]).try_acquire_up_to(u64::MAX), 0);
    drop(waiting);
    assert_eq!(
        AllOf::new([&locked]).try_acquire_up_to(u64::MAX),
        999_999_999
    );
}

#[test]
fn what_was_taken_before_a_denial_goes_back() {
    let clock = ManualClock::new();
    let (other, one) = (bucket("5/h", &clock), bucket("1/h", &clock));
    // Asked, each has a token; taken from, the last has none left.
    let all = AllOf::new([&other, &one, &one]);
    assert!(all.try_acquire(1).is_err());
    assert_eq!((other.available(), one.available()), (5, 1));
    assert!(all.reserve(1, Duration::ZERO).is_err());
    assert_eq!((other.available(), one.available()), (5, 1));
    assert_eq!(all.try_acquire_up_to(1), 0);
    assert_eq!((other.available(), one.available()), (5, 1));
}

#[test]
fn a_member_that_is_there_twice_keeps_its_floor() {
    let clock = ManualClock::new();
    let (one, twice) = (
        bucket("1/s burst 99", &clock),
        bucket("1/s burst 10", &clock),
    );
    let all = AllOf::new((&one, &twice, &twice));
    assert!(all.try_acquire_above(3, 5).is_err());
    assert_eq!((one.available(), twice.available()), (99, 10));
    assert!(all.try_acquire_above(2, 5).is_ok());
    assert_eq!((one.available(), twice.available()), (97, 6));
}

#[test]
fn a_reservation_waits_for_the_slowest_or_says_how_long_it_would() {
    let clock = ManualClock::new();
    let (fast, slow) = (
        bucket("1/s burst 1", &clock),
        bucket("1/60s burst 1", &clock),
    );
    let all = AllOf::new((&fast, &slow));
    assert!(all.try_acquire(1).is_ok());
    let minute = Duration::from_mins(1);
    for max_wait in [Duration::ZERO, minute - Duration::from_nanos(1)] {
        let refused = all.reserve(1, max_wait).unwrap_err();
        assert_eq!(
            refused,
            Denied::TooLong {
                retry_after: minute
            }
        );
    }
    let reservation = all.reserve(1, minute).unwrap();
    assert_eq!(
        reservation.ready_at(),
        Timestamp::from_nanos(60_000_000_000)
    );
}

#[test]
fn a_reservation_is_cancelled_as_one() {
    let clock = ManualClock::new();
    let (one, two) = (bucket("1/s burst 1", &clock), bucket("2/s burst 1", &clock));
    let all = AllOf::new(vec![&one, &two]);
    assert!(all.try_acquire(1).is_ok());
    let denied = all.reserve(1, Duration::from_millis(900)).unwrap_err();
    assert_eq!(denied.retry_after(), Some(Duration::from_secs(1)));
    let reserved = all.reserve(1, Duration::from_secs(1)).unwrap();
    assert_eq!(reserved.ready_at(), Timestamp::from_nanos(1_000_000_000));
    reserved.cancel();
    clock.advance(Duration::from_secs(1));
    assert!(all.try_acquire(1).is_ok());
}

#[test]
fn who_gives_up_waiting_gives_back_to_all() {
    let clock = ManualClock::new();
    let (one, two) = (bucket("1/h burst 3", &clock), bucket("1/h burst 2", &clock));
    let all = AllOf::new((&one, &two));
    assert!(all.try_acquire(2).is_ok());
    let mut waiting = all.acquire(2).into_future();
    let mut context = Context::from_waker(Waker::noop());
    assert!(std::pin::pin!(&mut waiting).poll(&mut context).is_pending());
    let wait = |all: &AllOf<_>| all.try_acquire(1).unwrap_err().retry_after();
    assert_eq!(wait(&all), Some(Duration::from_hours(3)));
    drop(waiting);
    assert_eq!(wait(&all), Some(Duration::from_hours(1)));
    assert_eq!(one.available(), 1);
}

#[test]
fn no_burst_is_left_above_a_floor_as_high_as_it() {
    let clock = ManualClock::new();
    let (one, two) = (bucket("1/h burst 5", &clock), bucket("1/h burst 9", &clock));
    let denied = AllOf::new((&one, &two)).try_acquire_above(1, 9);
    assert_eq!(denied, Err(Denied::ExceedsBurst { burst: 0 }));
}

#[test]
fn opposite_orders_do_not_make_each_other_fail() {
    const ROUNDS: u64 = 20_000;
    let make = || Arc::new(AtomicTokenBucket::new("1/s burst 1".parse().unwrap()).unwrap());
    let (one, two) = (make(), make());
    let there = Arc::new(AtomicU64::new(0));
    let threads = [[one.clone(), two.clone()], [two, one]].map(|pair| {
        let there = Arc::clone(&there);
        thread::spawn(move || {
            let all = AllOf::new(pair);
            let in_round = |round| {
                // Both at once, each time.
                there.fetch_add(1, Ordering::SeqCst);
                while there.load(Ordering::SeqCst) < 2 * round {
                    thread::yield_now();
                }
                let second = Timestamp::from_nanos(round * 1_000_000_000);
                all.at(second).try_acquire(1).is_ok()
            };
            (1..=ROUNDS).map(in_round).collect::<Vec<_>>()
        })
    });
    let [one, two] = threads.map(|thread| thread.join().unwrap());
    // There is enough for one of them, so one has it.
    let mut rounds = one.iter().zip(&two);
    assert_eq!(rounds.position(|(one, two)| one == two), None);
}

#[test]
fn a_pause_of_all_pauses_those_that_can_be_and_says_if_one_cannot() {
    let clock = ManualClock::new();
    let with = |text: &str| LockedTokenBucket::with_clock(text.parse().unwrap(), clock.clone());
    let (slow, never) = (with("1/s").unwrap(), with("0/s burst 1").unwrap());
    let wait = Duration::from_secs(10);
    let until = clock.now().saturating_add(wait);
    for members in [[&slow, &never], [&never, &slow]] {
        let all = AllOf::new(members);
        assert_eq!(all.pause_until(until), Err(Denied::Exhausted));
        assert_eq!(slow.try_acquire(1).unwrap_err().retry_after(), Some(wait));
        slow.set_quota("1/s".parse().unwrap(), CarryOver::Full)
            .unwrap();
    }
    assert_eq!(AllOf::new([&slow]).pause_until(until), Ok(()));
}

#[test]
fn there_is_as_much_as_in_the_member_with_the_least() {
    let clock = ManualClock::new();
    let (fast, slow) = (bucket("9/s burst 5", &clock), bucket("1/s burst 3", &clock));
    let all = AllOf::new((&fast, &slow));
    assert_eq!(all.available(), 3);
    all.try_acquire(3).unwrap();
    assert_eq!(all.available(), 0);
    clock.advance(Duration::from_secs(2));
    assert_eq!(all.available(), 2);
    assert_eq!(all.at(Timestamp::from_nanos(1_000_000_000)).available(), 1);
}

#[test]
fn a_wait_for_all_stands_behind_those_who_wait_for_one_member() {
    let clock = ManualClock::new();
    let atomic = bucket("1/s burst 1", &clock);
    let locked = LockedTokenBucket::with_clock("1/s burst 1".parse().unwrap(), clock.clone());
    let locked = locked.unwrap();
    let members: [&dyn RateLimiter; 2] = [&atomic, &locked];
    for member in members {
        let all = AllOf::new([member]);
        let mut waits = [
            member.acquire(1),
            RateLimiter::acquire(&all, 1),
            member.acquire(1),
        ];
        member.try_acquire(1).unwrap();
        let mut polls = || {
            let cx = &mut Context::from_waker(Waker::noop());
            let polls = waits
                .iter_mut()
                .map(|wait| Pin::new(wait).poll(cx).is_ready());
            polls.collect::<Vec<_>>()
        };
        assert_eq!(polls(), [false; 3], "{member:?}");
        let mut served = vec![];
        for _ in 0..3 {
            clock.advance(Duration::from_secs(1));
            served.push(member.status(1).waiting);
        }
        assert_eq!(served, [2, 1, 0], "{member:?}: one a second");
        assert_eq!(polls(), [true; 3], "{member:?}");
    }
}
