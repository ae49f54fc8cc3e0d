//! The clocks, by what a caller sees of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_executor::block_on;
use tollgate::{
    AtomicTokenBucket, Clock, MonotonicClock, Quota, RateLimiter, SystemClock, Timestamp,
};

static CLOCK: SystemClock = SystemClock::new();

#[test]
fn the_system_clock_is_a_handle_without_data_and_can_be_static() {
    assert_eq!(size_of::<SystemClock>(), 0);
    let earlier = CLOCK.now();
    let later = std::thread::spawn(|| SystemClock::new().now()).join();
    assert!(later.unwrap() >= earlier, "one origin for all");
}

/// A token takes 50 ms to come: no less is waited, by a thread and by a task.
fn waits(clock: impl Clock + Clone) {
    let quota = Quota::per_second(20).unwrap().burst(1).unwrap();
    let bucket = AtomicTokenBucket::with_clock(quota, clock.clone()).unwrap();
    let (start, by_os) = (clock.now(), Instant::now());
    bucket.acquire(1).wait().unwrap();
    bucket.acquire(1).wait().unwrap();
    block_on(bucket.acquire(1)).unwrap();
    assert!(clock.now() - start >= Duration::from_millis(99));
    assert!(by_os.elapsed() >= Duration::from_millis(99));
}

#[test]
fn every_clock_of_the_system_can_be_waited_for() {
    waits(SystemClock::new());
    waits(MonotonicClock::new());
    #[cfg(feature = "boot-clock")]
    waits(tollgate::BootClock::new());
}

#[cfg(all(feature = "boot-clock", target_os = "linux"))]
#[test]
fn the_boot_clock_counts_from_the_start_of_the_machine() {
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    let seconds = uptime.split_whitespace().next().unwrap().parse::<f64>();
    let now = tollgate::BootClock::new().now() - Timestamp::ZERO;
    assert!((now.as_secs_f64() - seconds.unwrap()).abs() < 2.0);
}

#[cfg(feature = "boot-clock")]
#[test]
fn who_waits_on_the_boot_clock_looks_at_it_each_second() {
    let clock = tollgate::BootClock::new();
    let (start, far) = (Instant::now(), clock.now() + Duration::from_secs(3_600));
    clock.park_until(Some(far));
    block_on(clock.sleep_until(far));
    assert!(
        start.elapsed() < Duration::from_secs(60),
        "as if it had slept"
    );
}

/// A clock that counts how often it is read, and waits as a clock does by default.
#[derive(Default)]
struct Counted(AtomicUsize);

impl Clock for Counted {
    fn now(&self) -> Timestamp {
        self.0.fetch_add(1, Ordering::Relaxed);
        MonotonicClock::new().now()
    }
}

#[test]
fn a_thread_that_waits_sleeps_instead_of_looking_at_the_clock() {
    let clock = Arc::new(Counted::default());
    let quota = "200/s burst 1".parse().unwrap();
    let bucket = AtomicTokenBucket::with_clock(quota, Arc::clone(&clock)).unwrap();
    for _ in 0..3 {
        bucket.acquire(1).wait().unwrap();
    }
    let reads = clock.0.load(Ordering::Relaxed);
    assert!(reads < 100, "{reads} in 10 ms");
}

#[test]
fn instants_are_added_and_subtracted_by_operators() {
    let bucket = AtomicTokenBucket::new(Quota::per_second(1).unwrap()).unwrap();
    let now = bucket.now();
    bucket
        .pause_until(now + Duration::from_secs(3_600))
        .unwrap();
    assert!(bucket.try_acquire(1).is_err());
    let mut later = now;
    later += Duration::from_secs(2);
    later -= Duration::from_secs(1);
    assert_eq!(later - now, Duration::from_secs(1));
    assert_eq!(now - later, Duration::ZERO);
    assert_eq!(later - Duration::MAX, Timestamp::ZERO);
    assert_eq!(later + Duration::MAX, Timestamp::MAX);
    assert_eq!(Timestamp::from_nanos(1_500_000).to_string(), "1.5ms");
}

#[test]
fn by_the_systems_own_clock_a_bucket_admits_no_token_too_many() {
    // A token each nanosecond.
    let quota = Quota::per_second(1_000_000_000).unwrap();
    let start = Instant::now();
    let bucket = AtomicTokenBucket::with_clock(quota, MonotonicClock::new()).unwrap();
    let mut taken = 0;
    while start.elapsed() < Duration::from_millis(20) {
        taken += u128::from(bucket.try_acquire_up_to(u64::MAX));
        let most = u128::from(quota.max_burst()) + start.elapsed().as_nanos();
        assert!(taken <= most, "over by {}", taken - most);
    }
    assert!(taken > u128::from(quota.max_burst()), "it refills");
}
