//! Rate limiters: they decide which callers may pass now, and how long the others wait.
//!
//! | type | state | choose it for |
//! |---|---|---|
//! | [`AtomicTokenBucket`] | one atomic word | the hot path: no lock, no allocation, scales with cores |
//! | [`StripedTokenBucket`] | the same, and a stripe a core | many cores that share one generous limit |
//! | [`LockedTokenBucket`] | a lock | a quota that the word does not hold |
//! | [`KeyedLimiter`] | eight bytes a key | a limit for each tenant, client or address, in bounded memory |
//! | [`SlidingWindow`] | a lock, and 24 bytes an admission | at most N in any window of P |
//! | [`IntervalTokenBucket`] | a lock | a server that refills at once, at each full minute |
//! | [`AllOf`] | that of its members | several limits at once |
//!
//! All are exact to the nanosecond, and implement [`RateLimiter`], which states their promises. A
//! [`TokenLease`] takes tokens in batches for one thread; [`Metered`] counts what a limiter decides.

pub(crate) mod core;
pub(crate) mod keyed;
pub(crate) mod ops;
pub(crate) mod shell;

#[cfg(feature = "tower")]
pub(crate) use self::core::acquire_turn::{AcquireTurn, OnTurn};
pub use self::core::carry::CarryOver;
pub use self::core::denied::Denied;
pub use self::core::history::History;
pub use self::core::saved::{Saved, SavedError};
pub use self::core::status::Status;
pub use self::core::window::WindowError;
pub use self::keyed::{
    ClientAddr, KeyHandle, KeyedBuilder, KeyedError, KeyedLimiter, KeyedStats, OnFull, OwnedKey,
    PrefixTooLong, ToKey,
};
pub use self::ops::acquire::Acquire;
pub use self::ops::all_of::{AllOf, Limits};
pub use self::ops::at::At;
pub use self::ops::atomic::AtomicTokenBucket;
pub use self::ops::interval_bucket::IntervalTokenBucket;
pub use self::ops::lease::{Leasable, TokenLease};
pub use self::ops::locked::LockedTokenBucket;
pub use self::ops::metered::{Meter, Metered};
pub use self::ops::quota_limiter::QuotaLimiter;
pub use self::ops::rate_limiter::RateLimiter;
pub use self::ops::reservation::Reservation;
pub use self::ops::sliding_window::SlidingWindow;
pub use self::ops::striped::StripedTokenBucket;
