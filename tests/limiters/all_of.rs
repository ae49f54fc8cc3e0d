//! Several limits at once: all or nothing, an exact wait, and no deadlock or starvation by order.

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

use crate::support::{at_secs, quota};

fn bucket(quota: &str, clock: &ManualClock) -> AtomicTokenBucket<ManualClock> {
    AtomicTokenBucket::with_clock(quota.parse().unwrap(), clock.clone()).unwrap()
}

#[test]
fn a_denial_takes_nothing_and_its_wait_is_exact_for_all_members() {
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

/// A clock that refunds tokens of `bucket` at each reading: another caller, at a known moment.
struct Refunds<'a> {
    bucket: &'a AtomicTokenBucket<ManualClock>,
}

impl Clock for Refunds<'_> {
    fn now(&self) -> Timestamp {
        self.bucket.refund(1_024);
        Timestamp::ZERO
    }
}

#[test]
fn a_take_up_to_n_takes_no_more_if_tokens_come_back_meanwhile() {
    let thrice = bucket("1024/h", &ManualClock::new());
    let clock = Refunds { bucket: &thrice };
    let other = AtomicTokenBucket::with_clock(quota("1000000/h"), clock).unwrap();
    // A denial by the member that is named thrice gives tokens of the other back, which reads its clock.
    let all = AllOf::new((&thrice, &other, [&thrice, &thrice]));
    let taken = all.at(Timestamp::ZERO).try_acquire_up_to(1_024);
    assert!(taken > 0 && taken <= 1_024, "{taken}");
}

#[test]
fn members_of_every_type_and_a_repeated_one_are_charged_together() {
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
fn the_largest_common_amount_is_found_without_counting_down() {
    let clock = ManualClock::new();
    let many = "1000/s burst 1000000000";
    let twice = bucket(many, &clock);
    let pair = AllOf::new([&twice, &twice]);
    assert_eq!(pair.try_acquire_up_to(999_999_999), 500_000_000);
    assert_eq!(twice.available(), 0);

    // A waiter's claim is not available to other callers.
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
fn a_denial_returns_what_other_members_gave() {
    let clock = ManualClock::new();
    let (other, one) = (bucket("5/h", &clock), bucket("1/h", &clock));
    // Each member alone has a token; the repeated one has none for its second take.
    let all = AllOf::new([&other, &one, &one]);
    assert!(all.try_acquire(1).is_err());
    assert_eq!((other.available(), one.available()), (5, 1));
    assert!(all.reserve(1, Duration::ZERO).is_err());
    assert_eq!((other.available(), one.available()), (5, 1));
    assert_eq!(all.try_acquire_up_to(1), 0);
    assert_eq!((other.available(), one.available()), (5, 1));
}

#[test]
fn a_repeated_member_keeps_its_floor() {
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
fn a_reservation_is_ready_with_its_slowest_member_or_reports_the_wait() {
    let clock = ManualClock::new();
    let (fast, slow) = (
        bucket("1/s burst 1", &clock),
        bucket("1/60s burst 1", &clock),
    );
    let all = AllOf::new((&fast, &slow));
    assert!(all.try_acquire(1).is_ok());
    let minute = Duration::from_secs(60);
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
fn a_cancelled_reservation_returns_the_tokens_of_every_member() {
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
fn a_dropped_waiter_returns_its_tokens_to_every_member() {
    let clock = ManualClock::new();
    let (one, two) = (bucket("1/h burst 3", &clock), bucket("1/h burst 2", &clock));
    let all = AllOf::new((&one, &two));
    assert!(all.try_acquire(2).is_ok());
    let mut waiting = all.acquire(2).into_future();
    let mut context = Context::from_waker(Waker::noop());
    assert!(std::pin::pin!(&mut waiting).poll(&mut context).is_pending());
    let wait = |all: &AllOf<_>| all.try_acquire(1).unwrap_err().retry_after();
    assert_eq!(wait(&all), Some(Duration::from_secs(3 * 3_600)));
    drop(waiting);
    assert_eq!(wait(&all), Some(Duration::from_secs(3_600)));
    assert_eq!(one.available(), 1);
}

#[test]
fn a_floor_as_high_as_the_burst_leaves_no_burst() {
    let clock = ManualClock::new();
    let (one, two) = (bucket("1/h burst 5", &clock), bucket("1/h burst 9", &clock));
    let denied = AllOf::new((&one, &two)).try_acquire_above(1, 9);
    assert_eq!(denied, Err(Denied::ExceedsBurst { burst: 0 }));
}

#[test]
fn opposite_orders_do_not_make_both_takes_fail() {
    const ROUNDS: u64 = 20_000;
    let make = || Arc::new(AtomicTokenBucket::new("1/s burst 1".parse().unwrap()).unwrap());
    let (one, two) = (make(), make());
    let there = Arc::new(AtomicU64::new(0));
    let threads = [[one.clone(), two.clone()], [two, one]].map(|pair| {
        let there = Arc::clone(&there);
        thread::spawn(move || {
            let all = AllOf::new(pair);
            let in_round = |round| {
                // Both threads begin each round together.
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
    // There is one token for the two: exactly one take is admitted.
    let mut rounds = one.iter().zip(&two);
    assert_eq!(rounds.position(|(one, two)| one == two), None);
}

#[test]
fn a_pause_applies_to_every_pausable_member_and_reports_the_others() {
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
fn the_member_with_the_fewest_tokens_decides_what_is_available() {
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
fn a_waiter_for_all_stands_behind_the_waiters_of_a_member() {
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
        assert_eq!(
            served,
            [2, 1, 0],
            "{member:?}: one waiter is served a second"
        );
        assert_eq!(polls(), [true; 3], "{member:?}");
    }
}

#[test]
fn a_take_of_zero_tokens_passes_during_a_pause() {
    let clock = ManualClock::new();
    let bucket = AtomicTokenBucket::with_clock(quota("1/s burst 1"), clock.clone()).unwrap();
    bucket.pause_until(at_secs(10)).unwrap();
    let all = AllOf::new([&bucket]);
    assert_eq!(all.try_acquire(0), Ok(()));
    assert_eq!(all.try_acquire_up_to(0), 0);
    assert!(all.reserve(0, Duration::ZERO).is_ok());
}

#[test]
fn an_idle_bucket_stays_full_near_the_end_of_the_clock() {
    for idle in [
        18_446_500_000_000_u64,
        18_447_057_000_000,
        18_447_058_000_000,
    ] {
        let now = Timestamp::from_nanos(idle);
        let bucket = AtomicTokenBucket::new(quota("999983/s burst 1000000")).unwrap();
        let all = AllOf::new([&bucket]);
        assert_eq!(all.at(now).try_acquire(1_000_000), Ok(()), "{idle}");
    }
}
