//! Waiting for tokens and for keys under tokio, under an executor without timers, and on threads, by the
//! real clock; and by tokio's own clock, paused.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use futures_executor::ThreadPool;
use futures_util::future::join_all;
use tollgate::{
    AtomicTokenBucket, Clock, LockedTokenBucket, Quota, RateLimiter, SystemClock, Timestamp,
    WorkQueue,
};

const WAITERS: u64 = 20;

/// One token a millisecond.
fn quota() -> Quota {
    "1000/s burst 1".parse().unwrap()
}

/// No waiter was early: the first passes at once, and each other at least a millisecond after its
/// predecessor.
fn assert_on_time(start: Timestamp, mut ends: Vec<Timestamp>) {
    assert_eq!(ends.len() as u64, WAITERS);
    ends.sort_unstable();
    for (nth, end) in (0..).zip(ends) {
        let earliest = start.as_nanos() + nth * 1_000_000;
        assert!(end.as_nanos() >= earliest, "{nth}: {end:?}");
    }
}

macro_rules! for_both {
    ($name:ident, $bucket:ident => $body:expr) => {
        mod $name {
            use super::*;

            #[test]
            fn locked() {
                let start = SystemClock::new().now();
                let $bucket = Arc::new(LockedTokenBucket::new(quota()).unwrap());
                assert_on_time(start, $body);
            }

            #[test]
            fn atomic() {
                let start = SystemClock::new().now();
                let $bucket = Arc::new(AtomicTokenBucket::new(quota()).unwrap());
                assert_on_time(start, $body);
            }
        }
    };
}

for_both!(tokio_tasks, bucket => {
    // The runtime has no timer: the bucket brings its own.
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    let tasks = (0..WAITERS).map(|_| {
        let bucket = Arc::clone(&bucket);
        runtime.spawn(async move {
            bucket.acquire(1).await.unwrap();
            bucket.now()
        })
    });
    let ends = runtime.block_on(join_all(tasks.collect::<Vec<_>>()));
    ends.into_iter().map(Result::unwrap).collect()
});

for_both!(tasks_without_tokio, bucket => {
    let pool = ThreadPool::builder().pool_size(2).create().unwrap();
    let (send, ends) = mpsc::channel();
    for _ in 0..WAITERS {
        let (bucket, send) = (Arc::clone(&bucket), send.clone());
        pool.spawn_ok(async move {
            bucket.acquire(1).await.unwrap();
            send.send(bucket.now()).unwrap();
        });
    }
    drop(send);
    ends.iter().collect()
});

for_both!(bare_threads, bucket => {
    let threads: Vec<_> = (0..WAITERS)
        .map(|_| {
            let bucket = Arc::clone(&bucket);
            thread::spawn(move || {
                bucket.acquire(1).wait().unwrap();
                bucket.now()
            })
        })
        .collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
});

const DELAYED: u64 = 20;

/// A queue of keys that fall due a millisecond apart, and the instant of the adds.
fn delayed() -> (WorkQueue<u64>, Timestamp) {
    let queue = WorkQueue::new(64).unwrap();
    let start = SystemClock::new().now();
    for n in 0..DELAYED {
        queue.try_add_after(n, Duration::from_millis(n)).unwrap();
    }
    (queue, start)
}

/// Takes one key, and reads the clock.
async fn take(queue: WorkQueue<u64>) -> (u64, Timestamp) {
    let work = queue.get().await.expect("the queue is open");
    let taken = (*work, SystemClock::new().now());
    work.done();
    taken
}

/// Asserts that every key was taken, and none early.
fn assert_none_early(start: Timestamp, mut taken: Vec<(u64, Timestamp)>) {
    taken.sort_unstable();
    for (expected, (key, at)) in (0..).zip(&taken) {
        assert_eq!(*key, expected);
        assert!(at.saturating_since(start) >= Duration::from_millis(*key));
    }
    assert_eq!(taken.len() as u64, DELAYED);
}

#[test]
fn tokio_tasks_get_delayed_keys_on_time() {
    // The runtime has no timer.
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    let (queue, start) = delayed();
    let tasks = (0..DELAYED).map(|_| runtime.spawn(take(queue.clone())));
    let taken = runtime.block_on(join_all(tasks.collect::<Vec<_>>()));
    assert_none_early(start, taken.into_iter().map(Result::unwrap).collect());
}

#[test]
fn tasks_without_tokio_and_threads_get_delayed_keys_on_time() {
    let pool = ThreadPool::builder().pool_size(2).create().unwrap();
    let (queue, start) = delayed();
    let (send, taken) = mpsc::channel();
    for n in 0..DELAYED {
        let (queue, send) = (queue.clone(), send.clone());
        if n % 2 == 0 {
            pool.spawn_ok(async move { send.send(take(queue).await).unwrap() });
        } else {
            thread::spawn(move || {
                let work = queue.get().wait().unwrap();
                send.send((*work, SystemClock::new().now())).unwrap();
                work.done();
            });
        }
    }
    drop(send);
    assert_none_early(start, taken.iter().collect());
}

#[cfg(feature = "tokio")]
#[tokio::test(start_paused = true)]
async fn a_queue_follows_tokios_paused_time() {
    use tollgate::integrations::tokio::TokioClock;

    let queue = WorkQueue::builder(8)
        .clock(TokioClock::new())
        .build()
        .unwrap();
    let start = tokio::time::Instant::now();
    for n in [3, 1, 2] {
        queue
            .try_add_after(n, Duration::from_secs(3600 * n))
            .unwrap();
    }
    for n in 1..=3 {
        let work = queue.get().await.unwrap();
        assert_eq!((*work, start.elapsed().as_secs()), (n, 3600 * n));
        work.done();
    }
    let drained = queue.drain(Duration::from_secs(1)).await;
    assert!(drained.complete());
}
