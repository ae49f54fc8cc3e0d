//! Waiting in a child process that was forked after its parent waited.
//!
//! This binary holds one test, since no other thread may be inside the library at the fork.
#![cfg(unix)]
#![allow(unsafe_code, reason = "there is no safe fork")]

use futures_executor::block_on;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;
use tollgate::clock::Sleep;
use tollgate::{AtomicTokenBucket, Clock, Quota, RateLimiter, SystemClock};

/// Runs `work` in a child process, which an alarm kills if it hangs.
fn in_child(what: &str, work: impl FnOnce() -> bool) {
    // SAFETY: the child calls nothing but `work`, which waits on this crate alone, and `_exit`.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork failed");
    if child == 0 {
        // SAFETY: it accesses no memory.
        unsafe { libc::alarm(10) };
        // A panic must not unwind into the harness, whose other threads the child lacks.
        let done = catch_unwind(AssertUnwindSafe(work)).unwrap_or(false);
        // SAFETY: it ends the process, and runs nothing of it.
        unsafe { libc::_exit(i32::from(!done)) };
    }
    let mut status = 0;
    // SAFETY: the status is writable during the call.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(waited, child);
    assert!(!libc::WIFSIGNALED(status), "{what}: hung");
    assert_eq!(libc::WEXITSTATUS(status), 0, "{what}");
}

/// Whether `acquire` waits 20 ms for the next token.
fn waits_for_a_token(bucket: &AtomicTokenBucket, acquire: impl FnOnce()) -> bool {
    bucket.drain();
    let start = bucket.now();
    acquire();
    bucket.now() - start >= Duration::from_millis(19)
}

/// Counts its wake-ups.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn arm(sleep: &mut Sleep, woken: &Arc<Woken>) {
    let waker = Waker::from(Arc::clone(woken));
    let poll = Pin::new(sleep).poll(&mut Context::from_waker(&waker));
    assert!(poll.is_pending());
}

#[test]
fn a_forked_child_can_wait_after_its_parent_waited() {
    let quota = Quota::per_second(50).unwrap().burst(1).unwrap();
    let bucket = AtomicTokenBucket::new(quota).unwrap();
    let task = || waits_for_a_token(&bucket, || block_on(bucket.acquire(1)).unwrap());
    let thread = || waits_for_a_token(&bucket, || bucket.acquire(1).wait().unwrap());
    in_child("a task, before the parent has waited", task);
    assert!(task());
    in_child("a task", task);
    in_child("a thread", thread);
    in_child("a thread and then a task", || thread() && task());
    in_child("a grandchild", || {
        task() && {
            in_child("the grandchild itself", task);
            task()
        }
    });

    let clock = SystemClock::new();
    let soon = clock.now() + Duration::from_millis(100);
    let mut parents = [clock.sleep_until(soon), clock.sleep_until(soon)];
    let woken = Arc::<Woken>::default();
    parents.iter_mut().for_each(|sleep| arm(sleep, &woken));
    in_child("timers that the parent armed", || {
        let [dropped, polled] = parents;
        // As many timers as the parent ever had, so that one reuses the number of the dropped timer.
        let mut own: Vec<_> = (0..64).map(|_| clock.sleep_until(soon)).collect();
        let woken = Arc::<Woken>::default();
        own.iter_mut().for_each(|sleep| arm(sleep, &woken));
        drop(dropped);
        block_on(polled);
        while woken.0.load(Ordering::Relaxed) < own.len() {
            clock.park_until(Some(clock.now() + Duration::from_millis(1)));
        }
        clock.now() >= soon
    });
    assert!(task(), "the parent can no longer wait");
}
