//! What the candidate does next, derived from its state alone, and the request that does it.

use std::time::Duration;

use tollgate::Timestamp;

use super::super::record::{Record, Stored, Term};
use super::{Elector, Operation, Outstanding, Request, RequestId, Sight, Step};

/// The purpose of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intent {
    Read,
    Create(Term),
    Acquire(Term),
    Renew,
    Release,
}

/// The `leaseDurationSeconds` of a released lease, as client-go writes it.
const RELEASED_SECONDS: i32 = 1;

impl Elector {
    /// Returns the next request and when it is due; `None` if there is nothing to release.
    pub(super) fn plan(&self, now: Timestamp) -> Option<(Timestamp, Intent)> {
        if self.release_by.is_some() {
            return self.plan_release();
        }
        let regular = self.next_at;
        let read = (regular, Intent::Read);
        if self.stale {
            return Some(read);
        }
        let write = match &self.sight {
            Sight::Unknown => return Some(read),
            Sight::Missing { .. } if let Some(held) = self.held => {
                (Timestamp::ZERO, Intent::Create(held.term))
            }
            Sight::Missing { create_at } => (*create_at, Intent::Create(self.next_term())),
            Sight::Found { .. } if self.held.is_some() => return Some((regular, Intent::Renew)),
            Sight::Found { stored, since } => (
                self.free_at(&stored.record, *since),
                Intent::Acquire(self.next_term()),
            ),
        };
        // A takeover that is due needs no read before it: its `resourceVersion` is checked.
        let write_first = write.0 <= regular.max(now);
        Some(if write_first { write } else { read })
    }

    fn plan_release(&self) -> Option<(Timestamp, Intent)> {
        if self.stale {
            return Some((self.next_at, Intent::Read));
        }
        let ours = self.holder() == Some(&self.identity);
        ours.then_some((Timestamp::ZERO, Intent::Release))
    }

    /// Returns when this candidate may take over a record that is unchanged since `since`.
    fn free_at(&self, record: &Record, since: Timestamp) -> Timestamp {
        if self.is_free(record) {
            return Timestamp::ZERO;
        }
        since + self.duration_of(record)
    }

    /// Returns whether the record names no other candidate.
    pub(super) fn is_free(&self, record: &Record) -> bool {
        record.holder().is_none_or(|holder| holder == self.identity)
    }

    /// Returns the duration in the record, or this candidate's own if that makes no sense.
    pub(super) fn duration_of(&self, record: &Record) -> Duration {
        record.duration().unwrap_or(self.config.lease_duration)
    }

    /// Returns the term after the latest; the first is 0, as in client-go.
    fn next_term(&self) -> Term {
        // A Lease's field holds no more.
        let most = i32::MAX.unsigned_abs();
        self.latest.map_or(Term::new(0), |latest| {
            Term::new((latest.number() + 1).min(most))
        })
    }

    pub(super) fn send(&mut self, intent: Intent, now: Timestamp, wall_micros: i64) -> Step {
        let id = RequestId(self.next_id);
        self.next_id += 1;
        self.next_at = now + self.random.jitter(self.config.retry_period);
        let written = self.record_of(intent, wall_micros);
        let operation = match (&written, &self.sight) {
            (None, _) => Operation::Read,
            (Some(record), Sight::Found { stored, .. }) => Operation::Update(Stored {
                record: record.clone(),
                version: stored.version.clone(),
            }),
            (Some(record), Sight::Missing { .. } | Sight::Unknown) => {
                Operation::Create(record.clone())
            }
        };
        self.outstanding = Some(Outstanding {
            id,
            sent_at: now,
            abandon_at: now + self.config.request_timeout(),
            intent,
            written,
        });
        Step::Send(Request { id, operation })
    }

    /// Returns the record that a request with this intent writes.
    fn record_of(&self, intent: Intent, wall_micros: i64) -> Option<Record> {
        let (term, acquire_time) = match (intent, self.held) {
            (Intent::Read, _) => return None,
            (Intent::Renew | Intent::Create(_), Some(held)) => (held.term, held.acquire_time),
            (Intent::Acquire(term) | Intent::Create(term), _) => (term, wall_micros),
            (Intent::Renew | Intent::Release, _) => (self.latest?, wall_micros),
        };
        let releases = intent == Intent::Release;
        let (holder, seconds) = if releases {
            (String::new(), RELEASED_SECONDS)
        } else {
            (self.identity.clone(), self.config.lease_seconds())
        };
        Some(Record {
            holder: Some(holder),
            duration_seconds: Some(seconds),
            acquire_time: Some(acquire_time),
            renew_time: Some(wall_micros),
            transitions: i32::try_from(term.number()).ok(),
        })
    }
}
