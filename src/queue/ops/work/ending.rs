//! How the work on a key ends.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::queue::core::run::{Failing, Outcome, Run};
use crate::queue::ops::work::{Held, Work};

impl<K, C: Clock, S> Work<K, C, S> {
    /// The work is done. The key is absent from now on, unless it was added meanwhile; its failures
    /// are forgotten.
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::new(8)?;
    /// queue.try_add("key").unwrap();
    /// queue.try_get().unwrap().done();
    /// assert_eq!(queue.stats().ready + queue.stats().processing, 0);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    #[inline]
    pub fn done(mut self) {
        if let Some(Held { shared, key }) = self.held.take_if(|held| !held.shared.is_observed()) {
            let mut borrowed = Some(key);
            let forgotten = shared.finish_done(&mut borrowed);
            match borrowed {
                None => return drop(forgotten),
                Some(key) => self.held = Some(Held { shared, key }),
            }
        }
        self.finish(|_, _, _| Outcome::Done);
    }

    /// As [`done`](Self::done), and takes the next key, if [`try_get`](crate::WorkQueue::try_get)
    /// would get one, under one lock.
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
        let Held { shared, key } = self.held.take()?;
        // Dropped last, outside the lock.
        let forgotten;
        let mut change = shared.change();
        forgotten = change.state().machine.finish_as_done(key, now);
        let started = change.state().start(now, false);
        if change.state().is_quiet() && !shared.is_observed() {
            change.end();
            // What this has of the queue goes to the next.
            let next = started.map(|started| Self::new(shared, started));
            // While that can still be dropped: what is returned already is not, should this panic.
            drop(forgotten);
            return next;
        }
        let next = started.map(|started| Self::new(Arc::clone(&shared), started));
        change.end();
        drop(forgotten);
        shared.observe_finish(self.run.started, now, |_| {});
        next.inspect(Self::announce)
    }

    /// Once more, behind the keys that are ready; its failures are forgotten.
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::new(8)?;
    /// queue.try_add("key").unwrap();
    /// queue.try_get().unwrap().requeue();
    /// assert_eq!(queue.stats().ready, 1);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn requeue(mut self) {
        self.finish(|_, _, _| Outcome::Requeue);
    }

    /// Once more, after `delay` or when it is added, whichever is first; its failures are
    /// forgotten.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let queue = tollgate::WorkQueue::new(8)?;
    /// queue.try_add("key").unwrap();
    /// queue.try_get().unwrap().requeue_after(Duration::from_secs(60));
    /// assert_eq!(queue.stats().delayed, 1);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn requeue_after(mut self, delay: Duration) {
        self.finish(|_, _, now| Outcome::after(delay, now));
    }

    /// The key could not be worked on now: its tenant has no token, or something that it depends on is
    /// not there yet. It runs once more, after `delay` or when it is added, whichever is first. This
    /// neither counts as a failure nor clears those that the key has.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{FixedBackoff, ManualClock, WorkQueue};
    ///
    /// let clock = ManualClock::new();
    /// let backoff = FixedBackoff::new(Duration::ZERO);
    /// let queue = WorkQueue::builder(8).backoff(backoff).max_attempts(2).clock(clock.clone()).build()?;
    /// queue.try_add("key").unwrap();
    /// assert_eq!(queue.try_get().unwrap().retry(), None);
    /// queue.try_get().unwrap().defer(Duration::from_secs(1));
    /// clock.advance(Duration::from_secs(1));
    /// let work = queue.try_get().unwrap();
    /// assert_eq!(work.failures(), 1);
    /// assert_eq!(work.retry(), Some("key"));
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn defer(mut self, delay: Duration) {
        self.finish(|_, _, now| Outcome::deferred(delay, now));
    }

    /// The work failed: the key runs once more, when the queue's [`Backoff`](crate::Backoff) is over or,
    /// unless the queue [holds](crate::queue::QueueBuilder::hold_backoff) it, when it is added.
    ///
    /// If it has failed as often in a row as the queue's
    /// [attempts](crate::queue::QueueBuilder::max_attempts) allow, the key is given up: it is absent
    /// now, and comes back to the caller, to be reported or kept as a dead letter. One that was added
    /// meanwhile runs again all the same, and does not come back.
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::builder(8).max_attempts(2).build()?;
    /// queue.try_add("key").unwrap();
    /// assert_eq!(queue.try_get().unwrap().retry(), None);
    /// let work = queue.get().wait().unwrap(); // after 5 ms, the default backoff
    /// assert_eq!(work.retry(), Some("key"));
    /// assert_eq!(queue.stats().delayed, 0);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    #[must_use = "a key that is given up comes back"]
    pub fn retry(mut self) -> Option<K> {
        self.finish(|run, held, now| held.shared.retry(run, None, now))
    }

    /// As [`retry`](Self::retry), but after `delay` instead of the queue's backoff: for an error that
    /// says when to come back, such as a `Retry-After`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{ManualClock, WorkQueue};
    ///
    /// let clock = ManualClock::new();
    /// let queue = WorkQueue::builder(8).clock(clock.clone()).build()?;
    /// queue.try_add("key").unwrap();
    /// let given_up = queue.try_get().unwrap().retry_after(Duration::from_secs(30));
    /// assert!(given_up.is_none());
    /// clock.advance(Duration::from_secs(30));
    /// assert_eq!(queue.try_get().unwrap().failures(), 1);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    #[must_use = "a key that is given up comes back"]
    pub fn retry_after(mut self, delay: Duration) -> Option<K> {
        self.finish(|run, held, now| held.shared.retry(run, Some(delay), now))
    }

    /// The work failed for good: the key is not retried, and comes back to the caller, to be reported
    /// or kept as a dead letter. One that was added meanwhile runs again all the same, and does not
    /// come back.
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::new(8)?;
    /// queue.try_add("key").unwrap();
    /// assert_eq!(queue.try_get().unwrap().fail(), Some("key"));
    /// assert_eq!(queue.stats().delayed, 0);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    #[must_use = "the key comes back"]
    pub fn fail(mut self) -> Option<K> {
        self.finish(|run, held, now| Outcome::Fail(held.shared.failed(run, None, now)))
    }

    /// Ends a run that has failed, once `tell` knows what comes of it. Should that panic, dropping this
    /// retries the key.
    pub(crate) fn end_failed(
        mut self,
        own: Option<Duration>,
        is_terminal: bool,
        tell: impl FnOnce(&K, u32, Option<Duration>),
    ) -> Option<K> {
        self.finish(|run, Held { shared, key }, now| {
            let outcome = if is_terminal {
                Outcome::Fail(shared.failed(run, None, now))
            } else {
                shared.retry(run, own, now)
            };
            tell(key, run.failures.into(), outcome.retry_after(now));
            outcome
        })
    }

    /// The key of a run that was given up comes back.
    fn finish(
        &mut self,
        outcome: impl FnOnce(&mut Run, &Held<K, C, S>, Timestamp) -> Outcome,
    ) -> Option<K> {
        // Should the clock panic, dropping this releases the key.
        let now = self.shared().clock.now();
        self.finish_at(now, outcome)
    }

    fn finish_at(
        &mut self,
        now: Timestamp,
        outcome: impl FnOnce(&mut Run, &Held<K, C, S>, Timestamp) -> Outcome,
    ) -> Option<K> {
        let held = self.held.as_ref()?;
        let outcome = outcome(&mut self.run, held, now);
        // Should the clone panic, dropping this releases the key.
        let copy = held.shared.copy_of_given_up(&held.key, outcome);
        let Held { shared, key } = self.held.take()?;
        let given_up = shared.finish(key, copy, outcome, self.run.started, now);
        // The last handle drops every key. Should one of them panic, a local is dropped, but not what is
        // returned already.
        drop(shared);
        given_up
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

impl<K, C: Clock, S> Work<K, C, S> {
    /// Retries what nobody has ended. It is never given up: there is nobody to give the key to.
    #[cold]
    fn retry_dropped(&mut self) {
        let retry = |run: &mut Run, held: &Held<K, C, S>, now| {
            Outcome::Retry(held.shared.failed(run, None, now))
        };
        let mut retried = catch_unwind(AssertUnwindSafe(|| self.finish(retry)));
        if self.held.is_some() {
            // The clock or the backoff has panicked. Neither is asked again.
            let now = self.run.started;
            self.run.failing = Failing::Asked;
            let again = catch_unwind(AssertUnwindSafe(|| self.finish_at(now, retry)));
            retried = retried.and(again);
        }
        // A worker that panics must not end the program because an observer does too.
        if let Err(panic) = retried
            && !thread::panicking()
        {
            resume_unwind(panic);
        }
    }
}
