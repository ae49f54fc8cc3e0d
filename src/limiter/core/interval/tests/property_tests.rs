//! Random operations on a bucket that refills at intervals, against the naive model.

use super::naive_model::Model;
use proptest::prelude::*;

use super::*;

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

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap()
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

    /// Returns the tokens that the model has for a caller at `now`.
    fn room(&self, now: u64) -> i64 {
        let start = now.max(self.model.latest);
        if start < self.model.paused {
            0
        } else {
            self.model.to(start).room()
        }
    }

    fn check(&mut self, op: Op, now: u64) -> Result<(), TestCaseError> {
        let (time, start) = (at(now), now.max(self.model.latest));
        match op {
            Op::Take(n, floor) => self.check_take(n, floor, now)?,
            Op::UpTo(n) => self.check_take_up_to(n, now)?,
            Op::WaitBehind(ahead, n, floor) => self.check_wait_behind(ahead, n, floor, now)?,
            Op::Reserve(n, max_wait) => self.check_reserve(n, max_wait, now)?,
            Op::Close(which, cancel) => self.close(which, cancel),
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
            Op::Set(refill, kept) => self.set_refill(refill, kept, now),
        }
        self.compare(now)
    }

    fn check_take(&mut self, n: u64, floor: u64, now: u64) -> Result<(), TestCaseError> {
        let burst = u64::try_from(self.model.burst).unwrap();
        let start = now.max(self.model.latest);
        let taken = self.interval.take(n, floor, at(now));
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
        Ok(())
    }

    fn check_take_up_to(&mut self, n: u64, now: u64) -> Result<(), TestCaseError> {
        let there = self.room(now).min(signed(n));
        let taken = self.interval.take_up_to(n, at(now));
        prop_assert_eq!(signed(taken), there);
        if there > 0 {
            self.model.settle(now);
            self.model.level -= there;
        }
        Ok(())
    }

    fn check_wait_behind(
        &mut self,
        ahead: Vec<(u64, u64)>,
        n: u64,
        floor: u64,
        now: u64,
    ) -> Result<(), TestCaseError> {
        let burst = u64::try_from(self.model.burst).unwrap();
        let start = now.max(self.model.latest);
        let wait = self.interval.wait_after(ahead.clone(), n, floor, at(now));
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
        Ok(())
    }

    fn check_reserve(&mut self, n: u64, max_wait: u64, now: u64) -> Result<(), TestCaseError> {
        let burst = u64::try_from(self.model.burst).unwrap();
        let start = now.max(self.model.latest);
        let time = at(now);
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
        Ok(())
    }

    fn close(&mut self, which: usize, cancel: bool) {
        if self.reserved.is_empty() {
            return;
        }
        let (ready_at, n) = self.reserved.swap_remove(which % self.reserved.len());
        if cancel {
            self.interval.cancel(ready_at, n);
        } else {
            self.interval.commit_at(ready_at, n);
        }
        self.model.close(ready_at.as_nanos(), signed(n), cancel);
    }

    fn set_refill(&mut self, refill: Refill, kept: bool, now: u64) {
        let history = if kept {
            History::Kept
        } else {
            History::Forgotten
        };
        let set = self.interval.set_refill(refill, history, at(now));
        assert_eq!(set, Ok(()));
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

    fn compare(&self, now: u64) -> Result<(), TestCaseError> {
        let start = now.max(self.model.latest);
        prop_assert_eq!(signed(self.interval.available(at(now))), self.room(now));
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
                    interval.commit_at(ready_at, n);
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
                8 => interval.commit_at(now, n),
                _ => drop(interval.set_refill(
                    refill(n.min(Quota::MAX_TOKENS), period, other.clamp(1, Quota::MAX_TOKENS), n),
                    History::Kept,
                    now,
                )),
            }
            let _ = interval.wait_after([(n, other), (1, 0)], 1, 0, now);
            prop_assert!(interval.available(now) <= Quota::MAX_TOKENS);
            let _ = interval.full_at(now);
        }
    }
}

fn any_u64() -> impl Strategy<Value = u64> {
    prop_oneof![0..4_u64, u64::MAX - 3..=u64::MAX, any::<u64>()]
}
