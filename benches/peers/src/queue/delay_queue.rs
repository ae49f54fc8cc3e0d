//! tokio-util's `DelayQueue`, with a set that deduplicates keys.

use std::collections::HashSet;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::{Stream, StreamExt};
use tokio_util::time::DelayQueue;

use super::streamed::{Request, Streamed};

/// `DelayQueue` and a `HashSet`.
pub struct Deduplicated;

/// The stream of due keys.
pub struct Keys<R> {
    requests: R,
    queue: DelayQueue<String>,
    waiting: HashSet<String>,
}

impl<R: Stream<Item = Request> + Unpin> Keys<R> {
    fn take_in(&mut self, context: &mut Context<'_>) {
        while let Poll::Ready(Some((key, when))) = self.requests.poll_next_unpin(context) {
            if !self.waiting.contains(&key) {
                self.waiting.insert(key.clone());
                self.queue.insert_at(key, when);
            }
        }
    }
}

impl<R: Stream<Item = Request> + Unpin> Stream for Keys<R> {
    type Item = String;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<String>> {
        self.take_in(context);
        match ready!(self.queue.poll_expired(context)) {
            Some(expired) => {
                self.waiting.remove(expired.get_ref());
                Poll::Ready(Some(expired.into_inner()))
            }
            None => Poll::Pending,
        }
    }
}

impl Streamed for Deduplicated {
    type Keys<R: Stream<Item = Request> + Unpin> = Keys<R>;

    fn over<R: Stream<Item = Request> + Unpin>(requests: R) -> Keys<R> {
        Keys {
            requests,
            queue: DelayQueue::new(),
            waiting: HashSet::new(),
        }
    }

    fn settle<R: Stream<Item = Request> + Unpin>(keys: &mut Keys<R>, context: &mut Context<'_>) {
        keys.take_in(context);
    }
}
