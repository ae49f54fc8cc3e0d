//! The state: objects, their owners and their history; every change appends an event.
//!
//! No code here waits, locks or reads a clock; times are arguments.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::admission::Admission;
use super::apply::Managers;
use super::gc::Owners;
use super::history::{Event, EventType, History};
use super::managed::managed_fields;
use super::meta;
use super::resource::{ResourceType, TYPES};
use super::status::Status;
use super::webhook::Review;

/// Name of an object within its type; the namespace is empty for cluster-scoped types.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Key {
    /// A key from its parts.
    pub fn new(namespace: &str, name: &str) -> Key {
        Key {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

/// A stored object; never changed, only replaced.
#[derive(Debug)]
pub struct Object {
    /// The object.
    pub value: Value,
    /// Its JSON text with its managed fields, rendered once for all readers.
    pub json: Bytes,
    /// The field managers of server-side apply.
    pub managers: Managers,
}

impl Object {
    pub(super) fn new(value: Value, managers: Managers) -> Arc<Object> {
        let fields = managed_fields(&value, &managers);
        let json = if fields.is_empty() {
            serde_json::to_vec(&value)
        } else {
            let mut shown = value.clone();
            shown["metadata"]["managedFields"] = fields.into();
            serde_json::to_vec(&shown)
        };
        let json = json.expect("a JSON value can be written").into();
        Arc::new(Object {
            value,
            json,
            managers,
        })
    }
}

/// The target of a write: an object, or its status.
#[derive(Debug, Clone)]
pub struct Target {
    /// The type.
    pub ty: &'static ResourceType,
    /// The object's key.
    pub key: Key,
    /// Whether it is the `/status` subresource.
    pub status: bool,
}

/// The preconditions of a delete, and what becomes of the dependents.
#[derive(Debug, Clone, Default)]
pub struct Preconditions {
    /// The object's uid.
    pub uid: Option<String>,
    /// The object's resource version.
    pub resource_version: Option<String>,
    /// Whether its dependents lose their reference to it instead of being collected.
    pub orphan: bool,
}

/// The result of a delete.
#[derive(Debug)]
pub enum Deletion {
    /// The object was removed.
    Removed(Arc<Object>),
    /// The object waits for its finalizers.
    Pending(Arc<Object>),
}

/// Objects and history of one type.
#[derive(Debug)]
pub(super) struct Collection {
    pub(super) objects: BTreeMap<Key, Arc<Object>>,
    pub(super) history: History,
}

/// All objects of all types.
#[derive(Debug)]
pub struct Store {
    pub(super) collections: Vec<Collection>,
    pub(super) owners: Owners,
    pub(super) admission: Admission,
    /// Positions of the types that are not served.
    pub(super) unserved: BTreeSet<usize>,
    /// The review of the write that has the lock; `None` if it needs none.
    pub(super) review: Option<Review>,
    revision: u64,
    uids: u64,
}

impl Store {
    /// An empty store that keeps `history` events per type.
    pub fn new(history: usize) -> Store {
        let collection = |_: &_| Collection {
            objects: BTreeMap::new(),
            history: History::new(history),
        };
        Store {
            collections: TYPES.iter().map(collection).collect(),
            owners: Owners::default(),
            admission: Admission::default(),
            unserved: BTreeSet::new(),
            review: None,
            // Resource version 0 means "any" to clients, so no state may have it.
            revision: 1,
            uids: 0,
        }
    }

    /// The revision of the newest change to anything.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The history of one type.
    pub fn history(&self, ty: &ResourceType) -> &History {
        &self.collections[ty.index].history
    }

    /// All objects of one type, in order of namespace and name.
    pub fn objects(&self, ty: &ResourceType) -> &BTreeMap<Key, Arc<Object>> {
        &self.collections[ty.index].objects
    }

    /// Makes all resource versions so far too old to start from.
    pub fn expire_history(&mut self) {
        self.revision += 1;
        for collection in &mut self.collections {
            collection.history.compact(self.revision);
        }
    }

    /// One object.
    pub fn get(&self, ty: &'static ResourceType, key: &Key) -> Result<Arc<Object>, Status> {
        let found = self.objects(ty).get(key).cloned();
        found.ok_or_else(|| Status::not_found(ty, &key.name))
    }

    /// A uid that no object has had.
    pub(super) fn next_uid(&mut self) -> String {
        self.uids += 1;
        format!("00000000-0000-4000-8000-{:012x}", self.uids)
    }

    /// Writes an object with the next revision and records the event.
    pub(super) fn put(
        &mut self,
        ty: &'static ResourceType,
        key: Key,
        old: Option<&Arc<Object>>,
        mut value: Value,
        managers: Managers,
    ) -> Arc<Object> {
        self.revision += 1;
        meta::set(&mut value, "resourceVersion", self.revision.to_string());
        self.owners
            .stored(ty, &key, old.map(|old| &old.value), &value);
        let object = Object::new(value, managers);
        let event_type = if old.is_some() {
            EventType::Modified
        } else {
            EventType::Added
        };
        self.collections[ty.index]
            .objects
            .insert(key.clone(), object.clone());
        self.record(ty, event_type, key, &object, old);
        object
    }

    /// Removes an object for good; `last` is its final state.
    pub(super) fn remove(
        &mut self,
        ty: &'static ResourceType,
        key: &Key,
        old: &Arc<Object>,
        mut last: Value,
    ) -> Arc<Object> {
        self.revision += 1;
        meta::set(&mut last, "resourceVersion", self.revision.to_string());
        self.owners.removed(ty, key, &old.value);
        let object = Object::new(last, Managers::default());
        self.collections[ty.index].objects.remove(key);
        self.record(ty, EventType::Deleted, key.clone(), &object, Some(old));
        object
    }

    fn record(
        &mut self,
        ty: &ResourceType,
        event_type: EventType,
        key: Key,
        object: &Arc<Object>,
        previous: Option<&Arc<Object>>,
    ) {
        self.collections[ty.index].history.push(Event {
            revision: self.revision,
            event_type,
            key,
            object: object.clone(),
            previous: previous.cloned(),
            line: event_type.line(object),
        });
    }
}
