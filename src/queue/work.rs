use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::add::AddError;
use super::admit::Room;
use super::dirtied::Dirtied;
use super::keys::Lent;
use super::options::AddOptions;
use super::run::{Failing, Outcome, Run, Started};
use super::shared::Shared;
use super::{FastHash, Priority};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::wait::Wait;

/// A key that is being worked on, by nobody else. It dereferences to the key.
///
/// Say how it ended by consuming it. Dropping it, by a panic, a `?` or a cancelled future, is a
/// [`retry`](Self::retry), and never the last: a lost worker never loses work. None of this can
/// fail or block for room, whatever has become of the queue meanwhile, nor allocate. (But for two cases:
/// what a closed queue keeps until a caller collects it, and several waiters that are woken at once.)
///
/// ```
/// use std::time::Duration;
/// use tollgate::WorkQueue;
///
/// let queue = WorkQueue::new(8)?;
/// queue.try_add("key").unwrap();
/// let work = queue.try_get().unwrap();
/// assert_eq!(work.len(), 3); // a method of the key
/// work.requeue_after(Duration::from_secs(30));
/// assert_eq!(queue.stats().delayed, 1);
/// # Ok::<(), tollgate::QueueError>(())
/// ```
#[must_use = "dropping it is a retry"]
pub struct Work<K, C: Clock = SystemClock, S = FastHash> {
    /// Until it has ended.
    held: Option<Held<K, C, S>>,
    run: Run,
}

/// What of the queue the guard has: the key, and a handle without which that could be gone.
struct Held<K, C, S> {
    shared: Arc<Shared<K, C, S>>,
    key: Lent<K>,
}

impl<K, C: Clock, S> Work<K, C, S> {
    #[inline]
    pub(super) fn new(shared: Arc<Shared<K, C, S>>, Started { key, run }: Started<K>) -> Self {
        let held = Some(Held { shared, key });
        Self { held, run }
    }

    /// Tells the observer that this was started; not under the lock. It is made before: should the
    /// observer panic, dropping this releases the key.
    #[inline]
    pub(crate) fn announce(&self) {
        self.shared()
            .observe(|observer| observer.started(self.queued()));
    }

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
            let mut lent = Some(key);
            let forgotten = shared.finish_done(&mut lent);
            match lent {
                None => return drop(forgotten),
                Some(key) => self.held = Some(Held { shared, key }),
            }
        }
        self.finish(|_, _, _| Outcome::Done);
    }

    /// As [`done`](Self::done), and takes the next key, if [`try_get`](super::WorkQueue::try_get)
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
        let started = change.state().start(now, shared.limiter());
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

    /// It failed: once more, when the queue's [`Backoff`](crate::Backoff) is over or when it is
    /// added.
    ///
    /// If it has failed as often in a row as the queue's
    /// [attempts](super::QueueBuilder::max_attempts) allow, the key is given up: it is absent now,
    /// and comes back to the caller, to be reported or kept as a dead letter. One that was added
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
    pub fn retry(mut self) -> Option<K> {
        self.finish(|run, shared, now| {
            let failures = shared.failed(run, now);
            if shared.max_attempts.is_some_and(|max| failures.count >= max) {
                Outcome::GiveUp(failures)
            } else {
                Outcome::Retry(failures)
            }
        })
    }

    /// It failed for good: do not retry. The key is absent from now on, unless it was added
    /// meanwhile.
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::new(8)?;
    /// queue.try_add("key").unwrap();
    /// queue.try_get().unwrap().fail();
    /// assert_eq!(queue.stats().delayed, 0);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn fail(self) {
        self.done();
    }

    /// How often in a row the key has failed before this run; events that came before a backoff was
    /// over do not count. At most 65,535 are counted.
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::new(8)?;
    /// queue.try_add("key").unwrap();
    /// assert_eq!(queue.try_get().unwrap().failures(), 0);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub const fn failures(&self) -> u32 {
        self.run.failures as u32
    }

    /// The priority with which it was handed out.
    ///
    /// ```
    /// use tollgate::{Priority, WorkQueue};
    ///
    /// let queue = WorkQueue::new(8)?;
    /// queue.try_add_with("key", Priority::LOW).unwrap();
    /// assert_eq!(queue.try_get().unwrap().priority(), Priority::LOW);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub const fn priority(&self) -> Priority {
        self.run.priority
    }

    /// For how long the key was ready before it was handed out.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{ManualClock, WorkQueue};
    ///
    /// let clock = ManualClock::new();
    /// let queue = WorkQueue::builder(8).clock(clock.clone()).build()?;
    /// queue.try_add("key").unwrap();
    /// clock.advance(Duration::from_secs(3));
    /// assert_eq!(queue.try_get().unwrap().queued(), Duration::from_secs(3));
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub const fn queued(&self) -> Duration {
        self.run.queued()
    }

    /// Whether the key was added without a delay while this ran: it will run once more, whatever the
    /// outcome, unless it is [removed](super::WorkQueue::remove) or the queue is shut down.
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::new(8)?;
    /// queue.try_add("key").unwrap();
    /// let work = queue.try_get().unwrap();
    /// assert!(!work.is_dirty());
    /// queue.try_add("key").unwrap();
    /// assert!(work.is_dirty());
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn is_dirty(&self) -> bool {
        let state = self.shared().state.lock();
        state.machine.is_dirty(self.held().key.index())
    }

    /// Waits until the key [is dirty](Self::is_dirty): what this works on is out of date, so a long
    /// run may as well stop and be done. It does not end if nobody adds the key, as nobody can once
    /// the queue is closed: wait beside the work itself.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    ///
    /// ```
    /// let queue = tollgate::WorkQueue::new(8)?;
    /// queue.try_add("key").unwrap();
    /// let work = queue.try_get().unwrap();
    /// queue.try_add("key").unwrap();
    /// work.dirtied().wait(); // `work.dirtied().await` in a task, beside the work itself
    /// assert!(work.is_dirty());
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn dirtied(&self) -> Wait<Dirtied<'_, K, C, S>>
    where
        C: Clock,
    {
        let shared = self.shared();
        Wait::new(Dirtied::new(shared, self.held().key.index()))
    }

    /// Adds another key that this run has found to need work. It never waits, so that workers who
    /// add keys to a full queue cannot all be waiting for each other; and it has the room that is
    /// [kept for them](super::QueueBuilder::reserve), which the producers cannot fill.
    ///
    /// If even that is full, [`requeue_after`](Self::requeue_after) a while and return: this run
    /// comes back when there may be room, and gives way to those that make it. A
    /// [`retry`](Self::retry) does too, but counts as a failure, and
    /// [too many](super::QueueBuilder::max_attempts) give the key up.
    ///
    /// # Errors
    /// [`AddError`], which gives the key back.
    ///
    /// ```
    /// use tollgate::{AddError, WorkQueue};
    ///
    /// let queue = WorkQueue::builder(2).reserve(1).build()?;
    /// queue.try_add("parent").unwrap();
    /// assert_eq!(queue.try_add("other"), Err(AddError::Full("other")));
    /// let parent = queue.try_get().unwrap();
    /// parent.add_related("child")?;
    /// parent.done();
    /// assert_eq!(*queue.try_get().unwrap(), "child");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn add_related(&self, key: K) -> Result<(), AddError<K>>
    where
        K: Hash + Eq,
        S: BuildHasher,
    {
        self.add_related_with(key, AddOptions::new())
    }

    /// As [`add_related`](Self::add_related), with options.
    ///
    /// # Errors
    /// [`AddError`], which gives the key back.
    ///
    /// ```
    /// use tollgate::{Priority, WorkQueue};
    ///
    /// let queue = WorkQueue::new(8)?;
    /// queue.try_add_with("parent", Priority::HIGH).unwrap();
    /// let parent = queue.try_get().unwrap();
    /// // Children of urgent parents are urgent.
    /// parent.add_related_with("child", parent.priority()).unwrap();
    /// assert_eq!(queue.try_get().unwrap().priority(), Priority::HIGH);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn add_related_with(
        &self,
        key: K,
        options: impl Into<AddOptions>,
    ) -> Result<(), AddError<K>>
    where
        K: Hash + Eq,
        S: BuildHasher,
    {
        self.shared().add(key, options.into(), Room::Reserve)
    }

    #[inline]
    fn held(&self) -> &Held<K, C, S> {
        let Some(held) = &self.held else {
            unreachable!("ending it consumes it")
        };
        held
    }

    #[inline]
    fn shared(&self) -> &Arc<Shared<K, C, S>> {
        &self.held().shared
    }

    /// The key of a run that was given up comes back.
    fn finish(
        &mut self,
        outcome: impl FnOnce(&mut Run, &Shared<K, C, S>, Timestamp) -> Outcome,
    ) -> Option<K> {
        // Should the clock panic, dropping this releases the key.
        let now = self.shared().clock.now();
        self.finish_at(now, outcome)
    }

    fn finish_at(
        &mut self,
        now: Timestamp,
        outcome: impl FnOnce(&mut Run, &Shared<K, C, S>, Timestamp) -> Outcome,
    ) -> Option<K> {
        let held = self.held.as_ref()?;
        let outcome = outcome(&mut self.run, &held.shared, now);
        let Held { shared, key } = self.held.take()?;
        shared.finish(key, outcome, self.run.started, now)
    }
}

impl<K, C: Clock, S> Deref for Work<K, C, S> {
    type Target = K;

    #[inline]
    fn deref(&self) -> &K {
        &self.held().key
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
        let retry =
            |run: &mut Run, shared: &Shared<K, C, S>, now| Outcome::Retry(shared.failed(run, now));
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

impl<K: fmt::Debug, C: Clock, S> fmt::Debug for Work<K, C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work")
            .field("key", &**self)
            .field("priority", &self.run.priority)
            .field("failures", &self.run.failures)
            .finish_non_exhaustive()
    }
}
