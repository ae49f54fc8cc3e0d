//! The operations that the property tests, the fuzzer and its seeds run on both buckets and on an exact
//! model.

use std::fmt::Debug;
use std::time::Duration;

use tollgate::{
    At, AtomicTokenBucket, CarryOver, Denied, LockedTokenBucket, ManualClock, Quota, QuotaError,
    QuotaLimiter, Reservation, Timestamp,
};

mod exact_bucket;

pub(crate) use exact_bucket::{Exact, gcd};

/// Quotas as text: the slowest, the fastest, some that do not divide a second, and two without a rate.
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

/// The most tokens in a window: `burst + floor(window * tokens / period)`.
pub(crate) fn bound(quota: Quota, window: u64) -> u128 {
    let gained = u128::from(window) * u128::from(quota.tokens());
    u128::from(quota.max_burst()) + gained.checked_div(quota.period().as_nanos()).unwrap_or(0)
}

/// Asserts the bound for every window that begins and ends with an admitted event `(instant, tokens)`.
pub(crate) fn assert_never_over(quota: Quota, admitted: &[(u64, u64)]) {
    assert_never_over_within(0, quota, admitted);
}

/// As [`assert_never_over`], with windows that are `longer` by so many nanoseconds.
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

/// The largest skew at which an `AtomicTokenBucket` judges a stale time as given rather than by the base:
/// an eighth of its horizon of 2^54 units.
pub(crate) fn exact_skew(quota: Quota) -> u64 {
    let period = u64::try_from(quota.period().as_nanos()).expect("64 bits of nanoseconds");
    let per_nano = quota.tokens() / gcd(quota.tokens(), period).max(1);
    ((1 << 54) / per_nano.max(1)) / 8
}

/// The instant of an operation.
#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    /// Nanoseconds after the latest time so far.
    Forward(u64),
    /// Nanoseconds before the latest time.
    Stale(u64),
    /// The instant that the last denial gave, plus or minus some nanoseconds.
    Retry(i8),
}

/// A number of tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Amount {
    Tokens(u64),
    /// The burst minus this number, which may be negative.
    OfBurst(i8),
    /// This many 256ths of the burst.
    Part(u8),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    TryAcquire(Amount, When),
    /// With a floor of so many tokens.
    TryAcquireAbove(Amount, u8, When),
    TryAcquireUpTo(Amount, When),
    /// With a longest wait in nanoseconds, clamped to what every word can hold.
    Reserve(Amount, u64, When),
    /// Cancels the last reservation if nothing has changed since; commits it otherwise.
    Cancel(When),
    /// A statement about the past, so never at a stale time, like the next three.
    Refund(Amount, When),
    SyncRemaining(Amount, When),
    /// For so many nanoseconds, clamped like the wait of a reservation.
    Pause(u64, When),
    /// To one of [`RATES`], with a burst.
    SetQuota(usize, u64, CarryOver, When),
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

/// The virtual time of a run.
#[derive(Debug)]
struct Times {
    latest: u64,
    retry: u64,
    skew: u64,
    /// No operation is older.
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

    fn no_older(&mut self, when: When) -> u64 {
        self.at(when);
        self.latest
    }
}

/// The buckets that accept this quota: the locked one, and the atomic one unless its word is too small.
pub(crate) fn buckets(quota: Quota) -> Vec<Box<dyn QuotaLimiter>> {
    let locked = LockedTokenBucket::with_clock(quota, ManualClock::new()).expect("a burst");
    let mut buckets: Vec<Box<dyn QuotaLimiter>> = vec![Box::new(locked)];
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
/// Returns the decisions.
///
/// # Panics
/// At the first difference.
pub(crate) fn run(quota: Quota, start: u64, ops: &[Op]) -> Vec<Result<(), Denied>> {
    let buckets = buckets(quota);
    let mut run = Run {
        buckets: buckets.iter().map(|bucket| &**bucket).collect(),
        exact: Exact::new(quota),
        times: Times {
            latest: start,
            retry: start,
            skew: exact_skew(quota).min(AGE),
            least: 0,
        },
        used: Vec::new(),
        open: Vec::new(),
    };
    let decisions = ops.iter().filter_map(|op| run.run(*op)).collect();
    let any = |kind: fn(&Op) -> bool| ops.iter().any(kind);
    if !quota.is_unlimited()
        && !any(|op| matches!(op, Op::Refund(..) | Op::Cancel(_) | Op::SetQuota(..)))
    {
        if any(|op| matches!(op, Op::Reserve(..))) {
            // The instant of each reservation is rounded up by itself.
            assert_never_over_within(1, quota, &run.used);
        } else {
            assert_never_over(quota, &run.used);
        }
    }
    decisions
}

struct Run<'a> {
    buckets: Vec<&'a dyn QuotaLimiter>,
    exact: Exact,
    times: Times,
    /// The instants and the tokens of the takes.
    used: Vec<(u64, u64)>,
    open: Vec<Reserved<'a>>,
}

/// A reservation in each bucket.
struct Reserved<'a> {
    n: u64,
    /// The versions of the model before and after.
    versions: (u64, u64),
    of: Vec<Reservation<'a>>,
}

impl<'a> Run<'a> {
    /// Compares the answer of each bucket with that of the model.
    fn all<T: PartialEq + Debug>(
        &self,
        expected: &T,
        answer: impl Fn(&'a dyn QuotaLimiter) -> T,
        asked: impl Debug,
    ) {
        for bucket in &self.buckets {
            let got = answer(*bucket);
            assert_eq!(got, *expected, "{asked:?} of {bucket:?}");
        }
    }

    /// Runs one operation; returns its decision, if it makes one.
    fn run(&mut self, op: Op) -> Option<Result<(), Denied>> {
        let burst = self.exact.burst;
        let (n, at) = match op {
            Op::TryAcquire(amount, when)
            | Op::TryAcquireAbove(amount, _, when)
            | Op::TryAcquireUpTo(amount, when)
            | Op::Reserve(amount, _, when) => (amount.of(burst), self.times.at(when)),
            Op::Refund(amount, when) | Op::SyncRemaining(amount, when) => {
                (amount.of(burst), self.times.no_older(when))
            }
            Op::Cancel(when) | Op::Pause(_, when) | Op::SetQuota(.., when) => {
                (0, self.times.no_older(when))
            }
            Op::Available(when) => (0, self.times.at(when)),
        };
        let now = Timestamp::from_nanos(at);
        let asked = (op, n, at);
        match op {
            Op::TryAcquire(..) => {
                let expected = self.exact.try_acquire(n, at);
                self.all(
                    &expected,
                    |bucket| At::new(bucket, now).try_acquire(n),
                    asked,
                );
                return self.decided(n, at, expected);
            }
            Op::TryAcquireAbove(_, floor, _) => {
                let floor = floor.into();
                let expected = self.exact.try_acquire_above(n, floor, at);
                let answer =
                    |bucket: &dyn QuotaLimiter| At::new(bucket, now).try_acquire_above(n, floor);
                self.all(&expected, answer, asked);
                return self.decided(n, at, expected);
            }
            Op::Reserve(_, wait, _) => return self.reserve(n, wait, at, asked),
            Op::TryAcquireUpTo(..) => {
                let expected = self.exact.try_acquire_up_to(n, at);
                let answer = |bucket: &dyn QuotaLimiter| At::new(bucket, now).try_acquire_up_to(n);
                self.all(&expected, answer, asked);
                self.used.push((at, expected));
            }
            Op::Cancel(_) => self.cancel(at),
            Op::Refund(..) => {
                self.exact.refund(n, at);
                // The fill at an earlier time depends on the representation from now on.
                self.times.least = at;
                self.all(&(), |bucket| At::new(bucket, now).refund(n), asked);
            }
            Op::SyncRemaining(..) => {
                self.exact.sync_remaining(n, at);
                let sync = |bucket: &dyn QuotaLimiter| match n {
                    0 => At::new(bucket, now).drain(),
                    _ => At::new(bucket, now).sync_remaining(n),
                };
                self.all(&(), sync, asked);
            }
            Op::Pause(nanos, _) => {
                let until = at + nanos.min(self.times.skew / 2);
                let expected = self.exact.pause_until(until, at);
                let until = Timestamp::from_nanos(until);
                self.all(
                    &expected,
                    |bucket| At::new(bucket, now).pause_until(until),
                    asked,
                );
            }
            Op::SetQuota(rate, burst, rule, _) => {
                let rate: Quota = RATES[rate % RATES.len()].parse().expect("a rate");
                self.set_quota(rate.burst(burst).expect("a burst"), rule, at);
            }
            Op::Available(..) => {
                let expected = self.exact.available(at);
                self.all(&expected, |bucket| At::new(bucket, now).available(), asked);
            }
        }
        None
    }

    fn reserve(
        &mut self,
        n: u64,
        wait: u64,
        at: u64,
        asked: impl Debug,
    ) -> Option<Result<(), Denied>> {
        let wait = Duration::from_nanos(wait.min(self.times.skew / 2));
        let before = self.exact.version;
        let expected = self.exact.reserve(n, wait, at);
        let mut reserved = Reserved {
            n,
            versions: (before, self.exact.version),
            of: Vec::new(),
        };
        for &bucket in &self.buckets {
            let got = At::new(bucket, Timestamp::from_nanos(at)).reserve(n, wait);
            let ready_at = got.as_ref().map(|got| got.ready_at().as_nanos());
            let ready_at = ready_at.map_err(|denied| *denied);
            assert_eq!(ready_at, expected, "{asked:?} of {bucket:?}");
            reserved.of.extend(got);
        }
        if expected.is_ok() {
            self.open.push(reserved);
        }
        self.decided(n, expected.unwrap_or(at), expected.map(drop))
    }

    /// Cancels the last reservation if it was also the last change.
    fn cancel(&mut self, at: u64) {
        let Some(last) = self.open.pop() else { return };
        if last.versions.1 != self.exact.version {
            return last.of.into_iter().for_each(Reservation::commit);
        }
        self.exact.refund(last.n, at);
        self.exact.version = last.versions.0;
        self.times.least = at;
        for reservation in last.of {
            reservation.cancel_at(Timestamp::from_nanos(at));
        }
    }

    fn set_quota(&mut self, quota: Quota, rule: CarryOver, at: u64) {
        let Some(new) = self.exact.set_quota(quota, rule, at) else {
            return;
        };
        let skew = exact_skew(quota);
        self.buckets.retain(|bucket| {
            match At::new(bucket, Timestamp::from_nanos(at)).set_quota(quota, rule) {
                Ok(()) => return true,
                // A bucket whose word is too small leaves the run.
                Err(QuotaError::BeyondWord { .. }) => assert_eq!(buckets(quota).len(), 1),
                Err(error) => panic!("{quota}: {error}"),
            }
            false
        });
        self.exact = new;
        self.times.least = at;
        self.times.skew = self.times.skew.min(skew);
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
