//! Stops, kills, restarts, releases and rolling changes of the configuration.

use super::{Event, Profile, World};
use crate::candidate;
use crate::random::{MILLI, SECOND};

impl World {
    pub(super) fn schedule_faults(&mut self) {
        let count = self.candidates.len();
        for index in 0..count {
            let at = self.random.within(0..5 * SECOND);
            self.schedule(at, index, 0, Event::Start);
            let mut at = self.random.within(0..SECOND);
            while at < self.end {
                self.schedule(at, index, 0, Event::WorkBegin);
                at += self.random.within(200 * MILLI..4 * SECOND);
            }
        }
        let faults = match self.profile {
            Profile::Rough => self.random.within(3..12),
            Profile::Quick => self.random.within(2..5),
        };
        for _ in 0..faults {
            let at = self.random.within(5 * SECOND..self.end);
            let index = self.random.index(count);
            let event = match self.random.within(0..10) {
                0..5 => Event::Stop,
                5..8 => Event::Kill,
                _ => Event::Release,
            };
            self.schedule(at, index, u64::MAX, event);
        }
        if self.random.percent(40) {
            self.schedule_roll();
        }
    }

    /// Restarts each candidate in turn. The first to start again changes the configuration.
    fn schedule_roll(&mut self) {
        let mut at = self.random.within(20 * SECOND..self.end / 2);
        for index in 0..self.candidates.len() {
            let graceful = self.random.percent(50);
            let event = if graceful {
                Event::Release
            } else {
                Event::Kill
            };
            self.schedule(at, index, u64::MAX, event);
            at += self.random.within(SECOND..20 * SECOND);
        }
    }

    /// Returns the candidate that a fault hits: mostly the leader, where faults matter.
    fn victim(&mut self, index: usize) -> usize {
        let leader = |index: &usize| self.candidates[*index].check(self.now).is_some();
        let leader = (0..self.candidates.len()).find(leader);
        leader.filter(|_| self.random.percent(70)).unwrap_or(index)
    }

    pub(super) fn fault(&mut self, index: usize, epoch: u64, event: &Event) {
        // Scheduled at the start for any process: `u64::MAX`.
        let index = if epoch == u64::MAX {
            self.victim(index)
        } else {
            index
        };
        match event {
            Event::Stop => self.stop(index),
            Event::Resume if epoch == self.candidates[index].epoch => self.resume(index),
            Event::Kill => self.kill(index),
            Event::Start => self.start(index),
            Event::Release => self.release(index),
            _ => {}
        }
    }

    fn stop(&mut self, index: usize) {
        let leads = self.candidates[index].check(self.now).is_some();
        let candidate = &mut self.candidates[index];
        if candidate.elector.is_some() && !candidate.stopped {
            candidate.stopped = true;
            self.counts.stopped_leaders += u64::from(leads);
            let epoch = candidate.epoch;
            let at = self.now + self.random.within(MILLI..60 * SECOND);
            self.schedule(at, index, epoch, Event::Resume);
        }
    }

    /// Wakes a process: what came meanwhile is handled in any order.
    fn resume(&mut self, index: usize) {
        let candidate = &mut self.candidates[index];
        candidate.stopped = false;
        candidate.resumed_at = self.now;
        let mut inbox = std::mem::take(&mut candidate.inbox);
        let epoch = candidate.epoch;
        while !inbox.is_empty() {
            let event = inbox.swap_remove(self.random.index(inbox.len()));
            self.schedule(self.now, index, epoch, event);
        }
    }

    fn kill(&mut self, index: usize) {
        self.candidates[index].kill();
        let wait = match self.profile {
            Profile::Rough => self.random.within(MILLI..20 * SECOND),
            Profile::Quick => self.random.within(SECOND..90 * SECOND),
        };
        let epoch = self.candidates[index].epoch;
        self.schedule(self.now + wait, index, epoch, Event::Start);
    }

    fn start(&mut self, index: usize) {
        if self.random.percent(20) {
            self.config = candidate::config(&mut self.random);
        }
        let config = self.config;
        let candidate = &mut self.candidates[index];
        if candidate.elector.is_none() {
            candidate.start(&mut self.random, config, self.now);
            self.drive(index);
        }
    }

    fn release(&mut self, index: usize) {
        let candidate = &mut self.candidates[index];
        if candidate.stopped {
            candidate.inbox.push(Event::Release);
        } else if let Some(elector) = &mut candidate.elector {
            self.counts.releases += 1;
            candidate.leaving = true;
            elector.release(candidate.clock.at(self.now));
            self.drive(index);
        }
    }

    /// A process that has left the election exits, and another is started in its place.
    pub(super) fn leave(&mut self, index: usize) {
        self.kill(index);
    }
}
