//! How long messages take, which ones are lost, and when the server is away.

use std::ops::Range;

use crate::random::{MILLI, Random, SECOND};
use crate::world::Profile;

/// A window in which requests fail.
#[derive(Clone, Debug)]
struct Outage {
    when: Range<u64>,
    /// The candidate that is cut off; `None`: the server is away.
    candidate: Option<usize>,
    /// Requests are refused at once, instead of never being answered.
    refuses: bool,
}

/// What happens to a message.
pub enum Fate {
    Arrives(u64),
    Refused(u64),
    Lost,
}

pub struct Network {
    quick: bool,
    /// How many percent of the messages are slow, and how many are lost.
    slow: u64,
    lost: u64,
    outages: Vec<Outage>,
}

impl Network {
    pub fn new(random: &mut Random, profile: Profile, candidates: usize, end: u64) -> Self {
        let quick = profile == Profile::Quick;
        let count = if quick { 0 } else { random.within(2..9) };
        let outage = |random: &mut Random| {
            let from = random.within(0..end);
            Outage {
                when: from..from + random.within(1..60) * SECOND,
                candidate: random.percent(75).then(|| random.index(candidates)),
                refuses: random.percent(40),
            }
        };
        Self {
            quick,
            slow: random.within(0..40),
            lost: random.within(0..10),
            outages: (0..count).map(|_| outage(random)).collect(),
        }
    }

    /// Returns what happens to a message between `candidate` and the server that leaves at `now`.
    pub fn fate(&self, random: &mut Random, candidate: usize, now: u64) -> Fate {
        if self.quick {
            return Fate::Arrives(now + random.within(MILLI..450 * MILLI));
        }
        let hit = |outage: &&Outage| {
            outage.when.contains(&now) && outage.candidate.is_none_or(|cut| cut == candidate)
        };
        match self.outages.iter().find(hit) {
            Some(outage) if outage.refuses => return Fate::Refused(now + 5 * MILLI),
            Some(_) => return Fate::Lost,
            None => {}
        }
        if random.percent(self.lost) {
            return Fate::Lost;
        }
        let longest = match random.percent(self.slow) {
            false => 100 * MILLI,
            true if random.percent(70) => 5 * SECOND,
            true => 30 * SECOND,
        };
        Fate::Arrives(now + random.within(MILLI..longest))
    }

    /// Returns how often a message is delivered.
    pub fn copies(&self, random: &mut Random) -> usize {
        if !self.quick && random.percent(8) {
            2
        } else {
            1
        }
    }
}
