use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::limiter::core::denied::Denied;
use crate::limiter::core::tokens::dated::Composed;

fn at(nanos: u64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

fn window(limit: u64, period: u64) -> Window {
    Window::new(limit, period).unwrap()
}

fn not_yet(nanos: u64) -> Result<(), Denied> {
    let retry_after = Duration::from_nanos(nanos);
    Err(Denied::NotYet { retry_after })
}

const WAIT: Duration = Duration::from_nanos(1_000);

#[test]
fn a_window_is_half_open() {
    let mut window = window(3, 10);
    assert_eq!(window.take(1, 0, at(0)), Ok(()));
    assert_eq!(window.take(2, 0, at(4)), Ok(()));
    assert_eq!(window.take(1, 0, at(4)), not_yet(6));
    assert_eq!(window.take(1, 0, at(9)), not_yet(1));
    assert_eq!(window.take(1, 0, at(10)), Ok(()));
    assert_eq!(window.take(1, 0, at(10)), not_yet(4));
    assert_eq!(window.full_at(at(10)), Some(at(20)));
}

#[test]
fn a_limit_out_of_bounds_is_refused() {
    assert_eq!(Window::new(0, 1).unwrap_err(), WindowError::ZeroLimit);
    assert_eq!(Window::new(1, 0).unwrap_err(), WindowError::ZeroPeriod);
    assert!(Window::new(MAX_LIMIT, u64::MAX).is_ok());
    let mut window = Window::new(2, 5).unwrap();
    let refused = window.set_limit(MAX_LIMIT + 1, 5, History::Kept, at(0));
    assert_eq!(refused, Err(WindowError::LimitTooLarge));
    assert_eq!(window.burst(), 2);
}

#[test]
fn zero_tokens_always_pass_and_more_than_the_limit_never() {
    let mut window = window(2, 10);
    assert_eq!(window.take(2, 0, at(0)), Ok(()));
    assert_eq!(window.take(0, u64::MAX, at(0)), Ok(()));
    assert_eq!(
        window.wait_behind([], 0, u64::MAX, at(0)),
        Ok(Duration::ZERO)
    );
    let burst = |burst| Err(Denied::ExceedsBurst { burst });
    assert_eq!(window.take(3, 0, at(0)), burst(2));
    assert_eq!(window.take(2, 1, at(0)), burst(1));
    assert_eq!(window.take(1, 3, at(0)), burst(0));
    assert_eq!(window.wait_behind([], 1, 2, at(0)).err(), burst(0).err());
}

#[test]
fn a_stale_now_counts_as_the_latest() {
    let mut window = window(2, 10);
    assert_eq!(window.take(1, 0, at(15)), Ok(()));
    assert_eq!(window.take(1, 0, at(3)), Ok(()));
    // Had it counted at 3, there would be room at 13.
    assert_eq!(window.take(1, 0, at(24)), not_yet(1));
    assert_eq!(window.take(2, 0, at(25)), Ok(()));
}

#[test]
fn a_denial_writes_nothing() {
    let mut window = window(2, 10);
    assert_eq!(window.take(2, 0, at(0)), Ok(()));
    assert_eq!(window.take(1, 0, at(9)), not_yet(1));
    assert!(window.reserve(1, Duration::ZERO, at(9)).is_err());
    assert_eq!(window.latest, at(0));
}

#[test]
fn a_take_is_judged_in_every_window_that_holds_it() {
    let mut window = window(3, 10);
    assert_eq!(window.take(3, 0, at(0)), Ok(()));
    assert_eq!(window.reserve(2, WAIT, at(0)), Ok(at(10)));
    assert_eq!(window.take(1, 0, at(9)), not_yet(1));
    assert_eq!(window.refund(3, at(9)), ());
    // The window that ends at 10 has room for one beside what is reserved.
    assert_eq!(window.available(at(5)), 1);
    assert_eq!(window.take(2, 0, at(5)), not_yet(15));
    assert_eq!(window.take(2, 0, at(0)), Ok(()));
}

#[test]
fn a_cancellation_gives_back_what_was_reserved_and_no_more() {
    let mut window = window(3, 10);
    assert_eq!(window.take(3, 0, at(0)), Ok(()));
    let ready_at = window.reserve(1, WAIT, at(0)).unwrap();
    assert_eq!(window.reserve(1, WAIT, at(0)), Ok(ready_at));
    assert_eq!(window.take(1, 0, ready_at), Ok(()));
    assert_eq!(window.available(at(11)), 0);
    window.cancel(ready_at, 1);
    window.cancel(at(3), 1);
    assert_eq!(window.available(at(11)), 1);
    window.cancel(ready_at, 7);
    assert_eq!(window.available(at(11)), 2);
    window.cancel(ready_at, 1);
    assert_eq!(window.available(at(11)), 2);
}

#[test]
fn a_refund_skips_reservations_still_to_come() {
    let mut window = window(3, 10);
    assert_eq!(window.take(2, 0, at(0)), Ok(()));
    assert_eq!(window.take(1, 0, at(5)), Ok(()));
    assert_eq!(window.reserve(2, WAIT, at(5)), Ok(at(10)));
    window.refund(1, at(5));
    window.refund(9, at(5));
    assert_eq!(window.available(at(5)), 1);
    assert_eq!(window.log.len(), 1);
    window.refund(1, at(10));
    assert_eq!(window.available(at(10)), 2);
}

#[test]
fn a_charge_above_the_limit_stands_as_future_entries() {
    let mut window = window(3, 10);
    assert_eq!(window.take(1, 0, at(0)), Ok(()));
    assert_eq!(window.take(1, 0, at(4)), Ok(()));
    window.charge(6, at(5));
    // 1 at 5, 10, 14, 15, 20 and 24.
    assert_eq!(window.log.len(), 8);
    assert_eq!(window.take(1, 0, at(5)), not_yet(20));
    window.refund(2, at(5));
    assert_eq!(window.take(1, 0, at(5)), not_yet(15));
    assert_eq!(window.take(1, 0, at(20)), Ok(()));
}

#[test]
fn debt_saturates_at_its_bound() {
    let mut window = window(1, 10);
    window.charge(u64::MAX, at(0));
    let last = 10 * u64::try_from(MAX_AHEAD).unwrap();
    assert_eq!(window.take(1, 0, at(0)), not_yet(last + 10));
    window.charge(1, at(0));
    assert_eq!(window.log.len(), MAX_AHEAD + 1);
    let retry_after = Duration::from_nanos(last + 10);
    let too_long = Err(Denied::TooLong { retry_after });
    assert_eq!(window.reserve(1, Duration::MAX, at(0)), too_long);
    assert_eq!(window.reserve(1, Duration::MAX, at(10)), Ok(at(last + 10)));
}

#[test]
fn refunds_do_not_shorten_a_pause() {
    let mut window = window(2, 10);
    assert_eq!(window.take(1, 0, at(0)), Ok(()));
    window.pause_until(at(7));
    window.pause_until(at(3));
    window.refund(1, at(0));
    assert_eq!(window.take(1, 0, at(2)), not_yet(5));
    assert_eq!(window.available(at(6)), 0);
    assert_eq!(window.take_up_to(5, at(6)), 0);
    assert_eq!(window.take_up_to(5, at(7)), 2);
}

#[test]
fn tighten_never_adds_a_token() {
    let mut window = window(5, 10);
    window.tighten(2, at(0));
    window.tighten(4, at(0));
    assert_eq!(window.available(at(9)), 2);
    assert_eq!(window.available(at(10)), 5);
}

#[test]
fn a_wait_behind_others_counts_the_room_that_is_left_over() {
    let window = window(10, 100);
    let behind = window.wait_behind([(6, 0), (11, 0), (6, 0)], 6, 0, at(0));
    assert_eq!(behind, Ok(Duration::from_nanos(200)));
}

#[test]
fn a_limit_that_changes_back_and_forth_mints_nothing() {
    let mut window = window(3, 10);
    assert_eq!(window.take(3, 0, at(0)), Ok(()));
    window.set_limit(1, 1, History::Kept, at(0)).unwrap();
    assert_eq!(window.take(1, 0, at(1)), Ok(()));
    window.set_limit(3, 10, History::Kept, at(1)).unwrap();
    assert_eq!(window.take(1, 0, at(1)), not_yet(9));
    assert_eq!(window.available(at(10)), 2);
}

#[test]
fn a_forgotten_history_keeps_reservations() {
    let mut window = window(3, 10);
    window.charge(4, at(0));
    assert_eq!(window.reserve(1, WAIT, at(0)), Ok(at(10)));
    window.pause_until(at(50));
    window.set_limit(2, 10, History::Forgotten, at(0)).unwrap();
    assert_eq!(window.available(at(0)), 2);
    assert_eq!(window.available(at(1)), 1);
}

#[test]
fn the_log_is_bounded_by_the_limit() {
    let (mut taken, mut reserved) = (window(7, 1), window(7, 1));
    for now in 0..100 {
        assert_eq!(taken.take(1, 0, at(now)), Ok(()));
        assert_eq!(reserved.reserve(1, WAIT, at(now)), Ok(at(now)));
    }
    assert_eq!((taken.log.len(), reserved.log.len()), (7, 7));
}

#[test]
fn a_take_is_exhausted_if_the_clock_ends_first() {
    let mut window = window(1, 10);
    let last = u64::MAX - 3;
    assert_eq!(window.take(1, 0, at(last)), Ok(()));
    assert_eq!(window.take(1, 0, Timestamp::MAX), Err(Denied::Exhausted));
    assert_eq!(window.full_at(at(0)), None);
    window.charge(5, at(0));
    assert_eq!(window.log.len(), 1);
}

/// One token.
#[derive(Clone, Copy, Debug)]
struct Token {
    at: u64,
    reserved: bool,
}

/// A model with all tokens in a list, which tries every window.
#[derive(Clone, Debug)]
struct Model {
    limit: u64,
    period: u64,
    tokens: Vec<Token>,
    latest: u64,
    paused: u64,
    remembered: u64,
}

/// Later than every instant of a run.
const END: u64 = 1_500;

impl Model {
    fn new(limit: u64, period: u64) -> Self {
        Self {
            limit,
            period,
            tokens: Vec::new(),
            latest: 0,
            paused: 0,
            remembered: limit,
        }
    }

    fn load(&self, end: u64) -> u64 {
        let held = |token: &&Token| token.at <= end && token.at + self.period > end;
        self.tokens.iter().filter(held).count() as u64
    }

    fn room(&self, at: u64) -> u64 {
        let fullest = (at..at + self.period).map(|end| self.load(end)).max();
        self.limit.saturating_sub(fullest.unwrap())
    }

    fn add(&mut self, at: u64, n: u64, reserved: bool) {
        self.tokens.extend((0..n).map(|_| Token { at, reserved }));
        self.tokens.sort_by_key(|token| token.at);
    }

    /// Drops the oldest instants, as long as enough tokens are newer.
    fn forget(&mut self, now: u64) {
        self.latest = self.latest.max(now);
        let latest = self.latest;
        while let Some(first) = self.tokens.first().map(|token| token.at) {
            let newer = |token: &&Token| token.at > first && token.at <= latest;
            if first > latest || (self.tokens.iter().filter(newer).count() as u64) < self.remembered
            {
                return;
            }
            self.tokens.retain(|token| token.at > first);
        }
    }

    fn fit(&self, n: u64, floor: u64, from: u64) -> u64 {
        let from = from.max(self.paused);
        (from..END).find(|at| self.room(*at) >= n + floor).unwrap()
    }

    fn charge(&mut self, mut n: u64, now: u64) {
        for at in now.max(self.latest)..END {
            let part = self.room(at).min(n);
            self.add(at, part, false);
            n -= part;
        }
        self.forget(now);
    }

    fn refund(&mut self, n: u64, now: u64) {
        let now = now.max(self.latest);
        for _ in 0..n {
            let back = |token: &Token| {
                let come = token.at <= now;
                (come || !token.reserved) && token.at + self.period > now
            };
            let newest = (0..self.tokens.len())
                .filter(|index| back(&self.tokens[*index]))
                .max_by_key(|index| (self.tokens[*index].at, !self.tokens[*index].reserved));
            if let Some(index) = newest {
                self.tokens.remove(index);
            }
        }
    }

    fn cancel(&mut self, at: u64, n: u64) {
        for _ in 0..n {
            let of = |token: &Token| token.at == at && token.reserved;
            if let Some(index) = self.tokens.iter().position(of) {
                self.tokens.remove(index);
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

    fn check(&mut self, op: Op, now: u64) -> Result<(), TestCaseError> {
        let (start, limit) = (now.max(self.model.latest), self.model.limit);
        let (time, nanos) = (at(now), Duration::from_nanos);
        match op {
            Op::Take(n, floor) => {
                let taken = self.window.take(n, floor, time);
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
            }
            Op::UpTo(n) => {
                let there = if start < self.model.paused {
                    0
                } else {
                    self.model.room(start).min(n)
                };
                prop_assert_eq!(self.window.take_up_to(n, time), there);
                if there > 0 {
                    self.model.add(start, there, false);
                    self.model.forget(now);
                }
            }
            Op::WaitBehind(ahead, n, floor) => {
                let wait = self.window.wait_behind(ahead.clone(), n, floor, time);
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
            }
            Op::Reserve(n, max_wait) => {
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
            }
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
            Op::SetLimit(limit, period, kept) => {
                let history = if kept {
                    History::Kept
                } else {
                    History::Forgotten
                };
                self.window.set_limit(limit, period, history, time).unwrap();
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
        }
        self.compare(now)
    }

    fn compare(&self, now: u64) -> Result<(), TestCaseError> {
        let start = now.max(self.model.latest);
        let room = if start < self.model.paused {
            0
        } else {
            self.model.room(start)
        };
        prop_assert_eq!(self.window.available(at(now)), room);
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
            let _ = window.wait_behind([(n, other), (1, 0)], 1, 0, now);
            prop_assert!(window.available(now) <= limit);
            let _ = window.full_at(now);
        }
    }
}

fn any_u64() -> impl Strategy<Value = u64> {
    prop_oneof![0..4_u64, u64::MAX - 3..=u64::MAX, any::<u64>()]
}
