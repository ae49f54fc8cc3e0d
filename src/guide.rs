//! Pages to read, whose programs are tests of this crate.

#[doc = include_str!("guide/failures.md")]
pub mod failures {}

#[doc = include_str!("guide/tenants.md")]
pub mod tenants {}

#[doc = include_str!("guide/testing.md")]
pub mod testing {}

#[doc = include_str!("guide/token_bucket_pitfalls.md")]
pub mod token_bucket_pitfalls {}
