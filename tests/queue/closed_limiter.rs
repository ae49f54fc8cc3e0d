//! Keys behind a limiter that is closed: the observer is told, and the keys are returned at the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use tollgate::{ManualClock, Observer, WorkQueue};

use crate::rate_limit::{HOUR, add, bucket};
use crate::tasks::Polled;

#[derive(Default)]
struct ClosedCount(AtomicUsize);

impl Observer for ClosedCount {
    fn limiter_closed(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn any_kind_of_get_tells_the_observer_of_a_closed_limiter() {
    for kind in 0..3 {
        let clock = ManualClock::new();
        let (limiter, closed_count) = (bucket("1/h", &clock), Arc::new(ClosedCount::default()));
        let builder = WorkQueue::builder(8)
            .clock(clock.clone())
            .observer(closed_count.clone());
        let queue = builder.rate_limit(limiter.clone()).build().unwrap();
        add(&queue, 0..3);
        let held = queue.try_get().unwrap();
        limiter.close();
        match kind {
            0 => assert!(queue.try_get().is_none()),
            1 => assert!(queue.try_get_batch(2).is_none()),
            _ => assert!(held.done_and_get().is_none()),
        }
        assert_eq!(closed_count.0.load(Ordering::SeqCst), 1, "{kind}");
    }
}

#[test]
fn close_and_drain_return_the_keys_behind_a_closed_limiter() {
    for drains in [false, true] {
        let clock = ManualClock::new();
        let (limiter, closed_count) = (bucket("1/h", &clock), Arc::new(ClosedCount::default()));
        let builder = WorkQueue::builder(8)
            .clock(clock.clone())
            .observer(closed_count.clone());
        let queue = builder.rate_limit(limiter.clone()).build().unwrap();
        add(&queue, 0..3);
        let held = queue.try_get().unwrap();
        let mut consumer = Polled::pending(queue.get());
        limiter.close();
        assert!(consumer.poll().is_pending(), "the keys stay");
        assert!(queue.try_get().is_none());
        assert_eq!(closed_count.0.load(Ordering::SeqCst), 1);
        let drained = if drains {
            let mut drain = Polled::pending(queue.drain(HOUR));
            held.requeue();
            let drained = drain.poll();
            let Poll::Ready(drained) = drained else {
                panic!("the drain waits for keys that cannot start")
            };
            drained
        } else {
            held.requeue();
            queue.close()
        };
        assert!(drained.complete());
        assert_eq!(drained.returned.len(), 3);
        assert!(consumer.ready().is_none());
    }
}
