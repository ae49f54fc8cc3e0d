//! A process that contends for the lease: its clock, its configuration, and whether it runs.

use std::time::Duration;

use tollgate::Timestamp;
use tollgate_kube::election::machine::Elector;
use tollgate_kube::election::{ElectionConfig, Term};

use crate::random::{Random, SECOND};
use crate::world::Event;

/// The clock of a machine: off by hours, and faster or slower by up to a tenth.
#[derive(Clone, Copy)]
pub struct LocalClock {
    offset: u64,
    per_mille: u64,
    wall_offset: i64,
}

impl LocalClock {
    fn new(random: &mut Random) -> Self {
        // Often the extremes, at which a margin that is too small shows.
        let per_mille = match random.within(0..4) {
            0 => 900,
            1 => 1_100,
            _ => random.within(900..1_101),
        };
        let hours = 3_600 * SECOND;
        Self {
            offset: random.within(0..10 * hours),
            per_mille,
            wall_offset: i64::try_from(random.within(0..20 * hours)).unwrap() / 1_000,
        }
    }

    pub fn at(self, real: u64) -> Timestamp {
        let elapsed = u128::from(real) * u128::from(self.per_mille) / 1_000;
        Timestamp::from_nanos(self.offset + u64::try_from(elapsed).unwrap())
    }

    pub fn wall_micros(self, real: u64) -> i64 {
        self.wall_offset + i64::try_from(real).unwrap() / 1_000
    }

    /// Returns the first instant at which the clock shows `local`.
    pub fn real(self, local: Timestamp) -> u64 {
        let elapsed = u128::from(local.as_nanos().saturating_sub(self.offset));
        u64::try_from((elapsed * 1_000).div_ceil(self.per_mille.into())).unwrap()
    }

    /// Returns the real time that the clock takes for `local`.
    pub fn real_span(self, local: Duration) -> u64 {
        u64::try_from(local.as_nanos() * 1_000 / u128::from(self.per_mille)).unwrap()
    }
}

pub struct Candidate {
    pub clock: LocalClock,
    pub config: ElectionConfig,
    /// `None` while the process is dead.
    pub elector: Option<Elector>,
    /// Counts the processes: events for an earlier one are dropped.
    pub epoch: u64,
    identity: String,
    pub stopped: bool,
    /// The process is leaving the election.
    pub leaving: bool,
    pub resumed_at: u64,
    /// Events that came while the process was stopped.
    pub inbox: Vec<Event>,
    /// The number of the latest wake-up: earlier ones are void.
    pub wake: u64,
    /// The term and deadline seen at the last check.
    pub seen: Option<(Term, u64)>,
    /// The latest term that was valid and then not.
    pub ended: Option<Term>,
}

impl Candidate {
    pub fn new(random: &mut Random, index: usize) -> Self {
        Self {
            clock: LocalClock::new(random),
            config: ElectionConfig::default(),
            elector: None,
            epoch: 0,
            identity: format!("candidate-{index}"),
            stopped: false,
            leaving: false,
            resumed_at: 0,
            inbox: Vec::new(),
            wake: 0,
            seen: None,
            ended: None,
        }
    }

    /// Starts a process, with the identity of the last one or with a fresh one.
    pub fn start(&mut self, random: &mut Random, config: ElectionConfig, now: u64) {
        if random.percent(50) {
            let base = self.identity.split('.').next().unwrap().to_owned();
            self.identity = format!("{base}.{}", self.epoch);
        }
        self.config = config;
        self.resumed_at = now;
        self.elector = Some(Elector::new(config, &*self.identity, random.next()).unwrap());
    }

    pub fn kill(&mut self) {
        self.elector = None;
        self.epoch += 1;
        self.stopped = false;
        self.leaving = false;
        self.inbox.clear();
        self.seen = None;
        self.ended = None;
    }

    /// Returns the term that the process passes the check with, whether or not it is stopped.
    pub fn check(&self, real: u64) -> Option<Term> {
        self.elector.as_ref()?.check(self.clock.at(real))
    }

    /// Returns whether the process has contended without a stop since `since`.
    pub fn has_run_since(&self, since: u64) -> bool {
        let contends = self.elector.is_some() && !self.stopped && !self.leaving;
        contends && self.resumed_at <= since
    }
}

/// Configurations whose ratio of lease duration to renew deadline is above 1.1 : 0.9.
pub fn config(random: &mut Random) -> ElectionConfig {
    let (lease, renew, retry) = match random.within(0..5) {
        0 => (15_000, 10_000, 2_000),
        1 | 2 => (10_000, 8_000, 2_000),
        3 => (4_000, 3_200, 500),
        _ => (40_000, 30_000, 4_000),
    };
    ElectionConfig {
        lease_duration: Duration::from_millis(lease),
        renew_deadline: Duration::from_millis(renew),
        retry_period: Duration::from_millis(retry),
    }
}
