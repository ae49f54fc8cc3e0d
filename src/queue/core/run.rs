//! One run of a key: what its worker gets, and the outcome that the worker reports.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::queue::core::entry::{Failures, NEVER};
use crate::queue::core::keys::KeyRef;
use crate::queue::core::priority::Priority;

/// A key that was handed out, and its run.
pub(crate) type Started<K> = (KeyRef<K>, Run);

/// One run of a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) priority: Priority,
    /// The failures in a row before this run.
    pub(crate) failures: u16,
    pub(crate) on_failure: OnFailure,
    /// When the key became ready.
    pub(crate) ready_since: Timestamp,
    pub(crate) started: Timestamp,
}

impl Run {
    /// Returns how long the key was ready before it was started.
    pub(crate) const fn queued(&self) -> Duration {
        self.started.saturating_since(self.ready_since)
    }
}

/// What a failure of the run does to the count of failures, and so to the exponent of the backoff.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnFailure {
    /// Raises it by one.
    Count,
    /// Keeps it: the run began inside the last backoff, because of an add. A burst of adds must not
    /// inflate the backoff.
    KeepCount,
    /// Keeps it, and takes the default backoff: the queue's own was called for this run, and may
    /// have panicked.
    UseDefault,
}

/// The outcome of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Success.
    Done,
    /// Success; run again at this tick, or at once, at the tail of the ready keys, if it is 0.
    Requeue(u64),
    /// Failure; run again after the backoff.
    Retry(Failures),
    /// Failure of the last attempt; run again only if the key was added meanwhile.
    GiveUp(Failures),
    /// Same as `GiveUp`, decided by the worker: a terminal error.
    Fail(Failures),
    /// Neither: run again at this tick, with the failures as they were.
    Defer(u64),
}

impl Outcome {
    /// Returns the tick at which the key is to run again, or `NEVER`, and its failures from now on.
    pub(crate) fn next_run(self, recorded: Failures) -> (u64, Failures) {
        match self {
            Self::Done => (NEVER, Failures::default()),
            Self::Defer(tick) => (tick, recorded),
            Self::Requeue(tick) => (tick, Failures::default()),
            Self::Retry(failures) => (failures.backoff_tick(), failures),
            Self::GiveUp(failures) | Self::Fail(failures) => (NEVER, failures),
        }
    }
}
