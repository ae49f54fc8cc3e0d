//! The textbook token bucket: a level in tokens that fills up, in exact fractions. It shares neither units
//! nor formula with the library, which keeps the instant at which the bucket is full.

use std::time::Duration;

use tollgate::{CarryOver, Denied, Quota};

/// An exact bucket. Levels are tokens times the period, so that a nanosecond adds the integer `tokens`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exact {
    pub(crate) tokens: i128,
    pub(crate) period: i128,
    pub(crate) burst: u64,
    /// The level at `last`.
    level: i128,
    /// The latest instant of a take.
    last: u64,
    /// The end of the pause: no refund is available before.
    paused: u64,
    /// Counts the changes; a cancellation restores the earlier count.
    pub(crate) version: u64,
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
            paused: 0,
            version: 0,
        }
    }

    pub(crate) fn full(&self) -> i128 {
        i128::from(self.burst) * self.period
    }

    /// The level as seen at `now`: negative, if `now` is so stale that the present tokens had not accrued
    /// by then.
    pub(crate) fn level_at(&self, now: u64) -> i128 {
        let level = self.level + (i128::from(now) - i128::from(self.last)) * self.tokens;
        level.min(self.full())
    }

    fn has(&self, n: u64, now: u64) -> bool {
        self.level_at(now) >= i128::from(n) * self.period
    }

    /// The first instant from `now` on with `n` tokens, found by bisection.
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

    /// The answer to a take, without taking.
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

    pub(crate) fn take(&mut self, n: u64, now: u64) {
        if n > 0 && self.period > 0 {
            let last = now.max(self.last);
            self.level = self.level_at(last) - i128::from(n) * self.period;
            self.last = last;
            self.version += 1;
        }
    }

    pub(crate) fn try_acquire(&mut self, n: u64, now: u64) -> Result<(), Denied> {
        self.try_acquire_above(n, 0, now)
    }

    pub(crate) fn try_acquire_above(&mut self, n: u64, floor: u64, now: u64) -> Result<(), Denied> {
        self.ask_above(n, floor, now)?;
        self.take(n, now);
        Ok(())
    }

    pub(crate) fn try_acquire_up_to(&mut self, n: u64, now: u64) -> u64 {
        let n = n.min(self.available(now));
        self.take(n, now);
        n
    }

    /// Returns the instant at which the tokens are ready.
    pub(crate) fn reserve(&mut self, n: u64, max_wait: Duration, now: u64) -> Result<u64, Denied> {
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

    /// The level of a bucket whose first token accrues as the pause ends; empty at a rate of zero.
    fn held_back(&self, now: u64) -> i128 {
        match self.paused.checked_sub(now) {
            None | Some(0) => self.full(),
            Some(_) if self.tokens == 0 => 0,
            Some(left) => self.one_after(left),
        }
    }

    /// The level of a bucket that has one token `nanos` later.
    pub(crate) fn one_after(&self, nanos: u64) -> i128 {
        self.period - i128::from(nanos) * self.tokens
    }

    /// Returns at most a burst, and nothing before a pause ends. Not defined at a stale time.
    pub(crate) fn refund(&mut self, n: u64, now: u64) {
        let level = self.level_at(now);
        if level < self.full() {
            let most = level.max(self.held_back(now)).min(self.full());
            self.level = most.min(level + i128::from(n.min(self.burst)) * self.period);
            self.last = now;
        }
        self.version += 1;
    }

    /// Not defined at a stale time.
    pub(crate) fn sync_remaining(&mut self, n: u64, now: u64) {
        self.lower(i128::from(n) * self.period, now);
    }

    pub(crate) fn lower(&mut self, most: i128, now: u64) {
        if self.level_at(now) > most {
            self.level = most;
            self.last = now;
        }
        self.version += 1;
    }

    /// Not defined at a stale time.
    pub(crate) fn pause_until(&mut self, until: u64, now: u64) -> Result<(), Denied> {
        if self.period > 0 && self.tokens == 0 && until > now {
            return Err(Denied::Exhausted);
        }
        self.paused = self.paused.max(until);
        self.lower(self.held_back(now), now);
        Ok(())
    }

    /// Converts a level of the bucket `of` into this bucket's units, rounded down.
    fn in_grains(&self, level: i128, of: &Self) -> i128 {
        let (tokens, rest) = (level.div_euclid(of.period), level.rem_euclid(of.period));
        let grain = i128::from(gcd(self.tokens as u64, self.period as u64));
        tokens * self.period + (rest * self.period).div_euclid(of.period * grain) * grain
    }

    /// Returns `None` if the numbers are too large for the model. Not defined at a stale time.
    pub(crate) fn set_quota(&self, quota: Quota, rule: CarryOver, now: u64) -> Option<Self> {
        let (level, full) = (self.level_at(now), self.full());
        let mut new = Self {
            last: now,
            paused: self.paused,
            version: self.version + 1,
            ..Self::new(quota)
        };
        let whole = new.full();
        if rule == CarryOver::Full {
            new.paused = 0;
            return Some(new);
        }
        if new.period == 0 {
            return Some(new);
        }
        let debt = match self.period {
            0 => 0,
            _ => new.in_grains(level.min(0), self),
        };
        new.level = match rule {
            CarryOver::Empty => debt,
            _ if self.period == 0 => whole,
            CarryOver::Tokens => new.in_grains(level, self).min(whole),
            _ => {
                let share = level.max(0).checked_mul(whole)?.div_euclid(full);
                let grain = i128::from(gcd(new.tokens as u64, new.period as u64));
                share.div_euclid(grain) * grain + debt
            }
        };
        new.level = new.level.min(new.held_back(now));
        Some(new)
    }

    pub(crate) fn available(&self, now: u64) -> u64 {
        match self.level_at(now).max(0).checked_div(self.period) {
            None => u64::MAX,
            Some(tokens) => u64::try_from(tokens).expect("at most the burst"),
        }
    }
}

pub(crate) fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
