//! The targets of the library, each a ratio of two contenders that ran in turn, and the ratios
//! measured.

mod list;

use serde::Serialize;

use list::Over::{self, BestPeer, Nothing, One, Ours};
use list::{QUEUE, TARGETS};

use super::{Report, Table};
use crate::measure::Row;
use crate::stats::Spread;
use crate::subject::Family;
use crate::workload::queues::DROP;

/// A target and its figure.
#[derive(Clone, Debug, Serialize)]
pub struct Target {
    /// What is measured, over what.
    pub what: String,
    /// The upper bound.
    pub at_most: f64,
    /// The ratio of each round.
    pub measured: Spread,
    /// One side against itself: how far two medians of ours would lie apart, as a share. `None` for
    /// a figure that is no ratio.
    pub noise: Option<f64>,
}

impl Target {
    /// Whether the median ratio is within the bound, as far as a figure repeats itself.
    pub fn met(&self) -> bool {
        let allowed = self.noise.unwrap_or(0.0).min(MOST_NOISE);
        self.measured.median <= self.at_most * (1.0 + allowed)
    }
}

/// No more noise than this excuses a figure: a busy machine proves nothing.
const MOST_NOISE: f64 = 0.1;

/// Returns the targets whose figures these tables hold.
pub fn compare(tables: &[Table]) -> Vec<Target> {
    let listed = TARGETS.iter().filter_map(|target| of(tables, *target));
    listed.chain(duplicate(tables)).collect()
}

fn of(
    tables: &[Table],
    (table, ours, over, at_most, what): (&str, &str, Over, f64, &str),
) -> Option<Target> {
    let rows = Report::find(tables, table)?;
    let mine = named(rows, ours)?;
    let theirs = match over {
        One(name) => Some(named(rows, name)?),
        BestPeer => Some(best_peer(rows)?),
        Ours(table) => Some(named(Report::find(tables, table)?, ours)?),
        Nothing => None,
    };
    let what = match (over, theirs) {
        (One(_), Some(row)) => format!("{what}, over {}", row.about.name),
        (BestPeer, Some(row)) => format!("{what}, over the best peer ({})", row.about.name),
        _ => what.to_owned(),
    };
    target(
        what,
        at_most,
        &mine.rounds,
        theirs.map(|row| row.rounds.as_slice()),
    )
}

/// A duplicate add without the drop of the caller's key, which Go leaves to its collector.
fn duplicate(tables: &[Table]) -> Option<Target> {
    let rows = Report::find(tables, "queue-duplicate")?;
    let (ours, dropped) = (named(rows, QUEUE)?, named(rows, DROP)?);
    let pairs = ours.rounds.iter().zip(&dropped.rounds);
    let without: Vec<f64> = pairs.map(|(ours, dropped)| ours - dropped).collect();
    let theirs = &named(rows, "client-go")?.rounds;
    let what = "queue, duplicate add without the drop of the key, over client-go".to_owned();
    target(what, 1.0, &without, Some(theirs))
}

/// Compares the rounds of both sides, pair by pair.
fn target(what: String, at_most: f64, ours: &[f64], theirs: Option<&[f64]>) -> Option<Target> {
    let measured = match theirs {
        Some(theirs) => Spread::of(ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs)),
        None => Spread::of(ours.iter().copied()),
    };
    Some(Target {
        what,
        at_most,
        measured: measured?,
        noise: theirs.map(|_| noise(ours)),
    })
}

/// Returns how far two medians of one contender would lie apart, as a share: as far as two
/// neighbouring rounds (the median), over the root of the number of rounds.
fn noise(rounds: &[f64]) -> f64 {
    let apart = rounds.windows(2).map(|pair| (pair[1] / pair[0]).ln().abs());
    let root = (rounds.len() as f64).sqrt();
    Spread::of(apart).map_or(0.0, |apart| (apart.median / root).exp_m1())
}

fn named<'a>(rows: &'a [Row], name: &str) -> Option<&'a Row> {
    rows.iter().find(|row| row.about.name == name)
}

fn best_peer(rows: &[Row]) -> Option<&Row> {
    let peers = rows.iter().filter(|row| row.about.family == Family::Peer);
    let least = |row: &Row| row.ratio.map_or(f64::INFINITY, |ratio| ratio.median);
    peers.min_by(|one, two| least(one).total_cmp(&least(two)))
}

#[cfg(test)]
mod tests {
    use super::list::OURS;
    use super::*;
    use crate::measure::{Contender, interleave_cold};
    use crate::progress::Progress;
    use crate::report::{Body, Unit};
    use crate::subject::About;
    use crate::workload;

    /// A table of contenders with the figures of their rounds.
    fn table(name: &str, rows: &[(&'static str, Family, &[f64])]) -> Vec<Table> {
        let contenders = rows.iter().map(|(name, family, figures)| {
            let mut figures = figures.iter();
            Contender {
                about: About::new(name, *family, ""),
                round: Box::new(move || Ok((*figures.next().unwrap()).into())),
            }
        });
        let rounds = rows[0].2.len();
        let rows = interleave_cold(contenders.collect(), rounds, &Progress::hidden()).unwrap();
        vec![Table {
            name: name.into(),
            title: String::new(),
            note: String::new(),
            body: Body::Rows(Unit::NanosAKey, rows),
        }]
    }

    #[test]
    fn a_target_is_the_median_of_the_ratios_of_rounds() {
        // The ratio of medians would be 0.5.
        let tables = table(
            "queue-cycle",
            &[
                (QUEUE, Family::Ours, &[10.0, 20.0, 90.0]),
                ("client-go", Family::Peer, &[40.0, 50.0, 30.0]),
            ],
        );
        let targets = compare(&tables);
        assert_eq!(targets.len(), 1);
        let Spread { median, min, max } = targets[0].measured;
        assert_eq!((median, min, max), (0.4, 0.25, 3.0));
        assert!(targets[0].met());
        assert_eq!(targets[0].what, "queue, add, get, finish, over client-go");
    }

    #[test]
    fn without_its_other_side_a_target_is_left_out() {
        let alone = table("queue-cycle", &[(QUEUE, Family::Ours, &[10.0])]);
        assert!(compare(&alone).is_empty());
        assert!(compare(&[]).is_empty());
    }

    #[test]
    fn the_best_peer_is_a_crate_and_no_textbook() {
        let tables = table(
            "deny",
            &[
                (OURS, Family::Ours, &[10.0, 10.0]),
                ("slow", Family::Peer, &[30.0, 30.0]),
                ("quick", Family::Peer, &[8.0, 8.0]),
                ("textbook", Family::Textbook, &[2.0, 2.0]),
            ],
        );
        let targets = compare(&tables);
        assert_eq!(targets[0].what, "deny, over the best peer (quick)");
        assert_eq!(targets[0].measured.median, 1.25);
        assert!(!targets[0].met());
    }

    #[test]
    fn within_what_repeats_itself_a_bound_is_met() {
        let deny = |ours: &[f64]| {
            let theirs = vec![10.0; ours.len()];
            let rows = [
                ("quick", Family::Peer, &*theirs),
                (OURS, Family::Ours, ours),
            ];
            compare(&table("deny", &rows)).remove(0)
        };
        assert!(!deny(&[10.4, 10.4, 10.4]).met());
        // Neighbours are 21% apart, so medians of four rounds are 10%.
        let shaky = |most| deny(&[10.0, 12.1, 10.0, most]);
        assert!((shaky(12.1).noise.unwrap() - 0.1).abs() < 1e-9);
        assert!(!shaky(12.1).met());
        assert!(shaky(10.9).measured.median > 1.0 && shaky(10.9).met());
        // A machine that is too busy is no excuse.
        let busy = deny(&[12.0, 60.0, 12.0, 12.0]);
        assert!(busy.noise.unwrap() > 0.2 && !busy.met());
    }

    #[test]
    fn the_drop_of_the_key_is_counted_apart() {
        let tables = table(
            "queue-duplicate",
            &[
                (QUEUE, Family::Ours, &[50.0, 45.0, 40.0]),
                ("client-go", Family::Peer, &[28.0, 20.0, 40.0]),
                (DROP, Family::Bound, &[22.0, 25.0, 10.0]),
            ],
        );
        let targets = compare(&tables);
        assert_eq!(targets[0].measured.median, 1.0);
    }

    #[test]
    fn a_figure_that_is_no_ratio_is_taken_as_it_is() {
        let tables = table("fairness", &[(OURS, Family::Ours, &[1.3, 1.1, 1.2])]);
        let targets = compare(&tables);
        assert_eq!((targets[0].measured.median, targets[0].noise), (1.2, None));
        assert!(targets[0].met());
    }

    #[test]
    fn every_target_is_of_a_workload() {
        // Some workloads have tables beside the one of their name.
        let part = |name: &str| {
            name.trim_end_matches("-2")
                .trim_end_matches("-latest")
                .to_owned()
        };
        for (table, ..) in TARGETS {
            let known = workload::ALL.iter().any(|it| it.name == part(table));
            assert!(known, "{table}");
        }
    }
}
