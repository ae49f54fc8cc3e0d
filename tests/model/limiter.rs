//! The token bucket as a textbook has it: a level in tokens that fills up, in exact fractions. It
//! shares neither units nor formula with the library, which keeps the instant of fullness instead.
//!
//! Also the operations that the property tests, the fuzzer and its seeds run against both buckets.

use std::time::Duration;

use tollgate::{
    AtomicTokenBucket, Denied, LockedTokenBucket, ManualClock, Quota, QuotaError, RateLimiter,
    Timestamp,
};

/// As text: the slowest, the fastest, those that do not divide a second, and two without a rate.
pub(crate) const RATES: [&str; 14] = [
    "1/d",
    "1/90ms",
    "3/s",
    "7/s",
    "999983/s",
    "1500000/s",
    "30000000/s",
    "600000000/s",
    "999999937/s",
    "1000000000/s",
    "1000000007/s",
    "1000000000000/s",
    "0/s",
    "unlimited",
];

/// Nanoseconds in two hundred years.
pub(crate) const AGE: u64 = 200 * 365 * 86_400 * 1_000_000_000;

/// An exact bucket. Amounts are tokens times the period, so that a nanosecond brings the whole
/// number `tokens`.
#[derive(Clone, Debug)]
pub(crate) struct Exact {
    tokens: i128,
    period: i128,
    burst: u64,
    /// What was in the bucket at `last`.
    level: i128,
    /// The latest instant of a take.
    last: u64,
}

impl Exact {
    /// A full bucket.
    pub(crate) fn new(quota: Quota) -> Self {
        let period = i128::try_from(quota.period().as_nanos()).expect("64 bits of nanoseconds");
        let burst = quota.max_burst();
        Self {
            tokens: quota.tokens().into(),
            period,
            burst,
            level: i128::from(burst) * period,
            last: 0,
        }
    }

    /// The level as seen at `now`: below zero, if `now` is so stale that what is there had not
    /// accrued then.
    fn level_at(&self, now: u64) -> i128 {
        let level = self.level + (i128::from(now) - i128::from(self.last)) * self.tokens;
        level.min(i128::from(self.burst) * self.period)
    }

    fn has(&self, n: u64, now: u64) -> bool {
        self.level_at(now) >= i128::from(n) * self.period
    }

    /// The first instant from `now` on at which `n` tokens are there, found by bisection.
    fn first_instant(&self, n: u64, now: u64) -> Option<u64> {
        let (mut early, mut late) = (now, u64::MAX);
        if !self.has(n, late) {
            return None;
        }
        while early < late {
            let middle = early + (late - early) / 2;
            if self.has(n, middle) {
                late = middle;
            } else {
                early = middle + 1;
            }
        }
        Some(late)
    }

    /// What a bucket in this state would answer; nothing is taken.
    pub(crate) fn ask(&self, n: u64, now: u64) -> Result<(), Denied> {
        match self.first_instant(n, now) {
            _ if n == 0 || self.period == 0 => Ok(()),
            _ if n > self.burst => Err(exceeds_burst(self.burst)),
            None => Err(Denied::Exhausted),
            Some(at) if at == now => Ok(()),
            Some(at) => Err(not_yet(at - now)),
        }
    }

    pub(crate) fn try_acquire(&mut self, n: u64, now: u64) -> Result<(), Denied> {
        self.ask(n, now)?;
        if n > 0 && self.period > 0 {
            let last = now.max(self.last);
            self.level = self.level_at(last) - i128::from(n) * self.period;
            self.last = last;
        }
        Ok(())
    }

    pub(crate) fn available(&self, now: u64) -> u64 {
        match self.level_at(now).max(0).checked_div(self.period) {
            None => u64::MAX,
            Some(tokens) => u64::try_from(tokens).expect("at most the burst"),
        }
    }
}

/// The errors are non-exhaustive, so they are made by asking a bucket for them.
fn exceeds_burst(burst: u64) -> Denied {
    let quota = Quota::per_second(0).and_then(|quota| quota.burst(burst));
    let bucket = quota.and_then(|quota| LockedTokenBucket::with_clock(quota, ManualClock::new()));
    let more = bucket.expect("a valid burst").try_acquire(burst + 1);
    more.expect_err("more than the burst")
}

fn not_yet(nanos: u64) -> Denied {
    let retry_after = Duration::from_nanos(nanos);
    Denied::NotYet { retry_after }
}

/// B + floor(T * N / P).
pub(crate) fn bound(quota: Quota, window: u64) -> u128 {
    let gained = u128::from(window) * u128::from(quota.tokens());
    u128::from(quota.max_burst()) + gained.checked_div(quota.period().as_nanos()).unwrap_or(0)
}

/// Checks every window that begins and ends with an admitted event `(instant, tokens)`.
pub(crate) fn assert_never_over(quota: Quota, admitted: &[(u64, u64)]) {
    let mut events = admitted.to_vec();
    events.sort_unstable();
    for (i, &(from, _)) in events.iter().enumerate() {
        let mut taken = 0;
        for &(to, n) in &events[i..] {
            taken += u128::from(n);
            let most = bound(quota, to - from);
            assert!(taken <= most, "{quota}: {taken} > {most} in {from}..={to}");
        }
    }
}

/// How far back a time may lie, and an `AtomicTokenBucket` still judges it by itself and not by its
/// base: an eighth of its horizon of 2^54 units.
pub(crate) fn exact_skew(quota: Quota) -> u64 {
    let period = u64::try_from(quota.period().as_nanos()).expect("64 bits of nanoseconds");
    let per_nano = quota.tokens() / gcd(quota.tokens(), period).max(1);
    ((1 << 54) / per_nano.max(1)) / 8
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// When an operation happens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    /// So long after the latest time so far.
    Forward(u64),
    /// So long before it.
    Stale(u64),
    /// When the last denial said to come back, plus or minus a little.
    Retry(i8),
}

/// How many tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Amount {
    Tokens(u64),
    /// So many fewer than the burst; negative: more.
    OfBurst(i8),
    /// So much of 256 of the burst.
    Part(u8),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    TryAcquire(Amount, When),
    Available(When),
}

impl Amount {
    fn of(self, burst: u64) -> u64 {
        match self {
            Self::Tokens(n) => n,
            Self::OfBurst(less) => burst.saturating_add_signed(-i64::from(less)),
            Self::Part(part) => (u128::from(burst) * u128::from(part) / 256) as u64,
        }
    }
}

/// Where virtual time stands in a run.
#[derive(Debug)]
struct Times {
    latest: u64,
    retry: u64,
    skew: u64,
}

impl Times {
    fn at(&mut self, when: When) -> u64 {
        let at = match when {
            When::Forward(by) => self.latest.saturating_add(by),
            When::Stale(by) => self.latest.saturating_sub(by),
            When::Retry(by) => self.retry.saturating_add_signed(by.into()),
        };
        let at = at.max(self.latest.saturating_sub(self.skew));
        self.latest = self.latest.max(at);
        at
    }
}

/// The buckets that take this quota: always the locked one; the atomic one unless it says that its
/// word is too small.
pub(crate) fn buckets(quota: Quota) -> Vec<Box<dyn RateLimiter>> {
    let locked = LockedTokenBucket::with_clock(quota, ManualClock::new()).expect("a burst");
    let mut buckets: Vec<Box<dyn RateLimiter>> = vec![Box::new(locked)];
    let atomic = |quota| AtomicTokenBucket::with_clock(quota, ManualClock::new());
    match atomic(quota) {
        Ok(bucket) => buckets.push(Box::new(bucket)),
        Err(QuotaError::BeyondWord { max_burst }) => {
            let with = |burst| quota.burst(burst).and_then(atomic).map(drop);
            assert!(quota.max_burst() > max_burst);
            assert!(max_burst == 0 || with(max_burst).is_ok(), "{quota}");
            assert_eq!(
                with(max_burst + 1),
                Err(QuotaError::BeyondWord { max_burst }),
                "{quota}"
            );
        }
        Err(error) => panic!("{quota}: {error}"),
    }
    buckets
}

/// Runs the operations on the model and on both buckets from `start` on, and compares every answer.
/// Returns all decisions.
///
/// # Panics
/// At the first difference.
pub(crate) fn run(quota: Quota, start: u64, ops: &[Op]) -> Vec<Result<(), Denied>> {
    let buckets = buckets(quota);
    let mut exact = Exact::new(quota);
    let mut times = Times {
        latest: start,
        retry: start,
        skew: exact_skew(quota).min(AGE),
    };
    let (mut admitted, mut decisions) = (Vec::new(), Vec::new());
    for op in ops {
        match *op {
            Op::TryAcquire(amount, when) => {
                let (n, at) = (amount.of(quota.max_burst()), times.at(when));
                let expected = exact.try_acquire(n, at);
                for bucket in &buckets {
                    let got = bucket.try_acquire_at(n, Timestamp::from_nanos(at));
                    assert_eq!(got, expected, "{n} at {at} of {bucket:?}");
                }
                match expected {
                    Ok(()) => admitted.push((at, n)),
                    Err(denied) => {
                        let wait = denied
                            .retry_after()
                            .map_or(0, |wait| wait.as_nanos() as u64);
                        times.retry = at + wait;
                    }
                }
                decisions.push(expected);
            }
            Op::Available(when) => {
                let at = times.at(when);
                for bucket in &buckets {
                    let got = bucket.available_at(Timestamp::from_nanos(at));
                    assert_eq!(got, exact.available(at), "at {at} of {bucket:?}");
                }
            }
        }
    }
    if !quota.is_unlimited() {
        assert_never_over(quota, &admitted);
    }
    decisions
}
