//! A bucket that refills at intervals, as a naive model.

use super::*;

/// A model that advances by one nanosecond at a time, and tries each number of tokens.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) tokens: i64,
    pub(super) period: u64,
    pub(super) burst: i64,
    pub(super) anchor: u64,
    pub(super) level: i64,
    pub(super) latest: u64,
    pub(super) paused: u64,
    /// Instant, tokens, and those of them that are open.
    pub(super) ahead: Vec<(u64, i64, i64)>,
    pub(super) debited: Vec<(u64, i64)>,
}

/// Later than every instant of a run.
pub(super) const END: u64 = 3_000;

impl Model {
    pub(super) fn new(refill: Refill) -> Self {
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

    pub(super) fn refill_by(&mut self, refill: Refill) {
        self.tokens = i64::try_from(refill.tokens).unwrap();
        self.burst = i64::try_from(refill.burst).unwrap();
        self.period = u64::try_from(refill.period.as_nanos()).unwrap();
        self.anchor = refill.anchor.as_nanos();
    }

    pub(super) fn step(&mut self) {
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

    pub(super) fn lose(&mut self) {
        let open = self.debited.iter().map(|ready| ready.1).sum::<i64>();
        for _ in self.burst - self.level..open {
            let oldest = self.debited.iter_mut().find(|ready| ready.1 > 0);
            oldest.unwrap().1 -= 1;
        }
    }

    pub(super) fn to(&self, at: u64) -> Self {
        let mut model = self.clone();
        while model.latest < at {
            model.step();
        }
        model
    }

    pub(super) fn settle(&mut self, now: u64) {
        while self.latest < now {
            self.step();
        }
    }

    /// Returns how many tokens each reservation ahead lacks.
    pub(super) fn shortages(&self, taken: i64) -> Vec<i64> {
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
    pub(super) fn room(&self) -> i64 {
        let without = self.shortages(0);
        let most = (0..=self.level.max(0)).rev();
        most.into_iter()
            .find(|taken| self.shortages(*taken) == without)
            .unwrap()
    }

    pub(super) fn fit(&self, wanted: i64, from: u64) -> Option<u64> {
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

    pub(super) fn reserve(&mut self, n: i64, at: u64) {
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

    pub(super) fn close(&mut self, at: u64, n: i64, cancel: bool) {
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
