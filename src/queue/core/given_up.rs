//! The policy for keys that were given up: how long they are remembered, and what an add does then.

use std::time::Duration;

/// What an add does to a key that was given up and is still remembered: see
/// [`QueueBuilder::remember_given_up`](crate::queue::QueueBuilder::remember_given_up).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Revive {
    /// Nothing: the add is coalesced, and the key does not run.
    Never,
    /// The key gets one more attempt, after the backoff of its last failure.
    Once,
}

/// The setting of a queue that remembers keys that were given up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GivenUp {
    pub(crate) revive: Revive,
    pub(crate) remembered: Duration,
}
