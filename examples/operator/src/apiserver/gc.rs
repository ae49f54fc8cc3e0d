//! Garbage collection of objects whose owners are gone.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use jiff::Timestamp;
use serde_json::Value;

use super::meta;
use super::resource::{ResourceType, TYPES};
use super::store::{Key, Preconditions, Store};

/// An object: position of its type, and its key.
type Reference = (usize, Key);

/// Who is alive, who depends on whom, and who may have lost its last owner.
#[derive(Debug, Default)]
pub struct Owners {
    living: HashSet<String>,
    dependents: HashMap<String, BTreeSet<Reference>>,
    suspects: VecDeque<Reference>,
}

impl Owners {
    /// Notes that an object has been created or changed.
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
        // The owner may have gone before its dependent came.
        if self.is_orphan(new) {
            self.suspects.push_back((ty.index, key.clone()));
        }
    }

    /// Notes that an object is gone, which puts its dependents under suspicion.
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
    /// Whether there is something for [`Store::collect_garbage`] to look at.
    pub fn has_suspects(&self) -> bool {
        !self.owners.suspects.is_empty()
    }

    /// Looks at up to `limit` objects that may have lost their last owner and deletes those that
    /// have. True when more are left.
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
                // It was found a moment ago under the same lock, so there is nothing to report.
                let _ = self.delete(ty, &key, &Preconditions::default(), now);
            }
        }
        self.has_suspects()
    }
}
