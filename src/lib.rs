// Here the pages are modules; of two definitions of a link the first one counts.
//! [limits for tenants]: guide::tenants
//! [how a token bucket goes wrong]: guide::token_bucket_pitfalls
#![doc = include_str!("../README.md")]
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
pub mod queue;
mod quota;
mod sync;
mod unwind;
pub mod wait;
mod wake;
mod whereabouts;

pub use backoff::{Backoff, CappedBackoff, ExponentialBackoff, FastSlowBackoff, FixedBackoff};
#[cfg(feature = "boot-clock")]
pub use clock::BootClock;
pub use clock::{Clock, ManualClock, MonotonicClock, SystemClock, Timestamp};
pub use controller::{Action, Controller, ReconcileError, Reconciler, Request, Workers};
pub use limiter::{
    AllOf, AtomicTokenBucket, CarryOver, Denied, History, IntervalTokenBucket, KeyHandle,
    KeyedBuilder, KeyedError, KeyedLimiter, KeyedStats, Leasable, LockedTokenBucket, Meter,
    Metered, OnFull, OwnedKey, QuotaLimiter, RateLimiter, Reservation, Saved, SavedError,
    SlidingWindow, Status, TokenLease, WindowError,
};
pub use limiter::{ClientAddr, PrefixTooLong};
pub use observe::{Observer, ReconcileResult};
pub use queue::{
    AddError, AddOptions, Batch, Drained, Merge, Priority, PriorityError, QueueError, Work,
    WorkQueue,
};
pub use quota::{Quota, QuotaError, QuotaSyntaxError};
pub use wait::{TimedOut, Wait};
