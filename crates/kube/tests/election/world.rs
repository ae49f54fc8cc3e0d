//! The run of one seed: events in virtual time, and the properties checked at each.

mod faults;
mod promises;
mod work;

use std::collections::{BTreeMap, HashMap};

use tollgate_kube::election::machine::{Answer, Operation, RequestId, Step};
use tollgate_kube::election::{ElectionConfig, Term};

use crate::candidate::{self, Candidate};
use crate::network::{Fate, Network};
use crate::random::{Random, SECOND};
use crate::server::Server;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Everything fails; checks that no two candidates lead.
    Rough,
    /// The server answers within a second; checks also that a new leader appears in time.
    Quick,
}

/// What happens to one candidate's process, or to all.
#[derive(Clone, Debug)]
pub enum Event {
    /// The process polls its elector, if no later wake-up was scheduled.
    Wake(u64),
    /// A request for the Lease reaches the server.
    Arrive(RequestId, Operation),
    /// An answer reaches the process.
    Answer(RequestId, Answer),
    Stop,
    Resume,
    Kill,
    Start,
    Release,
    /// The leader reads the object, has it, sends its write; the write reaches the server.
    WorkBegin,
    WorkRead(Term),
    WorkHave(Term, u64),
    WorkSend(Term, u64),
    WorkArrive(Term, u64),
    /// Looks only: at and around each deadline.
    Look,
    /// A successor must have written the Lease, if it still has this version, written at the time.
    Due(String, u64),
    /// The process that wrote this version must lead.
    MustLead(String),
}

impl Event {
    /// Returns whether the event needs the process to run; it waits while that is stopped.
    fn needs_process(&self) -> bool {
        matches!(
            self,
            Event::Wake(_) | Event::Answer(..) | Event::WorkHave(..) | Event::WorkSend(..)
        )
    }
}

#[derive(Debug, Default)]
pub struct Counts {
    pub events: u64,
    pub terms: u64,
    pub lapses: u64,
    pub conflicts: u64,
    pub late_answers: u64,
    pub releases: u64,
    pub stopped_leaders: u64,
    pub writes: u64,
    pub refused_writes: u64,
    pub takeovers: u64,
    pub released_takeovers: u64,
}

impl Counts {
    pub fn add(&mut self, other: &Counts) {
        self.events += other.events;
        self.terms += other.terms;
        self.lapses += other.lapses;
        self.conflicts += other.conflicts;
        self.late_answers += other.late_answers;
        self.releases += other.releases;
        self.stopped_leaders += other.stopped_leaders;
        self.writes += other.writes;
        self.refused_writes += other.refused_writes;
        self.takeovers += other.takeovers;
        self.released_takeovers += other.released_takeovers;
    }
}

pub struct World {
    profile: Profile,
    random: Random,
    now: u64,
    end: u64,
    /// By time, then in the order in which they were scheduled: the candidate, its epoch, the
    /// event.
    queue: BTreeMap<(u64, u64), (usize, u64, Event)>,
    scheduled: u64,
    candidates: Vec<Candidate>,
    /// What a process that starts now is configured with.
    config: ElectionConfig,
    server: Server,
    network: Network,
    /// The process of each term.
    terms: HashMap<Term, (usize, u64)>,
    counts: Counts,
}

impl World {
    pub fn new(seed: u64, profile: Profile) -> Self {
        let mut random = Random::new(seed);
        let end = 200 * SECOND;
        let count = 2 + random.index(4);
        let candidates = (0..count).map(|index| Candidate::new(&mut random, index));
        let candidates: Vec<_> = candidates.collect();
        let config = candidate::config(&mut random);
        let network = Network::new(&mut random, profile, count, end);
        let mut world = Self {
            profile,
            random,
            now: 0,
            end,
            queue: BTreeMap::new(),
            scheduled: 0,
            candidates,
            config,
            server: Server::default(),
            network,
            terms: HashMap::new(),
            counts: Counts::default(),
        };
        world.schedule_faults();
        world
    }

    pub fn run(mut self) -> Counts {
        while let Some(((at, _), (index, epoch, event))) = self.queue.pop_first() {
            if at > self.end {
                break;
            }
            self.now = at;
            self.counts.events += 1;
            let candidate = &mut self.candidates[index];
            if event.needs_process() {
                if epoch != candidate.epoch {
                    continue;
                }
                if candidate.stopped {
                    candidate.inbox.push(event);
                    continue;
                }
            }
            self.handle(index, epoch, event);
            self.look();
        }
        self.counts
    }

    fn schedule(&mut self, at: u64, index: usize, epoch: u64, event: Event) {
        self.scheduled += 1;
        let key = (at.max(self.now), self.scheduled);
        self.queue.insert(key, (index, epoch, event));
    }

    fn handle(&mut self, index: usize, epoch: u64, event: Event) {
        match event {
            Event::Wake(wake) if wake == self.candidates[index].wake => self.drive(index),
            Event::Wake(_) | Event::Look => {}
            Event::Arrive(id, operation) => self.arrive(index, epoch, id, &operation),
            Event::Answer(id, answer) => self.answer(index, id, answer),
            Event::Stop | Event::Resume | Event::Kill | Event::Start | Event::Release => {
                self.fault(index, epoch, &event);
            }
            Event::Due(version, at) => self.due(index, epoch, &version, at),
            Event::MustLead(version) => self.must_lead(index, epoch, &version),
            work => self.work(index, epoch, &work),
        }
    }

    /// Polls the elector until it waits.
    fn drive(&mut self, index: usize) {
        let clock = self.candidates[index].clock;
        loop {
            let Some(elector) = &mut self.candidates[index].elector else {
                return;
            };
            match elector.poll(clock.at(self.now), clock.wall_micros(self.now)) {
                Step::Send(request) => self.send(index, request.id, request.operation),
                Step::Wait(at) => {
                    let candidate = &mut self.candidates[index];
                    candidate.wake += 1;
                    let (epoch, wake) = (candidate.epoch, candidate.wake);
                    let at = clock.real(at);
                    assert!(at > self.now, "waits for an instant that has passed");
                    return self.schedule(at, index, epoch, Event::Wake(wake));
                }
                Step::Done(_) => return self.leave(index),
            }
        }
    }

    fn send(&mut self, index: usize, id: RequestId, operation: Operation) {
        let epoch = self.candidates[index].epoch;
        for _ in 0..self.network.copies(&mut self.random) {
            match self.network.fate(&mut self.random, index, self.now) {
                Fate::Arrives(at) => {
                    let event = Event::Arrive(id, operation.clone());
                    self.schedule(at, index, epoch, event);
                }
                Fate::Refused(at) => {
                    self.schedule(at, index, epoch, Event::Answer(id, Answer::Failed));
                }
                Fate::Lost => {}
            }
        }
    }

    fn arrive(&mut self, index: usize, epoch: u64, id: RequestId, operation: &Operation) {
        let rough = self.profile == Profile::Rough;
        let mut answer = Answer::Failed;
        // An error of the server: before it applies the request, or after.
        if !(rough && self.random.percent(3)) {
            let before = self.server.lease.clone();
            answer = self.server.apply(operation);
            if *operation != Operation::Read && matches!(answer, Answer::Stored(_)) {
                self.applied(index, epoch, before.as_ref());
            }
            if rough && self.random.percent(3) {
                answer = Answer::Failed;
            }
        }
        self.counts.conflicts += u64::from(answer == Answer::Conflict);
        for _ in 0..self.network.copies(&mut self.random) {
            if let Fate::Arrives(at) = self.network.fate(&mut self.random, index, self.now) {
                self.schedule(at, index, epoch, Event::Answer(id, answer.clone()));
            }
        }
    }

    fn answer(&mut self, index: usize, id: RequestId, answer: Answer) {
        let candidate = &mut self.candidates[index];
        let Some(elector) = &mut candidate.elector else {
            return;
        };
        let taken = elector.answer(id, answer, candidate.clock.at(self.now));
        self.counts.late_answers += u64::from(!taken);
        // The process may be stopped between an answer and the next poll.
        let event = Event::Wake(candidate.wake);
        let epoch = candidate.epoch;
        self.schedule(self.now, index, epoch, event);
    }
}
