//! What must hold on every machine. A timing fails only if the best of all rounds missed its floor,
//! and the floors leave room: they catch a regression, not a busy machine.

use crate::measure::{Check, Row};
use crate::report::{Body, Report, Table};
use crate::stats::Spread;
use crate::subject::Family;

/// The peer's time over ours, in the same round, reaches this in at least one round. Each floor is
/// about half of the worst "best round" of several quick runs on an overcommitted machine; a third
/// where the figure depends on the cache. Bytes do not depend on the machine: they have less room.
const FLOORS: &[(&str, &str, f64)] = &[
    ("admit", "governor", 0.5),
    ("deny", "governor", 0.5),
    ("admit", "textbook, float", 0.5),
    ("admit", "clock read + CAS", 0.25),
    ("deny", "clock read", 0.2),
    ("contention-2", "governor", 0.7),
    ("contention-2", "clock read + CAS, paused", 0.4),
    ("keyed-1k", "governor, dashmap", 0.6),
    ("keyed-1m", "governor, dashmap", 0.6),
    ("keyed-zipf", "governor, dashmap", 0.5),
    ("keyed-zipf-contention", "governor, dashmap", 0.5),
    ("keyed-deny", "governor, dashmap", 0.6),
    ("keyed-strings", "governor, dashmap", 0.5),
    ("keyed-flood", "governor, dashmap", 0.25),
    ("keyed-memory", "governor, dashmap", 1.3),
    // The streams sleep in a cycle of one key, so only a channel is a useful reference there.
    ("queue-cycle", "crossbeam channel", 0.1),
    ("queue-batch", "crossbeam channel", 0.1),
    ("queue-fill-drain", "kube-runtime scheduler", 1.5),
    ("queue-delay-insert", "DelayQueue + set", 1.5),
    ("queue-duplicate", "kube-runtime scheduler", 0.7),
    ("queue-many", "kube-runtime scheduler", 0.5),
    ("queue-memory", "kube-runtime scheduler", 2.0),
];

/// The same for what runs in Go, where Go took part.
const GO_FLOORS: &[(&str, &str, f64)] = &[
    ("admit", "Go x/time/rate", 3.0),
    ("deny", "Go x/time/rate", 3.0),
    ("queue-cycle", "client-go", 0.8),
    ("queue-batch", "client-go", 1.8),
    ("queue-duplicate", "client-go", 0.3),
    ("queue-fill-drain", "client-go", 1.8),
    ("queue-delay-insert", "client-go", 2.5),
    ("queue-many", "client-go", 0.8),
    ("queue-pause", "client-go", 7.0),
    ("queue-resync", "client-go", 0.8),
    ("queue-workers", "client-go", 0.25),
    ("queue-memory", "client-go", 0.7),
];

/// The least share of its rate that a saturated limiter of ours admits.
pub const ACHIEVED: f64 = 0.999;

/// The same for a short round, at the end of which a lease may still hold a batch.
const HELD: f64 = 0.98;

/// Lists what does not hold. `crowded` means more threads than cores: a descheduled thread then
/// holds locks and leases, so only wrong answers count, not floors and shares. `go` means that Go
/// took part.
pub fn broken(tables: &[Table], crowded: bool, go: bool) -> Vec<String> {
    let floors = FLOORS.iter().chain(GO_FLOORS.iter().filter(|_| go));
    let enforced = floors.filter(|_| !crowded);
    tables
        .iter()
        .flat_map(|table| wrong(table, crowded))
        .chain(enforced.filter_map(|floor| below(tables, *floor)))
        .collect()
}

/// Lists the wrong answers of our own types.
fn wrong(table: &Table, crowded: bool) -> Vec<String> {
    let mut found = Vec::new();
    let mut expect = |name: &str, holds: bool, what: String| {
        if !holds {
            found.push(format!("{}: {name} {what}", table.name));
        }
    };
    match &table.body {
        Body::Rows(_, rows) => {
            for row in rows.iter().filter(|row| row.about.family == Family::Ours) {
                match row.check {
                    Check::Quota(kept) => {
                        expect(
                            row.about.name,
                            kept.excess <= 0.0,
                            format!("admitted {} tokens over its quota", kept.excess),
                        );
                        expect(
                            row.about.name,
                            kept.achieved >= HELD || crowded,
                            format!("admitted only {:.4} of its rate", kept.achieved),
                        );
                    }
                    Check::Answers(answers) => expect(
                        row.about.name,
                        answers.right(),
                        format!(
                            "denied {} of {} calls wrongly, and admitted {} tokens over the quota of a key",
                            answers.missed,
                            answers.admitted + answers.missed,
                            answers.excess.max(0.0)
                        ),
                    ),
                    Check::Excess(excess) => expect(
                        row.about.name,
                        excess <= 0.0,
                        format!("admitted {excess} tokens over its quota"),
                    ),
                    Check::Keys { lost, twice } => {
                        expect(
                            row.about.name,
                            lost + twice == 0,
                            format!("lost {lost} keys, handed out {twice} twice"),
                        );
                    }
                    Check::None => {}
                }
            }
        }
        Body::Probed(patterns, rows) => {
            for row in rows.iter().filter(|row| row.about.family == Family::Ours) {
                for (pattern, kept) in patterns.iter().zip(&row.kept) {
                    let Some(kept) = kept else { continue };
                    expect(
                        row.about.name,
                        kept.excess <= 0.0,
                        format!(
                            "admitted {} tokens over its quota ({})",
                            kept.excess, pattern.name
                        ),
                    );
                    if pattern.saturates && !crowded {
                        expect(
                            row.about.name,
                            kept.achieved >= ACHIEVED,
                            format!(
                                "admitted only {:.4} of its rate ({})",
                                kept.achieved, pattern.name
                            ),
                        );
                    }
                }
            }
        }
        Body::Percentiles(_) => {}
    }
    found
}

/// Reports a missed floor; `None` where the workload was not selected, or the floor holds.
fn below(tables: &[Table], (table, peer, floor): (&str, &str, f64)) -> Option<String> {
    let rows = Report::find(tables, table)?;
    let ratio = rows
        .iter()
        .find(|row: &&Row| row.about.name == peer)
        .and_then(|row| row.ratio);
    let Some(Spread { max: best, .. }) = ratio else {
        return Some(format!("{table}: no {peer} to compare with the floor"));
    };
    (best < floor).then(|| {
        format!(
            "{table}: {peer} took {best:.2} of our time in our best round; the floor is {floor}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::{Answers, Kept};
    use crate::report::{Pattern, Probed, Unit};
    use crate::subject::About;
    use crate::workload;

    const RIGHT: Answers = Answers {
        admitted: 1_000_000,
        missed: 0,
        excess: 0.0,
    };

    fn row(name: &'static str, family: Family, rounds: &[f64], check: Check) -> Row {
        let spread = Spread::of(rounds.iter().copied()).unwrap();
        Row {
            about: About::new(name, family, ""),
            nanos: spread,
            ratio: Some(spread),
            check,
            rounds: rounds.to_vec(),
            each: None,
        }
    }

    fn table(name: &str, body: Body) -> Vec<Table> {
        vec![Table {
            name: name.into(),
            title: String::new(),
            note: String::new(),
            body,
        }]
    }

    fn rows(name: &str, row: Row) -> Vec<Table> {
        table(name, Body::Rows(Unit::NanosACall, vec![row]))
    }

    fn polled(achieved: f64, excess: f64, saturates: bool) -> Vec<Table> {
        let probed = Probed {
            about: About::new("it", Family::Ours, ""),
            kept: vec![Some(Kept { achieved, excess })],
        };
        let name = "polled";
        let pattern = Pattern { name, saturates };
        table("correctness", Body::Probed(vec![pattern], vec![probed]))
    }

    #[test]
    fn a_floor_is_missed_in_all_rounds_or_not_at_all() {
        let governor = |rounds: &[f64]| {
            let row = row("governor", Family::Peer, rounds, Check::None);
            broken(&rows("deny", row), false, false)
        };
        assert!(governor(&[0.4, 0.1]).iter().any(|it| it.contains("0.40")));
        let floors = governor(&[0.6, 0.1]);
        assert!(!floors.iter().any(|it| it.contains("governor")));
    }

    #[test]
    fn a_floor_without_its_peer_is_no_floor() {
        let renamed = row("governor 2", Family::Peer, &[9.0], Check::None);
        let found = broken(&rows("keyed-1k", renamed), false, false);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("no governor, dashmap"));
        assert_eq!(broken(&[], false, false), Vec::<String>::new());
    }

    #[test]
    fn floors_of_go_hold_where_go_took_part() {
        let missed = |go| {
            let slow = row("client-go", Family::Peer, &[0.1], Check::None);
            broken(&rows("queue-pause", slow), false, go)
        };
        assert_eq!(missed(true).len(), 1);
        assert!(missed(false).is_empty());
        let scheduler = row("kube-runtime scheduler", Family::Peer, &[9.0], Check::None);
        let without = broken(&rows("queue-pause", scheduler), false, true);
        assert!(without[0].contains("no client-go"), "{without:?}");
    }

    #[test]
    fn every_floor_is_of_a_workload() {
        for (table, ..) in FLOORS.iter().chain(GO_FLOORS) {
            let workload = table.trim_end_matches("-2");
            let known = workload::ALL.iter().any(|it| it.name == workload);
            assert!(known, "{table}");
        }
    }

    #[test]
    fn ours_must_be_right() {
        let judged = |family, check| {
            broken(
                &rows("mixed", row("it", family, &[1.0], check)),
                false,
                false,
            )
        };
        for wrong in [
            Check::Excess(1.0),
            Check::Quota(Kept {
                achieved: 1.0,
                excess: 0.5,
            }),
            Check::Quota(Kept {
                achieved: 0.9,
                excess: 0.0,
            }),
            Check::Answers(Answers { missed: 1, ..RIGHT }),
            Check::Answers(Answers {
                excess: 1.0,
                ..RIGHT
            }),
            Check::Keys { lost: 1, twice: 0 },
            Check::Keys { lost: 0, twice: 1 },
        ] {
            assert_eq!(judged(Family::Ours, wrong).len(), 1, "{wrong:?}");
            assert!(judged(Family::Peer, wrong).is_empty());
        }
        for right in [Check::Answers(RIGHT), Check::Excess(0.0)] {
            assert!(judged(Family::Ours, right).is_empty());
        }
    }

    #[test]
    fn ours_admits_all_that_is_given() {
        assert_eq!(broken(&polled(0.9, 0.0, true), false, false).len(), 1);
        assert_eq!(broken(&polled(1.0, 2.0, false), false, false).len(), 1);
        assert!(broken(&polled(0.9, 0.0, false), false, false).is_empty());
        assert!(broken(&polled(1.0, 0.0, true), false, false).is_empty());
        // More threads than cores: only an excess counts.
        assert!(broken(&polled(0.9, 0.0, true), true, false).is_empty());
        assert_eq!(broken(&polled(0.9, 1.0, true), true, false).len(), 1);
    }
}
