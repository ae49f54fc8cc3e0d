//! Fuzzes the lifetimes of keys: what is held, replaced, removed, leaked or left to a queue that goes.
#![no_main]

#[path = "../../tests/model/keys.rs"]
mod keys_model;
#[path = "../ops/keys.rs"]
mod ops;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    ops::check(data);
});
