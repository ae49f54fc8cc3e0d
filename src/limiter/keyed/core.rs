//! The sequential core of a keyed limiter: the words of the keys, and what a shard decides by them.

pub(crate) mod bucket_word;
pub(crate) mod capacity;
pub(crate) mod config;
pub(crate) mod config_history;
pub(crate) mod hashed_key;
pub(crate) mod line_table;
pub(crate) mod on_full;
pub(crate) mod removed_keys;
pub(crate) mod shard;
pub(crate) mod to_key;
pub(crate) mod word_table;
