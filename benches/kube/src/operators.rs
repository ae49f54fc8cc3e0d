//! What a user would write, one file for each contender; `go/operator.go` is the third.

pub mod kube;
pub mod tollgate;
