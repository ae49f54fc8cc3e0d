//! A source: one watch of one kind, the store that it fills, and the queues that its changes feed.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_objects};
use kube::{Api, ResourceExt};
use tokio::time::Instant;

use crate::kinds::Kind;
use crate::progress::{Lack, Sources};

/// The longest backoff of a broken watch, which delays every change of its objects.
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// A change of an object, as the store has it by now.
#[derive(Debug)]
pub(crate) enum Change<'a, T> {
    /// A list found an object that is new, or another version of one.
    Listed { old: Option<&'a T>, new: &'a T },
    /// A watch told of it.
    Applied { old: Option<&'a T>, new: &'a T },
    /// It is gone, by the word of a watch or of a list that no longer has it.
    Deleted(&'a T),
}

/// Feeds a queue.
pub(crate) type Handler<T> = Box<dyn FnMut(&Change<'_, T>) + Send>;

/// One watch that several controllers can share.
pub(crate) struct Source<T: Kind> {
    api: Api<T>,
    config: watcher::Config,
    /// Its URL and selectors.
    name: String,
    store: Store<T>,
    writer: Writer<T>,
    handlers: Vec<Handler<T>>,
}

impl<T: Kind> Source<T> {
    pub(crate) fn new(name: String, api: Api<T>, config: watcher::Config) -> Self {
        let (store, writer) = reflector::store();
        Self {
            api,
            config,
            name,
            store,
            writer,
            handlers: Vec::new(),
        }
    }

    pub(crate) fn store(&self) -> Store<T> {
        self.store.clone()
    }

    /// Calls `handler` at each change, after the store has it.
    pub(crate) fn subscribe(&mut self, handler: Handler<T>) {
        self.handlers.push(handler);
    }

    /// Watches for as long as it is polled. Tells `sources` once the first list is complete, and of a first
    /// list that is refused for too long.
    pub(crate) async fn run(mut self, sources: Arc<Sources>) {
        let events = watch_objects(self.api.clone(), self.config.clone());
        let mut events = pin!(events.backoff(WatchBackoff::default()));
        let mut refused_since = None;
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    // Each try of a list starts with `Init`, before the server has answered.
                    if !matches!(event, Event::Init) {
                        refused_since = None;
                    }
                    self.take(event, &sources);
                }
                Err(error) => {
                    tracing::warn!(url = self.api.resource_url(), %error, "a watch failed");
                    let refusal = refusal::<T>(&error, &self.api);
                    let since = *refused_since.get_or_insert_with(Instant::now);
                    match refusal {
                        Some(refusal)
                            if !sources.is_ready(&self.name)
                                && since.elapsed() >= sources.patience =>
                        {
                            sources.fail(refusal);
                        }
                        Some(_) => {}
                        None => refused_since = None,
                    }
                }
            }
        }
    }

    fn take(&mut self, event: Event<T>, sources: &Sources) {
        match &event {
            Event::Init | Event::InitApply(_) => self.writer.apply_watcher_event(&event),
            Event::InitDone => {
                self.relist();
                sources.ready(&self.name);
            }
            Event::Apply(new) => {
                let old = self.store.get(&ObjectRef::from_obj(new));
                self.writer.apply_watcher_event(&event);
                // A watch that starts again may repeat what the store has.
                let old = old.as_deref();
                if old.is_none_or(|old| old.resource_version() != new.resource_version()) {
                    self.emit(&Change::Applied { old, new });
                }
            }
            Event::Delete(old) => {
                self.writer.apply_watcher_event(&event);
                self.emit(&Change::Deleted(old));
            }
        }
    }

    /// Puts a complete list in place of the store, and emits what differs: a watch that broke may have missed
    /// changes and deletions.
    fn relist(&mut self) {
        let before = self.store.state();
        self.writer.apply_watcher_event(&Event::InitDone);
        let mut kept = HashSet::with_capacity(before.len());
        for object in &before {
            let now = self.store.get(&ObjectRef::from_obj(&**object));
            match now {
                None => self.emit(&Change::Deleted(object)),
                Some(new) => {
                    kept.insert(ObjectRef::from_obj(&*new));
                    if new.resource_version() != object.resource_version() {
                        let old = Some(&**object);
                        self.emit(&Change::Listed { old, new: &new });
                    }
                }
            }
        }
        for new in self.store.state() {
            if !kept.contains(&ObjectRef::from_obj(&*new)) {
                self.emit(&Change::Listed {
                    old: None,
                    new: &new,
                });
            }
        }
    }

    fn emit(&mut self, change: &Change<'_, T>) {
        for handler in &mut self.handlers {
            handler(change);
        }
    }
}

/// What a list or a watch is refused for; `None` for a failure that passes by itself.
fn refusal<T: Kind>(error: &watcher::Error, api: &Api<T>) -> Option<Lack> {
    let kind = format!("{}.{}", T::plural(&()), T::group(&()));
    let kind = kind.trim_end_matches('.');
    let status = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => status,
        _ => return None,
    };
    match status.code {
        403 => Some(Lack::Right(format!(
            "forbidden: the operator needs list and watch of {kind} under {}: {}",
            api.resource_url(),
            status.message.trim()
        ))),
        404 => Some(Lack::Kind(format!(
            "the cluster does not serve {kind} in version {}: install its CustomResourceDefinition",
            T::version(&())
        ))),
        400 | 401 | 422 => Some(Lack::Right(format!(
            "{kind} cannot be watched: {}",
            status.message.trim()
        ))),
        _ => None,
    }
}

/// kube's default backoff for watches but for its maximum of 30 s.
#[derive(Default)]
struct WatchBackoff(watcher::DefaultBackoff);

impl Iterator for WatchBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next().map(|wait| wait.min(MAX_BACKOFF))
    }
}

impl Backoff for WatchBackoff {
    fn reset(&mut self) {
        self.0.reset();
    }
}
