//! Turns watch events into keys.

use std::future::ready;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::pin;
use std::time::Duration;

use futures::{Stream, StreamExt, TryStreamExt, stream};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::runtime::reflector::store::Writer;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{PredicateConfig, WatchStreamExt, reflector, watcher as watch_objects};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tollgate::WorkQueue;

use crate::client::explain;
use crate::crd::Database;
use crate::reconcile::Key;

/// The longest backoff of a broken watch.
const MAX_WATCH_BACKOFF: Duration = Duration::from_secs(2);

/// kube's default backoff for watches but for its maximum of 30 s, since a broken watch delays every change of
/// its objects.
#[derive(Default)]
struct WatchBackoff(watcher::DefaultBackoff);

impl Iterator for WatchBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next().map(|wait| wait.min(MAX_WATCH_BACKOFF))
    }
}

impl Backoff for WatchBackoff {
    fn reset(&mut self) {
        self.0.reset();
    }
}

/// The item of a watch stream.
pub type Events<T> = watcher::Result<Event<T>>;

/// A watch that restarts with a backoff when it breaks. A forbidden watch is a fatal error.
pub fn watch<T>(
    api: Api<T>,
    config: watcher::Config,
    fatal: &watch::Sender<Option<String>>,
) -> impl Stream<Item = Events<T>> + Send + use<T>
where
    T: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let fatal = fatal.clone();
    watch_objects(api, config)
        .backoff(WatchBackoff::default())
        .inspect_err(move |error| {
            let forbidden = match error {
                watcher::Error::InitialListFailed(error)
                | watcher::Error::WatchStartFailed(error)
                | watcher::Error::WatchFailed(error) => match error {
                    kube::Error::Api(status) => status.is_forbidden().then(|| explain(error)),
                    _ => None,
                },
                watcher::Error::WatchError(status) if status.is_forbidden() => {
                    Some(status.message.clone())
                }
                _ => None,
            };
            if let Some(line) = forbidden {
                fatal.send_if_modified(|fatal| fatal.replace(line).is_none());
            }
        })
}

/// The Databases whose desired state has changed, once the store has them.
pub fn changed(
    writer: Writer<Database>,
    events: impl Stream<Item = Events<Database>>,
) -> impl Stream<Item = Key> {
    stored(reflector(writer, events))
        .map(Ok)
        .predicate_filter(desired_state, PredicateConfig::default())
        .filter_map(|object| ready(object.ok().map(|object| Key::of(&object))))
}

/// The objects that exist, each once the store has it. The store takes the objects of a list at its end. A key
/// emitted earlier would be reconciled without its object; if the list then broke off, the filter would drop
/// the same object of the next list as unchanged.
fn stored<T>(events: impl Stream<Item = Events<T>>) -> impl Stream<Item = T> {
    let mut listed = Vec::new();
    events.flat_map(move |event| {
        let objects = match event {
            Ok(Event::Init) => {
                listed.clear();
                Vec::new()
            }
            Ok(Event::InitApply(object)) => {
                listed.push(object);
                Vec::new()
            }
            Ok(Event::InitDone) => std::mem::take(&mut listed),
            Ok(Event::Apply(object)) => vec![object],
            Ok(Event::Delete(_)) | Err(_) => Vec::new(),
        };
        stream::iter(objects)
    })
}

/// A hash of what a reconcile depends on. Neither status writes nor a relist change it.
fn desired_state(database: &Database) -> Option<u64> {
    let metadata = &database.metadata;
    let state = (&metadata.uid, metadata.generation, database.is_deleting());
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    Some(hasher.finish())
}

/// The Databases whose StatefulSets have changed.
pub fn owners(events: impl Stream<Item = Events<StatefulSet>>) -> impl Stream<Item = Key> {
    events.filter_map(|event| ready(event.ok().and_then(|event| changed_owner(&event))))
}

/// The Database of a StatefulSet, if its controller has observed the latest generation or it was deleted. Before
/// that the status is outdated, and a further event follows.
fn changed_owner(event: &Event<StatefulSet>) -> Option<Key> {
    let set = match event {
        Event::Apply(set) | Event::InitApply(set) => {
            let observed = set
                .status
                .as_ref()
                .and_then(|status| status.observed_generation);
            if observed == set.metadata.generation {
                set
            } else {
                return None;
            }
        }
        Event::Delete(set) => set,
        Event::Init | Event::InitDone => return None,
    };
    let owner = set
        .metadata
        .owner_references
        .iter()
        .flatten()
        .find(|owner| owner.kind == "Database")?;
    Some(Key {
        name: owner.name.clone(),
        ..Key::of(set)
    })
}

/// Adds each key, waiting while the queue is full, until the queue is closed.
pub async fn feed(keys: impl Stream<Item = Key>, queue: WorkQueue<Key>) {
    let mut keys = pin!(keys);
    while let Some(key) = keys.next().await {
        if queue.add(key).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::DatabaseSpec;
    use kube::runtime::reflector::{ObjectRef, store};

    fn database(name: &str, generation: i64) -> Database {
        let spec = DatabaseSpec {
            engine: "postgres".into(),
            replicas: 1,
            storage: "1Gi".into(),
        };
        let mut database = Database::new(name, spec);
        database.metadata.namespace = Some("team".into());
        database.metadata.generation = Some(generation);
        database
    }

    fn broken() -> Events<Database> {
        Err(watcher::Error::NoResourceVersion)
    }

    /// The names that `changed` emits, each with the generation that the store has at that moment.
    async fn emitted(events: Vec<Events<Database>>) -> Vec<(String, Option<i64>)> {
        let (databases, writer) = store();
        let keys = changed(writer, stream::iter(events));
        let seen = keys.map(|key| {
            let found = databases.get(&ObjectRef::new(&key.name).within(&key.namespace));
            let generation = found.and_then(|database| database.metadata.generation);
            (key.name, generation)
        });
        let mut seen: Vec<_> = seen.collect().await;
        seen.sort();
        seen
    }

    #[tokio::test]
    async fn an_interrupted_list_loses_no_object() {
        let events = vec![
            Ok(Event::Init),
            Ok(Event::InitApply(database("a", 1))),
            broken(),
            Ok(Event::Init),
            Ok(Event::InitApply(database("a", 1))),
            Ok(Event::InitApply(database("b", 1))),
            Ok(Event::InitDone),
        ];
        let both = [("a".to_owned(), Some(1)), ("b".to_owned(), Some(1))];
        assert_eq!(emitted(events).await, both);
    }

    #[tokio::test]
    async fn a_change_in_a_new_list_is_emitted_once_the_store_has_it() {
        let events = vec![
            Ok(Event::Init),
            Ok(Event::InitDone),
            Ok(Event::Apply(database("a", 1))),
            broken(),
            Ok(Event::Init),
            Ok(Event::InitApply(database("a", 2))),
            Ok(Event::InitDone),
            // An unchanged object.
            Ok(Event::Apply(database("a", 2))),
        ];
        let both = [("a".to_owned(), Some(1)), ("a".to_owned(), Some(2))];
        assert_eq!(emitted(events).await, both);
    }
}
