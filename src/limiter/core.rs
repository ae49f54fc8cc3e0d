//! The sequential core of the limiters: arithmetic and state machines, shared by the concurrent
//! shells, the property tests and the model checker. `now` is an argument: nothing here reads a clock
//! or takes a lock, and the only atomics are counters of unique numbers.

pub(crate) mod account;
pub(crate) mod acquire_turn;
pub(crate) mod bounds;
pub(crate) mod carry;
pub(crate) mod denied;
pub(crate) mod fill;
pub(crate) mod history;
pub(crate) mod interval;
pub(crate) mod ledger;
pub(crate) mod line;
pub(crate) mod rate;
pub(crate) mod reserved_part;
pub(crate) mod saved;
pub(crate) mod status;
pub(crate) mod tokens;
pub(crate) mod window;
pub(crate) mod word;
