//! A server that forks after it has waited: its children wait too.
//!
//! One test a process: no other thread may be inside the library at the fork.
#![cfg(unix)]
#![allow(unsafe_code, reason = "there is no safe fork")]

use futures_executor::block_on;
use futures_util::task::noop_waker_ref;
use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;
use tollgate::clock::Sleep;
use tollgate::{AtomicTokenBucket, Clock, Quota, RateLimiter, SystemClock};

/// Runs `work` in a child, which is killed if it hangs. A panic would go on into the test harness.
fn in_child(what: &str, work: impl FnOnce() -> bool) {
    // SAFETY: the child calls nothing but `work`, which waits on this crate alone, and `_exit`.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "no process");
    if child == 0 {
        unsafe { libc::alarm(10) };
        let code = i32::from(!work());
        unsafe { libc::_exit(code) };
    }
    let mut status = 0;
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert!(!libc::WIFSIGNALED(status), "{what}: hung");
    assert_eq!(libc::WEXITSTATUS(status), 0, "{what}");
}

/// Takes a token that is 20 ms away.
fn takes(bucket: &AtomicTokenBucket, acquire: impl FnOnce()) -> bool {
    bucket.drain();
    let start = bucket.now();
    acquire();
    bucket.now() - start >= Duration::from_millis(19)
}

fn arm(sleep: &mut Sleep) {
    let pending = Pin::new(sleep).poll(&mut Context::from_waker(noop_waker_ref()));
    assert!(pending.is_pending());
}

#[test]
fn a_child_waits_after_its_parent_has_waited() {
    let quota = Quota::per_second(50).unwrap().burst(1).unwrap();
    let bucket = AtomicTokenBucket::new(quota).unwrap();
    let task = || takes(&bucket, || block_on(bucket.acquire(1)).unwrap());
    let thread = || takes(&bucket, || bucket.acquire(1).wait().unwrap());
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
    let soon = clock.now() + Duration::from_millis(50);
    let mut parents = [clock.sleep_until(soon), clock.sleep_until(soon)];
    parents.iter_mut().for_each(arm);
    in_child("tasks that the parent has begun to wait with", || {
        let [mut dropped, polled] = parents;
        let mut own = clock.sleep_until(soon + Duration::from_millis(50));
        arm(&mut own);
        arm(&mut dropped);
        drop(dropped);
        block_on(polled);
        block_on(own);
        true
    });
    assert!(task(), "the parent waits still");
}
