use std::time::Duration;

/// What an event does to a key that was given up: see
/// [`QueueBuilder::remember_given_up`](crate::queue::QueueBuilder::remember_given_up).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Revive {
    /// Nothing, as long as the key is remembered.
    Never,
    /// The key has one more attempt, once the backoff after its last failure is over.
    Once,
}

/// How long a key that was given up is remembered, and what for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GivenUp {
    pub(crate) revive: Revive,
    pub(crate) remembered: Duration,
}
