//! Garbage collection of objects whose owners were deleted.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use jiff::Timestamp;
use serde_json::Value;

use super::meta;
use super::resource::{ResourceType, TYPES};
use super::store::{Key, Preconditions, Store};

/// An object: position of its type, and its key.
type Reference = (usize, Key);

/// The live objects, their dependents, and the objects that may have lost their last owner.
#[derive(Debug, Default)]
pub struct Owners {
    living: HashSet<String>,
    dependents: HashMap<String, BTreeSet<Reference>>,
    suspects: VecDeque<Reference>,
}

impl Owners {
    /// Records a created or changed object.
    pub fn stored(&mut self, ty: &ResourceType, key: &Key, old: Option<&Value>, new: &Value) {
        if old.is_none() {
            self.living.insert(meta::text(new, "uid").to_owned());
        }
        let same = old.is_some_and(|old| {
            old["metadata"]["ownerReferences"] == new["metadata"]["ownerReferences"]
        });
        if same {
            return;
        }
        if let Some(old) = old {
            self.unlink(ty, key, old);
        }
        for uid in meta::owner_uids(new) {
            let dependents = self.dependents.entry(uid.to_owned()).or_default();
            dependents.insert((ty.index, key.clone()));
        }
        // The owner may have been deleted before its dependent was created.
        if self.is_orphan(new) {
            self.suspects.push_back((ty.index, key.clone()));
        }
    }

    /// Records a deleted object, whose dependents become candidates.
    pub fn removed(&mut self, ty: &ResourceType, key: &Key, last: &Value) {
        self.unlink(ty, key, last);
        let uid = meta::text(last, "uid");
        self.living.remove(uid);
        self.suspects
            .extend(self.dependents.get(uid).into_iter().flatten().cloned());
    }

    fn unlink(&mut self, ty: &ResourceType, key: &Key, object: &Value) {
        let reference = (ty.index, key.clone());
        for uid in meta::owner_uids(object) {
            if let Some(dependents) = self.dependents.get_mut(uid) {
                dependents.remove(&reference);
                if dependents.is_empty() {
                    self.dependents.remove(uid);
                }
            }
        }
    }

    /// Whether the object has owners and none of them lives.
    fn is_orphan(&self, object: &Value) -> bool {
        let mut owners = meta::owner_uids(object).peekable();
        owners.peek().is_some() && owners.all(|uid| !self.living.contains(uid))
    }
}

impl Store {
    /// Whether [`Store::collect_garbage`] has candidates.
    pub fn has_suspects(&self) -> bool {
        !self.owners.suspects.is_empty()
    }

    /// Removes the reference to the owner `uid` from its dependents.
    pub fn release_dependents(&mut self, uid: &str) {
        let dependents = self.owners.dependents.get(uid).cloned().unwrap_or_default();
        for (index, key) in dependents {
            let Some(ty) = TYPES.get(index) else { continue };
            let Some(old) = self.objects(ty).get(&key).cloned() else {
                continue;
            };
            let mut object = old.value.clone();
            if let Some(owners) = object["metadata"]["ownerReferences"].as_array_mut() {
                owners.retain(|reference| reference["uid"] != uid);
            }
            let managers = old.managers.clone();
            self.put(ty, key, Some(&old), object, managers);
        }
    }

    /// Deletes those of up to `limit` candidates that have lost their last owner. True if more are left.
    pub fn collect_garbage(&mut self, limit: usize, now: Timestamp) -> bool {
        for _ in 0..limit {
            let Some((index, key)) = self.owners.suspects.pop_front() else {
                return false;
            };
            let Some(ty) = TYPES.get(index) else { continue };
            let Some(object) = self.objects(ty).get(&key).cloned() else {
                continue;
            };
            if self.owners.is_orphan(&object.value) {
                // The object was found under the same lock, so the delete cannot fail.
                let _ = self.delete(ty, &key, &Preconditions::default(), now);
            }
        }
        self.has_suspects()
    }
}
