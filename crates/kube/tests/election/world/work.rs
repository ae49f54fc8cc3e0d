//! What a leader does: reads the object, computes, checks, and writes it with the version it read.

use super::{Event, World};
use crate::network::Fate;
use crate::random::SECOND;

impl World {
    pub(super) fn work(&mut self, index: usize, epoch: u64, event: &Event) {
        match *event {
            // Scheduled at the start for whichever process runs then.
            Event::WorkBegin => {
                let candidate = &self.candidates[index];
                let (epoch, runs) = (candidate.epoch, !candidate.stopped);
                if let Some(term) = candidate.check(self.now).filter(|_| runs) {
                    self.pass_on(index, epoch, Event::WorkRead(term));
                }
            }
            Event::WorkRead(term) => {
                self.pass_on(index, epoch, Event::WorkHave(term, self.server.object.0));
            }
            Event::WorkHave(term, version) => {
                let at = self.now + self.random.within(1..4 * SECOND);
                self.schedule(at, index, epoch, Event::WorkSend(term, version));
            }
            Event::WorkSend(term, version) => {
                if self.candidates[index].check(self.now) == Some(term) {
                    self.pass_on(index, epoch, Event::WorkArrive(term, version));
                }
            }
            Event::WorkArrive(term, version) => {
                let written = self.server.write(version, term);
                self.counts.writes += u64::from(written);
                self.counts.refused_writes += u64::from(!written);
            }
            _ => unreachable!("not work: {event:?}"),
        }
    }

    /// Sends a message, which arrives as `event` unless it is lost.
    fn pass_on(&mut self, index: usize, epoch: u64, event: Event) {
        if let Fate::Arrives(at) = self.network.fate(&mut self.random, index, self.now) {
            self.schedule(at, index, epoch, event);
        }
    }
}
