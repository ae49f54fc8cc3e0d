//! The first instant at which tokens can be had: boundaries, what accrues at them, and what the
//! reservations ahead need.

use crate::clock::Timestamp;
use crate::limiter::core::interval::IntervalBucket;
use crate::limiter::core::interval::debited::Debited;

/// The needs of the reservations ahead, in their order: the level at the instant of each that covers it
/// and, with what accrues, those behind it.
///
/// A need is at most the burst: a bucket that is full at an instant is so whatever was taken before.
struct Needs(Vec<i128>);

impl IntervalBucket {
    /// Returns the number of the last boundary at or before `at`; the anchor is number zero.
    pub(crate) fn boundary(&self, at: Timestamp) -> i128 {
        let (at, anchor) = (at.as_nanos(), self.anchor.as_nanos());
        // A division of words is several times faster than one of 128 bits.
        match at.checked_sub(anchor) {
            Some(since) => (since / self.period).into(),
            None => -i128::from((anchor - at).div_ceil(self.period)),
        }
    }

    /// Returns the level that `level` grows to after that many boundaries.
    pub(crate) fn grown(&self, level: i128, boundaries: i128) -> i128 {
        self.burst.min(level + self.tokens * boundaries)
    }

    fn needs(&self) -> Needs {
        let mut needs = Vec::with_capacity(self.ahead.len());
        // The need of the reservation behind, and its boundary.
        let mut behind = (0, 0);
        for reserved in self.ahead.between(None, Timestamp::MAX).rev() {
            let boundary = self.boundary(reserved.at);
            let left = behind.0 - self.tokens * (behind.1 - boundary).max(0);
            let need = self.burst.min(i128::from(reserved.tokens) + left.max(0));
            needs.push(need);
            behind = (need, boundary);
        }
        needs.reverse();
        Needs(needs)
    }

    /// Returns what must be left at a boundary for the reservations from index `next` on.
    fn required(&self, needs: &Needs, next: usize, boundary: i128) -> i128 {
        match (self.ahead.get(next), needs.0.get(next)) {
            (Some(reserved), Some(need)) => {
                (need - self.tokens * (self.boundary(reserved.at) - boundary)).max(0)
            }
            _ => 0,
        }
    }

    /// Returns the level at `at`, and the index of the first reservation after it.
    fn level_at(&self, at: Timestamp) -> (i128, usize) {
        let (mut level, mut boundary, mut next) = (self.level, self.boundary(self.latest), 0);
        while let Some(reserved) = self.ahead.get(next)
            && reserved.at <= at
        {
            let reached = self.boundary(reserved.at);
            level = self.grown(level, reached - boundary) - i128::from(reserved.tokens);
            (boundary, next) = (reached, next + 1);
        }
        (self.grown(level, self.boundary(at) - boundary), next)
    }

    /// Returns the tokens that can be had at `at`, a pause aside.
    pub(crate) fn room(&self, at: Timestamp) -> i128 {
        let (level, next) = self.level_at(at);
        let required = self.required(&self.needs(), next, self.boundary(at));
        (level - required).max(0)
    }

    /// Returns the first instant from `from` on at which `n` tokens can be had above `floor`; `None` if
    /// that is never, or the clock ends first. `n` and `floor` together are at most the burst.
    pub(crate) fn fit(&self, n: u64, floor: u64, from: Timestamp) -> Option<Timestamp> {
        let wanted = i128::from(n) + i128::from(floor);
        let needs = self.needs();
        let (mut level, mut next) = self.level_at(from);
        let mut at = from;
        loop {
            let boundary = self.boundary(at);
            let reserved = self.ahead.get(next);
            // Until the next reservation, the first boundary with a sufficient level is the only
            // candidate: what the reservations need grows as fast as the level, or faster.
            if let Some(gained) = self.boundaries_for(wanted - level)
                && let Some(first) = self.after(at, gained)
                && reserved.is_none_or(|reserved| first < reserved.at)
                && self.grown(level, gained) - self.required(&needs, next, boundary + gained)
                    >= wanted
            {
                return Some(first);
            }
            let reserved = reserved?;
            let reached = self.boundary(reserved.at);
            level = self.grown(level, reached - boundary) - i128::from(reserved.tokens);
            (at, next) = (reserved.at, next + 1);
        }
    }

    /// Returns how many boundaries bring `missing` tokens; `None` if none do.
    fn boundaries_for(&self, missing: i128) -> Option<i128> {
        if missing <= 0 {
            return Some(0);
        }
        (missing - 1)
            .checked_div(self.tokens)
            .map(|whole| whole + 1)
    }

    /// Returns the instant of that many boundaries after `at`; `at` itself for none, and `None` if it is
    /// outside the clock.
    fn after(&self, at: Timestamp, boundaries: i128) -> Option<Timestamp> {
        if boundaries == 0 {
            return Some(at);
        }
        let boundary = self.boundary(at).checked_add(boundaries)?;
        let since = boundary.checked_mul(self.period.into())?;
        let after = i128::from(self.anchor.as_nanos()).checked_add(since)?;
        Some(Timestamp::from_nanos(u64::try_from(after).ok()?))
    }

    /// Returns a copy to plan takes on.
    pub(crate) fn plan(&self) -> Self {
        Self {
            ahead: self.ahead.clone(),
            debited: Debited::default(),
            ..*self
        }
    }
}
