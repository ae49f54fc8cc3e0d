//! The callers that wait for the machine: consumers for a key, adders for room.

pub(crate) mod adders;
pub(crate) mod consumers;
pub(crate) mod state;
