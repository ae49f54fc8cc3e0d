//! A bucket for each key: one limit for each tenant, client or address.

pub(crate) mod core;
pub(crate) mod ops;
pub(crate) mod shell;

pub use self::core::on_full::OnFull;
pub use self::core::to_key::ToKey;
pub use self::ops::address::{ClientAddr, PrefixTooLong};
pub use self::ops::builder::{KeyedBuilder, KeyedError};
pub use self::ops::handle::KeyHandle;
pub use self::ops::keys::KeyedStats;
pub use self::ops::owned::OwnedKey;
pub use self::shell::keyed_limiter::KeyedLimiter;
