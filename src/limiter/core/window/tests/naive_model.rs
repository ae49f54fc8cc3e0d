//! A sliding window, as a naive model.

/// One token.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub(super) at: u64,
    pub(super) reserved: bool,
}

/// A model with all tokens in a list, which tries every window.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) limit: u64,
    pub(super) period: u64,
    pub(super) tokens: Vec<Token>,
    pub(super) latest: u64,
    pub(super) paused: u64,
    pub(super) remembered: u64,
}

/// Later than every instant of a run.
pub(super) const END: u64 = 1_500;

impl Model {
    pub(super) fn new(limit: u64, period: u64) -> Self {
        Self {
            limit,
            period,
            tokens: Vec::new(),
            latest: 0,
            paused: 0,
            remembered: limit,
        }
    }

    pub(super) fn load(&self, end: u64) -> u64 {
        let held = |token: &&Token| token.at <= end && token.at + self.period > end;
        self.tokens.iter().filter(held).count() as u64
    }

    pub(super) fn room(&self, at: u64) -> u64 {
        let fullest = (at..at + self.period).map(|end| self.load(end)).max();
        self.limit.saturating_sub(fullest.unwrap())
    }

    pub(super) fn add(&mut self, at: u64, n: u64, reserved: bool) {
        self.tokens.extend((0..n).map(|_| Token { at, reserved }));
        self.tokens.sort_by_key(|token| token.at);
    }

    /// Drops the oldest instants, as long as enough tokens are newer.
    pub(super) fn forget(&mut self, now: u64) {
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

    pub(super) fn fit(&self, n: u64, floor: u64, from: u64) -> u64 {
        let from = from.max(self.paused);
        (from..END).find(|at| self.room(*at) >= n + floor).unwrap()
    }

    pub(super) fn charge(&mut self, mut n: u64, now: u64) {
        for at in now.max(self.latest)..END {
            let part = self.room(at).min(n);
            self.add(at, part, false);
            n -= part;
        }
        self.forget(now);
    }

    pub(super) fn refund(&mut self, n: u64, now: u64) {
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

    pub(super) fn cancel(&mut self, at: u64, n: u64) {
        for _ in 0..n {
            let of = |token: &Token| token.at == at && token.reserved;
            if let Some(index) = self.tokens.iter().position(of) {
                self.tokens.remove(index);
            }
        }
    }
}
