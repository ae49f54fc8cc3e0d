//! Groups of keys, which take turns within a band.

pub(crate) mod group_table;
pub(crate) mod grouping;
pub(crate) mod lanes;
pub(crate) mod ready;
