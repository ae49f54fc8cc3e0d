//! A bounded work queue that never hands one key to two workers.

pub(crate) mod core;
pub(crate) mod ops;
pub(crate) mod shell;

pub use self::core::add_error::AddError;
pub use self::core::given_up::Revive;
pub use self::core::groups::grouping::Groups;
pub use self::core::hash::{FastHash, FastHasher};
pub use self::core::options::{AddOptions, Merge};
pub use self::core::priority::{Priority, PriorityError};
pub use self::ops::add::Add;
pub use self::ops::batch::{Batch, BatchIter};
pub use self::ops::builder::{QueueBuilder, QueueError};
pub use self::ops::dirtied::Dirtied;
pub use self::ops::drain::{Drain, Drained};
pub use self::ops::get::{Get, GetBatch};
pub use self::ops::resync::Resync;
pub use self::ops::snapshot::{GroupSnapshot, KeySnapshot, KeyState, Stats};
pub use self::ops::work::Work;
pub(crate) use self::ops::work::in_hand::InHand;
pub use self::ops::work_queue::WorkQueue;
