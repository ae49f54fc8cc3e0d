//! A queue whose dispatch is limited: who is woken when there is a token.
#![cfg(not(tollgate_loom))]

#[allow(dead_code, reason = "shared with the tests of the limiters")]
#[path = "model/tasks.rs"]
mod tasks;

use std::sync::Arc;
use std::time::Duration;

use tasks::Polled;
use tollgate::{LockedTokenBucket, ManualClock, Quota, WorkQueue};

/// One token a second, and so many at first.
fn limited(burst: u64) -> (WorkQueue<u64, ManualClock>, ManualClock) {
    let clock = ManualClock::new();
    let quota = Quota::per_second(1).unwrap().burst(burst).unwrap();
    let limiter = LockedTokenBucket::with_clock(quota, clock.clone()).unwrap();
    let builder = WorkQueue::builder(1_000).clock(clock.clone());
    (
        builder.rate_limit(Arc::new(limiter)).build().unwrap(),
        clock,
    )
}

fn add(queue: &WorkQueue<u64, ManualClock>, keys: std::ops::Range<u64>) {
    for key in keys {
        queue.try_add(key).unwrap();
    }
}

#[test]
fn a_queue_that_was_out_of_tokens_wakes_consumers_again() {
    let (queue, clock) = limited(2);
    add(&queue, 1..4);
    let taken: Vec<_> = std::iter::from_fn(|| queue.try_get()).collect();
    assert_eq!(taken.len(), 2);
    clock.advance(Duration::from_secs(1));
    queue.try_get().unwrap().done();
    clock.advance(Duration::from_secs(2));
    let [first, mut second] = [(); 2].map(|()| Polled::pending(queue.get()));
    add(&queue, 4..6);
    // The second is asked once to look out for the first, and gets nothing by that.
    assert_eq!((first.woken(), second.woken()), (1, 1));
    assert!(second.poll().is_pending());
    first.ready().unwrap().done();
    assert_eq!(second.woken(), 2, "by the one before, who had a token");
    second.ready().unwrap().done();
}

#[test]
fn a_token_wakes_no_herd() {
    let (queue, clock) = limited(1);
    add(&queue, 0..500);
    queue.try_get().unwrap().done();
    let mut waiting: Vec<_> = (0..100).map(|_| Polled::pending(queue.get())).collect();
    let mut served = Vec::new();
    for _ in 0..50 {
        let before: usize = waiting.iter().map(Polled::woken).sum();
        clock.advance(Duration::from_secs(1));
        // Whoever was woken looks, until nobody is any more.
        let mut looks = 0;
        let mut seen: Vec<_> = waiting.iter().map(|_| 0).collect();
        while let Some(n) = (0..waiting.len()).find(|&n| waiting[n].woken() > seen[n]) {
            seen[n] = waiting[n].woken();
            looks += usize::from(looks < 1_000);
            if let std::task::Poll::Ready(work) = waiting[n].poll() {
                served.push(n);
                work.unwrap().done();
                waiting.remove(n);
                seen.remove(n);
            }
        }
        let woken: usize = waiting.iter().map(Polled::woken).sum();
        assert!(woken <= before + 2, "{woken} after {before}");
    }
    // Always the first in line.
    assert_eq!(served, [0; 50]);
}

#[test]
fn who_is_back_at_the_head_of_the_line_is_the_one_that_looks() {
    const SECOND: Duration = Duration::from_secs(1);
    let (queue, clock) = limited(1);
    add(&queue, 0..9);
    queue.try_add_after(9, Duration::MAX).unwrap();
    queue.try_get().unwrap().done();
    let [first, mut second, mut third] = [(); 3].map(|()| Polled::pending(queue.get()));
    clock.advance(SECOND);
    first.ready().unwrap().done();
    // It has woken the second, and the third leads, for the delayed key.
    assert!(third.poll().is_pending());
    assert!(second.poll().is_pending(), "there is no token yet");
    let before = third.woken();
    for _ in 0..3 {
        let seen = second.woken();
        clock.advance(SECOND);
        assert_eq!(second.woken(), seen + 1);
        // Somebody else is faster.
        queue.try_get().unwrap().done();
        assert!(second.poll().is_pending());
        if third.woken() > before {
            assert!(third.poll().is_pending());
        }
    }
    assert_eq!(
        third.woken(),
        before + 1,
        "once, to look out for the second"
    );
}
