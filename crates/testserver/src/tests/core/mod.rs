//! The sequential core, verb by verb.

mod admission;
mod deletion;
mod objects;
mod patches;
mod values;

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::super::patch::Patch;
use super::super::resource::{ResourceType, by_plural};
use super::super::status::Status;
use super::super::store::{Deletion, Key, Object, Preconditions, Store, Target};

pub(super) struct Core(Store);

pub(super) type Outcome = Result<Value, (u16, Value)>;

fn ty(plural: &str) -> &'static ResourceType {
    by_plural(plural).expect("a served type")
}

fn target(path: &str, name: &str) -> Target {
    let (plural, status) = path
        .strip_suffix("/status")
        .map_or((path, false), |plural| (plural, true));
    Target {
        ty: ty(plural),
        key: Key::new("ns", name),
        status,
    }
}

fn outcome(result: Result<Arc<Object>, Status>) -> Outcome {
    result
        .map(|object| object.value.clone())
        .map_err(|status| (status.code, status.to_json()))
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

impl Core {
    pub(super) fn new() -> Core {
        Core(Store::new(1_000))
    }

    pub(super) fn create(&mut self, plural: &str, object: Value) -> Outcome {
        self.create_in("ns", plural, object)
    }

    fn create_in(&mut self, namespace: &str, plural: &str, object: Value) -> Outcome {
        outcome(self.0.create(ty(plural), namespace, object, at(0)))
    }

    fn update(&mut self, path: &str, name: &str, object: &Value) -> Outcome {
        let updated = self.0.update(&target(path, name), object.clone(), at(0));
        outcome(updated.map(|(_, object)| object))
    }

    pub(super) fn merge(&mut self, path: &str, name: &str, patch: Value) -> Outcome {
        let patched = self
            .0
            .patch(&target(path, name), &Patch::Merge(patch), at(0));
        outcome(patched.map(|(_, object)| object))
    }

    fn json_patch(&mut self, path: &str, name: &str, patch: &Value) -> Outcome {
        let body = patch.to_string();
        let patch = Patch::parse("application/json-patch+json", body.as_bytes(), None, false);
        let patched = patch.and_then(|patch| self.0.patch(&target(path, name), &patch, at(0)));
        outcome(patched.map(|(_, object)| object))
    }

    fn apply(&mut self, path: &str, name: &str, manager: &str, config: Value) -> Outcome {
        let patch = Patch::Apply {
            manager: manager.to_owned(),
            force: false,
            config,
        };
        let patched = self.0.patch(&target(path, name), &patch, at(0));
        outcome(patched.map(|(_, object)| object))
    }

    fn delete(&mut self, plural: &str, name: &str) -> Deletion {
        let nothing = Preconditions::default();
        self.0
            .delete(ty(plural), &Key::new("ns", name), &nothing, at(9))
            .expect("it exists")
    }

    fn get(&self, plural: &str, name: &str) -> Option<Value> {
        self.0
            .get(ty(plural), &Key::new("ns", name))
            .ok()
            .map(|object| object.value.clone())
    }
}

pub(super) fn error_code(outcome: Outcome) -> u16 {
    outcome.expect_err("an error").0
}
