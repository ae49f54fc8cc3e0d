//! Random operations on a sliding window, against the naive model.

use super::naive_model::Model;
use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Take(u64, u64),
    UpTo(u64),
    WaitBehind(Vec<(u64, u64)>, u64, u64),
    Reserve(u64, u64),
    Cancel(usize),
    Refund(u64),
    Charge(u64),
    Tighten(u64),
    Pause(u64),
    SetLimit(u64, u64, bool),
}

fn op() -> impl Strategy<Value = Op> {
    let waiters = || prop::collection::vec((0..7_u64, 0..4_u64), 0..5);
    prop_oneof![
        8 => (0..7_u64, prop_oneof![3 => Just(0), 1 => 0..4_u64]).prop_map(|(n, f)| Op::Take(n, f)),
        2 => (0..7_u64).prop_map(Op::UpTo),
        1 => (waiters(), 1..7_u64, 0..4_u64).prop_map(|(a, n, f)| Op::WaitBehind(a, n, f)),
        4 => (0..7_u64, 0..60_u64).prop_map(|(n, w)| Op::Reserve(n, w)),
        2 => any::<usize>().prop_map(Op::Cancel),
        1 => (0..5_u64).prop_map(Op::Refund),
        1 => (0..12_u64).prop_map(Op::Charge),
        1 => (0..5_u64).prop_map(Op::Tighten),
        1 => (0..20_u64).prop_map(Op::Pause),
        1 => (1..8_u64, 1..15_u64, any::<bool>()).prop_map(|(n, p, k)| Op::SetLimit(n, p, k)),
    ]
}

/// A window, and its model.
struct Both {
    window: Window,
    model: Model,
    reserved: Vec<(Timestamp, u64)>,
}

impl Both {
    fn new(limit: u64, period: u64) -> Self {
        Self {
            window: window(limit, period),
            model: Model::new(limit, period),
            reserved: Vec::new(),
        }
    }

    /// Returns the wait until the model admits; zero if `now` counts as that instant.
    fn wait(&self, fit: u64, now: u64) -> u64 {
        if fit == now.max(self.model.latest) {
            0
        } else {
            fit - now
        }
    }

    /// Returns the tokens that the model has for a caller at `now`.
    fn room(&self, now: u64) -> u64 {
        let start = now.max(self.model.latest);
        if start < self.model.paused {
            0
        } else {
            self.model.room(start)
        }
    }

    fn check(&mut self, op: Op, now: u64) -> Result<(), TestCaseError> {
        let (time, start) = (at(now), now.max(self.model.latest));
        match op {
            Op::Take(n, floor) => self.check_take(n, floor, now)?,
            Op::UpTo(n) => self.check_take_up_to(n, now)?,
            Op::WaitBehind(ahead, n, floor) => self.check_wait_behind(ahead, n, floor, now)?,
            Op::Reserve(n, max_wait) => self.check_reserve(n, max_wait, now)?,
            Op::Cancel(which) => {
                if !self.reserved.is_empty() {
                    let which = which % self.reserved.len();
                    let (ready_at, n) = self.reserved.swap_remove(which);
                    self.window.cancel(ready_at, n);
                    self.model.cancel(ready_at.as_nanos(), n);
                }
            }
            Op::Refund(n) => {
                self.window.refund(n, time);
                self.model.refund(n, now);
            }
            Op::Charge(n) => {
                self.window.charge(n, time);
                if n > 0 {
                    self.model.charge(n, now);
                }
            }
            Op::Tighten(keep) => {
                self.window.tighten(keep, time);
                let excess = self.model.room(start).saturating_sub(keep);
                if excess > 0 {
                    self.model.add(start, excess, false);
                    self.model.forget(now);
                }
            }
            Op::Pause(ahead) => {
                self.window.pause_until(at(now + ahead));
                self.model.paused = self.model.paused.max(now + ahead);
            }
            Op::SetLimit(limit, period, kept) => self.set_limit(limit, period, kept, now),
        }
        self.compare(now)
    }

    fn check_take(&mut self, n: u64, floor: u64, now: u64) -> Result<(), TestCaseError> {
        let limit = self.model.limit;
        let start = now.max(self.model.latest);
        let taken = self.window.take(n, floor, at(now));
        if n == 0 {
            prop_assert_eq!(taken, Ok(()));
        } else if n + floor > limit {
            let burst = limit.saturating_sub(floor);
            prop_assert_eq!(taken, Err(Denied::ExceedsBurst { burst }));
        } else {
            let fit = self.model.fit(n, floor, start);
            if fit == start {
                prop_assert_eq!(taken, Ok(()));
                self.model.add(start, n, false);
                self.model.forget(now);
            } else {
                prop_assert_eq!(taken, not_yet(fit - now));
                let mut later = self.window.clone();
                prop_assert!(later.take(n, floor, at(fit - 1)).is_err());
                prop_assert_eq!(later.take(n, floor, at(fit)), Ok(()));
            }
        }
        Ok(())
    }

    fn check_take_up_to(&mut self, n: u64, now: u64) -> Result<(), TestCaseError> {
        let start = now.max(self.model.latest);
        let there = self.room(now).min(n);
        prop_assert_eq!(self.window.take_up_to(n, at(now)), there);
        if there > 0 {
            self.model.add(start, there, false);
            self.model.forget(now);
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
        let limit = self.model.limit;
        let start = now.max(self.model.latest);
        let nanos = Duration::from_nanos;
        let wait = self.window.wait_after(ahead.clone(), n, floor, at(now));
        if n + floor > limit {
            let burst = limit.saturating_sub(floor);
            prop_assert_eq!(wait, Err(Denied::ExceedsBurst { burst }));
        } else {
            let (mut model, mut from) = (self.model.clone(), start);
            for (n, floor) in ahead {
                if n > 0 && n + floor <= limit {
                    from = model.fit(n, floor, from);
                    model.add(from, n, false);
                }
            }
            let fit = model.fit(n, floor, from);
            prop_assert_eq!(wait, Ok(nanos(self.wait(fit, now))));
        }
        Ok(())
    }

    fn check_reserve(&mut self, n: u64, max_wait: u64, now: u64) -> Result<(), TestCaseError> {
        let limit = self.model.limit;
        let start = now.max(self.model.latest);
        let nanos = Duration::from_nanos;
        let time = at(now);
        let reserved = self.window.reserve(n, nanos(max_wait), time);
        if n == 0 {
            prop_assert_eq!(reserved, Ok(time));
        } else if n > limit {
            prop_assert_eq!(reserved, Err(Denied::ExceedsBurst { burst: limit }));
        } else {
            let fit = self.model.fit(n, 0, start);
            let retry_after = nanos(self.wait(fit, now));
            if retry_after > nanos(max_wait) {
                prop_assert_eq!(reserved, Err(Denied::TooLong { retry_after }));
            } else {
                prop_assert_eq!(reserved, Ok(at(fit)));
                self.model.add(fit, n, true);
                self.model.forget(now);
                self.reserved.push((at(fit), n));
            }
        }
        Ok(())
    }

    fn set_limit(&mut self, limit: u64, period: u64, kept: bool, now: u64) {
        let start = now.max(self.model.latest);
        let history = if kept {
            History::Kept
        } else {
            History::Forgotten
        };
        self.window
            .set_limit(limit, period, history, at(now))
            .unwrap();
        (self.model.limit, self.model.period) = (limit, period);
        if kept {
            self.model.remembered = self.model.remembered.max(limit);
        } else {
            self.model.remembered = limit;
            self.model.paused = 0;
            self.model
                .tokens
                .retain(|token| token.at > start && token.reserved);
        }
    }

    fn compare(&self, now: u64) -> Result<(), TestCaseError> {
        let start = now.max(self.model.latest);
        prop_assert_eq!(self.window.available(at(now)), self.room(now));
        let full = self.model.fit(self.model.limit, 0, start);
        prop_assert_eq!(self.window.full_at(at(now)), Some(at(full)));
        let held: u64 = (0..self.window.log.len())
            .map(|index| self.window.log.get(index).unwrap().tokens)
            .sum();
        prop_assert_eq!(held, self.model.tokens.len() as u64);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Each step advances the time, and some come with a stale `now`.
    #[test]
    fn a_window_decides_as_its_model(
        limit in 1..8_u64,
        period in 1..15_u64,
        ops in prop::collection::vec((op(), 0..6_u64, prop_oneof![3 => Just(0), 1 => 0..30_u64]), 1..40),
    ) {
        let mut both = Both::new(limit, period);
        let mut time = 0_u64;
        for (op, step, stale) in ops {
            time += step;
            both.check(op, time.saturating_sub(stale))?;
        }
    }

    /// The model forgets nothing here: its list has every token that was ever admitted.
    #[test]
    fn no_window_holds_more_than_the_limit(
        limit in 1..8_u64,
        period in 1..15_u64,
        ops in prop::collection::vec((op(), 0..6_u64, prop_oneof![3 => Just(0), 1 => 0..30_u64]), 1..60),
    ) {
        let mut window = window(limit, period);
        let mut all = Model::new(limit, period);
        let mut time = 0_u64;
        for (op, step, stale) in ops {
            time += step;
            let now = at(time.saturating_sub(stale));
            match op {
                Op::Take(n, floor) => {
                    let taken = window.take(n, floor, now).map_or(0, |()| n);
                    all.add(window.latest.as_nanos(), taken, false);
                }
                Op::UpTo(n) => {
                    let taken = window.take_up_to(n, now);
                    all.add(window.latest.as_nanos(), taken, false);
                }
                Op::Reserve(n, max_wait) => {
                    let ready_at = window.reserve(n, Duration::from_nanos(max_wait), now);
                    if let Ok(ready_at) = ready_at && n > 0 {
                        all.add(ready_at.as_nanos(), n, false);
                    }
                }
                Op::Charge(n) => window.charge(n, now),
                Op::Pause(ahead) => window.pause_until(at(time + ahead)),
                _ => {}
            }
        }
        for end in 0..time + 100 {
            prop_assert!(all.load(end) <= limit, "{} in the window that ends at {end}", all.load(end));
        }
    }

    #[test]
    fn no_value_overflows(
        limit in prop_oneof![1..4_u64, Just(MAX_LIMIT)],
        period in prop_oneof![1..4_u64, Just(u64::MAX), any::<u64>().prop_map(|p| p.max(1))],
        ops in prop::collection::vec((0..9_usize, any_u64(), any_u64(), any_u64()), 1..20),
    ) {
        let mut window = window(limit, period);
        for (op, n, other, now) in ops {
            let (now, wait) = (at(now), Duration::from_nanos(other));
            match op {
                0 => drop(window.take(n, other, now)),
                1 => prop_assert!(window.take_up_to(n, now) <= n.min(limit)),
                2 => drop(window.reserve(n, wait, now)),
                3 => window.cancel(now, n),
                4 => window.refund(n, now),
                // As many steps as entries: a few.
                5 => window.charge(n.min(limit.saturating_mul(50)), now),
                6 => window.pause_until(at(n)),
                7 => window.tighten(n, now),
                _ => drop(window.set_limit(limit, n.max(1), History::Kept, now)),
            }
            let _ = window.wait_after([(n, other), (1, 0)], 1, 0, now);
            prop_assert!(window.available(now) <= limit);
            let _ = window.full_at(now);
        }
    }
}

fn any_u64() -> impl Strategy<Value = u64> {
    prop_oneof![0..4_u64, u64::MAX - 3..=u64::MAX, any::<u64>()]
}
