//! Pages for those who come from elsewhere, and what this crate promises.

#[doc = include_str!("guide/from_kube.md")]
pub mod from_kube {}

#[doc = include_str!("guide/promises.md")]
pub mod promises {}
