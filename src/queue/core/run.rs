//! One run of a key: what the worker is told of it, and what it says at its end.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::queue::core::entry::{Failures, NEVER, tick_of};
use crate::queue::core::keys::KeyRef;
use crate::queue::core::priority::Priority;

/// A key that was handed out, and its run.
#[derive(Debug)]
pub(crate) struct Started<K> {
    pub(crate) key: KeyRef<K>,
    pub(crate) run: Run,
}

/// One run of a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) priority: Priority,
    /// Failures in a row, of the runs before.
    pub(crate) failures: u16,
    pub(crate) failing: Failing,
    /// Since when the key was ready.
    pub(crate) ready_since: Timestamp,
    pub(crate) started: Timestamp,
}

impl Run {
    /// For how long the key was ready before.
    pub(crate) const fn queued(&self) -> Duration {
        self.started.saturating_since(self.ready_since)
    }
}

/// What it means for a run to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failing {
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
pub(crate) enum Outcome {
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
    /// As `GiveUp`, by the worker's own word.
    Fail(Failures),
    /// It could not run now; once more, not before this tick, with the failures it had.
    Defer(u64),
}

impl Outcome {
    /// Once more after `delay`.
    pub(crate) fn after(delay: Duration, now: Timestamp) -> Self {
        match tick_of(delay, now) {
            0 => Self::Requeue,
            tick => Self::After(tick),
        }
    }

    /// As [`after`](Self::after), of a run that neither succeeded nor failed.
    pub(crate) fn deferred(delay: Duration, now: Timestamp) -> Self {
        Self::Defer(tick_of(delay, now))
    }

    /// How long after `now` a failed run is repeated, if it is.
    pub(crate) const fn retry_after(self, now: Timestamp) -> Option<Duration> {
        match self {
            Self::Retry(failures) => Some(failures.until.saturating_since(now)),
            _ => None,
        }
    }

    /// The tick that the worker wants, and what becomes of the failures that the key `had`.
    pub(crate) fn wish(self, had: Failures) -> (u64, Failures) {
        match self {
            Self::Done => (NEVER, Failures::default()),
            Self::Defer(tick) => (tick, had),
            Self::Requeue => (0, Failures::default()),
            Self::After(tick) => (tick, Failures::default()),
            Self::Retry(failures) => (failures.tick(), failures),
            Self::GiveUp(failures) | Self::Fail(failures) => (NEVER, failures),
        }
    }
}
