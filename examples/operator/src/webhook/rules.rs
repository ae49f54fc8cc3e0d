//! Which Databases and Backups cannot work.
//!
//! An update is judged by the fields that it changes. So an object from before a rule can still be edited elsewhere,
//! and one that is being deleted can lose its finalizer, whatever stands in it.

use std::fmt;

use kube::{Resource, ResourceExt};

use super::schedule;
use crate::backup::Backup;
use crate::database::Database;
use crate::quantity::Quantity;

/// The longest name: those of the children and the labels of their pods allow no more.
const LONGEST_NAME: usize = 52;
/// The longest value that a reason shows in full.
const LONGEST_SHOWN: usize = 64;

/// Why an object is refused: one or more reasons. Shown as one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reasons(Vec<String>);

impl Reasons {
    /// One reason.
    pub(super) fn one(reason: String) -> Self {
        Self(vec![reason])
    }
}

impl fmt::Display for Reasons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

/// Judges a Database that is created, or updated if there is an old one.
///
/// # Errors
/// All reasons against it.
pub fn database(new: &Database, old: Option<&Database>) -> Result<(), Reasons> {
    let (spec, before) = (&new.spec, old.map(|old| &old.spec));
    let mut reasons = Vec::new();
    check_name(new, old, &mut reasons);
    if before.is_some_and(|before| before.engine != spec.engine) {
        let engine = before.map_or("", |before| &before.engine);
        reasons.push(format!(
            "spec.engine: may not change from {}",
            shown(engine)
        ));
    } else if before.is_none() && spec.engine.is_empty() {
        reasons.push("spec.engine: is empty".to_owned());
    }
    let is_changed = before.is_none_or(|before| before.replicas != spec.replicas);
    if is_changed && !(1..=5).contains(&spec.replicas) {
        reasons.push(format!(
            "spec.replicas: {} is not from 1 to 5",
            spec.replicas
        ));
    }
    if before.is_none_or(|before| before.storage != spec.storage) {
        let before = before.map(|before| before.storage.as_str());
        reasons.extend(storage(&spec.storage, before));
    }
    verdict(reasons)
}

/// What is wrong with a new size.
fn storage(new: &str, old: Option<&str>) -> Option<String> {
    let Ok(size) = new.parse::<Quantity>() else {
        return Some(format!("spec.storage: {} is not a quantity", shown(new)));
    };
    if !size.is_positive() {
        return Some(format!(
            "spec.storage: {} is not more than zero",
            shown(new)
        ));
    }
    // A size that is no quantity may become any other.
    let before = old.and_then(|old| Some((old, old.parse::<Quantity>().ok()?)));
    let (old, _) = before.filter(|(_, before)| size < *before)?;
    Some(format!(
        "spec.storage: may not shrink from {} to {}",
        shown(old),
        shown(new)
    ))
}

/// Judges a Backup that is created, or updated if there is an old one.
///
/// # Errors
/// All reasons against it.
pub fn backup(new: &Backup, old: Option<&Backup>) -> Result<(), Reasons> {
    let (spec, before) = (&new.spec, old.map(|old| &old.spec));
    let mut reasons = Vec::new();
    check_name(new, old, &mut reasons);
    if before.is_none_or(|before| before.database != spec.database) && !is_name(&spec.database) {
        reasons.push(format!(
            "spec.database: {} is not the name of a Database",
            shown(&spec.database)
        ));
    }
    if before.is_none_or(|before| before.schedule != spec.schedule)
        && let Err(why) = schedule::check(&spec.schedule)
    {
        reasons.push(format!("spec.schedule: {} {why}", shown(&spec.schedule)));
    }
    if before.is_none_or(|before| before.retention != spec.retention) && spec.retention < 1 {
        reasons.push(format!("spec.retention: {} is less than 1", spec.retention));
    }
    verdict(reasons)
}

/// A name never changes, so only new ones are judged.
fn check_name<K: Resource>(new: &K, old: Option<&K>, reasons: &mut Vec<String>) {
    // The API server makes the name from `generateName` later, with five more characters.
    let generated = new.meta().generate_name.as_ref();
    let name = match (&new.meta().name, generated) {
        (Some(name), _) => name.clone(),
        (None, Some(prefix)) => format!("{prefix}xxxxx"),
        (None, None) => new.name_any(),
    };
    if old.is_none() && !is_name(&name) {
        reasons.push(format!(
            "metadata.name: {} is not a DNS label of at most {LONGEST_NAME} characters that begins with a letter",
            shown(&name)
        ));
    }
}

/// Whether this is a name that a Service can have too, and short enough.
fn is_name(name: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    name.len() <= LONGEST_NAME
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && !name.ends_with('-')
        && name.bytes().all(is_inner)
}

/// A value in quotes, shortened if it is long.
fn shown(value: &str) -> String {
    match value.char_indices().nth(LONGEST_SHOWN) {
        Some((end, _)) => format!("{:?}...", &value[..end]),
        None => format!("{value:?}"),
    }
}

fn verdict(reasons: Vec<String>) -> Result<(), Reasons> {
    if reasons.is_empty() {
        return Ok(());
    }
    Err(Reasons(reasons))
}

#[cfg(test)]
mod tests;
