//! What the machine asks for, and what it is told.

use tollgate::Timestamp;

use super::super::record::{Record, Stored};
#[cfg(doc)]
use super::Elector;

/// Identifies a request of one [`Elector`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(pub(super) u64);

/// What the caller of [`Elector::poll`] has to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this request, and poll again. It replaces the previous one, if that has no answer yet.
    Send(Request),
    /// Poll again at this instant, or after an answer.
    Wait(Timestamp),
    /// The candidate has left the election.
    Done(Outcome),
}

/// A request to the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// To be passed to [`Elector::answer`].
    pub id: RequestId,
    /// What to do.
    pub operation: Operation,
}

/// An operation on the Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Get the Lease.
    Read,
    /// Create the Lease.
    Create(Record),
    /// Replace the record, only if the Lease still has the `resourceVersion` in it.
    Update(Stored),
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The Lease as it was read or written.
    Stored(Stored),
    /// There is no such Lease.
    NotFound,
    /// The Lease has another `resourceVersion` (update) or exists already (create).
    Conflict,
    /// Any other error. Whether a write was applied is unknown.
    Failed,
}

/// How a candidate left the election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The lease is released: another candidate takes it over when it next reads it.
    Released,
    /// The candidate did not hold the lease.
    NotHeld,
    /// The server did not answer within the renew deadline: the lease has to expire.
    GaveUp,
}
