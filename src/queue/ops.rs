//! The operations: the methods of the public types, and their waits.

pub(crate) mod add;
pub(crate) mod batch;
pub(crate) mod builder;
pub(crate) mod drain;
pub(crate) mod event_wait;
pub(crate) mod get;
pub(crate) mod queue_error;
pub(crate) mod resync;
pub(crate) mod snapshot;
pub(crate) mod work;
pub(crate) mod work_queue;
