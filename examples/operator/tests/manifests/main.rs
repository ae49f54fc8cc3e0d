//! The manifests of `config/` beside the operator that they deploy: its definitions, rights, series and flags.

mod crds;
mod files;
mod rbac;
mod run;
mod series;
