//! Fuzzes a queue of groups against plain lists.
#![no_main]

#[path = "../../tests/model/groups.rs"]
mod groups_model;
#[path = "../ops/groups.rs"]
mod ops;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    ops::check(data);
});
