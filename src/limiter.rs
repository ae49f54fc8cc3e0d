//! Rate limiters: which callers may pass now, and how long the others wait.
//!
//! | type | state | choose it for |
//! |---|---|---|
//! | [`AtomicTokenBucket`] | one atomic word | the hot path: no lock, no allocation, scales with cores |
//! | [`LockedTokenBucket`] | a lock | any quota at all, however large |
//! | [`KeyedLimiter`] | eight bytes a key | a limit for each tenant, client or address, in bounded memory |
//! | [`SlidingWindow`] | a lock, and 24 bytes an admission | at most N in any window, without a burst on top |
//! | [`IntervalTokenBucket`] | a lock | a server that refills all at once, at each full minute |
//! | [`AllOf`] | that of its members | several limits at once, all or nothing |
//!
//! All are exact to the nanosecond, and the token buckets make the same decisions by the same
//! arithmetic. All share one line of waiters, in which a waiter holds nothing before its turn.

mod account;
mod acquire;
mod all_of;
mod atomic;
mod bounds;
mod bucket;
mod carry;
mod cell;
mod configs;
mod denied;
mod desk;
mod fill;
mod gate;
mod internal;
#[allow(
    dead_code,
    reason = "the tests of the core also take alone, and in parts"
)]
mod interval;
mod interval_bucket;
mod keyed;
mod lease;
mod ledger;
mod line;
mod locked;
mod locked_line;
mod metered;
mod quota_limiter;
mod rate;
mod rate_limiter;
mod reservation;
mod saved;
mod single;
mod sliding_window;
mod standing_denial;
mod status;
mod tokens;
mod turn;
#[allow(
    dead_code,
    reason = "the tests of the core also take alone, and in parts"
)]
mod window;
mod word;

pub use acquire::Acquire;
pub use all_of::{AllOf, Limits};
pub use atomic::AtomicTokenBucket;
pub use carry::CarryOver;
pub use denied::Denied;
pub use interval_bucket::IntervalTokenBucket;
pub use keyed::{ClientAddr, PrefixTooLong};
pub use keyed::{
    KeyHandle, KeyedBuilder, KeyedError, KeyedLimiter, KeyedStats, OnFull, OwnedKey, ToKey,
};
pub use lease::{Leasable, TokenLease};
pub use locked::LockedTokenBucket;
pub use metered::{Meter, Metered};
pub use quota_limiter::QuotaLimiter;
pub use rate_limiter::RateLimiter;
pub use reservation::Reservation;
pub use saved::{Saved, SavedError};
pub use sliding_window::SlidingWindow;
pub use status::Status;
pub(crate) use turn::{Kind, Turn};
pub use window::{History, WindowError};
