//! Fuzzes both token buckets against the exact model.
#![no_main]

#[path = "../../tests/model/limiter.rs"]
mod limiter_model;
#[path = "../ops/limiter.rs"]
mod ops;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    ops::check(data);
});
