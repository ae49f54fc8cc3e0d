//! A change of the quota of all keys while others take: no burst is had twice.
#![cfg(not(tollgate_loom))]

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

/// Runs what is to happen right after its n-th reading, which takes ten milliseconds.
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

/// While `set_quota` reads its clock for the n-th time, another thread takes at a later instant.
fn a_taker_at_reading(n: u64) -> Option<u64> {
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
        // A taker that finds the change begun waits for its end, so it is not waited for here.
        let patience = Instant::now() + Duration::from_millis(50);
        while !taker.is_finished() && Instant::now() < patience {
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
fn a_taker_between_the_clock_and_the_change_gets_no_second_burst() {
    let mut readings = 0;
    while let Some(taken) = a_taker_at_reading(readings) {
        assert_eq!(taken, 1_000, "of one burst, at reading {readings}");
        readings += 1;
    }
    assert!(readings > 0, "the clock is read");
}

/// Two threads change the quota; one takes a whole burst from one full key after the other, and once
/// more at once. At most a burst and what comes at the faster rate meanwhile may be had.
fn stress(keys: u64, time: Duration) {
    const BURST: u64 = 10_000;
    const FAST: u64 = 10_000_000;
    let (slow, fast) = (quota(1_000, BURST), quota(FAST, BURST));
    let limiter = KeyedLimiter::<u64>::new(slow, usize::try_from(keys).unwrap()).unwrap();
    // Present, and full again a millisecond later.
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
    assert_eq!(excess, None, "key, the two takes, and the most together");
    assert!(whole > 0, "no key was full: nothing was tried");
}

#[test]
fn changes_beside_takers_mint_no_tokens() {
    stress(3_000, Duration::from_millis(1_000));
}

#[test]
#[ignore = "half a minute"]
fn changes_beside_takers_mint_no_tokens_for_long() {
    stress(1_000_000, Duration::from_secs(30));
}
