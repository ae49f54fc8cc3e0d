//! Several keys under one lock: batches, and a run that ends as the next begins.

use tollgate::AddOptions;

use crate::features::take_all;
use crate::tasks::Polled;
use crate::{millis, queue};

#[test]
fn a_batch_is_finished_whole_or_key_by_key() {
    let (queue, clock) = queue(100);
    assert!(queue.try_add_batch(0..10, AddOptions::new()).is_empty());
    assert!(queue.try_get_batch(0).is_none());
    let batch = queue.try_get_batch(4).unwrap();
    assert!(batch.keys().eq(&[0, 1, 2, 3]));
    queue.try_add(2).unwrap();
    batch.done();
    let mut works = queue.get_batch(4).wait().unwrap().into_iter();
    works.next().unwrap().done();
    assert_eq!(*works.next().unwrap(), 5);
    drop(works);
    let stats = queue.stats();
    assert_eq!(
        (stats.ready, stats.delayed, stats.processing),
        (3, 3, 0),
        "dropped keys are retried"
    );
    clock.advance(millis(5));
    assert_eq!(take_all(&queue), [8, 9, 2, 5, 6, 7]);

    let waiting = Polled::pending(queue.get_batch(4));
    assert!(queue.try_add_batch([1, 2], AddOptions::new()).is_empty());
    assert_eq!(waiting.woken(), 1);
    assert_eq!(waiting.ready().unwrap().len(), 2);
    drop(queue.close());
    drop(queue.shutdown_now());
    assert!(queue.get_batch(4).wait().is_none());
}

#[test]
fn a_dropped_batch_is_retried_in_its_order() {
    let (queue, clock) = queue(100);
    assert!(queue.try_add_batch(0..4, AddOptions::new()).is_empty());
    drop(queue.try_get_batch(4));
    assert_eq!(queue.stats().delayed, 4);
    clock.advance(millis(5));
    assert_eq!(take_all(&queue), [0, 1, 2, 3]);
    let batch = {
        assert!(queue.try_add_batch(0..3, AddOptions::new()).is_empty());
        queue.try_get_batch(4).unwrap().into_iter()
    };
    assert_eq!(batch.len(), 3);
}

#[test]
fn done_and_get_finishes_one_key_and_takes_the_next() {
    let (queue, _) = queue(8);
    assert!(queue.try_add_batch([1, 2], AddOptions::new()).is_empty());
    let work = queue.try_get().unwrap();
    queue.try_add(1).unwrap();
    let work = work.done_and_get().unwrap();
    assert_eq!(*work, 2);
    let work = work.done_and_get().unwrap();
    assert_eq!(*work, 1, "it became dirty during its run");
    assert!(work.done_and_get().is_none());
    assert_eq!(queue.stats().processing, 0);
}
