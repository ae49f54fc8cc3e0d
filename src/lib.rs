//! Exact token-bucket rate limiters, and a bounded work queue with delayed requeue, for controllers
//! and API clients that call them on their hot path.
//!
//! The crate has three layers, and each is of use without the next: a limiter decides when a caller
//! may go on, a queue decides which key a worker takes next, and a controller runs the workers.
//! An operation that waits runs on a thread, by `.wait()`, or in a task of any runtime, by `.await`.
//! A task that waits on a [`SystemClock`] needs one helper thread, which the process starts on the
//! first such wait; nothing else runs in the background.
//!
//! # A limiter
//!
//! A [`Quota`] is a rate and a burst, both exact integers. A denial takes nothing, and says when to
//! come back. [`limiter`] compares the types; [`RateLimiter`] states their promises.
//!
//! ```
//! use std::time::Duration;
//! use tollgate::{AtomicTokenBucket, Denied, ManualClock, RateLimiter};
//!
//! let clock = ManualClock::new(); // outside of tests: `AtomicTokenBucket::new`
//! let bucket = AtomicTokenBucket::with_clock("100/s burst 2".parse()?, clock.clone())?;
//! assert!(bucket.try_acquire(2).is_ok());
//!
//! let retry_after = Duration::from_millis(10);
//! assert_eq!(bucket.try_acquire(1), Err(Denied::NotYet { retry_after }));
//! clock.advance(retry_after);
//! bucket.acquire(1).wait()?; // `bucket.acquire(1).await?` in a task
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # A queue
//!
//! A [`WorkQueue`] holds each key once and hands it to one worker at a time. The worker ends a run
//! through its [`Work`], which also releases the key when it is dropped.
//!
//! ```
//! use std::time::Duration;
//! use tollgate::{ManualClock, WorkQueue};
//!
//! let clock = ManualClock::new();
//! let queue = WorkQueue::builder(10_000).clock(clock.clone()).build()?;
//! queue.try_add("website").unwrap();
//! queue.try_add("website").unwrap(); // coalesced: one run serves both adds
//!
//! let work = queue.try_get().unwrap();
//! assert_eq!(*work, "website");
//! work.requeue_after(Duration::from_secs(30));
//! assert!(queue.try_get().is_none());
//!
//! clock.advance(Duration::from_secs(30));
//! queue.try_get().unwrap().done();
//! # Ok::<(), tollgate::QueueError>(())
//! ```
//!
//! # A controller
//!
//! A [`Controller`] runs a [`Reconciler`] over a queue, on threads or in tasks. An error, a panic
//! and a timeout each lead to a retry with backoff.
//!
//! ```
//! use std::time::Duration;
//! use tollgate::{Action, Controller, ReconcileError, Request, WorkQueue};
//!
//! async fn reconcile(request: Request<'_, &'static str>) -> Result<Action, ReconcileError> {
//!     match *request {
//!         "website" => Ok(Action::done()),
//!         _ => Err("no such application".into()),
//!     }
//! }
//!
//! let queue = WorkQueue::new(10_000)?;
//! let workers = Controller::new(queue.clone(), reconcile).spawn_threads(4);
//! queue.try_add("website").unwrap();
//! queue.try_add("wbesite").unwrap();
//! let drained = workers.drain(Duration::from_secs(10)).wait();
//! assert!(drained.complete());
//! assert_eq!(drained.returned, ["wbesite"]); // waits for a retry, and is not lost
//! # Ok::<(), tollgate::QueueError>(())
//! ```
//!
//! # Which type to choose
//!
//! | task | type |
//! |---|---|
//! | limit a hot path that many threads share | [`AtomicTokenBucket`]: one atomic word, no lock, no allocation |
//! | take from a generous limit on many cores | [`StripedTokenBucket`]: a stripe for each thread; or a [`TokenLease`], which a thread holds |
//! | hold a quota that does not fit a word | [`LockedTokenBucket`] |
//! | obey a server that counts requests in any window | [`SlidingWindow`]: at most N in any window of P |
//! | obey a server that refills all at once, at each full minute | [`IntervalTokenBucket`] |
//! | limit each tenant, client or address | [`KeyedLimiter`]: bounded memory, no cleanup to run |
//! | obey several limits at once, all or nothing | [`AllOf`] |
//! | count what a limiter admits and denies | [`Metered`] |
//! | hand each changed key to one worker at a time, and again later | [`WorkQueue`] |
//! | run reconcilers over a queue, with retries, timeouts and a drain | [`Controller`] |
//! | test any of these without waiting | [`ManualClock`] |
//!
//! # Features
//!
//! None is on by default.
//!
//! | feature | what it adds |
//! |---|---|
//! | `boot-clock` | `BootClock`, which counts the time that the machine sleeps |
//! | `metrics` | `MetricsObserver`: queue and controller events as series of the `metrics` facade |
//! | `serde` | [`Quota`] in configuration files, as its text |
//! | `tokio` | `TokioClock`, which waits on tokio's timer and follows its paused time |
//! | `tower` | `RateLimitLayer`: a limiter as middleware around any `tower` service |
//! | `tracing` | an event for each end of a reconcile |
//!
//! # When not to use it
//!
//! - A limit across processes: the processes need a server that they share.
//! - A queue in which every message matters: a [`WorkQueue`] coalesces equal keys. Use a channel.
//! - A bound on how many calls are in flight: a token bucket bounds how often calls start. Use a
//!   semaphore.
//! - Keys that must survive a restart: a queue is in memory. (A bucket can be
//!   [saved](AtomicTokenBucket::save).)
//!
//! # The guide
//!
//! - [`guide::token_bucket_pitfalls`]: how token buckets go wrong, as programs.
//! - [`guide::tenants`]: a limit for each tenant, and several limits at once.
//! - [`guide::failures`]: events, backoff, and keys that are given up.
//! - [`guide::testing`]: tests in virtual time, and models under loom.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod arena;
mod backoff;
pub mod clock;
pub mod controller;
pub mod guide;
pub mod integrations;
pub mod limiter;
mod list;
mod observe;
mod prefetch;
pub mod queue;
mod quota;
mod sync;
mod unwind;
mod wait;
mod wake;

pub use backoff::{Backoff, CappedBackoff, ExponentialBackoff, FastSlowBackoff, FixedBackoff};
#[cfg(feature = "boot-clock")]
pub use clock::BootClock;
pub use clock::{Clock, ManualClock, MonotonicClock, SystemClock, Timestamp};
pub use controller::{Action, Controller, ReconcileError, Reconciler, Request, Workers};
pub use limiter::{
    AllOf, At, AtomicTokenBucket, CarryOver, Denied, History, IntervalTokenBucket, KeyHandle,
    KeyedBuilder, KeyedError, KeyedLimiter, KeyedStats, Leasable, LockedTokenBucket, Meter,
    Metered, OnFull, OwnedKey, QuotaLimiter, RateLimiter, Reservation, Saved, SavedError,
    SlidingWindow, Status, StripedTokenBucket, TokenLease, WindowError,
};
pub use limiter::{ClientAddr, PrefixTooLong};
pub use observe::{Observer, ReconcileResult};
pub use queue::{
    AddError, AddOptions, Batch, Drained, Merge, Priority, PriorityError, QueueError, Work,
    WorkQueue,
};
pub use quota::{Quota, QuotaError, QuotaSyntaxError};
#[doc(hidden)]
pub use wait::{Progress, Step};
pub use wait::{TimedOut, Wait};

/// The README's example, as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
