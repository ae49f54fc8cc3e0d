//! Leases: what they fetch, what they leave of the burst, and what changes around them.

use std::task::Poll;
use std::time::Duration;

use tollgate::{
    AtomicTokenBucket, CarryOver, Denied, KeyedLimiter, Leasable, LockedTokenBucket, ManualClock,
    OnFull, RateLimiter,
};

use crate::support::{millis, poll, quota};

#[test]
fn a_lease_fetches_a_batch_or_half_of_what_is_available() {
    fn check(bucket: &impl Leasable) {
        let mut lease = bucket.lease(8).unwrap();
        lease.try_acquire(7).unwrap();
        lease.try_acquire(3).unwrap();
        assert_eq!((lease.held(), bucket.available()), (5, 85));
        lease.try_acquire(5).unwrap();
        lease.try_acquire(8).unwrap();
        assert_eq!((lease.held(), bucket.available()), (0, 77));
        bucket.sync_remaining(12);
        lease.try_acquire(1).unwrap();
        assert_eq!((lease.held(), bucket.available()), (5, 6));
        let denied = lease.try_acquire(9);
        assert_eq!(denied, Err(Denied::ExceedsBurst { burst: 8 }));
        // The wait counts what the lease holds.
        bucket.drain();
        let denied = lease.try_acquire(7).unwrap_err();
        assert_eq!(denied.retry_after(), Some(Duration::from_secs(2)));
        assert_eq!(lease.held(), 5);
    }
    let text = "1/s burst 100";
    check(&AtomicTokenBucket::with_clock(quota(text), ManualClock::new()).unwrap());
    check(&LockedTokenBucket::with_clock(quota(text), ManualClock::new()).unwrap());
}

#[test]
fn a_lease_that_lacks_tokens_is_denied_with_a_wait() {
    fn check(bucket: &impl Leasable, clock: &ManualClock) {
        let mut lease = bucket.lease(9).unwrap();
        lease.try_acquire(9).unwrap();
        // One token is left, and the burst beside the lease holds no more than one.
        let second = Duration::from_secs(1);
        let denied = Err(Denied::NotYet {
            retry_after: second,
        });
        for held in 1..9 {
            assert_eq!(lease.try_acquire(9), denied);
            assert_eq!(lease.held(), held);
            clock.advance(second);
        }
        assert_eq!(lease.try_acquire(9), Ok(()));
    }
    let clock = ManualClock::new();
    let text = "1/s burst 10";
    let bucket = AtomicTokenBucket::with_clock(quota(text), clock.clone()).unwrap();
    check(&bucket, &clock);
    let bucket = LockedTokenBucket::with_clock(quota(text), clock.clone()).unwrap();
    check(&bucket, &clock);
}

#[test]
fn a_lease_takes_what_exceeds_the_remaining_burst() {
    fn check(bucket: &impl Leasable) {
        bucket.try_acquire(3).unwrap();
        let lease = bucket.lease(4).unwrap();
        assert_eq!(bucket.available(), 6);
        drop(lease);
        assert_eq!(bucket.available(), 7);
    }
    let text = "1/h burst 10";
    check(&AtomicTokenBucket::with_clock(quota(text), ManualClock::new()).unwrap());
    check(&LockedTokenBucket::with_clock(quota(text), ManualClock::new()).unwrap());
}

fn check_reservation_beside_leases(bucket: &impl Leasable) {
    let reservation = bucket.reserve(50, Duration::ZERO).unwrap();
    let lease = bucket.lease(1).unwrap();
    assert_eq!((lease.held(), bucket.available()), (0, 50));
    reservation.cancel();
    // The remaining burst is full; the lease still has to fetch its tokens.
    assert_eq!((lease.held(), bucket.available()), (0, 99));
    let reservation = bucket.reserve(99, Duration::ZERO).unwrap();
    drop(lease);
    reservation.cancel();
    assert_eq!(bucket.available(), 99);

    // A cancellation leaves the lease's share and the later take as they are.
    bucket.refund(1);
    let reservation = bucket.reserve(50, Duration::ZERO).unwrap();
    let lease = bucket.lease(10).unwrap();
    assert_eq!(bucket.try_acquire(50), Ok(()));
    reservation.cancel();
    assert_eq!((lease.held(), bucket.available()), (0, 40));
}

#[test]
fn a_cancelled_reservation_returns_its_tokens_beside_leases() {
    let (text, clock) = ("1/h burst 100", ManualClock::new());
    let atomic = AtomicTokenBucket::with_clock(quota(text), clock.clone());
    check_reservation_beside_leases(&atomic.unwrap());
    check_reservation_beside_leases(&LockedTokenBucket::with_clock(quota(text), clock).unwrap());
}

#[test]
fn carry_over_by_fraction_counts_leased_tokens_as_taken() {
    let (text, clock) = ("100/d", ManualClock::new());
    let atomic = AtomicTokenBucket::with_clock(quota(text), clock.clone());
    check_fraction_beside_leases(&atomic.unwrap());
    check_fraction_beside_leases(&LockedTokenBucket::with_clock(quota(text), clock).unwrap());
}

fn check_fraction_beside_leases(bucket: &impl Leasable) {
    assert!(bucket.try_acquire(50).is_ok());
    let lease = bucket.lease(50).unwrap();
    let there = lease.held() + bucket.available();
    assert_eq!(there, 50);
    bucket
        .set_quota(quota("1000/d"), CarryOver::Fraction)
        .unwrap();
    assert_eq!(lease.held() + bucket.available(), 500);
    drop(lease);
    bucket
        .set_quota(quota("100/d"), CarryOver::Fraction)
        .unwrap();
    assert_eq!(bucket.available(), 50, "{bucket:?}");
}

#[test]
fn a_denied_lease_takes_nothing() {
    let clock = ManualClock::new();
    let builder = KeyedLimiter::<u64>::builder(quota("1/h burst 100"), 1);
    let keyed = builder
        .clock(clock)
        .on_full(OnFull::Shared)
        .build()
        .unwrap();
    assert!(keyed.key(&1).try_acquire(1).is_ok());
    let shared = keyed.key(&2);
    assert_eq!(shared.available(), 100);
    let bucket = AtomicTokenBucket::new(quota("1/h burst 100")).unwrap();
    assert!(matches!(
        bucket.lease(100),
        Err(Denied::ExceedsBurst { burst: 99 })
    ));
    assert_eq!(bucket.available(), 100);
}

#[test]
fn a_new_lease_ends_the_wait_of_a_waiter_beyond_the_remaining_burst() {
    let clock = ManualClock::new();
    let bucket = AtomicTokenBucket::with_clock(quota("1/s burst 5"), clock.clone()).unwrap();
    bucket.try_acquire(5).unwrap();
    let mut waits = [5, 1].map(|n| bucket.acquire(n));
    assert!(waits.iter_mut().all(|wait| poll(wait).is_pending()));
    let mut lease = bucket.lease(2).unwrap();
    let small = Poll::Ready(Err(Denied::ExceedsBurst { burst: 3 }));
    assert_eq!(poll(&mut waits[0]), small);
    clock.advance(millis(1_000));
    assert!(
        lease.try_acquire(1).is_err(),
        "the lease overtakes the waiter"
    );
    assert!(poll(&mut waits[1]).is_ready());
}
