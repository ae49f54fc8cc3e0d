//! The election as a sequential machine: it holds no lock, reads no clock and does no I/O.
//!
//! The caller passes the time to each call, performs the requests that [`Elector::poll`] returns,
//! and reports their answers. [`Election`](super::Election) does so against an API server; a
//! simulation does so in virtual time.
//!
//! # Invariants
//! 1. A term is valid until `sent_at + renew_deadline`, where `sent_at` was read before its last
//!    successful write was sent. The server applied that write at `sent_at` or later, so each other
//!    candidate sees it later still, and waits for the lease duration in it from there.
//! 2. Each update carries the `resourceVersion` of the record that it was decided on. A takeover
//!    succeeds only if the record is the one that was seen unchanged for its duration.
//! 3. At most one request is outstanding. The answer to an abandoned request is ignored: nothing is
//!    lost by that, because a read follows each write whose outcome is unknown.
//! 4. A term that has lapsed never becomes valid again: the candidate acquires the lease anew, with
//!    the next number.

mod plan;
mod random;
mod step;
#[cfg(test)]
mod tests;

use std::time::Duration;

use tollgate::Timestamp;

use super::config::{ConfigError, ElectionConfig};
use super::record::{Record, Stored, Term};
use plan::Intent;
use random::Random;
pub use step::{Answer, Operation, Outcome, Request, RequestId, Step};

/// A candidate of an election, as a sequential machine; the [module](self) says how to drive it.
#[derive(Clone, Debug)]
pub struct Elector {
    identity: String,
    config: ElectionConfig,
    random: Random,
    sight: Sight,
    /// The outcome of a write is unknown, or it conflicted: a read comes before the next write.
    stale: bool,
    /// When the last conflict was answered by an immediate read.
    reread_at: Option<Timestamp>,
    /// The number of the latest term seen, which outlives a deleted Lease.
    latest: Option<Term>,
    held: Option<Held>,
    outstanding: Option<Outstanding>,
    next_id: u64,
    /// The earliest instant of the next regular request.
    next_at: Timestamp,
    /// Set by `release`: when to give up.
    release_by: Option<Timestamp>,
    outcome: Option<Outcome>,
}

/// What the candidate knows of the Lease.
#[derive(Clone, Debug)]
enum Sight {
    /// No answer yet.
    Unknown,
    /// The server has no such Lease. A candidate that saw it before waits until `create_at`: its
    /// holder may be valid still.
    Missing { create_at: Timestamp },
    /// The record, and since when it is unchanged in this candidate's sight.
    Found { stored: Stored, since: Timestamp },
}

#[derive(Clone, Copy, Debug)]
struct Held {
    term: Term,
    until: Timestamp,
    acquire_time: i64,
}

#[derive(Clone, Debug)]
struct Outstanding {
    id: RequestId,
    sent_at: Timestamp,
    abandon_at: Timestamp,
    intent: Intent,
    /// What the request writes, if it writes.
    written: Option<Record>,
}

impl Elector {
    /// Creates a candidate that has sent no request yet; `seed` determines its jitter.
    ///
    /// No two processes that are alive may have the same identity: a candidate that reads its own
    /// identity takes the record for its own and renews it.
    ///
    /// # Errors
    /// An empty identity, and what [`ElectionConfig::validate`] returns.
    pub fn new(
        config: ElectionConfig,
        identity: impl Into<String>,
        seed: u64,
    ) -> Result<Self, ConfigError> {
        let identity = identity.into();
        config.validate()?;
        if identity.is_empty() {
            return Err(ConfigError::Empty("identity"));
        }
        Ok(Self {
            identity,
            config,
            random: Random::new(seed),
            sight: Sight::Unknown,
            stale: false,
            reread_at: None,
            latest: None,
            held: None,
            outstanding: None,
            next_id: 0,
            next_at: Timestamp::ZERO,
            release_by: None,
            outcome: None,
        })
    }

    /// Returns the term that is valid at `now`.
    pub fn check(&self, now: Timestamp) -> Option<Term> {
        self.valid_until()
            .filter(|(_, until)| now < *until)
            .map(|(term, _)| term)
    }

    /// Returns the term held, and the first instant at which it is no longer valid.
    ///
    /// The instant may have passed already.
    pub fn valid_until(&self) -> Option<(Term, Timestamp)> {
        self.held.map(|held| (held.term, held.until))
    }

    /// Returns the identity of the holder in the record last seen.
    pub fn holder(&self) -> Option<&str> {
        match &self.sight {
            Sight::Found { stored, .. } => stored.record.holder(),
            Sight::Unknown | Sight::Missing { .. } => None,
        }
    }

    /// Returns what to do at `now`; `wall_micros` is the wall clock in microseconds since the Unix
    /// epoch, which is written into the record and used for nothing else.
    ///
    /// `now` must have been read before the call: the validity of a term counts from it.
    pub fn poll(&mut self, now: Timestamp, wall_micros: i64) -> Step {
        self.lapse(now);
        if self.release_by.is_some_and(|by| by <= now) {
            self.outcome.get_or_insert(Outcome::GaveUp);
        }
        if let Some(outcome) = self.outcome {
            return Step::Done(outcome);
        }
        if let Some(outstanding) = &self.outstanding {
            if now < outstanding.abandon_at {
                return self.wait(outstanding.abandon_at);
            }
            self.abandon();
        }
        match self.plan(now) {
            Some((at, intent)) if at <= now => self.send(intent, now, wall_micros),
            Some((at, _)) => self.wait(at),
            None => Step::Done(*self.outcome.insert(Outcome::NotHeld)),
        }
    }

    /// Reports the answer to the request `id` at `now`, to be read after the answer has come.
    ///
    /// Returns false, and changes nothing, if the request has been answered or abandoned: any
    /// answer may come late, twice or never.
    pub fn answer(&mut self, id: RequestId, answer: Answer, now: Timestamp) -> bool {
        let Some(request) = self.outstanding.take_if(|request| request.id == id) else {
            return false;
        };
        self.lapse(now);
        match answer {
            Answer::Stored(stored) => {
                // Only a complete answer to the latest request shows the current state.
                self.stale = false;
                if request.written.is_some() {
                    self.written(&request, &stored);
                }
                self.observe(stored, now);
            }
            // To a create, it means that there is no such namespace.
            Answer::NotFound if matches!(request.intent, Intent::Create(_)) => self.stale = true,
            Answer::NotFound => self.miss(now),
            Answer::Conflict => self.conflict(now),
            Answer::Failed => self.stale |= request.written.is_some(),
        }
        true
    }

    /// Leaves the election: ends the term at once, and frees the lease with the next requests.
    ///
    /// To be called after all work of the term has ended. Polling goes on until [`Step::Done`],
    /// which comes at the latest one renew deadline after `now`.
    pub fn release(&mut self, now: Timestamp) {
        if self.release_by.is_none() {
            self.held = None;
            self.abandon();
            self.next_at = now;
            self.release_by = Some(now + self.config.renew_deadline);
        }
    }

    /// Ends a term whose validity has passed.
    fn lapse(&mut self, now: Timestamp) {
        if self.held.is_some_and(|held| held.until <= now) {
            self.held = None;
        }
    }

    fn abandon(&mut self) {
        if let Some(request) = self.outstanding.take() {
            self.stale |= request.written.is_some();
        }
    }

    /// Waits, at the longest until the term lapses: the caller publishes that.
    fn wait(&self, at: Timestamp) -> Step {
        let lapse = self.held.map(|held| held.until);
        let earlier = lapse.into_iter().chain(self.release_by).min();
        Step::Wait(earlier.map_or(at, |earlier| at.min(earlier)))
    }

    /// Takes note of a successful write.
    fn written(&mut self, request: &Outstanding, stored: &Stored) {
        if !request
            .written
            .as_ref()
            .is_some_and(|written| written.counts_as(&stored.record))
        {
            // An admission webhook changed what other candidates judge the record by.
            self.held = None;
            self.stale = true;
            return;
        }
        let until = request.sent_at + self.config.renew_deadline;
        match request.intent {
            Intent::Release => self.outcome = Some(Outcome::Released),
            // A renewal whose term has lapsed meanwhile does not revive it.
            Intent::Renew => {
                if let Some(held) = &mut self.held {
                    held.until = held.until.max(until);
                }
            }
            Intent::Acquire(term) | Intent::Create(term) => {
                self.held = Some(Held {
                    term,
                    until,
                    acquire_time: stored.record.acquire_time.unwrap_or_default(),
                });
            }
            Intent::Read => {}
        }
    }

    fn observe(&mut self, stored: Stored, now: Timestamp) {
        let record = &stored.record;
        self.latest = self.latest.max(Some(record.term()));
        let ours = record.holder() == Some(&self.identity);
        self.held
            .take_if(|held| !ours || held.term != record.term());
        match &self.sight {
            Sight::Found { stored: seen, .. } if *seen == stored => {}
            _ => self.sight = Sight::Found { stored, since: now },
        }
    }

    fn miss(&mut self, now: Timestamp) {
        self.stale = false;
        let wait = match &self.sight {
            Sight::Missing { .. } => return,
            Sight::Found { stored, .. } if !self.is_free(&stored.record) => {
                self.duration_of(&stored.record)
            }
            Sight::Found { .. } | Sight::Unknown => Duration::ZERO,
        };
        self.sight = Sight::Missing {
            create_at: now + wait,
        };
    }

    /// Reads again at once, but not more often than a regular request would be sent.
    fn conflict(&mut self, now: Timestamp) {
        self.stale = true;
        let recent = |at| now.saturating_since(at) < self.config.retry_period;
        if !self.reread_at.is_some_and(recent) {
            self.reread_at = Some(now);
            self.next_at = now;
        }
    }
}
