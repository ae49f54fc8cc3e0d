//! Keys that are placed, evicted and taken from at once, their waiters, and combined limits that contend,
//! under the model checker.
#![cfg(tollgate_loom)]

#[path = "model/explore.rs"]
#[allow(dead_code, reason = "these models poll by hand")]
mod explore;

use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::Duration;

use explore::{TestClock, Waiter, explore, explore_in_turns};
use loom::thread;
use tollgate::limiter::Acquire;
use tollgate::{
    AllOf, AtomicTokenBucket, CarryOver, KeyedLimiter, ManualClock, OnFull, Quota, RateLimiter,
    Timestamp,
};

const SECOND: u64 = 1_000_000_000;

/// Hashes alike in every execution, as the model checker requires.
type Hasher = BuildHasherDefault<DefaultHasher>;

fn at(nanos: u64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

fn limiter_of_one_place() -> Arc<KeyedLimiter<u64, Hasher, ManualClock>> {
    let builder = KeyedLimiter::builder("1/s burst 2".parse().unwrap(), 1).on_full(OnFull::Deny);
    let builder = builder.hasher(Hasher::default()).clock(ManualClock::new());
    Arc::new(builder.build().unwrap())
}

#[test]
fn an_evicted_key_that_is_placed_again_gains_nothing() {
    // Key 2 evicts key 1 at 2 s, while a thread that is still at 1 s takes from key 1.
    explore("insert x evict x acquire", None, || {
        let limiter = limiter_of_one_place();
        limiter.key(&1).at(at(0)).try_acquire(2).unwrap();
        let evicting = {
            let limiter = Arc::clone(&limiter);
            thread::spawn(move || limiter.key(&2).at(at(2 * SECOND)).try_acquire(1).is_ok())
        };
        let stale = [(); 2].map(|()| limiter.key(&1).at(at(SECOND)).try_acquire(1).is_ok());
        evicting.join().unwrap();
        let taken = stale.into_iter().filter(|admitted| *admitted).count();
        assert!(taken <= 1, "one token had accrued by then");
        assert!(limiter.len() <= 1);
    });
}

#[test]
fn takers_of_one_key_share_exactly_its_tokens() {
    explore("acquire x acquire x acquire of one key", None, || {
        let limiter = limiter_of_one_place();
        limiter.key(&1).at(at(0)).try_acquire(1).unwrap();
        let others = [(); 2].map(|()| {
            let limiter = Arc::clone(&limiter);
            thread::spawn(move || limiter.key(&1).at(at(SECOND)).try_acquire(1).is_ok())
        });
        let mut admitted = usize::from(limiter.key(&1).at(at(SECOND)).try_acquire(1).is_ok());
        for other in others {
            admitted += usize::from(other.join().unwrap());
        }
        assert_eq!(admitted, 2);
        assert_eq!(limiter.key(&1).at(at(SECOND)).available(), 0);
    });
}

#[test]
fn a_quota_change_beside_takes_mints_nothing() {
    explore("set_quota x acquire", None, || {
        let limiter = limiter_of_one_place();
        let changing = {
            let limiter = Arc::clone(&limiter);
            thread::spawn(move || {
                let quota = Quota::per_second(1).unwrap().burst(9).unwrap();
                let carry = CarryOver::Tokens;
                limiter.at(at(0)).set_quota(quota, carry).unwrap();
            })
        };
        let taken = [(); 3].map(|()| limiter.key(&1).at(at(0)).try_acquire(1).is_ok());
        changing.join().unwrap();
        assert_eq!(taken, [true, true, false]);
        assert_eq!(limiter.key(&1).at(at(0)).available(), 0);
    });
}

#[test]
fn combined_limits_in_opposite_orders_do_not_both_fail() {
    explore("AllOf x AllOf", None, || {
        let bucket = || {
            let quota = "1/s burst 1".parse().unwrap();
            Arc::new(AtomicTokenBucket::with_clock(quota, ManualClock::new()).unwrap())
        };
        let (one, two) = (bucket(), bucket());
        let other = {
            let pair = [Arc::clone(&two), Arc::clone(&one)];
            thread::spawn(move || AllOf::new(pair).at(at(0)).try_acquire(1).is_ok())
        };
        let pair = AllOf::new((Arc::clone(&one), Arc::clone(&two)));
        let mine = pair.at(at(0)).try_acquire(1).is_ok();
        // There is one token in each member, so exactly one take is admitted.
        assert_ne!(mine, other.join().unwrap());
        assert_eq!(
            (one.at(at(0)).available(), two.at(at(0)).available()),
            (0, 0)
        );
    });
}

type Keyed = KeyedLimiter<u64, Hasher, TestClock>;

/// A limiter of one place on a clock that reads the latest time; key 1 is empty at the origin.
fn spent(quota: &str) -> (Arc<Keyed>, TestClock) {
    let (quota, clock): (Quota, _) = (quota.parse().unwrap(), TestClock::default());
    let builder = KeyedLimiter::builder(quota, 1).on_full(OnFull::Deny);
    let builder = builder.hasher(Hasher::default()).clock(clock.clone());
    let limiter: Arc<Keyed> = Arc::new(builder.build().unwrap());
    let all = limiter.key(&1).at(at(0)).try_acquire(quota.max_burst());
    assert!(all.is_ok());
    (limiter, clock)
}

/// Runs `run` on another thread.
fn beside<L: Send + Sync + 'static, T: 'static>(
    limiter: &Arc<L>,
    run: impl FnOnce(&L) -> T + 'static,
) -> thread::JoinHandle<T> {
    let limiter = Arc::clone(limiter);
    thread::spawn(move || run(&limiter))
}

fn take(limiter: &Keyed, times: &[u64]) -> u64 {
    let take = |nanos: &&u64| limiter.key(&1).at(at(**nanos)).try_acquire(1).is_ok();
    times.iter().filter(take).count() as u64
}

/// Waits for tokens of key 1.
macro_rules! wait_for {
    ($limiter:expr, $n:expr) => {
        Waiter::new($limiter.key(&1).acquire($n))
    };
}

#[test]
fn a_faster_quota_of_all_keys_by_a_stale_clock_mints_nothing() {
    // The change may read the clock long before the take does.
    explore_in_turns("faster set_quota x acquire", None, |spawned| {
        let (limiter, clock) = spent("1/s burst 1");
        let taker = {
            let clock = clock.clone();
            beside(&limiter, move |limiter| {
                clock.pass(10 * SECOND);
                take(limiter, &[10 * SECOND, 0])
            })
        };
        let quota = "10/s burst 1".parse().unwrap();
        spawned();
        limiter.set_quota(quota, CarryOver::Tokens).unwrap();
        assert_eq!(taker.join().unwrap(), 1);
        assert_eq!(limiter.key(&1).at(at(10 * SECOND)).available(), 0);
        let next = at(10 * SECOND + SECOND);
        assert_eq!(limiter.key(&1).at(next).available(), 1);
    });
}

#[test]
fn a_quota_change_of_all_keys_reaches_the_waiters_of_a_key() {
    explore_in_turns("wait for a key x set_quota", None, |spawned| {
        let (limiter, clock) = spent("1/h burst 1");
        let changer = beside(&limiter, |limiter| {
            let quota = "1/s burst 1".parse().unwrap();
            limiter.set_quota(quota, CarryOver::Tokens).unwrap();
        });
        let mut waiting = wait_for!(limiter, 1);
        spawned();
        assert!(waiting.poll().is_pending());
        changer.join().unwrap();
        assert_eq!(waiting.finish(&clock), (SECOND, Ok(())));
        assert_eq!(limiter.key(&1).at(at(SECOND)).available(), 0);
    });
}

#[test]
fn a_key_with_waiters_keeps_its_line() {
    const S: u64 = SECOND;
    explore_in_turns("wait for a key x acquire", None, |spawned| {
        let (limiter, clock) = spent("1/s burst 2");
        clock.pass(S);
        let taker = beside(&limiter, |limiter| take(limiter, &[S, 0, S]));
        let mut waiting = wait_for!(limiter, 2);
        spawned();
        assert!(waiting.poll().is_pending());
        assert_eq!(take(&limiter, &[S]), 0, "a newcomer passes the waiter");
        let taken = taker.join().unwrap();
        assert!(taken <= 1);
        assert_eq!(waiting.finish(&clock), ((2 + taken) * S, Ok(())));
        let served = at((2 + taken) * S);
        assert_eq!(
            (limiter.key(&1).at(served).available(), limiter.len()),
            (0, 1)
        );
    });
    explore_in_turns("cancel of a wait for a key x acquire", None, |spawned| {
        let (limiter, clock) = spent("1/s burst 2");
        let mut waiting = wait_for!(limiter, 2);
        assert!(waiting.poll().is_pending());
        clock.pass(S);
        let taker = beside(&limiter, |limiter| take(limiter, &[S, 0]));
        spawned();
        drop(waiting);
        let taken = taker.join().unwrap();
        assert_eq!(taken + limiter.key(&1).at(at(S)).available(), 1);
        assert_eq!(limiter.len(), 1);
    });
    explore_in_turns("cancel of a wait for a key x wait", None, |spawned| {
        let (limiter, clock) = spent("1/s burst 1");
        let canceller = beside(&limiter, |limiter| {
            let mut waiting = wait_for!(limiter, 1);
            assert!(waiting.poll().is_pending());
        });
        let mut waiting = wait_for!(limiter, 1);
        spawned();
        assert!(waiting.poll().is_pending());
        canceller.join().unwrap();
        assert_eq!(waiting.finish(&clock), (S, Ok(())));
        assert_eq!(limiter.key(&1).at(at(S)).available(), 0);
    });
}

#[test]
fn a_denied_new_key_frees_its_place() {
    // Key 1 is full again at 2 s, and is evicted for key 2.
    explore_in_turns(
        "denial of a new key x reserve of another",
        None,
        |spawned| {
            let (limiter, clock) = spent("1/s burst 2");
            clock.pass(2 * SECOND);
            let now = at(2 * SECOND);
            // Beyond the burst of a new key; and at a time before key 1 was full.
            let denied = beside(&limiter, move |limiter| {
                assert!(limiter.key(&2).at(now).try_acquire(3).is_err());
                assert!(limiter.key(&2).at(at(SECOND)).try_acquire(2).is_err());
            });
            spawned();
            let third = limiter.key(&3);
            let reserved = third.at(now).reserve(2, Duration::ZERO);
            if let Ok(reservation) = reserved {
                reservation.cancel();
            }
            denied.join().unwrap();
            let last = limiter.key(&4).at(at(5 * SECOND)).try_acquire(2);
            assert_eq!(last, Ok(()), "every placed key is full again");
            assert_eq!(limiter.len(), 1);
        },
    );
}

#[test]
fn a_waiter_on_several_limits_takes_from_all_or_none() {
    const S: u64 = SECOND;
    let spent = || {
        let clock = TestClock::default();
        let bucket = || {
            let quota = "1/s burst 1".parse().unwrap();
            let bucket = AtomicTokenBucket::with_clock(quota, clock.clone()).unwrap();
            bucket.at(at(0)).try_acquire(1).unwrap();
            Arc::new(bucket)
        };
        (bucket(), bucket(), clock.clone())
    };
    explore_in_turns("AllOf: join x acquire of a member", None, move |spawned| {
        let (one, two, clock) = spent();
        clock.pass(S);
        // The first member has a token, the second has none.
        two.at(at(S)).try_acquire(1).unwrap();
        let taker = beside(&one, |one| one.at(at(S)).try_acquire(1).is_ok());
        let pair = AllOf::new([Arc::clone(&one), Arc::clone(&two)]);
        let mut waiting = Waiter::new(Acquire::of(pair, 1));
        spawned();
        assert!(waiting.poll().is_pending());
        let taken = u64::from(taker.join().unwrap());
        assert_eq!(one.at(at(S)).available(), 1 - taken);
        assert_eq!(waiting.finish(&clock), (2 * S, Ok(())));
        let there = (one.at(at(2 * S)).available(), two.at(at(2 * S)).available());
        assert_eq!(there, (0, 0));
    });
    // Bounded: the waiter moves between the two lines.
    explore_in_turns(
        "AllOf: turn x acquire of a member",
        Some(4),
        move |spawned| {
            let (one, two, clock) = spent();
            let pair = AllOf::new([Arc::clone(&one), Arc::clone(&two)]);
            let mut waiting = Waiter::pending(Acquire::of(pair, 1));
            clock.pass(S);
            let takers = [&one, &two].map(|member| {
                beside(member, |member| {
                    u64::from(member.at(at(S)).try_acquire(1).is_ok())
                })
            });
            spawned();
            let polled = waiting.poll();
            let [first, second] = takers.map(|taker| taker.join().unwrap());
            let there = (one.at(at(S)).available(), two.at(at(S)).available());
            let served = if polled.is_ready() {
                assert_eq!((first, second), (0, 0));
                assert_eq!(there, (0, 0));
                S
            } else {
                assert_eq!(
                    there,
                    (1 - first, 1 - second),
                    "the waiter holds a token of one member"
                );
                let (served, outcome) = waiting.finish(&clock);
                assert_eq!((served, outcome), ((1 + first.max(second)) * S, Ok(())));
                served
            };
            assert_eq!(one.at(at(served)).available(), 0);
            assert_eq!(two.at(at(served)).available(), 0);
        },
    );
}
