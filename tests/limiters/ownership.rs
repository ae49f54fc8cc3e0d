//! How a caller can own a limiter: behind every pointer, as an object, in a static, in a queue, and by
//! owned waits, reservations and leases.

use std::borrow::Cow;
use std::sync::Arc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use tollgate::limiter::{Acquire, ToKey};
use tollgate::{
    AllOf, AtomicTokenBucket, Clock, Denied, IntervalTokenBucket, KeyedLimiter, LockedTokenBucket,
    ManualClock, Metered, Quota, RateLimiter, Reservation, SlidingWindow, Timestamp, TokenLease,
    Wait, WorkQueue,
};

use crate::support::{poll, quota};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

fn atomic(text: &str, clock: &ManualClock) -> AtomicTokenBucket<ManualClock> {
    AtomicTokenBucket::with_clock(quota(text), clock.clone()).unwrap()
}

fn locked(text: &str, clock: &ManualClock) -> LockedTokenBucket<ManualClock> {
    LockedTokenBucket::with_clock(quota(text), clock.clone()).unwrap()
}

/// Runs every operation on a limiter of one token an hour, by value as in a caller's generic code.
fn check_each_operation<L: RateLimiter>(limiter: L, clock: &ManualClock) {
    let name = format!("{limiter:?}");
    assert_eq!(limiter.available(), 1, "{name}");
    assert_eq!(poll(&mut limiter.acquire(1)), Poll::Ready(Ok(())), "{name}");
    assert_eq!(limiter.status(1).retry_after, Some(HOUR), "{name}");
    let mut wait = limiter.acquire_timeout(1, 2 * HOUR);
    assert!(poll(&mut wait).is_pending(), "{name}");
    assert_eq!(limiter.status(1).waiting, 1, "{name}");
    clock.advance(HOUR);
    assert_eq!(poll(&mut wait), Poll::Ready(Ok(())), "{name}");
    drop(wait);
    let reserved = limiter.reserve(1, HOUR).unwrap();
    assert_eq!(reserved.wait_from(limiter.now()), HOUR, "{name}");
    reserved.cancel();
    limiter.charge(1);
    let too_long = poll(&mut limiter.acquire_timeout(1, HOUR));
    let denied = Denied::TooLong {
        retry_after: 2 * HOUR,
    };
    assert_eq!(too_long, Poll::Ready(Err(denied)), "{name}");
    let until = limiter.now() + 3 * HOUR;
    limiter.pause_until(until).unwrap();
    clock.advance(3 * HOUR);
    let mut owned = Acquire::of(limiter, 1);
    assert!(poll(&mut owned).is_ready(), "{name}");
}

#[test]
fn generic_code_accepts_every_limiter_behind_every_pointer() {
    let clock = &ManualClock::new();
    check_each_operation(atomic("1/h", clock), clock);
    let borrowed = atomic("1/h", clock);
    check_each_operation(&borrowed, clock);
    check_each_operation(Box::new(locked("1/h", clock)), clock);
    check_each_operation(Arc::new(locked("1/h", clock)), clock);
    let object: Arc<dyn RateLimiter> = Arc::new(atomic("1/h", clock));
    check_each_operation(object, clock);
    let object: Box<dyn RateLimiter> = Box::new(locked("1/h", clock));
    check_each_operation(object, clock);
    check_each_operation(&locked("1/h", clock) as &dyn RateLimiter, clock);
    let builder = KeyedLimiter::<String>::builder(quota("1/h"), 8);
    let keyed = Arc::new(builder.clock(clock.clone()).build().unwrap());
    check_each_operation(keyed.key("ada"), clock);
    check_each_operation(Arc::new(keyed.owned_key("bob".to_owned())), clock);
    check_each_operation(SlidingWindow::with_clock(1, HOUR, clock).unwrap(), clock);
    let anchor = clock.now();
    let interval = IntervalTokenBucket::with_clock(1, HOUR, 1, anchor, clock);
    check_each_operation(interval.unwrap(), clock);
    let members = (Arc::new(atomic("1/h", clock)), locked("1000/h", clock));
    check_each_operation(Metered::new(Box::new(AllOf::new(members))), clock);
}

#[test]
fn an_owned_key_and_an_all_of_rate_limit_a_queue() {
    let clock = ManualClock::new();
    let builder = KeyedLimiter::<u64>::builder(quota("2/h"), 8);
    let tenants = Arc::new(builder.clock(clock.clone()).build().unwrap());
    let all = Arc::new(atomic("3/h", &clock));
    let queue_of = |limiter: Arc<dyn RateLimiter>| {
        let builder = WorkQueue::builder(8).clock(clock.clone());
        let queue = builder.rate_limit(limiter).build().unwrap();
        (0..4).for_each(|key| queue.try_add(key).unwrap());
        queue
    };
    let handed_out = |queue: &WorkQueue<u64, ManualClock>| {
        let taken = std::iter::from_fn(|| queue.try_get());
        taken.map(|work| work.done()).count()
    };
    let queue = queue_of(Arc::new(tenants.owned_key(1)));
    assert_eq!(handed_out(&queue), 2);
    let queue = queue_of(Arc::new(AllOf::new((tenants.owned_key(2), all.clone()))));
    assert_eq!((handed_out(&queue), all.available()), (2, 1));
    let queue = queue_of(Arc::new(AllOf::new((tenants.owned_key(3), all.clone()))));
    assert_eq!((handed_out(&queue), all.available()), (1, 0));
    assert_eq!(
        tenants.key(&3).available(),
        1,
        "the queue took a token of one member only"
    );
}

/// A caller's struct that holds pending operations without the limiter.
struct Pending {
    reservation: Reservation<'static>,
    wait: Wait<Acquire<Arc<AtomicTokenBucket<ManualClock>>>>,
    lease: TokenLease<Arc<AtomicTokenBucket<ManualClock>>>,
}

#[test]
fn owned_operations_outlive_the_callers_share_of_the_limiter() {
    let clock = ManualClock::new();
    let bucket = Arc::new(atomic("1/s burst 5", &clock));
    let lease = bucket.lease_owned(2).unwrap();
    bucket.try_acquire(3).unwrap();
    let mut pending = Pending {
        reservation: bucket.clone().reserve_owned(1, HOUR).unwrap(),
        wait: bucket.clone().acquire_owned(1),
        lease,
    };
    assert!(poll(&mut pending.wait).is_pending());
    let weak = Arc::downgrade(&bucket);
    drop(bucket);
    clock.advance(SECOND);
    let user = thread::spawn(move || {
        let Pending {
            reservation,
            mut wait,
            mut lease,
        } = pending;
        assert_eq!(reservation.ready_at(), Timestamp::ZERO + SECOND);
        drop(reservation); // It is ready, so it counts as used.
        assert_eq!(lease.try_acquire(2), Ok(()));
        assert!(poll(&mut wait).is_pending());
        (wait, lease)
    });
    let (mut wait, lease) = user.join().unwrap();
    clock.advance(SECOND);
    assert_eq!(poll(&mut wait), Poll::Ready(Ok(())));
    assert_eq!(weak.upgrade().unwrap().available(), 0);
    drop((wait, lease));
    assert!(weak.upgrade().is_none(), "an operation leaks the limiter");
}

#[test]
fn a_static_bucket_is_usable_at_once() {
    static ATOMIC: AtomicTokenBucket =
        AtomicTokenBucket::from_quota(Quota::from_static("2/day burst 3"));
    static LOCKED: LockedTokenBucket =
        LockedTokenBucket::from_quota(Quota::from_static("2/day burst 3"));
    for limiter in [&ATOMIC as &dyn RateLimiter, &LOCKED] {
        assert_eq!(limiter.try_acquire_up_to(9), 3);
        assert_eq!(poll(&mut limiter.acquire(4)), poll(&mut limiter.acquire(5)));
        assert!(poll(&mut limiter.acquire(1)).is_pending());
    }
    assert_eq!(ATOMIC.quota(), LOCKED.quota());
}

#[test]
fn a_key_is_looked_up_by_its_borrowed_form() {
    fn check<K>()
    where
        K: std::hash::Hash + Eq + Clone + Send + Sync + std::borrow::Borrow<str>,
        str: ToKey<K>,
    {
        let limiter = KeyedLimiter::<K>::new(quota("2/day"), 8).unwrap();
        assert_eq!(limiter.key("ada").try_acquire(1), Ok(()));
        let owned: K = "ada".to_key();
        assert_eq!(limiter.key(owned.borrow()).try_acquire(1), Ok(()));
        assert!(limiter.key("ada").try_acquire(1).is_err());
        assert_eq!(limiter.key("bob").available(), 2);
        assert_eq!((limiter.len(), limiter.remove("ada")), (1, true));
    }
    check::<Arc<str>>();
    check::<Box<str>>();
    check::<String>();
    check::<Cow<'static, str>>();
}

#[test]
fn a_clock_may_be_a_trait_object() {
    let clock = ManualClock::new();
    let shared: Arc<dyn Clock + Send + Sync> = Arc::new(clock.clone());
    let bucket = AtomicTokenBucket::with_clock(quota("1/h"), shared.clone()).unwrap();
    let keyed = KeyedLimiter::<u64>::builder(quota("1/h"), 8);
    let keyed = keyed.clock(shared).build().unwrap();
    for limiter in [&bucket as &dyn RateLimiter, &keyed.key(&1)] {
        limiter.try_acquire(1).unwrap();
        assert!(limiter.try_acquire(1).is_err());
    }
    clock.advance(HOUR);
    assert_eq!((bucket.available(), keyed.key(&1).available()), (1, 1));
}
