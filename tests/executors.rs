//! Waiting works wherever it is waited: under tokio, under an executor that knows no timer, and on
//! bare threads, on the real clock.
#![cfg(not(tollgate_loom))]

use std::sync::{Arc, mpsc};
use std::thread;

use futures_executor::ThreadPool;
use futures_util::future::join_all;
use tollgate::{
    AtomicTokenBucket, Clock, LockedTokenBucket, Quota, RateLimiter, SystemClock, Timestamp,
};

const WAITERS: u64 = 20;

/// A millisecond a token.
fn quota() -> Quota {
    "1000/s burst 1".parse().unwrap()
}

/// None was early: the first passes at once, and each other at least a millisecond after the one
/// before.
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
    // Without its timer: the bucket brings its own.
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
