//! Queues in the form of streams: a stream of keys over a stream of requests, polled by one task.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures::{Stream, StreamExt};
use parking_lot::Mutex;
use tokio::runtime::Runtime;

use super::{Delays, Queue, Shared};

/// A key and the instant at which it becomes due.
pub type Request = (String, tokio::time::Instant);

/// A queue that is a stream.
pub trait Streamed {
    /// The stream of keys.
    type Keys<R: Stream<Item = Request> + Unpin>: Stream<Item = String> + Unpin;

    /// Makes the stream of keys; it ends only when the requests do.
    fn over<R: Stream<Item = Request> + Unpin>(requests: R) -> Self::Keys<R>;

    /// Takes in requests without handing out a key.
    fn settle<R: Stream<Item = Request> + Unpin>(
        keys: &mut Self::Keys<R>,
        context: &mut Context<'_>,
    );
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("the operating system gives a timer")
}

/// Requests from the polling thread itself: a list costs less than any channel.
#[derive(Clone, Default)]
struct Pending(Rc<RefCell<VecDeque<Request>>>);

impl Stream for Pending {
    type Item = Request;

    fn poll_next(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Option<Request>> {
        self.0
            .borrow_mut()
            .pop_front()
            .map_or(Poll::Pending, |request| Poll::Ready(Some(request)))
    }
}

/// A queue that one thread fills and empties. It enters its runtime only to sleep.
pub struct Local<S: Streamed> {
    // Dropped before `runtime`, which owns its timers.
    keys: S::Keys<Pending>,
    requests: Pending,
    runtime: Runtime,
}

impl<S: Streamed> Local<S> {
    #[inline]
    fn next(&mut self) -> String {
        let ready = {
            let _runtime = self.runtime.enter();
            self.keys
                .poll_next_unpin(&mut Context::from_waker(Waker::noop()))
        };
        let key = match ready {
            Poll::Ready(key) => key,
            Poll::Pending => self.runtime.block_on(self.keys.next()),
        };
        key.expect("the requests go on for ever")
    }
}

impl<S: Streamed> Queue for Local<S> {
    fn new(_capacity: usize) -> Self {
        let requests = Pending::default();
        Self {
            keys: S::over(requests.clone()),
            requests,
            runtime: runtime(),
        }
    }

    #[inline]
    fn add(&mut self, key: String) {
        self.requests
            .0
            .borrow_mut()
            .push_back((key, tokio::time::Instant::now()));
    }

    fn take(&mut self, look: impl FnOnce(&str)) {
        look(&self.next());
    }

    fn settle(&mut self) {
        let _runtime = self.runtime.enter();
        S::settle(&mut self.keys, &mut Context::from_waker(Waker::noop()));
    }
}

impl<S: Streamed> Delays for Local<S> {
    #[inline]
    fn add_after(&mut self, key: String, delay: Duration) {
        self.requests
            .0
            .borrow_mut()
            .push_back((key, tokio::time::Instant::now() + delay));
    }

    /// There is no pause: the worker takes each key and puts it back.
    fn wait_out(&mut self, n: usize, end: Instant) -> Duration {
        let start = Instant::now();
        for _ in 0..n {
            let key = self.next();
            self.add_after(key, end.saturating_duration_since(Instant::now()));
        }
        self.settle();
        start.elapsed()
    }
}

/// A queue that many threads fill through a channel. The first consumer empties it: a stream has
/// one.
pub struct Actor<S: Streamed> {
    sender: UnboundedSender<Request>,
    keys: Mutex<Option<S::Keys<UnboundedReceiver<Request>>>>,
}

/// The delay of the empty key that ends the work: keys due in the same millisecond come in any
/// order, so it must be due well after the last one.
const LAST: Duration = Duration::from_millis(5);

impl<S: Streamed> Shared for Actor<S>
where
    S::Keys<UnboundedReceiver<Request>>: Send,
{
    fn new(_capacity: usize) -> Self {
        let (sender, requests) = unbounded();
        Self {
            sender,
            keys: Mutex::new(Some(S::over(requests))),
        }
    }

    fn add(&self, key: String) {
        let request = (key, tokio::time::Instant::now());
        self.sender
            .unbounded_send(request)
            .expect("the stream is here");
    }

    fn close(&self, _consumers: usize) {
        let request = (String::new(), tokio::time::Instant::now() + LAST);
        self.sender
            .unbounded_send(request)
            .expect("the stream is here");
    }

    fn consume(&self, work: impl Fn(&str)) -> Instant {
        let mut dry = Instant::now();
        let Some(mut keys) = self.keys.lock().take() else {
            return dry;
        };
        runtime().block_on(async {
            loop {
                let next = poll_fn(|context| {
                    let next = keys.poll_next_unpin(context);
                    if next.is_pending() {
                        dry = Instant::now();
                    }
                    next
                });
                match next.await {
                    Some(key) if !key.is_empty() => work(&key),
                    _ => break,
                }
            }
            drop(keys);
        });
        dry
    }
}
