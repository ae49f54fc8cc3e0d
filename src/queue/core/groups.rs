//! Groups of keys: within a band they take turns by deficit round robin, and each has its bounds.

pub(crate) mod flow;
pub(crate) mod group_table;
pub(crate) mod grouping;
pub(crate) mod ready;
pub(crate) mod scheduler;
