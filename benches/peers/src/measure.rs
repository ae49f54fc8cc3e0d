//! Rounds in turn, A B A B, so that what the machine does meanwhile happens to all alike.

use std::time::Duration;

use serde::Serialize;

use crate::judge::{Answers, Kept};
use crate::progress::Progress;
use crate::stats::Spread;
use crate::subject::{About, Family};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rounds that count, after one that warms up.
    pub rounds: usize,
    /// For how long a subject runs in a round.
    pub slice: Duration,
    /// For how long a subject is watched when its correctness is judged.
    pub watch: Duration,
    /// Keys in a queue.
    pub queued: usize,
    /// Keys of the largest workloads.
    pub many: usize,
    /// In which delayed keys become due.
    pub due_within: Duration,
}

impl Effort {
    /// Ends within two minutes.
    pub const QUICK: Self = Self {
        rounds: 5,
        slice: Duration::from_millis(10),
        watch: Duration::from_millis(200),
        queued: 50_000,
        many: 100_000,
        due_within: Duration::from_millis(500),
    };

    /// Ends within twelve.
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
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// The time of one operation.
    pub nanos: f64,
    /// Whether it did what it should, if that could be seen.
    pub check: Check,
}

/// What was seen of correctness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// Nothing.
    #[default]
    None,
    /// How a quota was kept.
    Quota(Kept),
    /// How every single call was answered.
    Answers(Answers),
    /// Tokens admitted beyond a quota; not above 0 if right.
    Excess(f64),
    /// What became of keys.
    Keys {
        /// Added, and never handed out.
        lost: u64,
        /// Held by two workers at once, or handed out once more than added.
        twice: u64,
    },
}

impl Check {
    /// Of two rounds: what was wrong in one is wrong.
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
    /// Who.
    pub about: About,
    /// One round.
    pub round: Box<dyn FnMut() -> anyhow::Result<Sample> + 'a>,
}

/// What the rounds of one subject came to.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Who.
    #[serde(flatten)]
    pub about: About,
    /// Nanoseconds per operation.
    pub nanos: Spread,
    /// This subject's time over ours, of the same round; `None` where ours did not run.
    pub ratio: Option<Spread>,
    /// What was seen of correctness in all rounds.
    pub check: Check,
}

/// Runs all in turn.
///
/// # Errors
/// Whatever a round ends with.
pub fn interleave(
    mut contenders: Vec<Contender<'_>>,
    rounds: usize,
    progress: &Progress,
) -> anyhow::Result<Vec<Row>> {
    let mut samples = vec![Vec::with_capacity(rounds); contenders.len()];
    for round in 0..=rounds {
        for (contender, samples) in contenders.iter_mut().zip(&mut samples) {
            progress.step(contender.about.name);
            let sample = (contender.round)()?;
            // The first round warms up.
            if round > 0 {
                samples.push(sample);
            }
        }
    }
    let abouts: Vec<About> = contenders
        .into_iter()
        .map(|contender| contender.about)
        .collect();
    Ok(rows(abouts, &samples))
}

/// The first of ours is what all are compared with.
fn rows(abouts: Vec<About>, samples: &[Vec<Sample>]) -> Vec<Row> {
    let ours = abouts.iter().position(|about| about.family == Family::Ours);
    abouts
        .into_iter()
        .zip(samples)
        .filter_map(|(about, rounds)| {
            let ratios = ours.map(|ours| {
                let pairs = rounds.iter().zip(&samples[ours]);
                Spread::of(pairs.map(|(theirs, ours)| theirs.nanos / ours.nanos))
            });
            Some(Row {
                about,
                nanos: Spread::of(rounds.iter().map(|sample| sample.nanos))?,
                ratio: ratios.flatten(),
                check: rounds
                    .iter()
                    .fold(Check::None, |check, sample| check.and(sample.check)),
            })
        })
        .collect()
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
                    Ok(Sample {
                        nanos,
                        check: Check::None,
                    })
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
