//! The end of a queue: closing and draining beside adds, gets and workers.

use std::time::Duration;

use loom::thread;
use tollgate::{AddError, Work};

use crate::explore::{block_on, explore};
use crate::{beside, queue};

#[test]
fn a_drain_waits_for_a_dirty_key() {
    explore("drain x add x finish", None, || {
        let (queue, _) = queue(1);
        queue.try_add(1).unwrap();
        let work = queue.try_get().unwrap();
        let drain = beside(&queue, move |queue| block_on(queue.drain(Duration::MAX)));
        let adder = beside(&queue, move |queue| queue.try_add(1));
        work.done();
        let added = adder.join().unwrap();
        match queue.try_get() {
            Some(work) => work.done(),
            None => assert_eq!(added, Err(AddError::Closed(1)), "an added key runs"),
        }
        let drained = drain.join().unwrap();
        assert!(drained.complete() && drained.returned.is_empty());
    });
    explore("drain x retry", None, || {
        let (queue, _) = queue(1);
        queue.try_add(1).unwrap();
        let work = queue.try_get().unwrap();
        let drain = beside(&queue, move |queue| block_on(queue.drain(Duration::MAX)));
        drop(work);
        let drained = drain.join().unwrap();
        assert!(drained.complete());
        assert_eq!(drained.returned, [1], "the retried key is returned");
    });
}

#[test]
fn close_ends_every_wait() {
    explore("close x get x get", None, || {
        let (queue, _) = queue(1);
        let consumers = [(); 2].map(|()| {
            let queue = queue.clone();
            thread::spawn(move || block_on(queue.get()).is_none())
        });
        assert!(queue.close().returned.is_empty());
        assert!(consumers.map(|consumer| consumer.join().unwrap()) == [true, true]);
    });
    explore("close x blocked add", None, || {
        let (queue, _) = queue(1);
        queue.try_add(1).unwrap();
        let work = queue.try_get().unwrap();
        let adder = beside(&queue, move |queue| block_on(queue.add(2)));
        assert!(queue.close().returned.is_empty());
        // There is still no room.
        assert_eq!(adder.join().unwrap(), Err(AddError::Closed(2)));
        work.done();
    });
    explore("close x blocked add x get", None, || {
        let (queue, _) = queue(1);
        queue.try_add(1).unwrap();
        let adder = beside(&queue, move |queue| block_on(queue.add(2)));
        let consumer = beside(&queue, move |queue| block_on(queue.get()).map(Work::done));
        let left = queue.close();
        assert!(left.returned.is_empty(), "no key was delayed");
        let added = adder.join().unwrap().is_ok();
        let got = consumer.join().unwrap().is_some();
        // The second key is ready exactly if it was added, since the consumer took one.
        assert!(got, "a ready key is handed out, closed or not");
        assert_eq!(queue.stats().ready, usize::from(added));
    });
}

#[test]
fn a_consumer_of_a_closed_queue_waits_while_a_key_is_in_flight() {
    explore("close x requeue x get", None, || {
        let (queue, _) = queue(1);
        queue.try_add(1).unwrap();
        let work = queue.try_get().unwrap();
        let consumer = beside(&queue, move |queue| {
            let work = block_on(queue.get()).expect("the requeued key");
            work.done();
            assert!(block_on(queue.get()).is_none());
        });
        let closer = beside(&queue, move |queue| {
            assert!(queue.close().returned.is_empty())
        });
        work.requeue();
        consumer.join().unwrap();
        closer.join().unwrap();
    });
}
