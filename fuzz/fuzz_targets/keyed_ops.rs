//! Fuzzes a keyed limiter against a naive map of exact buckets, with eviction and changes of quota.
#![no_main]

#[path = "../../tests/model/keyed.rs"]
mod keyed_model;
#[allow(dead_code, reason = "the operations belong to another target")]
#[path = "../../tests/model/limiter.rs"]
mod limiter_model;
#[path = "../ops/keyed.rs"]
mod ops;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    ops::check(data);
});
