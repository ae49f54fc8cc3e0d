//! The end of a run: what becomes of the key, and what the observer is told.

use std::time::Duration;

use crate::backoff::{Backoff, ExponentialBackoff};
use crate::clock::{Clock, Timestamp};
use crate::observe::Observer;
use crate::queue::core::entry::Failures;
use crate::queue::core::keys::KeyRef;
use crate::queue::core::run::{OnFailure, Outcome, Run};
use crate::queue::shell::shared::Shared;

impl<K, C: Clock, S> Shared<K, C, S> {
    /// Ends the run of a key that was started at `started`. Returns the key if it is no longer
    /// live, or its clone if it was given up and rests.
    pub(crate) fn finish(
        &self,
        key: KeyRef<K>,
        clone: Option<K>,
        outcome: Outcome,
        started: Timestamp,
        now: Timestamp,
    ) -> Option<K> {
        let finished = self.with_state(|state| state.machine.finish(key, outcome, now));
        let mut spare = clone;
        let forgotten = if finished.is_given_up {
            spare.take()
        } else {
            finished.forgotten
        };
        self.observe_finish(started, now, |observer| match outcome {
            Outcome::Done => {}
            // Still live: it was added during the run, so it runs again.
            Outcome::GiveUp(_) if forgotten.is_none() => {}
            Outcome::GiveUp(_) => observer.gave_up(),
            Outcome::Fail(_) => observer.failed(),
            Outcome::Defer(_) => observer.deferred(),
            Outcome::Requeue(_) | Outcome::Retry(_) => observer.retried(),
        });
        // Before the return: if a drop panics, unwinding drops locals, but no value that is already
        // returned.
        drop((finished.replaced, spare));
        forgotten
    }

    /// Tells the observer that a run has ended, and then its `outcome`.
    pub(crate) fn observe_finish(
        &self,
        started: Timestamp,
        now: Timestamp,
        outcome: impl FnOnce(&dyn Observer),
    ) {
        self.observe(|observer| {
            observer.finished(now.saturating_since(started));
            outcome(observer);
        });
    }

    /// Counts the failure of a run, and computes the instant until which its key waits: after its
    /// `own` delay, or after the queue's backoff.
    pub(crate) fn failed(&self, run: &mut Run, own: Option<Duration>, now: Timestamp) -> Failures {
        let backoff: &dyn Backoff = match run.on_failure {
            // The queue's backoff has panicked in this run.
            OnFailure::UseDefault => &ExponentialBackoff::DEFAULT,
            OnFailure::Count | OnFailure::KeepCount => &*self.backoff,
        };
        if run.on_failure == OnFailure::Count {
            run.failures = run.failures.saturating_add(1);
        }
        // Before the backoff is called: should it panic, the guard's drop comes back here, and must
        // neither count the failure again nor call it again.
        run.on_failure = OnFailure::UseDefault;
        let delay =
            own.unwrap_or_else(|| backoff.delay(run.failures.max(1).into(), self.random.next()));
        Failures {
            count: run.failures,
            // A zero delay must not be rounded up to the next tick.
            backoff_until: if delay.is_zero() {
                Timestamp::ZERO
            } else {
                now.saturating_add(delay)
            },
        }
    }
}
