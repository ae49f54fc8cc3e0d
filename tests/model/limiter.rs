//! The token bucket as a textbook has it: a level in tokens that fills up, in exact fractions. It
//! shares neither units nor formula with the library, which keeps the instant of fullness instead.
//!
//! Also the operations that the property tests, the fuzzer and its seeds run against both buckets.

use std::fmt::Debug;
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
        self.ask_above(n, 0, now)
    }

    fn ask_above(&self, n: u64, floor: u64, now: u64) -> Result<(), Denied> {
        let most = self.burst.saturating_sub(floor);
        match self.first_instant(n.saturating_add(floor), now) {
            _ if n == 0 || self.period == 0 => Ok(()),
            _ if n > most => Err(Denied::ExceedsBurst { burst: most }),
            None => Err(Denied::Exhausted),
            Some(at) if at == now => Ok(()),
            Some(at) => Err(Denied::NotYet {
                retry_after: Duration::from_nanos(at - now),
            }),
        }
    }

    fn take(&mut self, n: u64, now: u64) {
        if n > 0 && self.period > 0 {
            let last = now.max(self.last);
            self.level = self.level_at(last) - i128::from(n) * self.period;
            self.last = last;
        }
    }

    pub(crate) fn try_acquire(&mut self, n: u64, now: u64) -> Result<(), Denied> {
        self.try_acquire_above(n, 0, now)
    }

    fn try_acquire_above(&mut self, n: u64, floor: u64, now: u64) -> Result<(), Denied> {
        self.ask_above(n, floor, now)?;
        self.take(n, now);
        Ok(())
    }

    fn try_acquire_up_to(&mut self, n: u64, now: u64) -> u64 {
        let n = n.min(self.available(now));
        self.take(n, now);
        n
    }

    /// When they can be used.
    fn reserve(&mut self, n: u64, max_wait: Duration, now: u64) -> Result<u64, Denied> {
        let wait = match self.ask(n, now) {
            Ok(()) => Duration::ZERO,
            Err(Denied::NotYet { retry_after }) if retry_after > max_wait => {
                return Err(Denied::TooLong { retry_after });
            }
            Err(Denied::NotYet { retry_after }) => retry_after,
            Err(never) => return Err(never),
        };
        self.take(n, now);
        Ok(now + wait.as_nanos() as u64)
    }

    /// At no time that is stale, and at most a burst.
    fn refund(&mut self, n: u64, now: u64) {
        let level = self.level_at(now) + i128::from(n.min(self.burst)) * self.period;
        self.level = level.min(i128::from(self.burst) * self.period);
        self.last = now;
    }

    /// At no time that is stale.
    fn sync_remaining(&mut self, n: u64, now: u64) {
        let most = i128::from(n) * self.period;
        if self.level_at(now) > most {
            self.level = most;
            self.last = now;
        }
    }

    pub(crate) fn available(&self, now: u64) -> u64 {
        match self.level_at(now).max(0).checked_div(self.period) {
            None => u64::MAX,
            Some(tokens) => u64::try_from(tokens).expect("at most the burst"),
        }
    }
}

/// B + floor(T * N / P).
pub(crate) fn bound(quota: Quota, window: u64) -> u128 {
    let gained = u128::from(window) * u128::from(quota.tokens());
    u128::from(quota.max_burst()) + gained.checked_div(quota.period().as_nanos()).unwrap_or(0)
}

/// Checks every window that begins and ends with an admitted event `(instant, tokens)`.
pub(crate) fn assert_never_over(quota: Quota, admitted: &[(u64, u64)]) {
    assert_never_over_within(0, quota, admitted);
}

/// As [`assert_never_over`], with windows that are so much longer.
fn assert_never_over_within(longer: u64, quota: Quota, admitted: &[(u64, u64)]) {
    let mut events = admitted.to_vec();
    events.sort_unstable();
    for (i, &(from, _)) in events.iter().enumerate() {
        let mut taken = 0;
        for &(to, n) in &events[i..] {
            taken += u128::from(n);
            let most = bound(quota, to - from + longer);
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
    /// So many tokens are to remain.
    TryAcquireAbove(Amount, u8, When),
    TryAcquireUpTo(Amount, When),
    /// For later: to wait for it at most so long, which is cut to what any word can hold.
    Reserve(Amount, u64, When),
    /// These are promises about the past, so never at a stale time.
    Refund(Amount, When),
    SyncRemaining(Amount, When),
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
    /// Nothing is older.
    least: u64,
}

impl Times {
    fn at(&mut self, when: When) -> u64 {
        let at = match when {
            When::Forward(by) => self.latest.saturating_add(by),
            When::Stale(by) => self.latest.saturating_sub(by),
            When::Retry(by) => self.retry.saturating_add_signed(by.into()),
        };
        let at = at
            .max(self.latest.saturating_sub(self.skew))
            .max(self.least);
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
    let mut run = Run {
        buckets: buckets(quota),
        exact: Exact::new(quota),
        times: Times {
            latest: start,
            retry: start,
            skew: exact_skew(quota).min(AGE),
            least: 0,
        },
        burst: quota.max_burst(),
        used: Vec::new(),
    };
    let decisions = ops.iter().filter_map(|op| run.run(*op)).collect();
    let any = |kind: fn(&Op) -> bool| ops.iter().any(kind);
    if !quota.is_unlimited() && !any(|op| matches!(op, Op::Refund(..))) {
        if any(|op| matches!(op, Op::Reserve(..))) {
            // Each instant at which one is ready is rounded up by itself.
            assert_never_over_within(1, quota, &run.used);
        } else {
            assert_never_over(quota, &run.used);
        }
    }
    decisions
}

struct Run {
    buckets: Vec<Box<dyn RateLimiter>>,
    exact: Exact,
    times: Times,
    burst: u64,
    /// When, and how many.
    used: Vec<(u64, u64)>,
}

impl Run {
    /// Has each bucket answer, and compares it with what the model did.
    fn all<T: PartialEq + Debug>(
        &self,
        expected: &T,
        answer: impl Fn(&dyn RateLimiter) -> T,
        asked: impl Debug,
    ) {
        for bucket in &self.buckets {
            let got = answer(&**bucket);
            assert_eq!(got, *expected, "{asked:?} of {bucket:?}");
        }
    }

    /// A decision, if it is one.
    fn run(&mut self, op: Op) -> Option<Result<(), Denied>> {
        let burst = self.burst;
        let (amount, when) = match op {
            Op::TryAcquire(amount, when)
            | Op::TryAcquireAbove(amount, _, when)
            | Op::TryAcquireUpTo(amount, when)
            | Op::Reserve(amount, _, when) => (amount.of(burst), self.times.at(when)),
            Op::Refund(amount, when) | Op::SyncRemaining(amount, when) => {
                self.times.at(when);
                (amount.of(burst), self.times.latest)
            }
            Op::Available(when) => (0, self.times.at(when)),
        };
        let (n, at, now) = (amount, when, Timestamp::from_nanos(when));
        let asked = (op, n, at);
        match op {
            Op::TryAcquire(..) => {
                let expected = self.exact.try_acquire(n, at);
                self.all(&expected, |bucket| bucket.try_acquire_at(n, now), asked);
                self.decided(n, at, expected)
            }
            Op::TryAcquireAbove(_, floor, _) => {
                let floor = floor.into();
                let expected = self.exact.try_acquire_above(n, floor, at);
                let answer = |bucket: &dyn RateLimiter| bucket.try_acquire_above_at(n, floor, now);
                self.all(&expected, answer, asked);
                self.decided(n, at, expected)
            }
            Op::TryAcquireUpTo(..) => {
                let expected = self.exact.try_acquire_up_to(n, at);
                let answer = |bucket: &dyn RateLimiter| bucket.try_acquire_up_to_at(n, now);
                self.all(&expected, answer, asked);
                self.used.push((at, expected));
                None
            }
            Op::Reserve(_, wait, _) => {
                let wait = Duration::from_nanos(wait.min(self.times.skew / 2));
                let expected = self.exact.reserve(n, wait, at);
                let answer = |bucket: &dyn RateLimiter| {
                    let reservation = bucket.reserve_at(n, wait, now)?;
                    Ok(reservation.ready_at().as_nanos())
                };
                self.all(&expected, answer, asked);
                let ready_at = expected.unwrap_or(at);
                self.decided(n, ready_at, expected.map(drop))
            }
            Op::Refund(..) => {
                self.exact.refund(n, at);
                // How full it looks at a time before depends on how it is kept.
                self.times.least = at;
                self.all(&(), |bucket| bucket.refund_at(n, now), asked);
                None
            }
            Op::SyncRemaining(..) => {
                self.exact.sync_remaining(n, at);
                self.all(&(), |bucket| bucket.sync_remaining_at(n, now), asked);
                None
            }
            Op::Available(..) => {
                let expected = self.exact.available(at);
                self.all(&expected, |bucket| bucket.available_at(now), asked);
                None
            }
        }
    }

    fn decided(
        &mut self,
        n: u64,
        at: u64,
        decision: Result<(), Denied>,
    ) -> Option<Result<(), Denied>> {
        match decision {
            Ok(()) => self.used.push((at, n)),
            Err(denied) => {
                let wait = denied
                    .retry_after()
                    .map_or(0, |wait| wait.as_nanos() as u64);
                self.times.retry = at + wait;
            }
        }
        Some(decision)
    }
}
