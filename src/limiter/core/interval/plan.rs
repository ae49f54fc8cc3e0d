//! When tokens can be had: boundaries, what accrues, and what reservations ahead need.

use crate::clock::Timestamp;
use crate::limiter::core::interval::Interval;
use crate::limiter::core::interval::reserved::Ready;

/// What the reservations ahead need, in their order: how many tokens must be there at the instant
/// of each, for it and those behind it to be covered by what accrues.
///
/// It is at most the burst: a level that is full at an instant is so whatever was taken before.
struct Needs(Vec<i128>);

impl Interval {
    /// The number of the last boundary at or before `at`; the anchor's is zero.
    pub(crate) fn boundary(&self, at: Timestamp) -> i128 {
        let (at, anchor) = (at.as_nanos(), self.anchor.as_nanos());
        // Dividing words is several times faster.
        match at.checked_sub(anchor) {
            Some(since) => (since / self.period).into(),
            None => -i128::from((anchor - at).div_ceil(self.period)),
        }
    }

    /// The instant of a boundary; `None` if the clock does not have it.
    fn instant(&self, boundary: i128) -> Option<Timestamp> {
        let since = boundary.checked_mul(self.period.into())?;
        let at = i128::from(self.anchor.as_nanos()).checked_add(since)?;
        Some(Timestamp::from_nanos(u64::try_from(at).ok()?))
    }

    /// The level after so many boundaries.
    pub(crate) fn grown(&self, level: i128, boundaries: i128) -> i128 {
        self.burst.min(level + self.tokens * boundaries)
    }

    fn needs(&self) -> Needs {
        let mut needs = Vec::with_capacity(self.ahead.len());
        // The need of the one behind, and its boundary.
        let mut behind = (0, 0);
        for reserved in self.ahead.iter().rev() {
            let boundary = self.boundary(reserved.at);
            let left = behind.0 - self.tokens * (behind.1 - boundary).max(0);
            let need = self.burst.min(i128::from(reserved.tokens) + left.max(0));
            needs.push(need);
            behind = (need, boundary);
        }
        needs.reverse();
        Needs(needs)
    }

    /// What must be left at a boundary for the reservations from the one at `next` on.
    fn required(&self, needs: &Needs, next: usize, boundary: i128) -> i128 {
        match (self.ahead.get(next), needs.0.get(next)) {
            (Some(reserved), Some(need)) => {
                (need - self.tokens * (self.boundary(reserved.at) - boundary)).max(0)
            }
            _ => 0,
        }
    }

    /// The level at `at`, and which reservation is the first after it.
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

    /// The tokens that can be had at `at`, a pause aside.
    pub(crate) fn room(&self, at: Timestamp) -> i128 {
        let (level, next) = self.level_at(at);
        let required = self.required(&self.needs(), next, self.boundary(at));
        (level - required).max(0)
    }

    /// The first instant from `from` on at which `n` tokens can be had above `floor`; `None` if
    /// that is never, or the clock ends first. Together they are at most the burst.
    pub(crate) fn fit(&self, n: u64, floor: u64, from: Timestamp) -> Option<Timestamp> {
        let wanted = i128::from(n) + i128::from(floor);
        let needs = self.needs();
        let (mut level, mut next) = self.level_at(from);
        let mut at = from;
        loop {
            let boundary = self.boundary(at);
            let reserved = self.ahead.get(next);
            // Until the next reservation the level is first enough at this boundary. If too much of
            // it is needed there, more is later: that grows as fast as the level, or faster.
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

    /// How many boundaries bring so many tokens; `None` if none do.
    fn boundaries_for(&self, missing: i128) -> Option<i128> {
        if missing <= 0 {
            return Some(0);
        }
        (missing - 1)
            .checked_div(self.tokens)
            .map(|whole| whole + 1)
    }

    /// The instant of a boundary after `at`; `at` itself for none.
    fn after(&self, at: Timestamp, boundaries: i128) -> Option<Timestamp> {
        if boundaries == 0 {
            return Some(at);
        }
        self.instant(self.boundary(at).checked_add(boundaries)?)
    }

    /// A copy to take from.
    pub(crate) fn plan(&self) -> Self {
        Self {
            ahead: self.ahead.clone(),
            ready: Ready::default(),
            ..*self
        }
    }

    /// The first instant from `from` on by which `n` tokens are had above `floor`, if each is taken
    /// as soon as it is there; `None` if that is never, or the clock ends first. The floor is below
    /// the burst.
    pub(crate) fn fit_in_parts(&self, n: u128, floor: u64, from: Timestamp) -> Option<Timestamp> {
        let mut n = i128::try_from(n).ok()?;
        let each = self.tokens.min(self.burst - i128::from(floor));
        let mut plan = self.plan();
        let mut at = from;
        loop {
            at = plan.fit(1, floor, at)?;
            let there = plan.room(at) - i128::from(floor);
            if n <= there {
                return Some(at);
            }
            n -= there;
            plan.debit_now(there, at);
            let Some(wanted) = (n - 1).checked_div(each).map(|whole| whole + 1) else {
                continue;
            };
            // Until something is needed for a reservation, each boundary brings the same.
            let same = plan.boundaries_alike();
            if same.is_none_or(|same| wanted <= same) {
                return plan.after(at, wanted);
            }
            if let Some(same) = same
                && same > 0
            {
                n -= same * each;
                at = plan.after(at, same)?;
                (plan.level, plan.latest) = (floor.into(), at);
            }
        }
    }

    /// After how many boundaries something is first needed for a reservation, from the latest on, at
    /// the next boundary; `None` if nothing is reserved. Something accrues.
    fn boundaries_alike(&self) -> Option<i128> {
        let first = self.ahead.front()?;
        let need = *self.needs().0.first()?;
        let between = self.boundary(first.at) - self.boundary(self.latest);
        Some((between - self.boundaries_for(need)?).max(0))
    }
}
