//! A controller's pool of workers: how they start, the target size, and how they end.

use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::{Controller, Reconciler, WorkerFuture};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::queue::{Drain, FastHash, Get, Work, WorkQueue};
use crate::sync::{AtomicU64, Mutex, Ordering, thread};
use crate::wait::{Progress, Step, Wait, WaitId, WaitList, block_on};
use crate::wake::Wakers;

#[derive(Default)]
pub(super) struct Pool {
    state: Mutex<PoolState>,
    pub(super) requests: AtomicU64,
}

#[derive(Default)]
struct PoolState {
    /// The number of workers that there should be.
    target: usize,
    /// The number of workers that there are.
    running: usize,
    /// Workers that wait for a key.
    idle: WaitList<()>,
    /// Waiters for `running` to be zero.
    stopped: WaitList<()>,
}

impl Pool {
    fn with_state<T>(&self, change: impl FnOnce(&mut PoolState) -> T) -> T {
        // Declared before the guard, so dropped after it: a waker runs without the lock, also after
        // a panic.
        let mut wakers = Wakers::default();
        let mut state = self.state.lock();
        let output = change(&mut state);
        // Surplus workers retire when they are woken; one that holds a key finds out at its next
        // step.
        for _ in state.target..state.running {
            wakers.extend(state.idle.wake_first());
        }
        if state.running == 0 {
            wakers.extend(std::iter::from_fn(|| state.stopped.wake_first()));
        }
        output
    }
}

/// A worker's membership in the pool, which ends with the worker also on a panic or a dropped task.
struct Member {
    pool: Arc<Pool>,
    retired: bool,
}

impl Drop for Member {
    fn drop(&mut self) {
        // A worker that retired has been subtracted under the lock in which it saw the surplus.
        if !self.retired {
            self.pool.with_state(|state| state.running -= 1);
        }
    }
}

/// The wait of a worker: for a key, or for a surplus of workers.
struct NextWork<'a, K, C, S> {
    get: Get<'a, K, C, S>,
    member: &'a mut Member,
    place: Option<WaitId>,
}

impl<K, C: Clock, S> Step for NextWork<'_, K, C, S> {
    /// `None` ends the worker.
    type Output = Option<Work<K, C, S>>;

    fn clock(&self) -> &dyn Clock {
        self.get.clock()
    }

    fn step(&mut self, now: Timestamp, waker: &Waker) -> Progress<Self::Output> {
        // Dropped once the lock is released.
        let mut stale = None;
        // Joins the line and compares the sizes under one lock: a smaller target set later wakes
        // this worker, so no wake-up is lost. Also subtracts itself there, so that of two workers
        // one retires.
        let retired = self.member.pool.with_state(|state| {
            stale = state.idle.wait(&mut self.place, waker, ());
            let surplus = state.running > state.target;
            state.running -= usize::from(surplus);
            surplus
        });
        if retired {
            self.member.retired = true;
            return Progress::Done(None);
        }
        self.get.step_unannounced(now, waker)
    }
}

impl<K, C, S> Drop for NextWork<'_, K, C, S> {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            drop(self.member.pool.with_state(|state| state.idle.leave(place)));
        }
    }
}

/// The running workers of a [`Controller`].
///
/// Dropping it leaves the workers running until the queue is closed.
///
/// ```
/// use tollgate::{Action, Controller, ReconcileError, Request, WorkQueue};
///
/// async fn reconcile(_: Request<'_, u64>) -> Result<Action, ReconcileError> {
///     Ok(Action::done())
/// }
///
/// let queue = WorkQueue::<u64>::new(100)?;
/// let workers = Controller::new(queue.clone(), reconcile).spawn_threads(1);
/// workers.resize(3);
/// drop(queue.close());
/// workers.stopped().wait();
/// assert_eq!(workers.running(), 0);
/// # Ok::<(), tollgate::QueueError>(())
/// ```
pub struct Workers<K, C: Clock = SystemClock, S = FastHash> {
    pool: Arc<Pool>,
    queue: WorkQueue<K, C, S>,
    spawn_one: Box<dyn Fn() + Send + Sync>,
}

impl<K, R, C, S> Controller<K, R, C, S>
where
    K: fmt::Debug + Hash + Eq + Send + Sync + 'static,
    R: Reconciler<K> + 'static,
    C: Clock + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Starts `n` workers as threads, which run the reconciler's futures without a runtime.
    ///
    /// # Panics
    /// If the operating system does not start a thread, as [`Workers::resize`].
    pub fn spawn_threads(self, n: usize) -> Workers<K, C, S> {
        self.start(n, |controller, member| {
            let thread = thread::Builder::new().name(controller.name.clone());
            let spawned = thread.spawn(move || controller.work_on_thread(member));
            spawned.expect("cannot start a worker thread");
        })
    }

    /// Starts `n` workers as tasks, each handed to `spawn`.
    ///
    /// # Panics
    /// If `spawn` panics, as [`Workers::resize`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{Action, Controller, ReconcileError, Request, WorkQueue};
    ///
    /// async fn reconcile(_: Request<'_, u64>) -> Result<Action, ReconcileError> {
    ///     Ok(Action::done())
    /// }
    ///
    /// #[tokio::main(flavor = "current_thread")]
    /// async fn main() {
    ///     let queue = WorkQueue::<u64>::new(100).unwrap();
    ///     queue.try_add(7).unwrap();
    ///     let workers = Controller::new(queue, reconcile).spawn_tasks(4, |worker| {
    ///         tokio::spawn(worker);
    ///     });
    ///     assert!(workers.drain(Duration::from_secs(10)).await.complete());
    /// }
    /// ```
    pub fn spawn_tasks(
        self,
        n: usize,
        spawn: impl Fn(WorkerFuture) + Send + Sync + 'static,
    ) -> Workers<K, C, S> {
        self.start(n, move |controller, member| {
            spawn(Box::pin(controller.work_in_task(member)));
        })
    }

    fn start(
        self,
        n: usize,
        spawn: impl Fn(Arc<Self>, Member) + Send + Sync + 'static,
    ) -> Workers<K, C, S> {
        let pool = Arc::<Pool>::default();
        let queue = self.queue.clone();
        let (controller, shared) = (Arc::new(self), Arc::clone(&pool));
        let spawn_one = Box::new(move || {
            let member = Member {
                pool: Arc::clone(&shared),
                retired: false,
            };
            spawn(Arc::clone(&controller), member);
        });
        let workers = Workers {
            pool,
            queue,
            spawn_one,
        };
        workers.resize(n);
        workers
    }

    async fn work_in_task(self: Arc<Self>, mut member: Member) {
        while let Some(work) = self.next(&mut member).await {
            self.process(work, &member.pool).await;
        }
    }

    /// Same as [`work_in_task`](Self::work_in_task), but the thread parks while it waits: no timer
    /// thread is needed.
    fn work_on_thread(&self, mut member: Member) {
        while let Some(work) = self.next(&mut member).wait() {
            block_on(self.process(work, &member.pool));
        }
    }

    fn next<'a>(&'a self, member: &'a mut Member) -> Wait<NextWork<'a, K, C, S>> {
        Wait::new(NextWork {
            get: self.queue.get_step(),
            member,
            place: None,
        })
    }
}

impl<K, C: Clock, S> Workers<K, C, S> {
    /// Sets the target to `n` workers: starts the missing ones, and retires surplus ones as soon as
    /// they hold no key.
    ///
    /// # Panics
    /// If the operating system does not start a thread, or the function given to
    /// [`spawn_tasks`](Controller::spawn_tasks) panics. Workers that did start continue; resize
    /// again for the rest.
    pub fn resize(&self, n: usize) {
        self.pool.with_state(|state| state.target = n);
        // No more than `n`: the workers of a closed queue end at once.
        for _ in 0..n {
            // One by one: if a worker fails to start, those after it are not counted as running.
            let is_missing = self.pool.with_state(|state| {
                let is_missing = state.running < state.target;
                state.running += usize::from(is_missing);
                is_missing
            });
            if !is_missing {
                break;
            }
            (self.spawn_one)();
        }
    }

    /// Returns the number of workers that there should be. Closing the queue does not change it.
    pub fn target(&self) -> usize {
        self.pool.state.lock().target
    }

    /// Returns the number of workers that there are, with those that are about to retire.
    pub fn running(&self) -> usize {
        self.pool.state.lock().running
    }

    /// Returns how many reconciles have begun.
    pub fn requests(&self) -> u64 {
        // Relaxed: a count for display.
        self.pool.requests.load(Ordering::Relaxed)
    }

    /// Closes and drains the queue, as [`WorkQueue::drain`]: reconciles in flight finish, ready
    /// keys are worked on, the rest is reported.
    ///
    /// # Cancel safety
    /// As [`WorkQueue::drain`]: dropping the future once it was polled leaves the queue closed.
    pub fn drain(&self, timeout: Duration) -> Wait<Drain<'_, K, C, S>> {
        self.queue.drain(timeout)
    }

    /// Waits until every worker has ended: after the queue was closed, or after `resize(0)`.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub fn stopped(&self) -> Wait<Stopped<'_>> {
        Wait::new(Stopped {
            clock: &self.queue.0.clock,
            pool: &self.pool,
            place: None,
        })
    }
}

/// The operation of [`Workers::stopped`], named so that a caller can store or return it.
pub struct Stopped<'a> {
    clock: &'a dyn Clock,
    pool: &'a Pool,
    place: Option<WaitId>,
}

impl Step for Stopped<'_> {
    type Output = ();

    fn clock(&self) -> &dyn Clock {
        self.clock
    }

    fn step(&mut self, _: Timestamp, waker: &Waker) -> Progress<()> {
        // Dropped once the lock is released.
        let mut stale = None;
        self.pool.with_state(|state| {
            if state.running == 0 {
                return Progress::Done(());
            }
            stale = state.stopped.wait(&mut self.place, waker, ());
            Progress::Waiting(None)
        })
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            drop(self.pool.with_state(|state| state.stopped.leave(place)));
        }
    }
}

impl fmt::Debug for Stopped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stopped").finish_non_exhaustive()
    }
}

impl<K, C: Clock, S> fmt::Debug for Workers<K, C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers").finish_non_exhaustive()
    }
}
