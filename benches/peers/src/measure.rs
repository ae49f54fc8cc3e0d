//! Runs the rounds in turn, A B A B, so that disturbances of the machine affect all contenders
//! alike.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::judge::{Answers, Kept};
use crate::progress::Progress;
use crate::stats::Spread;
use crate::subject::{About, Family};

/// How much to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rounds that count, after one warm-up round.
    pub rounds: usize,
    /// How long a subject runs in a round.
    pub slice: Duration,
    /// How long a subject runs when its correctness is judged.
    pub watch: Duration,
    /// Keys in a queue.
    pub queued: usize,
    /// Keys of the largest workloads.
    pub many: usize,
    /// The span within which delayed keys become due.
    pub due_within: Duration,
}

impl Effort {
    /// Takes about two minutes.
    pub const QUICK: Self = Self {
        rounds: 5,
        slice: Duration::from_millis(10),
        watch: Duration::from_millis(200),
        queued: 50_000,
        many: 100_000,
        due_within: Duration::from_millis(500),
    };

    /// Takes at most twelve minutes.
    pub const FULL: Self = Self {
        rounds: 15,
        slice: Duration::from_millis(50),
        watch: Duration::from_secs(1),
        queued: 200_000,
        many: 1_000_000,
        due_within: Duration::from_secs(2),
    };
}

/// One round of one subject.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// The time of one operation, or the bytes of one key.
    pub nanos: f64,
    /// What the correctness check found.
    pub check: Check,
    /// The times of single operations, if the workload asks for them.
    pub each: Option<Histogram<u64>>,
}

impl From<f64> for Sample {
    fn from(nanos: f64) -> Self {
        Self {
            nanos,
            ..Self::default()
        }
    }
}

/// The result of a correctness check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// Not checked.
    #[default]
    None,
    /// Whether a quota was kept.
    Quota(Kept),
    /// Whether every single call was answered correctly.
    Answers(Answers),
    /// Tokens admitted beyond a quota; at most 0 if correct.
    Excess(f64),
    /// Keys of a queue.
    Keys {
        /// Added, but not handed out afterwards.
        lost: u64,
        /// Held by two workers at once, or handed out once more than added.
        twice: u64,
    },
}

impl Check {
    /// Combines two rounds: a fault in one is a fault.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::None, check) | (check, Self::None) => check,
            (Self::Quota(one), Self::Quota(two)) => Self::Quota(one.and(two)),
            (Self::Answers(one), Self::Answers(two)) => Self::Answers(one.and(two)),
            (Self::Excess(one), Self::Excess(two)) => Self::Excess(one.max(two)),
            (
                Self::Keys { lost, twice },
                Self::Keys {
                    lost: also_lost,
                    twice: also_twice,
                },
            ) => Self::Keys {
                lost: lost.max(also_lost),
                twice: twice.max(also_twice),
            },
            (one, _) => one,
        }
    }
}

/// A subject, ready to run rounds.
pub struct Contender<'a> {
    /// The subject.
    pub about: About,
    /// Runs one round.
    pub round: Box<dyn FnMut() -> anyhow::Result<Sample> + 'a>,
}

/// The result of all rounds of one subject.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The subject.
    #[serde(flatten)]
    pub about: About,
    /// Nanoseconds per operation, or bytes per key.
    pub nanos: Spread,
    /// This subject's time over ours in the same round; `None` where ours did not run.
    pub ratio: Option<Spread>,
    /// The combined correctness check of all rounds.
    pub check: Check,
    /// `nanos` of each round.
    pub rounds: Vec<f64>,
    /// The times of single operations in all rounds.
    #[serde(skip)]
    pub each: Option<Histogram<u64>>,
}

/// Runs all contenders in turn: one round that warms up, then those that count.
///
/// # Errors
/// The first error of a round.
pub fn interleave(
    mut contenders: Vec<Contender<'_>>,
    rounds: usize,
    progress: &Progress,
) -> anyhow::Result<Vec<Row>> {
    in_turn(&mut contenders, 1, progress)?;
    interleave_cold(contenders, rounds, progress)
}

/// Does the same without a round that warms up, for rounds that take seconds.
///
/// # Errors
/// The first error of a round.
pub fn interleave_cold(
    mut contenders: Vec<Contender<'_>>,
    rounds: usize,
    progress: &Progress,
) -> anyhow::Result<Vec<Row>> {
    let samples = in_turn(&mut contenders, rounds, progress)?;
    let abouts: Vec<About> = contenders
        .into_iter()
        .map(|contender| contender.about)
        .collect();
    Ok(rows(abouts, samples))
}

/// Returns the samples of each contender.
fn in_turn(
    contenders: &mut [Contender<'_>],
    rounds: usize,
    progress: &Progress,
) -> anyhow::Result<Vec<Vec<Sample>>> {
    let mut samples = vec![Vec::with_capacity(rounds); contenders.len()];
    for _ in 0..rounds {
        for (contender, samples) in contenders.iter_mut().zip(&mut samples) {
            progress.step(contender.about.name);
            samples.push((contender.round)()?);
        }
    }
    Ok(samples)
}

/// Summarizes the rounds; the first of ours is the reference of all ratios.
fn rows(abouts: Vec<About>, samples: Vec<Vec<Sample>>) -> Vec<Row> {
    let nanos = |rounds: &Vec<Sample>| rounds.iter().map(|sample| sample.nanos).collect::<Vec<_>>();
    let ours = abouts.iter().position(|about| about.family == Family::Ours);
    let ours = ours.map(|ours| nanos(&samples[ours]));
    let row = |(about, samples): (About, Vec<Sample>)| {
        let rounds = nanos(&samples);
        let ratios = ours.as_ref().map(|ours| {
            let pairs = rounds.iter().zip(ours);
            Spread::of(pairs.map(|(theirs, ours)| theirs / ours))
        });
        Some(Row {
            about,
            nanos: Spread::of(rounds.iter().copied())?,
            ratio: ratios.flatten(),
            check: samples
                .iter()
                .fold(Check::None, |check, sample| check.and(sample.check)),
            rounds,
            each: samples
                .into_iter()
                .filter_map(|sample| sample.each)
                .reduce(|mut all, one| {
                    all.add(one).expect("their bounds are the same");
                    all
                }),
        })
    };
    abouts.into_iter().zip(samples).filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_go_in_turn_and_the_first_does_not_count() {
        let log = std::cell::RefCell::new(String::new());
        let contender = |name: &'static str, family, nanos: f64| Contender {
            about: About::new(name, family, "none"),
            round: Box::new({
                let log = &log;
                move || {
                    let first = log.borrow().len() < 2;
                    log.borrow_mut().push_str(name);
                    let nanos = if first { 1e9 } else { nanos };
                    Ok(nanos.into())
                }
            }),
        };
        let contenders = vec![
            contender("A", Family::Peer, 30.0),
            contender("B", Family::Ours, 10.0),
        ];
        let rows = interleave(contenders, 3, &Progress::hidden()).unwrap();
        assert_eq!(*log.borrow(), "ABABABAB");
        assert_eq!(
            rows[0].nanos,
            Spread {
                median: 30.0,
                min: 30.0,
                max: 30.0
            }
        );
        assert_eq!(rows[0].rounds, [30.0; 3]);
        assert_eq!(rows[0].ratio.unwrap().median, 3.0);
        assert_eq!(rows[1].ratio.unwrap().median, 1.0);
    }

    #[test]
    fn an_excess_stays_and_the_closest_round_counts() {
        let quota = |achieved, excess| Check::Quota(Kept { achieved, excess });
        assert_eq!(quota(1.1, 3.0).and(quota(0.5, -1.0)), quota(1.1, 3.0));
        assert_eq!(Check::None.and(quota(1.0, 0.0)), quota(1.0, 0.0));
    }
}
