//! The sequential core of a keyed limiter: the table of words and what a shard decides by it.

pub(crate) mod generation;
pub(crate) mod hashed;
pub(crate) mod leaving;
pub(crate) mod lines;
pub(crate) mod on_full;
pub(crate) mod seats;
pub(crate) mod shard;
pub(crate) mod table;
pub(crate) mod to_key;
