//! The sequential core: arithmetic and state machines. `now` is an argument; nothing here reads a
//! clock, takes a lock or uses an atomic.

pub(crate) mod account;
pub(crate) mod bounds;
pub(crate) mod carry;
pub(crate) mod denied;
pub(crate) mod fill;
#[allow(
    dead_code,
    reason = "the tests of the core also take alone, and in parts"
)]
pub(crate) mod interval;
pub(crate) mod ledger;
pub(crate) mod line;
pub(crate) mod rate;
pub(crate) mod saved;
pub(crate) mod status;
pub(crate) mod taken;
pub(crate) mod tokens;
pub(crate) mod turn;
#[allow(
    dead_code,
    reason = "the tests of the core also take alone, and in parts"
)]
pub(crate) mod window;
pub(crate) mod word;
