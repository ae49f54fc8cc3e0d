//! Finds contenders that are fast but wrong.

use super::{Body, Table};
use crate::measure::{Check, Row};
use crate::subject::Family;

/// The least share of its rate that a limiter should admit while polled without a pause.
const ACHIEVED: f64 = 0.99;

/// Returns the fault of a row's contender, in its own workload or in any pattern of the correctness
/// table, where a limiter of many keys has another name. Faults while a quota changes do not count: the figures are of constant quotas. A bound
/// promises nothing, so it has no fault.
pub fn fault(tables: &[Table], row: &Row) -> Option<&'static str> {
    if row.about.family == Family::Bound {
        return None;
    }
    match row.check {
        Check::Keys { lost: 1.., .. } => return Some("loses keys"),
        Check::Keys { twice: 1.., .. } => return Some("hands keys out twice"),
        Check::Quota(kept) if kept.excess > 0.0 => return Some("admits too much"),
        Check::Answers(answers) if answers.excess > 0.0 => return Some("admits too much"),
        Check::Answers(answers) if answers.achieved() < ACHIEVED => {
            return Some("admits too little");
        }
        Check::Excess(excess) if excess > 0.0 => return Some("admits too much"),
        Check::Keys { .. } => return None,
        _ => {}
    }
    let mut patterns = tables.iter().filter(|table| table.name == "correctness");
    patterns.find_map(|table| match &table.body {
        Body::Probed(patterns, rows) => {
            let probed = rows
                .iter()
                .find(|found| found.about.name == row.about.name)?;
            let seen = || patterns.iter().zip(&probed.kept);
            let too_much = seen().any(|(_, kept)| kept.is_some_and(|kept| kept.excess > 0.0));
            let too_little = seen().any(|(pattern, kept)| {
                pattern.saturates && kept.is_some_and(|kept| kept.achieved < ACHIEVED)
            });
            match (too_much, too_little) {
                (true, _) => Some("admits too much"),
                (_, true) => Some("admits too little"),
                _ => None,
            }
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::{Answers, Kept};
    use crate::report::{Pattern, Probed};
    use crate::stats::Spread;
    use crate::subject::About;

    fn row(family: Family, check: Check) -> Row {
        Row {
            about: About::new("it", family, "none"),
            nanos: Spread::of([1.0]).unwrap(),
            ratio: None,
            check,
            rounds: vec![1.0],
            each: None,
        }
    }

    fn probed(achieved: f64, excess: f64, saturates: bool) -> Vec<Table> {
        let kept = Kept { achieved, excess };
        let judged = Probed {
            about: About::new("it", Family::Peer, "none"),
            kept: vec![None, Some(kept)],
        };
        let pattern = Pattern {
            name: "polled",
            saturates,
        };
        vec![Table {
            name: "correctness".into(),
            title: String::new(),
            note: String::new(),
            body: Body::Probed(vec![pattern, pattern], vec![judged]),
        }]
    }

    #[test]
    fn right_is_not_accused() {
        let right = row(Family::Peer, Check::Excess(0.0));
        assert_eq!(fault(&[], &right), None);
        assert_eq!(fault(&probed(1.0, 0.0, true), &right), None);
        assert_eq!(fault(&probed(0.1, 0.0, false), &right), None);
    }

    #[test]
    fn wrong_is_found_in_either_place() {
        let unseen = row(Family::Peer, Check::None);
        assert_eq!(
            fault(&probed(1.5, 3.0, false), &unseen),
            Some("admits too much")
        );
        assert_eq!(
            fault(&probed(0.5, 0.0, true), &unseen),
            Some("admits too little")
        );
        let twice = Check::Keys { lost: 0, twice: 1 };
        assert_eq!(
            fault(&[], &row(Family::Peer, twice)),
            Some("hands keys out twice")
        );
        assert_eq!(fault(&[], &row(Family::Bound, twice)), None);
        // Right in its own workload, and wrong elsewhere.
        let answers = Answers {
            admitted: 1,
            missed: 0,
            excess: 0.0,
        };
        let right_here = row(Family::Peer, Check::Answers(answers));
        assert_eq!(
            fault(&probed(1.5, 3.0, false), &right_here),
            Some("admits too much")
        );
        // A queue's contender is not the limiter of the same name.
        let of_keys = row(Family::Peer, Check::Keys { lost: 0, twice: 0 });
        assert_eq!(fault(&probed(1.5, 3.0, false), &of_keys), None);
    }
}
