//! From changes of objects to keys in the queue of a controller.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::runtime::reflector::ObjectRef;
use tollgate::queue::AddError;
use tollgate::{AddOptions, Priority};

use crate::drive::key_of;
use crate::kinds::{Kind, Queue};
use crate::source::{Change, Handler};

pub(super) type Predicate<K> = Arc<dyn Fn(&K) -> Option<u64> + Send + Sync>;

/// Adds the objects of the controller's own kind.
pub(super) fn primary<K: Kind>(feed: Feed<K>, predicate: Option<Predicate<K>>) -> Handler<K> {
    Box::new(move |change| {
        let (old, new, priority) = parts(change);
        if let (Some(old), Some(new), Some(predicate)) = (old, new, &predicate) {
            let value = predicate(new);
            // An object that was made anew while no watch was open is no update of the last one.
            let is_same = old.meta().uid == new.meta().uid;
            if is_same && value.is_some() && value == predicate(old) {
                return;
            }
        }
        match (old, new) {
            (_, Some(object)) => add(&feed.queue, key_of(object), priority),
            (Some(object), None) => add_gone(&feed, key_of(object)),
            (None, None) => {}
        }
    })
}

/// The versions before and after, and the priority: what a list finds waits behind live changes.
pub(super) fn parts<'a, T>(change: &Change<'a, T>) -> (Option<&'a T>, Option<&'a T>, Priority) {
    match *change {
        Change::Listed { old, new } => (old, Some(new), Priority::LOW),
        Change::Applied { old, new } => (old, Some(new), Priority::DEFAULT),
        Change::Deleted(old) => (Some(old), None, Priority::DEFAULT),
    }
}

/// A queue, and the keys that wait for room in it.
#[derive(Clone)]
pub(super) struct Feed<K: Kind> {
    pub(super) queue: Queue<K>,
    /// Keys that a full queue has refused and that no pass over the stores would find: of deleted objects, and those
    /// that the last pass has not reached.
    pub(super) refused: Arc<Mutex<VecDeque<ObjectRef<K>>>>,
}

pub(super) fn add<K: Kind>(queue: &Queue<K>, key: ObjectRef<K>, priority: Priority) {
    // A full queue asks for the whole store once there is room; a closed one belongs to an operator that ends.
    let _ = queue.try_add_or_resync(key, AddOptions::new().priority(priority));
}

/// Adds an object that no store has any more.
fn add_gone<K: Kind>(feed: &Feed<K>, key: ObjectRef<K>) {
    // Under the lock: a pass that begins after the refusal finds the key.
    let mut refused = lock(&feed.refused);
    if let Err(AddError::Full(key)) = feed.queue.try_add_or_resync(key, AddOptions::new()) {
        refused.push_back(key);
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
