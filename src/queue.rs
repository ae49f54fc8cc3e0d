//! [`WorkQueue`]: a bounded work queue that coalesces adds and hands each key to one worker at a
//! time.
//!
//! | type | task |
//! |---|---|
//! | [`WorkQueue`] | adding, taking and ending keys |
//! | [`QueueBuilder`], [`Revive`], [`FastHash`] | the options of a queue |
//! | [`AddOptions`], [`Priority`], [`Merge`] | the options of one add |
//! | [`Groups`] | turns, bounds and rate limits for tenants |
//! | [`Work`], [`Batch`] | the guards of keys in process |
//! | [`Stats`], [`KeySnapshot`], [`GroupSnapshot`] | views of a queue |
//!
//! The other types name operations that wait, errors, and what a closed queue returns.

pub(crate) mod core;
pub(crate) mod ops;
pub(crate) mod shell;

pub use self::core::add_error::AddError;
pub use self::core::given_up::Revive;
pub use self::core::groups::grouping::Groups;
pub use self::core::hash::{FastHash, FastHasher};
pub use self::core::options::{AddOptions, Merge};
pub use self::core::priority::{Priority, PriorityError};
pub use self::ops::add::step::Add;
pub use self::ops::batch::Batch;
pub use self::ops::builder::QueueBuilder;
pub use self::ops::drain::{Drain, Drained};
pub use self::ops::event_wait::Dirtied;
pub use self::ops::get::{Get, GetBatch};
pub use self::ops::queue_error::QueueError;
pub use self::ops::resync::Resync;
pub use self::ops::snapshot::{GroupSnapshot, KeySnapshot, KeyState, Stats};
pub use self::ops::work::Work;
pub(crate) use self::ops::work::erased::ErasedWork;
pub use self::ops::work_queue::WorkQueue;
