//! One run of a key: what the worker is told of it, and what it says at its end.

use std::time::Duration;

use super::Priority;
use super::entry::{Failures, NEVER, tick_after};
use super::keys::Lent;
use crate::clock::Timestamp;

/// A key that was handed out, and its run.
#[derive(Debug)]
pub(super) struct Started<K> {
    pub(super) key: Lent<K>,
    pub(super) run: Run,
}

/// One run of a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) priority: Priority,
    /// Failures in a row, of the runs before.
    pub(super) failures: u16,
    pub(super) failing: Failing,
    /// Since when the key was ready.
    pub(super) ready_since: Timestamp,
    pub(super) started: Timestamp,
}

impl Run {
    /// For how long the key was ready before.
    pub(super) const fn queued(&self) -> Duration {
        self.started.saturating_since(self.ready_since)
    }
}

/// What it means for a run to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failing {
    /// It is one more failure in a row.
    Counts,
    /// It began before the last backoff was over, so an event brought it on: it does not raise the
    /// exponent.
    Repeats,
    /// It has failed, and the queue's backoff was asked: if that panicked, it is not asked again.
    Asked,
}

/// What a worker says of the key it held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nothing more to do.
    Done,
    /// Once more, behind those that are ready.
    Requeue,
    /// Once more, not before this tick.
    After(u64),
    /// It failed; once more when the backoff is over.
    Retry(Failures),
    /// It failed for the last time; once more only if it was added again.
    GiveUp(Failures),
}

impl Outcome {
    /// Once more after `delay`.
    pub(super) fn after(delay: Duration, now: Timestamp) -> Self {
        if delay.is_zero() {
            Self::Requeue
        } else {
            Self::After(tick_after(now.saturating_add(delay)))
        }
    }

    /// The tick that the worker wants, and what becomes of the failures.
    pub(super) fn wish(self) -> (u64, Failures) {
        match self {
            Self::Done => (NEVER, Failures::default()),
            Self::Requeue => (0, Failures::default()),
            Self::After(tick) => (tick, Failures::default()),
            Self::Retry(failures) => (tick_after(failures.until), failures),
            Self::GiveUp(failures) => (NEVER, failures),
        }
    }
}
