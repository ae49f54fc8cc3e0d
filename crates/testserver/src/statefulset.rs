//! A stand-in for the StatefulSet controller, which makes every replica ready after a delay.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::future;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::meta;
use super::resource::{self, ResourceType};
use super::shell::Shell;
use super::store::{Key, Store, Target};

/// The status that a StatefulSet will reach; `None` if it has it already.
fn next_status(object: &Value) -> Option<Value> {
    let replicas = object["spec"]["replicas"].as_i64().unwrap_or(1);
    let status = json!({
        "observedGeneration": object["metadata"]["generation"],
        "replicas": replicas,
        "readyReplicas": replicas,
        "availableReplicas": replicas,
        "currentReplicas": replicas,
        "updatedReplicas": replicas,
    });
    (object["status"] != status && !meta::is_deleting(object)).then_some(status)
}

/// The due times of objects, by their last change.
#[derive(Default)]
struct Queue {
    heap: BinaryHeap<Reverse<(Instant, Key)>>,
    due: HashMap<Key, (Instant, i64)>,
}

impl Queue {
    /// Schedules an object once per generation.
    fn schedule(&mut self, key: &Key, generation: i64, at: Instant) {
        let known = self
            .due
            .get(key)
            .is_some_and(|(_, scheduled)| *scheduled == generation);
        if !known {
            self.due.insert(key.clone(), (at, generation));
            self.heap.push(Reverse((at, key.clone())));
        }
    }

    /// The next due time.
    fn next_time(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes a due object.
    fn pop(&mut self, now: Instant) -> Option<Key> {
        while self.next_time().is_some_and(|at| at <= now) {
            let Reverse((at, key)) = self.heap.pop()?;
            // Skip an older entry of an object that was scheduled again.
            if self
                .due
                .get(&key)
                .is_some_and(|(current, _)| *current == at)
            {
                self.due.remove(&key);
                return Some(key);
            }
        }
        None
    }
}

/// Follows all StatefulSets for as long as it is polled.
pub async fn simulate(shell: &Shell) {
    let Some(ty) = resource::by_plural("statefulsets") else {
        return;
    };
    let mut changes = shell.subscribe(ty);
    let (mut queue, mut cursor) = (Queue::default(), 0);
    loop {
        changes.mark_unchanged();
        let at = Instant::now() + shell.options.ready_after;
        shell.read(|store| notice(store, ty, &mut cursor, at, &mut queue));
        while let Some(key) = queue.pop(Instant::now()) {
            make_ready(shell, ty, key);
        }
        let due = async {
            match queue.next_time() {
                Some(at) => sleep_until(at).await,
                None => future::pending().await,
            }
        };
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = due => {}
        }
    }
}

/// Schedules the objects that have changed since the last call.
fn notice(store: &Store, ty: &ResourceType, cursor: &mut u64, at: Instant, queue: &mut Queue) {
    let mut schedule = |key: &Key, object: &Value| {
        if next_status(object).is_some() {
            let generation = object["metadata"]["generation"]
                .as_i64()
                .unwrap_or_default();
            queue.schedule(key, generation, at);
        }
    };
    match store.history(ty).after(*cursor) {
        Ok(events) => events.for_each(|event| schedule(&event.key, &event.object.value)),
        // Too far behind to follow the events: check every object.
        Err(_) => store
            .objects(ty)
            .iter()
            .for_each(|(key, object)| schedule(key, &object.value)),
    }
    *cursor = store.revision();
}

fn make_ready(shell: &Shell, ty: &'static ResourceType, key: Key) {
    shell.write(|store, now| {
        let Some(object) = store.objects(ty).get(&key) else {
            return;
        };
        let Some(status) = next_status(&object.value) else {
            return;
        };
        let mut ready = object.value.clone();
        meta::set_status(&mut ready, status);
        // The object was read under the same lock, so the write cannot fail.
        let _ = store.update(
            &Target {
                ty,
                key,
                status: true,
            },
            ready,
            now,
        );
    });
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_latest_change_of_an_object_decides_when_it_is_due() {
        let (mut queue, start) = (Queue::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let (a, b) = (Key::new("n", "a"), Key::new("n", "b"));
        queue.schedule(&a, 1, at(1));
        queue.schedule(&b, 1, at(2));
        queue.schedule(&a, 1, at(9));
        queue.schedule(&a, 2, at(3));
        assert_eq!(queue.pop(at(1)), None);
        assert_eq!(queue.pop(at(5)), Some(b));
        assert_eq!(queue.pop(at(5)), Some(a));
        assert_eq!((queue.pop(at(20)), queue.next_time()), (None, None));
    }

    #[test]
    fn a_ready_object_is_not_scheduled() {
        let mut object = json!({ "metadata": { "generation": 2 }, "spec": { "replicas": 3 } });
        let status = next_status(&object).expect("not ready yet");
        assert_eq!(
            (&status["readyReplicas"], &status["observedGeneration"]),
            (&json!(3), &json!(2))
        );
        object["status"] = status;
        assert_eq!(next_status(&object), None);
    }
}
