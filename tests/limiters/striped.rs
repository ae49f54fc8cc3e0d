//! The striped bucket: threads spend it to the last token, and whatever reads or changes it finds every token.

mod beside;
mod clocks;

use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use tollgate::{CarryOver, Clock, Denied, ManualClock, Quota, RateLimiter, StripedTokenBucket};

use crate::support::{at, millis, poll, quota};

type Bucket<C = ManualClock> = StripedTokenBucket<C>;

fn striped(text: &str, stripes: usize) -> (Bucket, ManualClock) {
    let clock = ManualClock::new();
    let bucket = Bucket::with_clock(quota(text), clock.clone()).unwrap();
    (bucket.stripes(stripes), clock)
}

/// Takes in as many threads as there are stripes, twice as many, and one.
fn spend(bucket: &Bucket, threads: usize, weights: &[u64]) -> u64 {
    let spend = |n: u64| {
        let mut taken = 0;
        for weight in weights.iter().cycle().skip(usize::try_from(n).unwrap()) {
            if bucket.try_acquire(*weight).is_ok() {
                taken += weight;
            } else if *weight == 1 {
                break;
            }
        }
        taken
    };
    thread::scope(|scope| {
        let spend = &spend;
        let threads: Vec<_> = (0..threads as u64)
            .map(|n| scope.spawn(move || spend(n)))
            .collect();
        threads.into_iter().map(|it| it.join().unwrap()).sum()
    })
}

#[test]
fn threads_spend_a_burst_to_the_last_token() {
    for threads in [1, 2, 4, 8] {
        for weights in [&[1][..], &[1, 3, 2], &[1, 40]] {
            let (bucket, clock) = striped("1000/s burst 10000", 4);
            assert_eq!(
                spend(&bucket, threads, weights),
                10_000,
                "{threads} threads"
            );
            // At once in saturation: nothing of what accrues is lost.
            clock.advance(Duration::from_secs(4));
            assert_eq!(spend(&bucket, threads, weights), 4_000);
            clock.advance(Duration::from_secs(10));
            assert_eq!(spend(&bucket, threads, weights), 10_000);
        }
    }
}

#[test]
fn threads_take_what_accrues_while_time_passes() {
    let (bucket, clock) = striped("1000000/s burst 1000", 2);
    let ended = AtomicBool::new(false);
    let taken = thread::scope(|scope| {
        let take = || {
            let mut taken = 0_u64;
            while !ended.load(Ordering::Relaxed) {
                taken += u64::from(bucket.try_acquire(1).is_ok());
            }
            taken
        };
        let takers: Vec<_> = (0..3).map(|_| scope.spawn(take)).collect();
        for _ in 0..20_000 {
            clock.advance(Duration::from_micros(10));
        }
        ended.store(true, Ordering::Relaxed);
        takers.into_iter().map(|it| it.join().unwrap()).sum::<u64>()
    });
    let left = bucket.available();
    assert!(taken + left <= 1_000 + 200_000, "{taken} and {left}");
}

/// A bucket with tokens in stripes that this thread does not use.
fn carved(text: &str) -> (Bucket, ManualClock) {
    let (bucket, clock) = striped(text, 4);
    bucket.try_acquire(1).unwrap();
    (bucket, clock)
}

#[test]
fn every_operation_finds_the_tokens_of_all_stripes() {
    // 255 are left, 64 of them in the stripes.
    let (bucket, _) = carved("1/s burst 256");
    assert_eq!(bucket.available(), 255);
    let (bucket, _) = carved("1/s burst 256");
    assert_eq!(bucket.status(1).remaining, 255);
    let (bucket, _) = carved("1/s burst 256");
    assert_eq!(bucket.try_acquire_with_status(55).1.remaining, 200);
    let (bucket, _) = carved("1/s burst 256");
    assert_eq!(bucket.try_acquire_up_to(1_000), 255);
    let (bucket, _) = carved("1/s burst 256");
    assert_eq!(bucket.try_acquire(255), Ok(()));
    let (bucket, clock) = carved("1/s burst 256");
    assert_eq!(bucket.at(clock.now()).try_acquire(255), Ok(()));
    let (bucket, _) = carved("1/s burst 256");
    assert_eq!(bucket.try_acquire_above(250, 5), Ok(()));
    let (bucket, _) = carved("1/s burst 256");
    assert_eq!(poll(&mut bucket.acquire(255)), Poll::Ready(Ok(())));
    let (bucket, _) = carved("1/s burst 256");
    let reserved = bucket.reserve(256, Duration::MAX).unwrap();
    assert_eq!(reserved.ready_at(), at(1_000_000_000));
    let (bucket, _) = carved("1/s burst 256");
    bucket.charge(300);
    let short = Duration::from_secs(46);
    let denied = Err(Denied::NotYet { retry_after: short });
    assert_eq!(bucket.try_acquire(1), denied);
    let (bucket, _) = carved("1/s burst 256");
    let saved = bucket.save(std::time::SystemTime::UNIX_EPOCH);
    let (restored, _) = striped("1/s burst 256", 4);
    restored.restore(&saved, std::time::SystemTime::UNIX_EPOCH);
    assert_eq!(restored.available(), 255);
}

#[test]
fn more_than_the_burst_does_not_sweep() {
    let (bucket, _) = carved("1/s burst 256");
    let denied = Err(Denied::ExceedsBurst { burst: 256 });
    assert_eq!(bucket.try_acquire(257), denied);
    assert_eq!(bucket.at(at(0)).try_acquire(257), denied);
    assert!(format!("{bucket:?}").contains("16"), "{bucket:?}");
}

#[test]
fn stripes_stay_empty_while_a_caller_waits_during_a_pause_and_once_closed() {
    let (bucket, clock) = carved("1000/s burst 256");
    let mut waiting = bucket.acquire(256);
    assert!(poll(&mut waiting).is_pending());
    assert!(bucket.try_acquire(1).is_err(), "no newcomer overtakes");
    clock.advance(millis(1));
    assert_eq!(poll(&mut waiting), Poll::Ready(Ok(())));
    drop(waiting);

    clock.advance(millis(1_000));
    bucket.try_acquire(1).unwrap();
    bucket.pause_until(clock.now() + millis(500)).unwrap();
    assert!(bucket.try_acquire(1).is_err());
    clock.advance(millis(499));
    assert!(bucket.try_acquire(1).is_err());
    clock.advance(millis(1));
    assert_eq!(bucket.try_acquire(1), Ok(()));

    clock.advance(millis(1_000));
    bucket.try_acquire(1).unwrap();
    bucket.close();
    assert_eq!(bucket.try_acquire(1), Err(Denied::Closed));
    assert_eq!(bucket.try_acquire(0), Ok(()));
}

#[test]
fn a_drain_and_another_quota_reach_the_stripes() {
    let (bucket, clock) = carved("1000/s burst 256");
    bucket.drain();
    assert!(bucket.try_acquire(1).is_err());
    clock.advance(millis(1_000));
    bucket.try_acquire(1).unwrap();
    bucket
        .set_quota(quota("1/s burst 2"), CarryOver::Tokens)
        .unwrap();
    assert_eq!(bucket.try_acquire_up_to(100), 2);
    // Carves again once the quota allows it, and some time after the sweep.
    bucket
        .set_quota(quota("1000/s burst 512"), CarryOver::Full)
        .unwrap();
    clock.advance(millis(1));
    bucket.try_acquire(1).unwrap();
    assert!(format!("{bucket:?}").contains("32"), "{bucket:?}");
    assert_eq!(bucket.available(), 511);
}

#[test]
fn leases_and_stripes_share_the_burst() {
    let (bucket, _) = carved("1/h burst 256");
    let mut lease = bucket.lease(100).unwrap();
    let leased = (0..100).filter(|_| lease.try_acquire(1).is_ok()).count() as u64;
    let taken = bucket.try_acquire_up_to(1_000);
    assert!(leased + taken <= 255, "{leased} and {taken}");
    drop(lease);
    assert_eq!(bucket.available() + leased + taken, 255);
}

#[test]
fn any_number_of_stripes_and_any_part_is_taken() {
    for stripes in [0, 1, 3, 1_000, usize::MAX] {
        let (bucket, _) = striped("1/s burst 100000", stripes);
        assert_eq!(spend(&bucket, 2, &[1]), 100_000, "{stripes} stripes");
    }
    for part in [0, 1, 8, 32, 99_999, u64::MAX] {
        let (bucket, _) = striped("1/s burst 100000", 4);
        let bucket = bucket.carve(part);
        assert_eq!(spend(&bucket, 2, &[1]), 100_000, "{part} tokens");
    }
    for text in ["1/h burst 1", "1/h burst 31", "0/s burst 1000"] {
        let (bucket, _) = striped(text, 1);
        assert_eq!(spend(&bucket, 2, &[1]), quota(text).max_burst(), "{text}");
    }
    let unlimited = Bucket::with_clock(Quota::unlimited(), ManualClock::new()).unwrap();
    assert_eq!(unlimited.try_acquire(u64::MAX), Ok(()));
    assert_eq!(unlimited.available(), u64::MAX);
    let (bucket, _) = carved("1/h burst 256");
    assert_eq!(bucket.stripes(1).carve(16).available(), 255);
}

#[test]
fn a_reservation_comes_back_whole_although_the_stripes_came_and_went() {
    let (bucket, clock) = striped("1/s burst 256", 4);
    let reserved = bucket.reserve(100, Duration::ZERO).unwrap();
    for _ in 0..4 {
        bucket.try_acquire(1).unwrap();
        bucket.available();
        clock.advance(Duration::from_micros(200));
    }
    reserved.cancel();
    assert_eq!(bucket.available(), 252);
}

#[test]
fn a_bucket_in_use_may_get_other_stripes() {
    let (bucket, clock) = carved("1/s burst 256");
    let bucket = bucket.stripes(4).stripes(8).stripes(4);
    for _ in 0..3 {
        let take = || bucket.try_acquire(1).unwrap();
        thread::scope(|scope| scope.spawn(take).join().unwrap());
    }
    // The rest of the bucket is full by now; what accrued after that is lost.
    clock.advance(Duration::from_secs(1_000));
    let taken = spend(&bucket, 8, &[1]);
    assert!((256 - 64..=256).contains(&taken), "{taken}");
}

#[test]
fn a_denial_at_a_future_time_changes_nothing() {
    let (bucket, _) = carved("1/s burst 256");
    let later = bucket.at(at(3_600_000_000_000));
    assert_eq!(
        later.try_acquire(257),
        Err(Denied::ExceedsBurst { burst: 256 })
    );
    assert!(later.try_acquire_above(1, 256).is_err());
    assert_eq!(bucket.available(), 255);
}

#[test]
fn a_wait_goes_by_the_stripes_too() {
    let (bucket, _) = striped("1/s burst 256", 4);
    for _ in 0..20 {
        assert_eq!(poll(&mut bucket.acquire(1)), Poll::Ready(Ok(())));
    }
    // The stripe was refilled.
    assert!(format!("{bucket:?}").contains("16"), "{bucket:?}");
    assert_eq!(bucket.available(), 236);
}
