//! Fuzzes the work queue against the naive model.
#![no_main]

#[path = "../ops/queue.rs"]
mod ops;
#[path = "../../tests/model/queue.rs"]
mod queue_model;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    ops::check(data);
});
