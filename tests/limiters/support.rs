//! What the modules of this test binary share: quotas and instants in short form, a bucket of each
//! type, every limiter in turn, and a single poll.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tollgate::{
    AllOf, AtomicTokenBucket, CarryOver, KeyedLimiter, LockedTokenBucket, ManualClock, Metered,
    Quota, QuotaLimiter, RateLimiter, StripedTokenBucket, Timestamp,
};

pub(crate) fn quota(text: &str) -> Quota {
    text.parse().unwrap()
}

/// The instant `nanos` after the clock's origin.
pub(crate) fn at(nanos: u64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

/// The instant `secs` after the clock's origin.
pub(crate) fn at_secs(secs: u64) -> Timestamp {
    Timestamp::from_nanos(secs * 1_000_000_000)
}

pub(crate) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Polls once, with a waker that does nothing.
pub(crate) fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// A bucket of each type, on one clock.
pub(crate) fn buckets(text: &str) -> ([Box<dyn QuotaLimiter>; 3], ManualClock) {
    let clock = ManualClock::new();
    let atomic = AtomicTokenBucket::with_clock(quota(text), clock.clone()).unwrap();
    let locked = LockedTokenBucket::with_clock(quota(text), clock.clone()).unwrap();
    let striped = StripedTokenBucket::with_clock(quota(text), clock.clone()).unwrap();
    let striped = striped.stripes(2);
    let buckets: [Box<dyn QuotaLimiter>; 3] =
        [Box::new(atomic), Box::new(locked), Box::new(striped)];
    (buckets, clock)
}

pub(crate) type Keyed = KeyedLimiter<String, std::hash::RandomState, ManualClock>;

pub(crate) fn keyed(quota: Quota, clock: &ManualClock) -> Keyed {
    let builder = KeyedLimiter::builder(quota, 10).clock(clock.clone());
    builder.build().unwrap()
}

/// Runs `check` with every limiter of a quota, each by itself.
pub(crate) fn each(text: &str, check: impl Fn(&str, &dyn RateLimiter, &ManualClock)) {
    let quota = quota(text);
    let clock = ManualClock::new();
    let atomic = AtomicTokenBucket::with_clock(quota, clock.clone()).unwrap();
    check("atomic", &atomic, &clock);
    let clock = ManualClock::new();
    let locked = LockedTokenBucket::with_clock(quota, clock.clone()).unwrap();
    check("locked", &locked, &clock);
    let clock = ManualClock::new();
    let striped = StripedTokenBucket::with_clock(quota, clock.clone()).unwrap();
    check("striped", &striped.stripes(2), &clock);
    let clock = ManualClock::new();
    check("key", &keyed(quota, &clock).key("ada"), &clock);
    let clock = ManualClock::new();
    let own = keyed(self::quota("1/d"), &clock);
    own.key("ada").set_quota(quota, CarryOver::Full).unwrap();
    check("key with its own quota", &own.key("ada"), &clock);
    let clock = ManualClock::new();
    let first = AtomicTokenBucket::with_clock(quota, clock.clone()).unwrap();
    let generous = LockedTokenBucket::with_clock(self::quota("100000/h"), clock.clone()).unwrap();
    check("all of two", &AllOf::new((&first, &generous)), &clock);
    let clock = ManualClock::new();
    let inner = AtomicTokenBucket::with_clock(quota, clock.clone()).unwrap();
    check("metered", &Metered::new(&inner), &clock);
}

/// As [`each`], of the limiters with one quota.
pub(crate) fn each_of_one_quota(text: &str, check: impl Fn(&str, &dyn QuotaLimiter, &ManualClock)) {
    let clock = ManualClock::new();
    let atomic = AtomicTokenBucket::with_clock(quota(text), clock.clone()).unwrap();
    check("atomic", &atomic, &clock);
    let clock = ManualClock::new();
    let locked = LockedTokenBucket::with_clock(quota(text), clock.clone()).unwrap();
    check("locked", &locked, &clock);
    let clock = ManualClock::new();
    let striped = StripedTokenBucket::with_clock(quota(text), clock.clone()).unwrap();
    check("striped", &striped.stripes(2), &clock);
    let clock = ManualClock::new();
    check("key", &keyed(quota(text), &clock).key("ada"), &clock);
}
