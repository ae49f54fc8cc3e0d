//! The end of a run: one method an outcome, and the drop of the guard.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::queue::core::entry::tick_of;
use crate::queue::core::run::{OnFailure, Outcome, Run};
use crate::queue::ops::work::{HeldKey, Work};

impl<K, C: Clock, S> Work<K, C, S> {
    /// Ends the run as a success, and clears the key's failures.
    ///
    /// The key is absent from now on, unless it was added during the run.
    #[inline]
    pub fn done(mut self) {
        // The fast path: no outcome to report, and no clock read if none is needed.
        if let Some(HeldKey { shared, key }) =
            self.held.take_if(|held| held.shared.observer.is_none())
        {
            let mut borrowed = Some(key);
            let forgotten = shared.with_state(|state| state.machine.finish_done(&mut borrowed));
            match borrowed {
                None => return drop(forgotten),
                Some(key) => self.held = Some(HeldKey { shared, key }),
            }
        }
        self.finish(|_, _, _| Outcome::Done);
    }

    /// Ends the run as [`done`](Self::done) and takes the next key as
    /// [`try_get`](crate::WorkQueue::try_get), under one lock.
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::new(8)?;
    /// queue.try_add(1).unwrap();
    /// queue.try_add(2).unwrap();
    /// let mut next = queue.get().wait();
    /// let mut seen = Vec::new();
    /// while let Some(work) = next {
    ///     seen.push(*work);
    ///     next = work.done_and_get();
    /// }
    /// assert_eq!(seen, [1, 2]);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    #[inline]
    pub fn done_and_get(mut self) -> Option<Self> {
        let now = self.shared().clock.now();
        let HeldKey { shared, key } = self.held.take()?;
        // Declared before the lock guard, so dropped after it: the destructors are the caller's.
        let (forgotten, replaced);
        let mut guard = shared.lock_mut();
        let machine = &mut guard.state().machine;
        let mut borrowed = Some(key);
        let done = machine.finish_done(&mut borrowed);
        // No `Finished` on the short path: it would be stored narrowly and loaded widely, which waits
        // under the lock for all stores before it.
        (forgotten, replaced) = match borrowed {
            None => (done, None),
            Some(key) => {
                let finished = machine.finish(key, Outcome::Done, now);
                (finished.forgotten, finished.replaced)
            }
        };
        let started = guard.state().start(now, false);
        if guard.state().is_quiet() && shared.observer.is_none() {
            guard.unlock();
            // The handle moves on: no reference count changes.
            let next = started.map(|started| Self::new(shared, started));
            // While `next` is a local: should a key's destructor panic, the next key is released.
            drop(forgotten);
            drop(replaced);
            return next;
        }
        let next = started.map(|started| Self::new(Arc::clone(&shared), started));
        let limiter_closed = std::mem::take(&mut guard.state().limiter_closed);
        guard.unlock();
        drop(forgotten);
        drop(replaced);
        shared.observe_finish(self.run.started, now, |_| {});
        shared.observe_closed_limiter(limiter_closed);
        next.inspect(Self::observe_start)
    }

    /// Requeues the key behind the ready keys, and clears its failures.
    pub fn requeue(mut self) {
        self.finish(|_, _, _| Outcome::Requeue(0));
    }

    /// Requeues the key after `delay`, or earlier when it is added, and clears its failures.
    ///
    /// Use it for a periodic resync.
    pub fn requeue_after(mut self, delay: Duration) {
        self.finish(|_, _, now| Outcome::Requeue(tick_of(delay, now)));
    }

    /// Requeues the key after `delay`, or earlier when it is added, and leaves its failures as they
    /// are.
    ///
    /// Use it when the work could not be tried: an object that the key depends on is missing, or
    /// the key's tenant has no token.
    pub fn defer(mut self, delay: Duration) {
        self.finish(|_, _, now| Outcome::Defer(tick_of(delay, now)));
    }

    /// Ends the run as a failure: the key runs again after the queue's
    /// [`Backoff`](crate::Backoff).
    ///
    /// An add cuts the backoff short, unless the queue
    /// [holds](crate::queue::QueueBuilder::hold_backoff) it.
    ///
    /// After the last of the queue's [attempts](crate::queue::QueueBuilder::max_attempts) the key is
    /// given up: it is absent, and returned as a dead letter, to be reported or stored. A key that
    /// was added during the run is not returned: it runs again.
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::builder(8).max_attempts(2).build()?;
    /// queue.try_add("key").unwrap();
    /// assert_eq!(queue.try_get().unwrap().retry(), None);
    /// let work = queue.get().wait().unwrap(); // after the backoff
    /// assert_eq!(work.retry(), Some("key"));
    /// assert!(queue.is_empty());
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    #[must_use = "a key that is given up is returned"]
    pub fn retry(self) -> Option<K> {
        self.end_failed(None, false, |_, _, _| {})
    }

    /// Same as [`retry`](Self::retry), but after `delay` instead of the queue's backoff.
    ///
    /// Use it for an error that says when to come back, such as a `Retry-After`.
    #[must_use = "a key that is given up is returned"]
    pub fn retry_after(self, delay: Duration) -> Option<K> {
        self.end_failed(Some(delay), false, |_, _, _| {})
    }

    /// Ends the run as a failure that no retry can mend: the key is given up, and returned as a dead
    /// letter, to be reported or stored.
    ///
    /// A key that was added during the run is not returned: it runs again.
    #[must_use = "the key is returned"]
    pub fn fail(self) -> Option<K> {
        self.end_failed(None, true, |_, _, _| {})
    }

    /// Ends a failed run, after `tell` was called with the key, its failures and the delay of its
    /// retry. Should `tell` panic, dropping the guard retries the key.
    pub(crate) fn end_failed(
        mut self,
        own: Option<Duration>,
        is_terminal: bool,
        tell: impl FnOnce(&K, u32, Option<Duration>),
    ) -> Option<K> {
        self.finish(|run, HeldKey { shared, key }, now| {
            let failures = shared.failed(run, own, now);
            let outcome = match shared.max_attempts {
                _ if is_terminal => Outcome::Fail(failures),
                Some(max) if failures.count >= max => Outcome::GiveUp(failures),
                _ => Outcome::Retry(failures),
            };
            let retry_after = match outcome {
                Outcome::Retry(failures) => Some(failures.backoff_until.saturating_since(now)),
                _ => None,
            };
            tell(key, run.failures.into(), retry_after);
            outcome
        })
    }

    /// Ends the run with `outcome`; returns the key if it is given up.
    fn finish(
        &mut self,
        outcome: impl FnOnce(&mut Run, &HeldKey<K, C, S>, Timestamp) -> Outcome,
    ) -> Option<K> {
        // Read while the guard holds the key: should the clock panic, dropping the guard retries.
        let now = self.shared().clock.now();
        self.finish_at(now, outcome)
    }

    fn finish_at(
        &mut self,
        now: Timestamp,
        outcome: impl FnOnce(&mut Run, &HeldKey<K, C, S>, Timestamp) -> Outcome,
    ) -> Option<K> {
        let held = self.held.as_ref()?;
        let outcome = outcome(&mut self.run, held, now);
        // A key that is given up is returned to the worker by a clone, if it rests in the queue. Cloned
        // while the guard holds the key: should `Clone` panic, dropping the guard retries.
        let gives_up = matches!(outcome, Outcome::GiveUp(_) | Outcome::Fail(_));
        let clone_key = held.shared.clone_key.filter(|_| gives_up);
        let spare = clone_key.map(|clone| clone(&held.key));
        let HeldKey { shared, key } = self.held.take()?;
        let returned = shared.finish(key, spare, outcome, self.run.started, now);
        // The last handle drops every key. If one of those drops panics, unwinding drops locals, but
        // no value that is already returned.
        drop(shared);
        returned
    }

    /// Retries the key of a dropped guard. It is never given up: there is no caller to return it to.
    #[cold]
    fn retry_dropped(&mut self) {
        let retry = |run: &mut Run, held: &HeldKey<K, C, S>, now| {
            Outcome::Retry(held.shared.failed(run, None, now))
        };
        let mut retried = catch_unwind(AssertUnwindSafe(|| self.finish(retry)));
        if self.held.is_some() {
            // The clock or the backoff has panicked: retry with the time of the start and the
            // default backoff, so that the key is released.
            let now = self.run.started;
            self.run.on_failure = OnFailure::UseDefault;
            let again = catch_unwind(AssertUnwindSafe(|| self.finish_at(now, retry)));
            retried = retried.and(again);
        }
        // A second panic during an unwind aborts the process: the worker's own panic goes on.
        if let Err(panic) = retried
            && !thread::panicking()
        {
            resume_unwind(panic);
        }
    }
}

impl<K, C: Clock, S> Drop for Work<K, C, S> {
    #[inline]
    fn drop(&mut self) {
        if self.held.is_some() {
            self.retry_dropped();
        }
    }
}
