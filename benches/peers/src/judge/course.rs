//! What a changing quota allows.

use crate::quota::Quota;

/// A change of the quota, which took effect at some instant between its stamps.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// The new quota.
    pub quota: Quota,
    /// The clock, read before the call.
    pub before: u64,
    /// The clock, read after the call.
    pub after: u64,
}

/// The quotas of a bucket over time. Between the stamps of a change, the higher rate and the larger
/// burst of both quotas count.
#[derive(Clone, Debug)]
pub struct Course(Vec<Piece>);

/// The rate and burst in force from an instant on.
#[derive(Clone, Copy, Debug)]
struct Piece {
    from: u64,
    per_nano: f64,
    burst: f64,
    /// Tokens accrued from the start of the course until `from`.
    given: f64,
}

impl Course {
    /// A quota that never changes.
    pub fn constant(start: u64, quota: Quota) -> Self {
        Self(vec![Piece {
            from: start,
            per_nano: quota.per_nano(),
            burst: quota.burst as f64,
            given: 0.0,
        }])
    }

    /// A quota and its changes in order.
    ///
    /// # Panics
    /// If a change begins before the previous one has ended.
    pub fn changing(start: u64, mut quota: Quota, changes: &[Change]) -> Self {
        let mut course = Self::constant(start, quota);
        for change in changes {
            let per_nano = quota.per_nano().max(change.quota.per_nano());
            course.then(change.before, per_nano, quota.burst.max(change.quota.burst));
            quota = change.quota;
            // A take stamped at `after` may still have come before the change.
            course.then(change.after + 1, quota.per_nano(), quota.burst);
        }
        course
    }

    fn then(&mut self, from: u64, per_nano: f64, burst: u64) {
        assert!(from >= self.at(u64::MAX).from, "changes overlap");
        let given = self.given(from);
        self.0.push(Piece {
            from,
            per_nano,
            burst: burst as f64,
            given,
        });
    }

    fn at(&self, stamp: u64) -> Piece {
        let begun = self.0.partition_point(|piece| piece.from <= stamp);
        self.0[begun.saturating_sub(1)]
    }

    /// Returns an upper bound of the tokens accrued from the start until `stamp`.
    pub fn given(&self, stamp: u64) -> f64 {
        let piece = self.at(stamp);
        piece.given + piece.per_nano * stamp.saturating_sub(piece.from) as f64
    }

    /// Returns the largest burst in force at `stamp`.
    pub fn burst(&self, stamp: u64) -> f64 {
        self.at(stamp).burst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(per_second: u64, burst: u64) -> Quota {
        Quota {
            tokens: per_second,
            period: Quota::SECOND,
            burst,
        }
    }

    #[test]
    fn a_change_is_dated_in_favour_of_the_limiter() {
        let (slow, fast) = (quota(1_000_000_000, 10), quota(2_000_000_000, 20));
        let changes = [
            Change {
                quota: fast,
                before: 110,
                after: 120,
            },
            Change {
                quota: slow,
                before: 130,
                after: 149,
            },
        ];
        let course = Course::changing(100, slow, &changes);
        let bursts = [109, 110, 121, 149, 150].map(|stamp| course.burst(stamp));
        assert_eq!(bursts, [10.0, 20.0, 20.0, 20.0, 10.0]);
        let given = [100, 110, 120, 150, 160].map(|stamp| course.given(stamp));
        assert_eq!(given, [0.0, 10.0, 30.0, 90.0, 100.0]);
    }
}
