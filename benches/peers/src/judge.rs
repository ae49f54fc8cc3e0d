//! Judges whether a limiter kept its quota.
//!
//! Every admission is stamped before and after the call, by the limiter's own clock: its
//! linearization point lies between the stamps. A window is charged only with admissions that
//! certainly fell into it. So every excess that is found is real, and a correct limiter is never
//! accused, however its threads are scheduled.

mod by_key;
mod course;

use serde::Serialize;

use crate::quota::Quota;

pub use by_key::{Answers, Call, judge_keys};
pub use course::{Change, Course};

/// Tokens that were admitted between two stamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    /// The clock, read before the call.
    pub before: u64,
    /// The clock, read after the call.
    pub after: u64,
    /// Tokens.
    pub n: u64,
}

/// How a limiter did against its quota.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Kept {
    /// Tokens admitted beyond the first burst, as a share of those that accrued.
    pub achieved: f64,
    /// The worst excess in any window over burst + rate x length; at most 0 in a correct limiter.
    pub excess: f64,
}

impl Kept {
    /// Combines two rounds. An excess in one is an excess. The share is that of the round closest
    /// to 1: a busy machine lowers it in some rounds, a wrong limiter is off in all.
    pub fn and(self, other: Self) -> Self {
        let off = |kept: Self| (kept.achieved - 1.0).abs();
        let closest = if off(self) < off(other) { self } else { other };
        Self {
            achieved: closest.achieved,
            excess: self.excess.max(other.excess),
        }
    }
}

/// What one caller recorded of a limiter.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// In the order of the calls.
    pub admissions: Vec<Admission>,
    /// The clock before the last denied call: the bucket was empty then.
    pub last_denial: Option<u64>,
}

impl Record {
    /// Adds a call: its stamps, the tokens it requested, and whether it was admitted.
    pub fn add(&mut self, call: Admission, admitted: bool) {
        if admitted {
            self.admissions.push(call);
        } else {
            self.last_denial = Some(call.before);
        }
    }
}

/// Judges a limiter by the records of all its callers.
pub fn judge(quota: Quota, records: Vec<Record>) -> Kept {
    let admissions = records.iter().flat_map(|record| &record.admissions);
    judge_changing(&Course::constant(start(admissions), quota), records)
}

/// Returns the instant before the first admission.
fn start<'a>(admissions: impl IntoIterator<Item = &'a Admission>) -> u64 {
    let befores = admissions.into_iter().map(|admission| admission.before);
    befores.min().unwrap_or(0)
}

/// Judges a limiter whose quota changes, as [`judge`] does one whose quota stays.
///
/// The share counts from the first admission, when the bucket was full, to the last denial, when it
/// was empty, so a caller that is descheduled after that does not lower it.
pub fn judge_changing(course: &Course, records: Vec<Record>) -> Kept {
    let last_denial = records.iter().filter_map(|record| record.last_denial).max();
    let mut admissions: Vec<_> = records
        .into_iter()
        .flat_map(|record| record.admissions)
        .collect();
    let start = start(&admissions);
    let befores = admissions.iter().map(|admission| admission.before);
    let end = last_denial.or_else(|| befores.max()).unwrap_or(0);
    let admitted: u64 = admissions
        .iter()
        .filter(|admission| admission.before <= end)
        .map(|admission| admission.n)
        .sum();
    let given = course.given(end) - course.given(start);
    Kept {
        achieved: if given > 0.0 {
            (admitted as f64 - course.burst(start)) / given
        } else {
            0.0
        },
        excess: worst_excess(course, &mut admissions),
    }
}

/// Returns the worst excess of any window over the burst at its start plus the tokens that accrued
/// in it.
///
/// For a window from s to e, the admissions that ended by e, less those that began before s, are a
/// lower bound of those inside. One pass over the stamps in order of time keeps the best s so far.
fn worst_excess(course: &Course, admissions: &mut [Admission]) -> f64 {
    let mut ends: Vec<(u64, u64)> = admissions
        .iter()
        .map(|admission| (admission.after, admission.n))
        .collect();
    ends.sort_unstable();
    admissions.sort_unstable_by_key(|admission| admission.before);

    let mut begun = admissions.iter().peekable();
    let (mut began, mut ended) = (0, 0);
    let mut best_start = f64::INFINITY;
    let mut worst = f64::NEG_INFINITY;
    for (end, n) in ends {
        while let Some(admission) = begun.next_if(|admission| admission.before <= end) {
            let allowed = course.burst(admission.before) - course.given(admission.before);
            best_start = best_start.min(began as f64 + allowed);
            began += admission.n;
        }
        ended += n;
        worst = worst.max(ended as f64 - course.given(end) - best_start);
    }
    if worst.is_finite() {
        worst
    } else {
        -course.burst(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1 token per 10 ns, burst 2.
    const QUOTA: Quota = Quota {
        tokens: 100_000_000,
        period: Quota::SECOND,
        burst: 2,
    };

    /// The record of one caller whose last call was denied.
    fn seen(stamps: &[(u64, u64)], last_denial: u64) -> Vec<Record> {
        let admission = |&(before, after): &(u64, u64)| Admission {
            before,
            after,
            n: 1,
        };
        let admissions = stamps.iter().map(admission).collect();
        vec![Record {
            admissions,
            last_denial: Some(last_denial),
        }]
    }

    #[test]
    fn exact_is_no_excess() {
        let kept = judge(
            QUOTA,
            seen(&[(0, 0), (0, 0), (10, 10), (20, 20), (30, 30)], 30),
        );
        assert_eq!(
            kept,
            Kept {
                achieved: 1.0,
                excess: 0.0
            }
        );
    }

    #[test]
    fn one_too_many_in_a_window_in_the_middle() {
        // Idle to 100, then four at once and one 10 ns later: three of five were due.
        let kept = judge(
            QUOTA,
            seen(
                &[(0, 0), (100, 100), (100, 100), (100, 100), (110, 110)],
                110,
            ),
        );
        assert_eq!(kept.excess, 1.0);
    }

    #[test]
    fn doubt_is_for_the_limiter() {
        // Three at one instant are one too many; not if the third may have come 10 ns later.
        assert_eq!(
            judge(QUOTA, seen(&[(0, 0), (0, 0), (0, 0)], 10)).excess,
            1.0
        );
        assert_eq!(
            judge(QUOTA, seen(&[(0, 0), (0, 0), (0, 10)], 10)).excess,
            0.0
        );
        // Admissions of two threads that overlap a window's edge are not charged to it.
        assert!(judge(QUOTA, seen(&[(0, 50), (40, 60), (45, 60)], 60)).excess <= 0.0);
    }

    #[test]
    fn a_changed_quota_is_followed() {
        // Between 30 and 40 rate and burst become tenfold: one token a nanosecond.
        let change = Change {
            quota: Quota {
                tokens: QUOTA.tokens * 10,
                burst: 20,
                ..QUOTA
            },
            before: 30,
            after: 40,
        };
        let course = Course::changing(0, QUOTA, &[change]);
        let excess = |taken: &[(u64, u64)]| {
            let each = |&(at, n): &(u64, u64)| Admission {
                before: at,
                after: at,
                n,
            };
            let admissions = taken.iter().map(each).collect();
            let record = Record {
                admissions,
                last_denial: None,
            };
            judge_changing(&course, vec![record]).excess
        };
        assert_eq!(excess(&[(0, 2), (30, 3), (40, 10), (50, 10)]), 0.0);
        // Before the change the small quota counts; after it, only what has accrued by then.
        assert_eq!(excess(&[(0, 2), (29, 4)]), 2.0);
        assert_eq!(excess(&[(0, 2), (30, 3), (40, 12), (50, 10)]), 2.0);
        // A window that begins after the change may start with the large burst.
        assert_eq!(excess(&[(60, 20), (65, 5)]), 0.0);
    }

    #[test]
    fn starved_is_under() {
        let kept = judge(QUOTA, seen(&[(0, 0), (0, 0), (50, 50)], 100));
        assert_eq!(kept.achieved, 0.1);
        assert!(judge(QUOTA, Vec::new()).excess < 0.0);
    }
}
