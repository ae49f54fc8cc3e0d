//! The operations on the work queue that the property tests, the fuzzer and its seeds share.

use tollgate::Merge;

/// How the queue is built.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Config {
    pub(crate) capacity: usize,
    pub(crate) reserve: usize,
    /// How long a key must be quiet, and its longest delay by that, in nanoseconds.
    pub(crate) debounce: Option<(u64, u64)>,
    pub(crate) attempts: Option<u16>,
    pub(crate) rate_limited: bool,
    /// Whether adds wait for a backoff by default.
    pub(crate) hold: bool,
}

#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "the fuzzer leaves no consumer unpolled")]
pub(crate) enum Op {
    Add(u8),
    /// With a delay in nanoseconds.
    AddAfter(u8, u64),
    /// With a priority and a delay in nanoseconds.
    AddWith(u8, i8, u64, Merge),
    /// With a delay in nanoseconds, and whether the add waits for a backoff.
    AddHolding(u8, u64, bool),
    /// Adds this key and so many that follow it, as `AddWith` with `Merge::Earlier`.
    AddBatch(u8, u8, i8, u64),
    /// As `AddWith` with `Merge::Earlier`; a full queue counts the key as missed.
    AddOrResync(u8, i8, u64),
    /// A worker adds a related key: which worker, the key and its priority.
    AddRelated(u8, u8, i8),
    /// Takes a pending resync, if there is one.
    Resync,
    Get,
    /// Finishes a key in flight, and takes the next.
    DoneAndGet(u8),
    GetBatch(u8),
    /// Takes a batch, and finishes it.
    RunBatch(u8),
    /// Starts a task that waits for a key.
    WaitGet,
    /// Starts a task that waits for a batch.
    WaitGetBatch(u8),
    /// Starts a task that adds as `AddOrResync`, and waits for room for at most so many nanoseconds.
    WaitAdd(u8, i8, u64, Option<u64>),
    /// Starts a task that drains the queue for at most so many nanoseconds.
    WaitDrain(u64),
    /// Starts a task that waits for a resync.
    WaitResync,
    /// Drops one of the tasks, before the woken tasks are polled.
    Cancel(u8),
    /// Stops polling one of the consumers, even if it was woken; unless two are unpolled already.
    LeaveUnpolled(u8),
    /// Polls an unpolled consumer again.
    PollAgain,
    Pause,
    Resume,
    /// Finishes a key in flight.
    Finish(u8, Outcome),
    Remove(u8),
    Close,
    /// With a timeout of zero.
    Drain,
    ShutdownNow,
    /// Advances the clock by nanoseconds.
    Advance(u64),
    /// The next operation has read the clock so many nanoseconds ago, if it adds or finishes a key.
    ReadClockLate(u64),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    Done,
    Requeue,
    RequeueAfter(u64),
    Defer(u64),
    Retry,
    RetryAfter(u64),
    Fail,
    Drop,
}

impl Op {
    /// Whether the operation may have read the clock late. An operation that takes a key may not: the queue
    /// orders runs by their start, and the model by their time.
    pub(super) const fn may_be_late(self) -> bool {
        matches!(
            self,
            Self::Add(_)
                | Self::AddAfter(..)
                | Self::AddWith(..)
                | Self::AddHolding(..)
                | Self::AddBatch(..)
                | Self::AddOrResync(..)
                | Self::AddRelated(..)
                | Self::Finish(..)
        )
    }
}
