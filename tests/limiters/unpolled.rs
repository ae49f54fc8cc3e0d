//! Waits that are woken and not polled, as by a `select!` that polls another branch: they hold up no
//! other, and no poll of another wakes them again.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::time::Duration;

use tollgate::{
    AllOf, AtomicTokenBucket, CarryOver, Denied, History, IntervalTokenBucket, KeyedLimiter,
    LockedTokenBucket, ManualClock, Metered, OnFull, Quota, QuotaLimiter, RateLimiter,
    SlidingWindow, Timestamp,
};

use crate::support::{keyed, millis, quota};
use crate::tasks::{Polled, Tasks};

/// An empty limiter of four tokens an hour.
struct Case<'a> {
    name: &'a str,
    limiter: &'a dyn RateLimiter,
    /// Sets another rate, in tokens a minute.
    set_rate: &'a dyn Fn(u64),
    clock: &'a ManualClock,
}

fn per_minute(tokens: u64) -> Quota {
    quota(&format!("{tokens}/min burst 4"))
}

/// Runs `check` with every limiter, each by itself.
fn each(check: impl Fn(&Case<'_>)) {
    let empty = |name, limiter: &dyn RateLimiter, set_rate: &dyn Fn(u64), clock: &ManualClock| {
        limiter.try_acquire(4).unwrap();
        check(&Case {
            name,
            limiter,
            set_rate,
            clock,
        });
    };
    let set = |limiter: &dyn QuotaLimiter, tokens| {
        limiter
            .set_quota(per_minute(tokens), CarryOver::Tokens)
            .unwrap();
    };
    let hourly = quota("4/h");

    let clock = ManualClock::new();
    let atomic = AtomicTokenBucket::with_clock(hourly, clock.clone()).unwrap();
    empty("atomic", &atomic, &|tokens| set(&atomic, tokens), &clock);
    let clock = ManualClock::new();
    let locked = LockedTokenBucket::with_clock(hourly, clock.clone()).unwrap();
    empty("locked", &locked, &|tokens| set(&locked, tokens), &clock);

    let clock = ManualClock::new();
    let keys = keyed(hourly, &clock);
    let ada = keys.key("ada");
    let set_all = |tokens| {
        keys.set_quota(per_minute(tokens), CarryOver::Tokens)
            .unwrap();
    };
    empty("key", &ada, &set_all, &clock);
    let clock = ManualClock::new();
    let keys = keyed(quota("1/d"), &clock);
    let own = keys.key("ada");
    own.set_quota(hourly, CarryOver::Full).unwrap();
    let set_own = |tokens| set(&own, tokens);
    empty("key with its own quota", &own, &set_own, &clock);
    let clock = ManualClock::new();
    let builder = KeyedLimiter::<String>::builder(hourly, 1).clock(clock.clone());
    let full = builder.on_full(OnFull::Shared).build().unwrap();
    full.key("bob").try_acquire(4).unwrap();
    let shared = full.key("ada");
    let set_all = |tokens| {
        full.set_quota(per_minute(tokens), CarryOver::Tokens)
            .unwrap();
    };
    empty("key without a place", &shared, &set_all, &clock);

    let clock = ManualClock::new();
    let first = AtomicTokenBucket::with_clock(hourly, clock.clone()).unwrap();
    let generous = LockedTokenBucket::with_clock(quota("100000/h"), clock.clone()).unwrap();
    let all = AllOf::new((&generous, &first));
    empty("all of two", &all, &|tokens| set(&first, tokens), &clock);
    let clock = ManualClock::new();
    let inner = AtomicTokenBucket::with_clock(hourly, clock.clone()).unwrap();
    let metered = Metered::new(&inner);
    empty("metered", &metered, &|tokens| set(&inner, tokens), &clock);

    let period = |tokens| Duration::from_secs(60) * 4 / u32::try_from(tokens).unwrap();
    let clock = ManualClock::new();
    let window = SlidingWindow::with_clock(4, millis(3_600_000), clock.clone()).unwrap();
    let set_limit = |tokens| {
        window.set_limit(4, period(tokens), History::Kept).unwrap();
    };
    empty("window", &window, &set_limit, &clock);
    let clock = ManualClock::new();
    let (hour, anchor) = (millis(3_600_000), Timestamp::ZERO);
    let interval = IntervalTokenBucket::with_clock(4, hour, 4, anchor, clock.clone()).unwrap();
    let set_refill = |tokens| {
        interval
            .set_refill(4, period(tokens), 4, anchor, History::Kept)
            .unwrap();
    };
    empty("interval", &interval, &set_refill, &clock);
}

type Outcome = Result<(), Denied>;
type Step = fn(&Case<'_>, &mut Tasks<'_, Outcome>);

/// Changes that bring the turns of waiters forward. Task 0 is the first in line.
const CHANGES: [(&str, &[Step]); 7] = [
    ("rate", &[|case, _| (case.set_rate)(120)]),
    (
        "rate, twice",
        &[|case, _| (case.set_rate)(1), |case, _| (case.set_rate)(120)],
    ),
    ("refund", &[|case, _| case.limiter.refund(1)]),
    ("cancelled wait", &[|_, tasks| assert!(tasks.cancel(0))]),
    (
        "cancelled wait, rate",
        &[
            |_, tasks| assert!(tasks.cancel(0)),
            |case, _| (case.set_rate)(120),
        ],
    ),
    (
        "pause, rate",
        &[
            |case, _| case.limiter.pause_for(millis(60_000)).unwrap(),
            |case, _| (case.set_rate)(120),
        ],
    ),
    (
        "charge, refund",
        &[
            |case, _| case.limiter.charge(2),
            |case, _| case.limiter.refund(2),
        ],
    ),
];

/// How often a task is polled, or a wait that is not polled is woken, at most: for each step of a change,
/// for the turn of each wait, and at the instants of the timers that were set before.
const MOST: usize = 8;

/// How the second of three waiters is polled.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Second {
    WhenWoken,
    Once,
    /// By the task that polls the third whenever it is woken.
    OnceByTheThird,
}

/// Lets three callers wait, and makes a change in steps. Returns when the third is served.
fn third_served(case: &Case<'_>, steps: &[Step], polled: Second) -> u64 {
    let (name, wait) = (case.name, || case.limiter.acquire(1));
    let (polls, mut same_task, mut third) = (Cell::new(0), None, wait());
    let mut tasks = Tasks::new(case.clock);
    tasks.start(wait());
    let mut alone = None;
    match polled {
        Second::WhenWoken => _ = tasks.start(wait()),
        Second::Once => alone = Some(Polled::pending(wait())),
        Second::OnceByTheThird => same_task = Some(wait()),
    }
    let task = tasks.start(poll_fn(|cx| {
        polls.set(polls.get() + 1);
        assert!(polls.get() <= MOST, "{name}: the polls of a task wake it");
        if let Some(second) = same_task.as_mut().filter(|_| polls.get() == 1) {
            assert!(Pin::new(second).poll(cx).is_pending());
        }
        Pin::new(&mut third).poll(cx)
    }));
    for step in steps {
        step(case, &mut tasks);
        tasks.settle();
    }
    tasks.run_until(u64::MAX);
    let woken = alone.map_or(0, |second| second.woken());
    assert!(woken <= MOST, "{name}: woken {woken} times without a poll");
    let ended = tasks.ended.iter().find(|ended| ended.0 == task);
    ended.expect("the third is served").1
}

#[test]
fn a_wait_that_is_not_polled_neither_wakes_nor_delays_the_next() {
    for (change, steps) in CHANGES {
        let served = |polled| {
            let instants = RefCell::new(Vec::new());
            each(|case| {
                let at = third_served(case, steps, polled);
                instants.borrow_mut().push((case.name.to_owned(), at));
            });
            instants.into_inner()
        };
        let expected = served(Second::WhenWoken);
        assert_eq!(served(Second::Once), expected, "{change}");
        assert_eq!(served(Second::OnceByTheThird), expected, "{change}");
    }
}
