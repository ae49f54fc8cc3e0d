//! The callers that wait: consumers for a key, adders for room, and others for an event.

pub(crate) mod adders;
pub(crate) mod consumers;
pub(crate) mod queue_state;
