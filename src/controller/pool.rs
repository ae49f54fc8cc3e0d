//! The workers of a controller: how many there are, and how they end.

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

type ThreadBody = Box<dyn FnOnce() + Send>;

/// How a worker is started.
pub(super) enum Spawn {
    Threads(Box<dyn Fn(ThreadBody) + Send + Sync>),
    Tasks(Box<dyn Fn(WorkerFuture) + Send + Sync>),
}

pub(super) fn spawn_thread(name: &str, body: ThreadBody) {
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(body);
    spawned.expect("the operating system starts a thread");
}

struct Pool {
    state: Mutex<PoolState>,
    requests: AtomicU64,
}

struct PoolState {
    /// How many workers there should be.
    target: usize,
    /// How many there are.
    running: usize,
    /// Those that wait for a key.
    idle: WaitList<()>,
    /// Those who wait for `running` to be zero.
    stopped: WaitList<()>,
}

impl Pool {
    fn request_id(&self) -> u64 {
        // Relaxed: only that each number is given once matters.
        self.requests.fetch_add(1, Ordering::Relaxed)
    }

    fn with_state<T>(&self, change: impl FnOnce(&mut PoolState) -> T) -> T {
        // Dropped last, whatever happens.
        let mut wakers = Wakers::default();
        let mut state = self.state.lock();
        let output = change(&mut state);
        for _ in state.target..state.running {
            wakers.extend(state.idle.wake_first());
        }
        if state.running == 0 {
            wakers.extend(std::iter::from_fn(|| state.stopped.wake_first()));
        }
        output
    }
}

/// A worker's membership: it ends with the worker, however that ends.
struct Member {
    pool: Arc<Pool>,
    retired: bool,
}

impl Drop for Member {
    fn drop(&mut self) {
        if !self.retired {
            self.pool.with_state(|state| state.running -= 1);
        }
    }
}

/// Waits for a key, or for there to be a worker too many.
struct Next<'a, K, C, S> {
    get: Get<'a, K, C, S>,
    member: &'a mut Member,
    place: Option<WaitId>,
}

impl<K, C: Clock, S> Step for Next<'_, K, C, S> {
    /// `None`: end.
    type Output = Option<Work<K, C, S>>;

    fn clock(&self) -> &dyn Clock {
        self.get.clock()
    }

    fn step(&mut self, now: Timestamp, waker: &Waker) -> Progress<Self::Output> {
        // Dropped once the lock is released.
        let mut stale = None;
        // In line for the news of a smaller pool before the size is read, so that none is missed.
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

impl<K, C, S> Drop for Next<'_, K, C, S> {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            drop(self.member.pool.with_state(|state| state.idle.leave(place)));
        }
    }
}

/// The running workers of a [`Controller`]. Dropping this lets them run on, until the queue is
/// closed.
///
/// ```
/// # use tollgate::{Action, Controller, ReconcileError, Reconciler, Request, WorkQueue};
/// # struct Nothing;
/// # impl Reconciler<u64> for Nothing {
/// #     async fn reconcile(&self, _: Request<'_, u64>) -> Result<Action, ReconcileError> {
/// #         Ok(Action::done())
/// #     }
/// # }
/// let queue = WorkQueue::new(100)?;
/// let workers = Controller::new(queue.clone(), Nothing).spawn_threads(1);
/// workers.resize(3);
/// assert_eq!(workers.target(), 3);
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

pub(super) fn start<K, R, C, S>(
    controller: Controller<K, R, C, S>,
    n: usize,
    spawn: Spawn,
) -> Workers<K, C, S>
where
    K: fmt::Debug + Hash + Eq + Send + Sync + 'static,
    R: Reconciler<K> + 'static,
    C: Clock + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    let state = PoolState {
        target: 0,
        running: 0,
        idle: WaitList::new(),
        stopped: WaitList::new(),
    };
    let pool = Arc::new(Pool {
        state: Mutex::new(state),
        requests: AtomicU64::new(0),
    });
    let queue = controller.queue.clone();
    let controller = Arc::new(controller);
    let shared = Arc::clone(&pool);
    let spawn_one = Box::new(move || {
        let member = Member {
            pool: Arc::clone(&shared),
            retired: false,
        };
        let controller = Arc::clone(&controller);
        match &spawn {
            Spawn::Threads(spawn) => spawn(Box::new(move || work_on_thread(&controller, member))),
            Spawn::Tasks(spawn) => spawn(Box::pin(work_in_task(controller, member))),
        }
    });
    let workers = Workers {
        pool,
        queue,
        spawn_one,
    };
    workers.resize(n);
    workers
}

async fn work_in_task<K, R, C, S>(controller: Arc<Controller<K, R, C, S>>, mut member: Member)
where
    K: fmt::Debug + Hash + Eq + Send + Sync,
    R: Reconciler<K>,
    C: Clock,
    S: BuildHasher + Send + Sync,
{
    while let Some(work) = next(&controller.queue, &mut member).await {
        controller.process(work, || member.pool.request_id()).await;
    }
}

/// As [`work_in_task`], but a thread parks while it waits: no timer thread is needed.
fn work_on_thread<K, R, C, S>(controller: &Controller<K, R, C, S>, mut member: Member)
where
    K: fmt::Debug + Hash + Eq + Send + Sync,
    R: Reconciler<K>,
    C: Clock,
    S: BuildHasher + Send + Sync,
{
    while let Some(work) = next(&controller.queue, &mut member).wait() {
        block_on(controller.process(work, || member.pool.request_id()));
    }
}

fn next<'a, K, C: Clock, S>(
    queue: &'a WorkQueue<K, C, S>,
    member: &'a mut Member,
) -> Wait<Next<'a, K, C, S>> {
    Wait::new(Next {
        get: queue.getter(),
        member,
        place: None,
    })
}

impl<K, C: Clock, S> Workers<K, C, S> {
    /// Has `n` workers from now on. One too many ends when it has finished the key it holds.
    ///
    /// # Panics
    /// If the operating system starts no more threads, or what was given to
    /// [`spawn_tasks`](Controller::spawn_tasks) panics. Those that did start work on; resize again for the rest.
    ///
    /// ```
    /// # use tollgate::{Action, Controller, ReconcileError, Reconciler, Request, WorkQueue};
    /// # struct Nothing;
    /// # impl Reconciler<u64> for Nothing {
    /// #     async fn reconcile(&self, _: Request<'_, u64>) -> Result<Action, ReconcileError> {
    /// #         Ok(Action::done())
    /// #     }
    /// # }
    /// let queue = WorkQueue::new(100)?;
    /// let workers = Controller::new(queue.clone(), Nothing).spawn_threads(2);
    /// workers.resize(0);
    /// workers.stopped().wait();
    /// queue.try_add(7).unwrap();
    /// assert_eq!(queue.stats().ready, 1); // nobody works
    /// workers.resize(1);
    /// assert!(workers.drain(std::time::Duration::from_secs(10)).wait().complete());
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn resize(&self, n: usize) {
        let missing = self.pool.with_state(|state| {
            state.target = n;
            n.saturating_sub(state.running)
        });
        for _ in 0..missing {
            // One by one: should a worker fail to start, those after it are not counted.
            let is_missing = self.pool.with_state(|state| {
                let is_missing = state.running < state.target;
                state.running += usize::from(is_missing);
                is_missing
            });
            if is_missing {
                (self.spawn_one)();
            }
        }
    }

    /// How many workers there should be.
    ///
    /// ```
    /// # use tollgate::{Action, Controller, ReconcileError, Reconciler, Request, WorkQueue};
    /// # struct Nothing;
    /// # impl Reconciler<u64> for Nothing {
    /// #     async fn reconcile(&self, _: Request<'_, u64>) -> Result<Action, ReconcileError> {
    /// #         Ok(Action::done())
    /// #     }
    /// # }
    /// let queue = WorkQueue::new(100)?;
    /// let workers = Controller::new(queue.clone(), Nothing).spawn_threads(2);
    /// drop(queue.close());
    /// workers.stopped().wait();
    /// assert_eq!((workers.target(), workers.running()), (2, 0)); // closing it resizes nothing
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn target(&self) -> usize {
        self.pool.state.lock().target
    }

    /// How many workers there are.
    ///
    /// ```
    /// # use tollgate::{Action, Controller, ReconcileError, Reconciler, Request, WorkQueue};
    /// # struct Nothing;
    /// # impl Reconciler<u64> for Nothing {
    /// #     async fn reconcile(&self, _: Request<'_, u64>) -> Result<Action, ReconcileError> {
    /// #         Ok(Action::done())
    /// #     }
    /// # }
    /// let queue = WorkQueue::new(100)?;
    /// let workers = Controller::new(queue.clone(), Nothing).spawn_threads(2);
    /// assert_eq!(workers.running(), 2);
    /// workers.resize(0);
    /// workers.stopped().wait();
    /// assert_eq!(workers.running(), 0);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn running(&self) -> usize {
        self.pool.state.lock().running
    }

    /// How many reconciles have begun.
    ///
    /// ```
    /// # use tollgate::{Action, Controller, ReconcileError, Reconciler, Request, WorkQueue};
    /// # struct Nothing;
    /// # impl Reconciler<u64> for Nothing {
    /// #     async fn reconcile(&self, _: Request<'_, u64>) -> Result<Action, ReconcileError> {
    /// #         Ok(Action::done())
    /// #     }
    /// # }
    /// let queue = WorkQueue::new(100)?;
    /// let workers = Controller::new(queue.clone(), Nothing).spawn_threads(2);
    /// assert!(queue.try_add_batch([1, 2, 3], tollgate::AddOptions::new()).is_empty());
    /// workers.drain(std::time::Duration::from_secs(10)).wait();
    /// assert_eq!(workers.requests(), 3);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn requests(&self) -> u64 {
        // Relaxed: a count for display.
        self.pool.requests.load(Ordering::Relaxed)
    }

    /// As [`WorkQueue::drain`]: reconciles in flight finish, what is ready is worked on, the rest
    /// is reported.
    ///
    /// ```
    /// use std::time::Duration;
    /// # use tollgate::{Action, Controller, ReconcileError, Reconciler, Request, WorkQueue};
    /// # struct Nothing;
    /// # impl Reconciler<&'static str> for Nothing {
    /// #     async fn reconcile(&self, _: Request<'_, &'static str>) -> Result<Action, ReconcileError> {
    /// #         Ok(Action::done())
    /// #     }
    /// # }
    ///
    /// let queue = WorkQueue::new(100)?;
    /// let workers = Controller::new(queue.clone(), Nothing).spawn_threads(2);
    /// queue.try_add("ready").unwrap();
    /// queue.try_add_after("in an hour", Duration::from_secs(3600)).unwrap();
    /// let drained = workers.drain(Duration::from_secs(10)).wait(); // `.await` in a task
    /// assert!(drained.complete() && drained.returned == ["in an hour"]);
    /// assert_eq!(workers.requests(), 1);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn drain(&self, timeout: Duration) -> Wait<Drain<'_, K, C, S>> {
        self.queue.drain(timeout)
    }

    /// Waits until every worker has ended: after the queue was closed, or after `resize(0)`.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    ///
    /// ```
    /// # use tollgate::{Action, Controller, ReconcileError, Reconciler, Request, WorkQueue};
    /// # struct Nothing;
    /// # impl Reconciler<u64> for Nothing {
    /// #     async fn reconcile(&self, _: Request<'_, u64>) -> Result<Action, ReconcileError> {
    /// #         Ok(Action::done())
    /// #     }
    /// # }
    /// let queue = WorkQueue::new(100)?;
    /// let workers = Controller::new(queue.clone(), Nothing).spawn_threads(2);
    /// assert!(workers.stopped().wait_timeout(std::time::Duration::ZERO).is_err());
    /// drop(queue.close());
    /// workers.stopped().wait(); // `.await` in a task
    /// assert_eq!(workers.running(), 0);
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn stopped(&self) -> Wait<Stopped<'_>> {
        Wait::new(Stopped {
            clock: self.queue.clock(),
            pool: &self.pool,
            place: None,
        })
    }
}

/// The operation of [`Workers::stopped`].
///
/// ```
/// use tollgate::controller::Stopped;
/// # use tollgate::{Action, Controller, ReconcileError, Reconciler, Request};
/// use tollgate::{SystemClock, Wait, WorkQueue, Workers};
///
/// /// For the caller to `.await`, or to `.wait()` for.
/// fn scale_to_zero(workers: &Workers<u64>) -> Wait<Stopped<'_>> {
///     workers.resize(0);
///     workers.stopped()
/// }
/// # struct Nothing;
/// # impl Reconciler<u64> for Nothing {
/// #     async fn reconcile(&self, _: Request<'_, u64>) -> Result<Action, ReconcileError> {
/// #         Ok(Action::done())
/// #     }
/// # }
///
/// let workers = Controller::new(WorkQueue::new(100)?, Nothing).spawn_threads(2);
/// scale_to_zero(&workers).wait();
/// assert_eq!(workers.running(), 0);
/// # Ok::<(), tollgate::QueueError>(())
/// ```
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
