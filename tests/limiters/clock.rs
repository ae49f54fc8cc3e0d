//! The clocks: origins, waits, arithmetic, and the rate of the default one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_executor::block_on;
use tollgate::{
    AtomicTokenBucket, Clock, MonotonicClock, Quota, RateLimiter, SystemClock, Timestamp,
};

static CLOCK: SystemClock = SystemClock::new();

#[test]
fn the_system_clock_is_a_zero_sized_handle_with_one_origin() {
    assert_eq!(size_of::<SystemClock>(), 0);
    let earlier = CLOCK.now();
    let later = std::thread::spawn(|| SystemClock::new().now()).join();
    assert!(
        later.unwrap() >= earlier,
        "the handles do not share an origin"
    );
}

/// A token takes 50 ms: neither a thread nor a task waits for less.
fn check_waits(clock: impl Clock + Clone) {
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
fn a_caller_can_wait_on_every_system_clock() {
    check_waits(SystemClock::new());
    check_waits(MonotonicClock::new());
    #[cfg(feature = "boot-clock")]
    check_waits(tollgate::BootClock::new());
}

#[cfg(all(feature = "boot-clock", target_os = "linux"))]
#[test]
fn the_boot_clock_counts_from_boot() {
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    let seconds = uptime.split_whitespace().next().unwrap().parse::<f64>();
    let now = tollgate::BootClock::new().now() - Timestamp::ZERO;
    assert!((now.as_secs_f64() - seconds.unwrap()).abs() < 2.0);
}

#[cfg(feature = "boot-clock")]
#[test]
fn a_waiter_on_the_boot_clock_reads_it_each_second() {
    let clock = tollgate::BootClock::new();
    let (start, far) = (Instant::now(), clock.now() + Duration::from_secs(3_600));
    clock.park_until(Some(far));
    block_on(clock.sleep_until(far));
    assert!(
        start.elapsed() < Duration::from_secs(60),
        "the waiter slept for the whole time"
    );
}

/// A clock that counts its reads, and waits by the default methods.
#[derive(Default)]
struct CountedReads(AtomicUsize);

impl Clock for CountedReads {
    fn now(&self) -> Timestamp {
        self.0.fetch_add(1, Ordering::Relaxed);
        MonotonicClock::new().now()
    }
}

#[test]
fn a_waiting_thread_sleeps_instead_of_polling_the_clock() {
    let clock = Arc::new(CountedReads::default());
    let quota = "200/s burst 1".parse().unwrap();
    let bucket = AtomicTokenBucket::with_clock(quota, Arc::clone(&clock)).unwrap();
    for _ in 0..3 {
        bucket.acquire(1).wait().unwrap();
    }
    let reads = clock.0.load(Ordering::Relaxed);
    assert!(reads < 100, "{reads} reads in 10 ms");
}

#[test]
fn timestamp_operators_saturate() {
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
fn a_bucket_never_exceeds_its_quota_by_the_operating_systems_clock() {
    // One token a nanosecond.
    let quota = Quota::per_second(1_000_000_000).unwrap();
    let start = Instant::now();
    let bucket = AtomicTokenBucket::with_clock(quota, MonotonicClock::new()).unwrap();
    let mut taken = 0;
    while start.elapsed() < Duration::from_millis(20) {
        taken += u128::from(bucket.try_acquire_up_to(u64::MAX));
        let most = u128::from(quota.max_burst()) + start.elapsed().as_nanos();
        assert!(taken <= most, "{} tokens too many", taken - most);
    }
    assert!(
        taken > u128::from(quota.max_burst()),
        "the bucket does not refill"
    );
}

/// Reads the operating system's clock and the default one at one instant, to some tens of nanoseconds.
fn read_both(start: Instant) -> (f64, f64) {
    let clock = SystemClock::new();
    let one = |_| {
        let before = start.elapsed();
        let told = clock.now();
        let gap = start.elapsed() - before;
        (
            gap,
            (before + gap / 2).as_nanos() as f64,
            told.as_nanos() as f64,
        )
    };
    let (_, truth, told) = (0..20).map(one).min_by_key(|reading| reading.0).unwrap();
    (truth, told)
}

/// Each process calibrates its counter anew, so `ci/clock-error` runs this test in several.
#[test]
#[ignore = "takes 20 s, and measures the machine as much as the clock"]
fn rate_error() {
    let start = Instant::now();
    let mut seen = vec![read_both(start)];
    while seen.len() <= 20 {
        let next = Duration::from_secs(seen.len() as u64);
        while start.elapsed() < next {
            std::thread::sleep(Duration::from_millis(10));
            SystemClock::new().now();
        }
        seen.push(read_both(start));
    }
    let ppm = |from: usize, to: usize| {
        let ((t0, c0), (t1, c1)) = (seen[from], seen[to]);
        ((c1 - c0) / (t1 - t0) - 1.0) * 1e6
    };
    let late: Vec<f64> = (10..20).map(|from| ppm(from, from + 1)).collect();
    let worst = late
        .iter()
        .fold(0.0, |worst: f64, off| worst.max(off.abs()));
    println!(
        "rate error: first second {:+.2} ppm, all 20 s {:+.2} ppm, each second after 10 s at most {worst:.2} ppm",
        ppm(0, 1),
        ppm(0, 20)
    );
    assert!(worst <= 5.0, "{late:?}");
}
