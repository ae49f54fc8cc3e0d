//! A change of the quota of all keys while other threads take: no burst is admitted twice.

use std::hash::RandomState;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use tollgate::{CarryOver, Clock, KeyedLimiter, Quota, RateLimiter, SystemClock, Timestamp};

const SECOND: u64 = 1_000_000_000;
const LATER: Timestamp = Timestamp::from_nanos(SECOND + SECOND / 100);

fn quota(rate: u64, burst: u64) -> Quota {
    let quota = Quota::per_second(rate).unwrap();
    quota.burst(burst).unwrap()
}

type Scripted = KeyedLimiter<u64, RandomState, Script>;

/// A clock that runs `then` right after its `at`-th reading, and reads ten milliseconds later from then on.
#[derive(Default)]
struct Script {
    late: AtomicBool,
    readings: AtomicU64,
    at: u64,
    then: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Clock for Script {
    fn now(&self) -> Timestamp {
        let now = if self.late.load(Ordering::SeqCst) {
            LATER
        } else {
            Timestamp::from_nanos(SECOND)
        };
        if self.readings.fetch_add(1, Ordering::SeqCst) == self.at {
            self.late.store(true, Ordering::SeqCst);
            let then = self.then.lock().unwrap().take();
            then.into_iter().for_each(|then| then());
        }
        now
    }
}

/// Lets another thread take at a later instant while `set_quota` makes its `n`-th reading of the clock.
/// Returns the tokens taken, or `None` if there are fewer readings.
fn taken_at_reading(n: u64) -> Option<u64> {
    const BURST: u64 = 1_000;
    let limiter: Arc<OnceLock<Scripted>> = Arc::default();
    let (taken, taken_by_other) = channel();
    let (its, seen) = (Arc::clone(&limiter), Arc::new(AtomicBool::new(false)));
    let script = Script {
        at: n,
        ..Script::default()
    };
    let reached = Arc::clone(&seen);
    *script.then.lock().unwrap() = Some(Box::new(move || {
        reached.store(true, Ordering::SeqCst);
        let taker = move || {
            let limiter = its.get().unwrap();
            let _ = taken.send(limiter.key(&7).at(LATER).try_acquire_up_to(BURST));
        };
        let taker = thread::spawn(taker);
        // A taker that finds the change begun waits for its end, so this thread cannot join it.
        let deadline = Instant::now() + Duration::from_millis(50);
        while !taker.is_finished() && Instant::now() < deadline {
            thread::yield_now();
        }
    }));
    let builder = KeyedLimiter::builder(quota(1_000, BURST), 100).clock(script);
    let limiter = limiter.get_or_init(|| builder.build().unwrap());
    let change = limiter.set_quota(quota(1_000_000, BURST), CarryOver::Tokens);
    change.unwrap();
    if !seen.load(Ordering::SeqCst) {
        return None;
    }
    let first = taken_by_other
        .recv_timeout(Duration::from_secs(30))
        .unwrap();
    Some(first + limiter.key(&7).at(LATER).try_acquire_up_to(BURST))
}

#[test]
fn a_take_between_the_clock_and_the_change_gets_no_second_burst() {
    let mut readings = 0;
    while let Some(taken) = taken_at_reading(readings) {
        assert_eq!(
            taken, 1_000,
            "more or less than one burst, at reading {readings}"
        );
        readings += 1;
    }
    assert!(readings > 0, "the change does not read the clock");
}

/// Two threads change the quota; a third takes a whole burst from one full key after the other, twice
/// in a row. The two takes may admit a burst and what the faster rate refills in between.
fn stress(keys: u64, time: Duration) {
    const BURST: u64 = 10_000;
    const FAST: u64 = 10_000_000;
    let (slow, fast) = (quota(1_000, BURST), quota(FAST, BURST));
    let limiter = KeyedLimiter::<u64>::new(slow, usize::try_from(keys).unwrap()).unwrap();
    // Every key is placed, and is full again a millisecond later.
    (0..keys).for_each(|key| assert!(limiter.key(&key).try_acquire(1).is_ok()));
    let (clock, stop) = (SystemClock::new(), AtomicBool::new(false));
    let (mut whole, end) = (0, Instant::now() + time);
    let mut excess = None;
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    limiter.set_quota(fast, CarryOver::Tokens).unwrap();
                    limiter.set_quota(slow, CarryOver::Tokens).unwrap();
                }
            });
        }
        for key in (0..keys).cycle() {
            let before = clock.now().as_nanos();
            let one = limiter.key(&key).try_acquire_up_to(BURST);
            let two = limiter.key(&key).try_acquire_up_to(BURST);
            let took = clock.now().as_nanos() - before;
            whole += u64::from(one == BURST);
            let most = BURST + took.div_ceil(SECOND / FAST);
            if one + two > most {
                excess = Some((key, one, two, most));
                break;
            }
            if Instant::now() > end {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(excess, None, "key, both takes, and their bound");
    assert!(whole > 0, "no key was full: the stress tried nothing");
}

#[test]
fn quota_changes_beside_takes_mint_nothing() {
    stress(3_000, Duration::from_millis(1_000));
}

#[test]
#[ignore = "half a minute"]
fn quota_changes_beside_takes_mint_nothing_for_long() {
    stress(1_000_000, Duration::from_secs(30));
}
