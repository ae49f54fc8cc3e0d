use proptest::prelude::*;

use super::*;
use crate::limiter::core::denied::Denied;
use crate::limiter::core::tokens::dated::Composed;
use crate::limiter::core::tokens::dated::MAX_AHEAD;

fn at(nanos: u64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

fn refill(tokens: u64, period: u64, burst: u64, anchor: u64) -> Refill {
    Refill {
        tokens,
        period: Duration::from_nanos(period),
        burst,
        anchor: at(anchor),
    }
}

fn interval(tokens: u64, period: u64, burst: u64, anchor: u64) -> IntervalBucket {
    IntervalBucket::new(refill(tokens, period, burst, anchor)).unwrap()
}

fn not_yet(nanos: u64) -> Result<(), Denied> {
    let retry_after = Duration::from_nanos(nanos);
    Err(Denied::NotYet { retry_after })
}

const WAIT: Duration = Duration::from_nanos(1_000);

#[test]
fn tokens_accrue_at_boundaries_only() {
    let mut interval = interval(2, 10, 5, 3);
    assert_eq!(interval.take(5, 0, at(4)), Ok(()));
    assert_eq!(interval.take(1, 0, at(4)), not_yet(9));
    assert_eq!(interval.available(at(12)), 0);
    assert_eq!(interval.available(at(13)), 2);
    assert_eq!(interval.available(at(32)), 4);
    assert_eq!(interval.take(4, 0, at(13)), not_yet(10));
    assert_eq!(interval.take(5, 0, at(13)), not_yet(20));
    assert_eq!(interval.full_at(at(13)), Some(at(33)));
    assert_eq!(interval.available(at(1_000)), 5);
}

#[test]
fn boundaries_extend_before_the_anchor() {
    let mut interval = interval(1, 10, 1, 1_003);
    assert_eq!(interval.take(1, 0, at(0)), Ok(()));
    assert_eq!(interval.take(1, 0, at(1)), not_yet(2));
    assert_eq!(interval.take(1, 0, at(3)), Ok(()));
    assert_eq!(interval.take(1, 0, at(3)), not_yet(10));
    let late = IntervalBucket::new(refill(1, 10, 1, u64::MAX)).unwrap();
    assert_eq!(late.available(Timestamp::MAX), 1);
}

#[test]
fn a_refill_out_of_bounds_is_refused() {
    let error = |refill| IntervalBucket::new(refill).unwrap_err();
    assert_eq!(error(refill(1, 0, 1, 0)), QuotaError::ZeroPeriod);
    assert_eq!(error(refill(1, 1, 0, 0)), QuotaError::ZeroBurst);
    let most = Quota::MAX_TOKENS;
    assert_eq!(error(refill(1, 1, most + 1, 0)), QuotaError::TooManyTokens);
    assert_eq!(error(refill(most + 1, 1, 1, 0)), QuotaError::TooManyTokens);
    assert_eq!(error(refill(1, u64::MAX, 1, 0)), QuotaError::PeriodTooLong);
    let longest = u64::try_from(Quota::MAX_PERIOD.as_nanos()).unwrap();
    assert!(IntervalBucket::new(refill(most, longest, most, 0)).is_ok());
    let mut interval = interval(1, 1, 1, 0);
    let refused = interval.set_refill(refill(1, 1, 0, 0), History::Forgotten, at(0));
    assert_eq!(refused, Err(QuotaError::ZeroBurst));
    assert_eq!(interval.available(at(0)), 1);
}

#[test]
fn zero_tokens_always_pass_and_more_than_the_burst_never() {
    let mut interval = interval(1, 10, 2, 0);
    assert_eq!(interval.take(2, 0, at(0)), Ok(()));
    assert_eq!(interval.take(0, u64::MAX, at(0)), Ok(()));
    assert_eq!(
        interval.wait_behind([], 0, u64::MAX, at(0)),
        Ok(Duration::ZERO)
    );
    let burst = |burst| Err(Denied::ExceedsBurst { burst });
    assert_eq!(interval.take(3, 0, at(0)), burst(2));
    assert_eq!(interval.take(2, 1, at(0)), burst(1));
    assert_eq!(interval.take(1, 3, at(0)), burst(0));
    assert_eq!(interval.wait_behind([], 1, 2, at(0)).err(), burst(0).err());
}

#[test]
fn a_rate_of_zero_admits_the_burst_and_nothing_after() {
    let mut interval = interval(0, 10, 2, 0);
    assert_eq!(interval.take(2, 0, at(0)), Ok(()));
    assert_eq!(interval.take(1, 0, at(50)), Err(Denied::Exhausted));
    assert_eq!(
        interval.wait_behind([], 2, 0, at(0)),
        Err(Denied::Exhausted)
    );
    assert_eq!(interval.full_at(at(0)), None);
}

#[test]
fn a_stale_now_counts_as_the_latest() {
    let mut interval = interval(1, 10, 3, 0);
    assert_eq!(interval.take(3, 0, at(25)), Ok(()));
    assert_eq!(interval.take(1, 0, at(5)), not_yet(25));
    interval.refund(1, at(5));
    assert_eq!(interval.take(1, 0, at(5)), Ok(()));
    assert_eq!(interval.available(at(30)), 1);
}

#[test]
fn a_denial_writes_nothing() {
    let mut interval = interval(1, 10, 1, 0);
    assert_eq!(interval.take(1, 0, at(0)), Ok(()));
    assert_eq!(interval.take(1, 0, at(9)), not_yet(1));
    assert!(interval.reserve(1, Duration::ZERO, at(9)).is_err());
    assert_eq!(interval.latest, at(0));
}

#[test]
fn a_take_leaves_what_reservations_ahead_need() {
    let mut interval = interval(3, 10, 10, 0);
    assert_eq!(interval.take(10, 0, at(0)), Ok(()));
    assert_eq!(interval.reserve(5, WAIT, at(0)), Ok(at(20)));
    // Of the three at 10, two are needed at 20.
    assert_eq!(interval.take(2, 0, at(0)), not_yet(30));
    assert_eq!(interval.available(at(10)), 1);
    assert_eq!(interval.take(1, 0, at(10)), Ok(()));
    assert_eq!(interval.available(at(20)), 0);
    assert_eq!(interval.reserve(3, WAIT, at(20)), Ok(at(30)));
}

#[test]
fn a_reservation_above_a_smaller_burst_needs_a_full_bucket_at_most() {
    let mut interval = interval(1, 10, 6, 0);
    assert_eq!(interval.take(6, 0, at(0)), Ok(()));
    assert_eq!(interval.reserve(6, WAIT, at(0)), Ok(at(60)));
    let smaller = refill(1, 10, 3, 0);
    interval
        .set_refill(smaller, History::Forgotten, at(20))
        .unwrap();
    // Whatever callers take until 30, the bucket is full at 60.
    assert_eq!(interval.available(at(30)), 3);
    assert_eq!(interval.available(at(40)), 2);
    assert_eq!(interval.available(at(60)), 0);
}

#[test]
fn a_cancellation_ahead_undoes_the_reservation() {
    let mut interval = interval(1, 10, 2, 0);
    assert_eq!(interval.take(2, 0, at(0)), Ok(()));
    let first = interval.reserve(2, WAIT, at(0)).unwrap();
    let second = interval.reserve(2, WAIT, at(0)).unwrap();
    assert_eq!([first, second], [at(20), at(40)]);
    interval.cancel(first, 2);
    // Two more at 40 would be four there, where there is room for three.
    assert_eq!(interval.reserve(2, WAIT, at(0)), Ok(at(20)));
}

#[test]
fn tokens_that_a_full_bucket_would_have_lost_do_not_come_back() {
    for (cancelled_at, left) in [(10, 1), (20, 2), (30, 2)] {
        let mut interval = interval(1, 10, 3, 0);
        assert_eq!(interval.take(1, 0, at(0)), Ok(()));
        let ready_at = interval.reserve(1, WAIT, at(0)).unwrap();
        assert_eq!(interval.take(1, 0, at(0)), Ok(()));
        assert_eq!(interval.take(1, 0, at(cancelled_at)), Ok(()));
        interval.cancel(ready_at, 1);
        interval.cancel(ready_at, 1);
        assert_eq!(interval.available(at(cancelled_at)), left);
    }
}

#[test]
fn a_committed_reservation_leaves_more_to_other_cancellations() {
    for committed in [false, true] {
        let mut interval = interval(1, 10, 4, 0);
        let other = interval.reserve(2, WAIT, at(0)).unwrap();
        let ready_at = interval.reserve(2, WAIT, at(5)).unwrap();
        if committed {
            interval.commit(ready_at, 2);
        }
        assert_eq!(interval.take(1, 0, at(10)), Ok(()));
        assert_eq!(interval.take(2, 0, at(30)), Ok(()));
        // Two were there at 30, so two of the four could not have been kept.
        interval.cancel(other, 2);
        assert_eq!(interval.available(at(30)), if committed { 2 } else { 0 });
    }
}

#[test]
fn refunds_pay_debt_and_stop_at_the_burst() {
    let mut interval = interval(2, 10, 5, 0);
    interval.charge(9, at(0));
    assert_eq!(interval.take(1, 0, at(0)), not_yet(30));
    interval.refund(3, at(0));
    assert_eq!(interval.take(1, 0, at(0)), not_yet(10));
    interval.refund(u64::MAX, at(0));
    assert_eq!(interval.available(at(0)), 5);
}

#[test]
fn debt_saturates_at_its_bound() {
    let mut interval = interval(1, 1, 1, 0);
    interval.charge(u64::MAX, at(0));
    interval.charge(u64::MAX, at(0));
    assert_eq!(interval.level, -i128::from(MAX_DEBT_TOKENS));
    assert_eq!(interval.take(1, 0, at(0)), Err(Denied::Exhausted));
}

#[test]
fn reservations_ahead_are_bounded() {
    let mut interval = interval(1, 1, 1, 0);
    let most = u64::try_from(MAX_AHEAD).unwrap();
    for ready_at in 1..=most {
        interval.reserve_at(1, at(ready_at), at(0)).unwrap();
    }
    let retry_after = Duration::from_nanos(most + 1);
    let too_long = Err(Denied::TooLong { retry_after });
    assert_eq!(interval.reserve_at(1, at(most + 1), at(0)), too_long);
    assert_eq!(interval.reserve_at(1, at(most), at(0)), Ok(()));
    assert_eq!(interval.reserve_at(1, at(most + 1), at(1)), Ok(()));
    for ready_at in 1..3 * most {
        interval.reserve_at(1, at(0), at(ready_at)).unwrap();
    }
    assert!(interval.ahead.is_empty());
    assert_eq!(interval.debited.reserved.len(), MAX_AHEAD);
}

#[test]
fn tokens_accrue_during_a_pause() {
    let mut interval = interval(1, 10, 2, 0);
    assert_eq!(interval.take(2, 0, at(0)), Ok(()));
    interval.pause_until(at(27));
    interval.pause_until(at(3));
    assert_eq!(interval.take(1, 0, at(2)), not_yet(25));
    assert_eq!(interval.available(at(26)), 0);
    assert_eq!(interval.take_up_to(5, at(26)), 0);
    assert_eq!(interval.take_up_to(5, at(27)), 2);
}

#[test]
fn tighten_never_adds_a_token() {
    let mut interval = interval(1, 10, 5, 0);
    interval.tighten(2, at(0));
    interval.tighten(4, at(0));
    assert_eq!(interval.available(at(9)), 2);
    assert_eq!(interval.available(at(10)), 3);
}

#[test]
fn a_wait_behind_others_counts_what_a_full_bucket_loses() {
    let mut interval = interval(7, 10, 10, 0);
    assert_eq!(interval.take(4, 0, at(0)), Ok(()));
    // 6 are there. The first waiter waits for 8, and the bucket cannot hold 13.
    let behind = interval.wait_behind([(8, 0), (11, 0)], 5, 0, at(0));
    assert_eq!(behind, Ok(Duration::from_nanos(20)));
}

#[test]
fn a_refill_that_changes_back_and_forth_mints_nothing() {
    let mut interval = interval(1, 10, 10, 0);
    assert_eq!(interval.take(10, 0, at(5)), Ok(()));
    for _ in 0..3 {
        interval
            .set_refill(refill(5, 2, 3, 1), History::Kept, at(5))
            .unwrap();
        interval
            .set_refill(refill(1, 10, 10, 0), History::Kept, at(5))
            .unwrap();
    }
    assert_eq!(interval.available(at(5)), 0);
    assert_eq!(interval.available(at(10)), 1);
    interval
        .set_refill(refill(1, 10, 4, 0), History::Forgotten, at(10))
        .unwrap();
    interval
        .set_refill(refill(1, 10, 10, 0), History::Kept, at(10))
        .unwrap();
    assert_eq!(interval.available(at(10)), 4);
}

/// A model that advances by one nanosecond at a time, and tries each number of tokens.
#[derive(Clone, Debug)]
struct Model {
    tokens: i64,
    period: u64,
    burst: i64,
    anchor: u64,
    level: i64,
    latest: u64,
    paused: u64,
    /// Instant, tokens, and those of them that are open.
    ahead: Vec<(u64, i64, i64)>,
    debited: Vec<(u64, i64)>,
}

/// Later than every instant of a run.
const END: u64 = 3_000;

impl Model {
    fn new(refill: Refill) -> Self {
        let mut model = Self {
            tokens: 0,
            period: 1,
            burst: 0,
            anchor: 0,
            level: i64::try_from(refill.burst).unwrap(),
            latest: 0,
            paused: 0,
            ahead: Vec::new(),
            debited: Vec::new(),
        };
        model.refill_by(refill);
        model
    }

    fn refill_by(&mut self, refill: Refill) {
        self.tokens = i64::try_from(refill.tokens).unwrap();
        self.burst = i64::try_from(refill.burst).unwrap();
        self.period = u64::try_from(refill.period.as_nanos()).unwrap();
        self.anchor = refill.anchor.as_nanos();
    }

    fn step(&mut self) {
        self.latest += 1;
        if self.latest % self.period == self.anchor % self.period {
            self.level = self.burst.min(self.level + self.tokens);
        }
        self.lose();
        if self
            .ahead
            .first()
            .is_some_and(|first| first.0 == self.latest)
        {
            let (at, tokens, open) = self.ahead.remove(0);
            self.level -= tokens;
            self.debited.push((at, open));
        }
    }

    fn lose(&mut self) {
        let open = self.debited.iter().map(|ready| ready.1).sum::<i64>();
        for _ in self.burst - self.level..open {
            let oldest = self.debited.iter_mut().find(|ready| ready.1 > 0);
            oldest.unwrap().1 -= 1;
        }
    }

    fn to(&self, at: u64) -> Self {
        let mut model = self.clone();
        while model.latest < at {
            model.step();
        }
        model
    }

    fn settle(&mut self, now: u64) {
        while self.latest < now {
            self.step();
        }
    }

    /// Returns how many tokens each reservation ahead lacks.
    fn shortages(&self, taken: i64) -> Vec<i64> {
        let mut model = self.clone();
        model.level -= taken;
        let mut shortages = Vec::new();
        while let Some((at, ..)) = model.ahead.first().copied() {
            model.settle(at);
            shortages.push(model.level.min(0));
        }
        shortages
    }

    /// Returns how many tokens can be taken now so that no reservation lacks more than it does anyway.
    fn room(&self) -> i64 {
        let without = self.shortages(0);
        let most = (0..=self.level.max(0)).rev();
        most.into_iter()
            .find(|taken| self.shortages(*taken) == without)
            .unwrap()
    }

    fn fit(&self, wanted: i64, from: u64) -> Option<u64> {
        let mut model = self.to(from.max(self.paused));
        while model.latest < END {
            if model.room() >= wanted {
                return Some(model.latest);
            }
            if model.tokens == 0 && model.ahead.is_empty() {
                return None;
            }
            model.step();
        }
        unreachable!("the run is too long")
    }

    fn reserve(&mut self, n: i64, at: u64) {
        if at == self.latest {
            self.level -= n;
            self.debited.push((at, n));
        } else {
            match self.ahead.iter_mut().find(|ahead| ahead.0 == at) {
                Some(ahead) => (ahead.1, ahead.2) = (ahead.1 + n, ahead.2 + n),
                None => self.ahead.push((at, n, n)),
            }
            self.ahead.sort_unstable();
        }
    }

    fn close(&mut self, at: u64, n: i64, cancel: bool) {
        for ahead in self.ahead.iter_mut().filter(|ahead| ahead.0 == at) {
            let closed = n.min(ahead.2);
            ahead.2 -= closed;
            ahead.1 -= if cancel { closed } else { 0 };
        }
        self.ahead.retain(|ahead| ahead.1 > 0);
        for _ in 0..n {
            let ready = self
                .debited
                .iter_mut()
                .find(|ready| ready.0 == at && ready.1 > 0);
            if let Some(ready) = ready {
                ready.1 -= 1;
                self.level += i64::from(cancel);
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Take(u64, u64),
    UpTo(u64),
    WaitBehind(Vec<(u64, u64)>, u64, u64),
    Reserve(u64, u64),
    Close(usize, bool),
    Refund(u64),
    Charge(u64),
    Tighten(u64),
    Pause(u64),
    Set(Refill, bool),
}

fn any_refill() -> impl Strategy<Value = Refill> {
    (
        prop_oneof![9 => 1..9_u64, 1 => Just(0)],
        1..12_u64,
        1..8_u64,
        0..99_u64,
    )
        .prop_map(|(tokens, period, burst, anchor)| refill(tokens, period, burst, anchor))
}

fn op() -> impl Strategy<Value = Op> {
    let waiters = || prop::collection::vec((0..7_u64, 0..4_u64), 0..5);
    prop_oneof![
        8 => (0..7_u64, prop_oneof![3 => Just(0), 1 => 0..4_u64]).prop_map(|(n, f)| Op::Take(n, f)),
        2 => (0..7_u64).prop_map(Op::UpTo),
        1 => (waiters(), 1..7_u64, 0..4_u64).prop_map(|(a, n, f)| Op::WaitBehind(a, n, f)),
        4 => (0..7_u64, 0..60_u64).prop_map(|(n, w)| Op::Reserve(n, w)),
        2 => (any::<usize>(), prop::bool::weighted(0.8)).prop_map(|(w, c)| Op::Close(w, c)),
        1 => (0..5_u64).prop_map(Op::Refund),
        1 => (0..12_u64).prop_map(Op::Charge),
        1 => (0..5_u64).prop_map(Op::Tighten),
        1 => (0..20_u64).prop_map(Op::Pause),
        2 => (any_refill(), any::<bool>()).prop_map(|(r, k)| Op::Set(r, k)),
    ]
}

fn ops() -> impl Strategy<Value = Vec<(Op, u64, u64)>> {
    let stale = prop_oneof![3 => Just(0), 1 => 0..30_u64];
    prop::collection::vec((op(), 0..6_u64, stale), 1..40)
}

/// A bucket, and its model.
struct Both {
    interval: IntervalBucket,
    model: Model,
    reserved: Vec<(Timestamp, u64)>,
}

impl Both {
    fn new(refill: Refill) -> Self {
        Self {
            interval: IntervalBucket::new(refill).unwrap(),
            model: Model::new(refill),
            reserved: Vec::new(),
        }
    }

    /// Returns the wait until the model admits; zero if `now` counts as that instant.
    fn wait(&self, fit: Option<u64>, now: u64) -> Result<Duration, Denied> {
        let fit = fit.ok_or(Denied::Exhausted)?;
        let start = now.max(self.model.latest);
        let nanos = if fit == start { 0 } else { fit - now };
        Ok(Duration::from_nanos(nanos))
    }

    fn check(&mut self, op: Op, now: u64) -> Result<(), TestCaseError> {
        let start = now.max(self.model.latest);
        let burst = u64::try_from(self.model.burst).unwrap();
        let (time, signed) = (at(now), |n: u64| i64::try_from(n).unwrap());
        match op {
            Op::Take(n, floor) => {
                let taken = self.interval.take(n, floor, time);
                if n == 0 {
                    prop_assert_eq!(taken, Ok(()));
                } else if n + floor > burst {
                    let burst = burst.saturating_sub(floor);
                    prop_assert_eq!(taken, Err(Denied::ExceedsBurst { burst }));
                } else {
                    match self.model.fit(signed(n + floor), start) {
                        None => prop_assert_eq!(taken, Err(Denied::Exhausted)),
                        Some(fit) if fit == start => {
                            prop_assert_eq!(taken, Ok(()));
                            self.model.settle(now);
                            self.model.level -= signed(n);
                        }
                        Some(fit) => {
                            prop_assert_eq!(taken, not_yet(fit - now));
                            let mut later = self.interval.clone();
                            prop_assert!(later.take(n, floor, at(fit - 1)).is_err());
                            prop_assert_eq!(later.take(n, floor, at(fit)), Ok(()));
                        }
                    }
                }
            }
            Op::UpTo(n) => {
                let there = if start < self.model.paused {
                    0
                } else {
                    self.model.to(start).room().min(signed(n))
                };
                let taken = self.interval.take_up_to(n, time);
                prop_assert_eq!(signed(taken), there);
                if there > 0 {
                    self.model.settle(now);
                    self.model.level -= there;
                }
            }
            Op::WaitBehind(ahead, n, floor) => {
                let wait = self.interval.wait_behind(ahead.clone(), n, floor, time);
                if n + floor > burst {
                    let burst = burst.saturating_sub(floor);
                    prop_assert_eq!(wait, Err(Denied::ExceedsBurst { burst }));
                } else {
                    let (mut model, mut from) = (self.model.clone(), Some(start));
                    for (n, floor) in ahead {
                        if n > 0 && n + floor <= burst {
                            from = from.and_then(|from| model.fit(signed(n + floor), from));
                            model.settle(from.unwrap_or(0));
                            model.level -= signed(n);
                        }
                    }
                    let fit = from.and_then(|from| model.fit(signed(n + floor), from));
                    prop_assert_eq!(wait, self.wait(fit, now));
                }
            }
            Op::Reserve(n, max_wait) => {
                let max_wait = Duration::from_nanos(max_wait);
                let reserved = self.interval.reserve(n, max_wait, time);
                if n == 0 {
                    prop_assert_eq!(reserved, Ok(time));
                } else if n > burst {
                    prop_assert_eq!(reserved, Err(Denied::ExceedsBurst { burst }));
                } else {
                    let fit = self.model.fit(signed(n), start);
                    match self.wait(fit, now) {
                        Err(denied) => prop_assert_eq!(reserved, Err(denied)),
                        Ok(retry_after) if retry_after > max_wait => {
                            prop_assert_eq!(reserved, Err(Denied::TooLong { retry_after }));
                        }
                        Ok(_) => {
                            let ready_at = fit.unwrap();
                            prop_assert_eq!(reserved, Ok(at(ready_at)));
                            self.model.settle(now);
                            self.model.reserve(signed(n), ready_at);
                            self.reserved.push((at(ready_at), n));
                        }
                    }
                }
            }
            Op::Close(which, cancel) => {
                if !self.reserved.is_empty() {
                    let which = which % self.reserved.len();
                    let (ready_at, n) = self.reserved.swap_remove(which);
                    if cancel {
                        self.interval.cancel(ready_at, n);
                    } else {
                        self.interval.commit(ready_at, n);
                    }
                    self.model.close(ready_at.as_nanos(), signed(n), cancel);
                }
            }
            Op::Refund(n) => {
                self.interval.refund(n, time);
                self.model.settle(now);
                self.model.level = self.model.burst.min(self.model.level + signed(n));
                self.model.lose();
            }
            Op::Charge(n) => {
                self.interval.charge(n, time);
                if n > 0 {
                    self.model.settle(now);
                    self.model.level -= signed(n);
                }
            }
            Op::Tighten(keep) => {
                self.interval.tighten(keep, time);
                let excess = self.model.to(start).room() - signed(keep);
                if excess > 0 {
                    self.model.settle(now);
                    self.model.level -= excess;
                }
            }
            Op::Pause(ahead) => {
                self.interval.pause_until(at(now + ahead));
                self.model.paused = self.model.paused.max(now + ahead);
            }
            Op::Set(refill, kept) => {
                let history = if kept {
                    History::Kept
                } else {
                    History::Forgotten
                };
                self.interval.set_refill(refill, history, time).unwrap();
                self.model.settle(now);
                self.model.refill_by(refill);
                if kept {
                    self.model.level = self.model.level.min(self.model.burst);
                } else {
                    self.model.level = self.model.burst;
                    self.model.paused = 0;
                }
                self.model.lose();
            }
        }
        self.compare(now)
    }

    fn compare(&self, now: u64) -> Result<(), TestCaseError> {
        let start = now.max(self.model.latest);
        let room = if start < self.model.paused {
            0
        } else {
            self.model.to(start).room()
        };
        prop_assert_eq!(i128::from(self.interval.available(at(now))), room.into());
        prop_assert_eq!(self.interval.level, self.model.level.into());
        let full = self.model.fit(self.model.burst, start);
        prop_assert_eq!(self.interval.full_at(at(now)), full.map(at));
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Each step advances the time, and some come with a stale `now`.
    #[test]
    fn an_interval_bucket_decides_as_its_model(refill in any_refill(), ops in ops()) {
        let mut both = Both::new(refill);
        let mut time = 0_u64;
        for (op, step, stale) in ops {
            time += step;
            both.check(op, time.saturating_sub(stale))?;
        }
    }

    #[test]
    fn no_window_admits_more_than_the_burst_and_its_boundaries(refill in any_refill(), ops in ops()) {
        let mut interval = IntervalBucket::new(refill).unwrap();
        let (mut time, mut all) = (0_u64, Vec::new());
        let mut reserved = Vec::new();
        for (op, step, stale) in ops {
            time += step;
            let now = at(time.saturating_sub(stale));
            match op {
                Op::Take(n, floor) => {
                    let taken = interval.take(n, floor, now).map_or(0, |()| n);
                    all.push((interval.latest, taken));
                }
                Op::UpTo(n) => {
                    let taken = interval.take_up_to(n, now);
                    all.push((interval.latest, taken));
                }
                Op::Reserve(n, max_wait) => {
                    let ready_at = interval.reserve(n, Duration::from_nanos(max_wait), now);
                    if let Ok(ready_at) = ready_at && n > 0 {
                        reserved.push((ready_at, n));
                    }
                }
                Op::Close(_, _) if reserved.is_empty() => {}
                Op::Close(which, true) => {
                    let (ready_at, n) = reserved.swap_remove(which % reserved.len());
                    interval.cancel(ready_at, n);
                }
                Op::Close(which, false) => {
                    let (ready_at, n) = reserved.swap_remove(which % reserved.len());
                    interval.commit(ready_at, n);
                    all.push((ready_at, n));
                }
                Op::Charge(n) => interval.charge(n, now),
                Op::Pause(ahead) => interval.pause_until(at(time + ahead)),
                _ => {}
            }
        }
        all.extend(reserved);
        for start in 0..time + 100 {
            for end in start..time + 100 {
                let within = |(when, _): &&(Timestamp, u64)| at(start) <= *when && *when <= at(end);
                let admitted: u64 = all.iter().filter(within).map(|(_, n)| n).sum();
                let gained = interval.boundary(at(end)) - interval.boundary(at(start));
                let most = interval.burst + interval.tokens * gained;
                prop_assert!(i128::from(admitted) <= most, "{} from {} to {}", admitted, start, end);
            }
        }
    }

    /// Cancels one reservation at any later time: nothing is left of it.
    #[test]
    fn a_cancelled_reservation_leaves_no_trace(
        refill in any_refill(),
        before in ops(),
        n in 1..7_u64,
        after in ops(),
    ) {
        let mut interval = IntervalBucket::new(refill).unwrap();
        let mut time = 0_u64;
        for (op, step, _) in before {
            time += step;
            if let Op::UpTo(n) | Op::Take(n, _) = op {
                interval.take_up_to(n, at(time));
            }
        }
        let mut without = interval.clone();
        if let Ok(ready_at) = interval.reserve(n, WAIT, at(time)) {
            for (op, step, _) in after {
                time += step;
                if let Op::UpTo(n) | Op::Take(n, _) = op {
                    let taken = interval.take_up_to(n, at(time));
                    prop_assert_eq!(without.take(taken, 0, at(time)), Ok(()));
                }
            }
            interval.cancel(ready_at, n);
            for later in 0..30 {
                let now = at(time + later);
                prop_assert_eq!(interval.available(now), without.available(now));
            }
        }
    }

    #[test]
    fn no_value_overflows(
        tokens in prop_oneof![0..4_u64, Just(Quota::MAX_TOKENS)],
        period in prop_oneof![1..4_u64, Just(u64::MAX / 6)],
        burst in prop_oneof![1..4_u64, Just(Quota::MAX_TOKENS)],
        anchor in any_u64(),
        ops in prop::collection::vec((0..10_usize, any_u64(), any_u64(), any_u64()), 1..20),
    ) {
        let mut interval = interval(tokens, period, burst, anchor);
        for (op, n, other, now) in ops {
            let (now, wait) = (at(now), Duration::from_nanos(other));
            match op {
                0 => drop(interval.take(n, other, now)),
                1 => prop_assert!(interval.take_up_to(n, now) <= n),
                2 => drop(interval.reserve(n, wait, now)),
                3 => interval.cancel(now, n),
                4 => interval.refund(n, now),
                5 => interval.charge(n, now),
                6 => interval.pause_until(at(n)),
                7 => interval.tighten(n, now),
                8 => interval.commit(now, n),
                _ => drop(interval.set_refill(
                    refill(n.min(Quota::MAX_TOKENS), period, other.clamp(1, Quota::MAX_TOKENS), n),
                    History::Kept,
                    now,
                )),
            }
            let _ = interval.wait_behind([(n, other), (1, 0)], 1, 0, now);
            prop_assert!(interval.available(now) <= Quota::MAX_TOKENS);
            let _ = interval.full_at(now);
        }
    }
}

fn any_u64() -> impl Strategy<Value = u64> {
    prop_oneof![0..4_u64, u64::MAX - 3..=u64::MAX, any::<u64>()]
}
