//! Judges whether a limiter kept its quota for each of many keys.
//!
//! An excess is found as for one bucket. Denials are checked against an exact bucket for each key,
//! which gets a lower bound of the tokens: every call counts at the instant between its stamps that
//! leaves the fewest. If that bucket still has a token, the limiter denied wrongly.

use serde::Serialize;

use super::{Admission, Course, start, worst_excess};
use crate::quota::Quota;

/// A request for one token of a key.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// The key's index.
    pub key: u32,
    /// Whether the limiter admitted it.
    pub admitted: bool,
    /// The clock, read before the call.
    pub before: u64,
    /// The clock, read after the call.
    pub after: u64,
}

/// How calls were answered.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Answers {
    /// Tokens admitted.
    pub admitted: u64,
    /// Tokens denied although the bucket held them.
    pub missed: u64,
    /// The worst excess of any key in any window over burst + rate x length; at most 0 if correct.
    pub excess: f64,
}

impl Answers {
    /// Returns the tokens admitted, as a share of those that should have been.
    pub fn achieved(&self) -> f64 {
        match self.admitted + self.missed {
            0 => 1.0,
            asked => self.admitted as f64 / asked as f64,
        }
    }

    /// Whether every call was answered correctly.
    pub fn right(&self) -> bool {
        self.missed == 0 && self.excess <= 0.0
    }

    /// Combines two results.
    pub fn and(self, other: Self) -> Self {
        Self {
            admitted: self.admitted + other.admitted,
            missed: self.missed + other.missed,
            excess: self.excess.max(other.excess),
        }
    }
}

/// Judges a limiter by all calls of all its callers, each key by itself.
pub fn judge_keys(quota: Quota, mut calls: Vec<Call>) -> Answers {
    calls.sort_unstable_by_key(|call| call.key);
    let none = Answers {
        admitted: 0,
        missed: 0,
        excess: -(quota.burst as f64),
    };
    calls
        .chunk_by_mut(|one, two| one.key == two.key)
        .map(|calls| judge_key(quota, calls))
        .fold(none, Answers::and)
}

fn judge_key(quota: Quota, calls: &mut [Call]) -> Answers {
    let missed = missed(quota, calls);
    let mut admissions: Vec<Admission> = calls
        .iter()
        .filter(|call| call.admitted)
        .map(|call| Admission {
            before: call.before,
            after: call.after,
            n: 1,
        })
        .collect();
    let course = Course::constant(start(&admissions), quota);
    Answers {
        admitted: admissions.len() as u64,
        missed,
        excess: worst_excess(&course, &mut admissions),
    }
}

/// Counts the tokens that an exact bucket would have admitted to these calls, but were denied.
///
/// An admission takes its token at its start, and nothing accrues until its end. A denial sees the
/// tokens at its start, less those admitted before its end. So this bucket never holds more than
/// the real one did.
///
/// A caller may be descheduled after it has read the time, while others use later times. At its
/// older time the real bucket holds less, by what accrues between the two times; a denial is
/// allowed that.
fn missed(quota: Quota, calls: &mut [Call]) -> u64 {
    calls.sort_unstable_by_key(|call| (call.before, call.after));
    let full = quota.burst as f64;
    let (mut tokens, mut counted_to, mut missed) = (full, 0, 0);
    for (next, call) in (1..).zip(&*calls) {
        let since = call.before.saturating_sub(counted_to);
        tokens = (tokens + quota.per_nano() * since as f64 * LESS).min(full);
        if call.admitted {
            tokens = (tokens - 1.0).max(0.0);
            counted_to = counted_to.max(call.after);
            continue;
        }
        let (mut meanwhile, mut latest) = (0.0, counted_to);
        let others = calls[next..]
            .iter()
            .take_while(|other| other.before < call.after);
        for other in others.filter(|other| other.admitted) {
            meanwhile += 1.0;
            latest = latest.max(other.after);
        }
        let later = latest.min(call.after).saturating_sub(call.before);
        counted_to = counted_to.max(call.before);
        if tokens - meanwhile - quota.per_nano() * later as f64 >= 1.0 {
            // Take it, so that the next denial is wrong only once another token has accrued.
            tokens -= 1.0;
            missed += 1;
        }
    }
    missed
}

/// Rounds every floating-point sum below the exact one.
const LESS: f64 = 1.0 - 1e-9;

#[cfg(test)]
mod tests {
    use super::*;

    /// 1 token per 10 ns, burst 2.
    const QUOTA: Quota = Quota {
        tokens: 100_000_000,
        period: Quota::SECOND,
        burst: 2,
    };

    fn call(key: u32, admitted: bool, before: u64, after: u64) -> Call {
        Call {
            key,
            admitted,
            before,
            after,
        }
    }

    #[test]
    fn each_key_has_a_bucket() {
        let calls = (0..3).flat_map(|key| [call(key, true, 0, 0), call(key, true, 0, 0)]);
        let answers = judge_keys(QUOTA, calls.collect());
        assert_eq!((answers.admitted, answers.missed), (6, 0));
        assert_eq!(answers.excess, 0.0);
        assert!(answers.right());
    }

    #[test]
    fn one_key_of_many_that_has_too_much_is_found() {
        let mut calls: Vec<Call> = (0..100).map(|key| call(key, true, 0, 0)).collect();
        calls.extend([call(50, true, 1, 1), call(50, true, 1, 1)]);
        let answers = judge_keys(QUOTA, calls);
        assert!((answers.excess - 0.9).abs() < 1e-9, "{}", answers.excess);
        assert!(!answers.right());
    }

    #[test]
    fn a_denial_with_a_token_there_is_missed_once_a_token() {
        let spent = [call(1, true, 0, 0), call(1, true, 0, 0)];
        let then = |denied: &[u64]| {
            let calls = denied.iter().map(|at| call(1, false, *at, *at));
            judge_keys(QUOTA, spent.into_iter().chain(calls).collect())
        };
        assert_eq!(then(&[1, 9]).missed, 0);
        assert_eq!(then(&[11, 12, 19]).missed, 1);
        assert_eq!(then(&[1, 11, 21]).missed, 2);
        // The burst is two.
        assert_eq!(then(&[100, 100, 100]).missed, 2);
        assert_eq!(then(&[11]).achieved(), 2.0 / 3.0);
        // A key without an admission.
        assert_eq!(judge_keys(QUOTA, vec![call(2, false, 5, 5)]).missed, 1);
    }

    #[test]
    fn doubt_is_for_the_limiter() {
        let missed = |calls: &[Call]| judge_keys(QUOTA, calls.to_vec()).missed;
        let first = [call(1, true, 0, 0), call(1, true, 0, 0)];
        let with = |rest: &[Call]| missed(&[&first, rest].concat());
        // It may have been decided at 9.
        assert_eq!(with(&[call(1, false, 9, 30)]), 0);
        // Another caller may have taken that token, although its call began later.
        assert_eq!(with(&[call(1, false, 11, 14), call(1, true, 12, 16)]), 0);
        assert_eq!(with(&[call(1, false, 11, 14), call(1, true, 15, 16)]), 1);
        // Tokens that accrued after the decision do not count, however late the call returned.
        assert_eq!(with(&[call(1, false, 1, 60), call(1, true, 50, 51)]), 0);
        // It read the time, was descheduled, and met a later time of another caller.
        assert_eq!(
            missed(&[call(1, false, 100, 160), call(1, true, 150, 151)]),
            0
        );
        assert_eq!(
            missed(&[call(1, true, 99, 151), call(1, false, 100, 160)]),
            0
        );
        // The first may have been decided so late that the bucket was full until then, and accrued
        // nothing.
        assert_eq!(
            missed(&[
                call(1, true, 0, 50),
                call(1, true, 50, 50),
                call(1, false, 55, 55)
            ]),
            0
        );
    }
}
