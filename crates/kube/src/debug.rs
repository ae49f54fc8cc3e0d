//! The state of the queues and of the budget, as JSON for `/debug/queue`.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kube::runtime::reflector::ObjectRef;
use serde::Serialize;
use tollgate::queue::{KeySnapshot, KeyState as State};

use crate::budget::Budget;
use crate::drive::path_of;
use crate::kinds::{Kind, Queue};

/// The budget of API calls.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct BudgetState {
    /// Rate and burst.
    quota: String,
    /// Requests that would be sent at once.
    available: u64,
    /// Requests that wait.
    waiting: usize,
    /// Seconds until the end of the pause that the API server asked for.
    pause_left_s: Option<f64>,
}

impl BudgetState {
    pub(crate) fn of(budget: &Budget) -> Self {
        Self {
            quota: budget.quota().to_string(),
            available: budget.available(),
            waiting: budget.status().waiting,
            pause_left_s: budget.pause_left().map(|left| left.as_secs_f64()),
        }
    }
}

/// One controller's queue.
#[derive(Clone, Debug, Serialize)]
pub struct QueueState {
    /// The name of the controller.
    pub controller: String,
    /// Keys that wait for a worker.
    pub ready: usize,
    /// Keys that wait for their time.
    pub delayed: usize,
    /// Keys in a reconcile.
    pub processing: usize,
    /// Every key.
    pub keys: Vec<KeyState>,
}

/// One key.
#[derive(Clone, Debug, Serialize)]
pub struct KeyState {
    /// Namespace and name.
    pub key: String,
    /// `ready`, `delayed`, `processing` and so on.
    pub state: &'static str,
    /// The highest priority of its adds; 0 is that of live changes.
    pub priority: i32,
    /// Seconds until it is due.
    pub due_in_s: Option<f64>,
    /// Seconds in its state.
    pub age_s: Option<f64>,
    /// Failures since its last success.
    pub failures: u32,
    /// The last error, until the next success.
    pub last_error: Option<String>,
}

/// The last error of each object that fails, for as long as it fails.
#[derive(Debug)]
pub(crate) struct LastErrors<K: Kind>(Mutex<HashMap<ObjectRef<K>, String>>);

impl<K: Kind> LastErrors<K> {
    pub(crate) fn new() -> Self {
        Self(Mutex::default())
    }

    pub(crate) fn set(&self, key: &ObjectRef<K>, error: String) {
        self.lock().insert(key.clone(), error);
    }

    pub(crate) fn clear(&self, key: &ObjectRef<K>) {
        self.lock().remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ObjectRef<K>, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl QueueState {
    /// Every live key of `queue`, and the error that it failed with last.
    pub(crate) fn of<K: Kind>(name: &str, queue: &Queue<K>, errors: &LastErrors<K>) -> Self {
        let stats = queue.stats();
        // Copies every key under the queue's lock, so this is a page for people and not for scrapes.
        let keys = queue.snapshot();
        let errors = errors.lock();
        let state_of = |key: &KeySnapshot<ObjectRef<K>>| KeyState {
            key: path_of(&key.key),
            state: name_of(key.state),
            priority: key.priority.value(),
            due_in_s: key.due_in.map(|due| due.as_secs_f64()),
            age_s: key.age.map(|age| age.as_secs_f64()),
            failures: key.failures,
            last_error: errors.get(&key.key).cloned(),
        };
        Self {
            controller: name.to_owned(),
            ready: stats.ready,
            delayed: stats.delayed,
            processing: stats.processing,
            keys: keys.iter().map(state_of).collect(),
        }
    }
}

const fn name_of(state: State) -> &'static str {
    match state {
        State::Ready => "ready",
        State::Delayed => "delayed",
        State::Processing => "processing",
        State::Dirty => "dirty",
        State::Resting => "resting",
        // The states may become more.
        _ => "other",
    }
}
