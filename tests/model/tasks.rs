//! A small executor on virtual time. It polls woken tasks in the order of their wake-ups, counts the wake-ups, and
//! moves the clock to the next deadline when no task is woken.

use std::collections::{BTreeSet, VecDeque};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use tollgate::{Clock, ManualClock};

/// A waker that counts its wake-ups.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicUsize);

impl Count {
    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A future with a waker that counts.
pub(crate) struct Polled<F> {
    future: Pin<Box<F>>,
    pub(crate) wakes: Arc<Count>,
}

impl<F: Future> Polled<F> {
    /// Polls the future for the first time, which must be pending.
    pub(crate) fn pending(future: F) -> Self {
        let (future, wakes) = (Box::pin(future), Arc::default());
        let mut this = Self { future, wakes };
        assert!(this.poll().is_pending());
        this
    }

    pub(crate) fn poll(&mut self) -> Poll<F::Output> {
        let waker = Waker::from(Arc::clone(&self.wakes));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    /// The output of a future that is ready.
    pub(crate) fn ready(mut self) -> F::Output {
        match self.poll() {
            Poll::Ready(output) => output,
            Poll::Pending => panic!("the future is still pending"),
        }
    }

    pub(crate) fn woken(&self) -> usize {
        self.wakes.get()
    }
}

/// Polls once with a no-op waker, and drops the future if it is pending.
pub(crate) fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future)
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
}

/// The tasks that were woken and have not been polled yet.
type Woken = Arc<Mutex<VecDeque<usize>>>;

struct Ticket {
    task: usize,
    woken: Woken,
    wakes: Arc<AtomicUsize>,
}

impl Wake for Ticket {
    fn wake(self: Arc<Self>) {
        self.wakes.fetch_add(1, Ordering::SeqCst);
        self.woken.lock().unwrap().push_back(self.task);
    }
}

struct Task<'a, T> {
    future: Pin<Box<dyn Future<Output = T> + 'a>>,
    waker: Waker,
}

/// The executor.
pub(crate) struct Tasks<'a, T> {
    clock: ManualClock,
    tasks: Vec<Option<Task<'a, T>>>,
    /// Tasks that are not polled, even if they are woken.
    unpolled: BTreeSet<usize>,
    woken: Woken,
    wakes: Arc<AtomicUsize>,
    /// The tasks that ended, each with its instant and output.
    pub(crate) ended: Vec<(usize, u64, T)>,
}

impl<'a, T> Tasks<'a, T> {
    pub(crate) fn new(clock: &ManualClock) -> Self {
        Self {
            clock: clock.clone(),
            tasks: Vec::new(),
            unpolled: BTreeSet::new(),
            woken: Arc::default(),
            wakes: Arc::default(),
            ended: Vec::new(),
        }
    }

    /// Starts a task and polls it once.
    pub(crate) fn start(&mut self, future: impl Future<Output = T> + 'a) -> usize {
        let task = self.tasks.len();
        let (woken, wakes) = (Arc::clone(&self.woken), Arc::clone(&self.wakes));
        let waker = Waker::from(Arc::new(Ticket { task, woken, wakes }));
        self.tasks.push(Some(Task {
            future: Box::pin(future),
            waker,
        }));
        self.poll(task);
        task
    }

    /// Stops polling a task.
    pub(crate) fn leave_unpolled(&mut self, task: usize) {
        self.unpolled.insert(task);
    }

    /// Polls a task that was left unpolled, woken or not.
    pub(crate) fn poll_again(&mut self, task: usize) {
        self.unpolled.remove(&task);
        self.poll(task);
    }

    /// Drops a task that has not ended.
    pub(crate) fn cancel(&mut self, task: usize) -> bool {
        self.tasks[task].take().is_some()
    }

    /// The number of wake-ups of all tasks.
    pub(crate) fn wakes(&self) -> usize {
        self.wakes.load(Ordering::SeqCst)
    }

    fn poll(&mut self, index: usize) {
        if self.unpolled.contains(&index) {
            return;
        }
        let Some(task) = &mut self.tasks[index] else {
            return;
        };
        if let Poll::Ready(output) = task
            .future
            .as_mut()
            .poll(&mut Context::from_waker(&task.waker))
        {
            self.tasks[index] = None;
            self.ended
                .push((index, self.clock.now().as_nanos(), output));
        }
    }

    /// The next woken task.
    pub(crate) fn next_woken(&self) -> Option<usize> {
        self.woken.lock().unwrap().pop_front()
    }

    /// Polls until no task is woken.
    pub(crate) fn settle(&mut self) {
        while let Some(task) = self.next_woken() {
            self.poll(task);
        }
    }

    /// Runs up to an instant, or until no timer is left.
    pub(crate) fn run_until(&mut self, end: u64) {
        self.settle();
        while let Some(next) = self
            .clock
            .next_deadline()
            .filter(|next| next.as_nanos() <= end)
        {
            self.clock.set(next);
            self.settle();
        }
    }
}
