//! What the election promises, checked at each event.

use std::time::Duration;

use tollgate_kube::election::{Stored, Term};

use super::{Event, Profile, World};
use crate::random::SECOND;

impl World {
    /// Checks that at most one candidate leads now, and that no term has two processes or intervals.
    pub(super) fn look(&mut self) {
        let mut leader = None;
        for index in 0..self.candidates.len() {
            let valid = self.candidates[index].check(self.now);
            let other = valid.and_then(|term| leader.replace((index, term)));
            if let Some((other, its)) = other {
                panic!(
                    "at {} ns candidate {other} leads term {its} and candidate {index} leads too: {:?}",
                    self.now, self.candidates[index].elector
                );
            }
            self.follow(index, valid);
        }
    }

    /// Compares a candidate's term with its last one.
    fn follow(&mut self, index: usize, valid: Option<Term>) {
        let candidate = &mut self.candidates[index];
        let before = candidate.seen.map(|(term, _)| term);
        let until = candidate
            .elector
            .as_ref()
            .and_then(|elector| elector.valid_until());
        let until = until.map_or(0, |(_, until)| candidate.clock.real(until));
        let seen = valid.map(|term| (term, until));
        if candidate.seen == seen {
            return;
        }
        candidate.seen = seen;
        if let Some(ended) = before.filter(|_| before != valid) {
            self.counts.lapses += 1;
            candidate.ended = Some(ended);
        }
        let Some(term) = valid else { return };
        assert!(candidate.ended < Some(term), "term {term} came back");
        let process = (index, candidate.epoch);
        let of_term = *self.terms.entry(term).or_insert(process);
        assert_eq!(of_term, process, "term {term} has two processes");
        self.counts.terms += u64::from(before != valid);
        for at in [until - 1, until] {
            self.schedule(at, index, 0, Event::Look);
        }
    }

    /// Takes note of a write of the Lease, and of what must happen after it.
    pub(super) fn applied(&mut self, index: usize, epoch: u64, before: Option<&Stored>) {
        if self.profile == Profile::Rough {
            return;
        }
        let stored = self.server.lease.clone().expect("written just now");
        let released = stored.record.holder().is_none();
        let holder_before = before.map(|before| before.record.holder());
        if holder_before.is_some_and(|holder| holder != stored.record.holder()) && !released {
            match holder_before.flatten() {
                Some(_) => self.counts.takeovers += 1,
                None => self.counts.released_takeovers += 1,
            }
        }
        let answer = Duration::from_secs(1);
        for other in 0..self.candidates.len() {
            let candidate = &self.candidates[other];
            let retry = candidate.config.retry_period * 6 / 5;
            let bound = match stored.record.duration() {
                Some(lease) if !released => lease + 2 * retry + 4 * answer,
                _ => retry + 3 * answer,
            };
            let at = self.now + candidate.clock.real_span(bound);
            let event = Event::Due(stored.version.clone(), self.now);
            self.schedule(at, other, candidate.epoch, event);
        }
        if !released {
            let event = Event::MustLead(stored.version.clone());
            self.schedule(self.now + SECOND, index, epoch, event);
        }
    }

    /// Checks that the Lease was written again since `version`: candidate `index` has had the time.
    pub(super) fn due(&mut self, index: usize, epoch: u64, version: &str, written_at: u64) {
        let candidate = &self.candidates[index];
        if candidate.epoch != epoch || !candidate.has_run_since(written_at) {
            return;
        }
        let current = self.server.lease.as_ref().expect("written before");
        assert_ne!(current.version, version, "nothing took over {current:?}");
    }

    /// Checks that the process which wrote `version` leads after its answer.
    pub(super) fn must_lead(&mut self, index: usize, epoch: u64, version: &str) {
        let candidate = &self.candidates[index];
        let runs = candidate.epoch == epoch && candidate.has_run_since(self.now - SECOND);
        let current = self.server.lease.as_ref().expect("written before");
        if runs && current.version == version {
            assert!(
                candidate.check(self.now).is_some(),
                "{current:?} does not lead"
            );
        }
    }
}
