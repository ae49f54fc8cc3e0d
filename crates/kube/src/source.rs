//! A source: one watch of one kind, the store that it fills, and the queues that its changes feed.

use std::any::TypeId;
use std::collections::{HashSet, VecDeque};
use std::hash::{Hash, Hasher};
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
/// How many objects of a list are emitted before the watch is asked for live changes again.
const LISTED_AT_ONCE: usize = 64;

/// A change of an object. The store has it by now, or a newer one.
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
    /// What a list found and is not emitted yet.
    listed: VecDeque<Listed<T>>,
}

/// An object that a list found, and the version of it before the list.
struct Listed<T> {
    old: Option<Arc<T>>,
    new: Arc<T>,
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
            listed: VecDeque::new(),
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
        loop {
            // In parts, so that a live change need not wait for a long list: the watch that tells of it starts only
            // once this task is polled again.
            self.emit_listed(LISTED_AT_ONCE);
            let event = tokio::select! {
                biased;
                event = events.next() => event,
                () = tokio::task::yield_now(), if !self.listed.is_empty() => continue,
            };
            let Some(event) = event else { return };
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
                            if !sources.is_ready(&self.name, TypeId::of::<T>())
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
                sources.ready(&self.name, TypeId::of::<T>());
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

    /// Puts a complete list in place of the store, and finds what differs: a watch that broke may have missed
    /// changes and deletions. Deletions are emitted at once.
    fn relist(&mut self) {
        // What is left of an older list would otherwise be taken for unchanged.
        self.emit_listed(usize::MAX);
        let before = self.store.state();
        self.writer.apply_watcher_event(&Event::InitDone);
        let mut gone: HashSet<_> = before.into_iter().map(ByName).collect();
        for new in self.store.state() {
            let old = gone.take(&ByName(Arc::clone(&new))).map(|old| old.0);
            let version = &new.meta().resource_version;
            if old
                .as_ref()
                .is_none_or(|old| old.meta().resource_version != *version)
            {
                self.listed.push_back(Listed { old, new });
            }
        }
        for ByName(object) in gone {
            self.emit(&Change::Deleted(&object));
        }
    }

    /// Emits up to `most` of the objects that a list found.
    fn emit_listed(&mut self, most: usize) {
        let most = most.min(self.listed.len());
        let listed = self.listed.drain(..most).collect::<Vec<_>>();
        for Listed { old, new } in &listed {
            let old = old.as_deref();
            self.emit(&Change::Listed { old, new });
        }
        if self.listed.is_empty() {
            // A watch needs no room for a list.
            self.listed = VecDeque::new();
        }
    }

    fn emit(&mut self, change: &Change<'_, T>) {
        for handler in &mut self.handlers {
            handler(change);
        }
    }
}

/// An object in a set by its namespace and name, which are not copied.
struct ByName<T>(Arc<T>);

impl<T: Kind> ByName<T> {
    fn path(&self) -> (Option<&str>, Option<&str>) {
        let meta = self.0.meta();
        (meta.namespace.as_deref(), meta.name.as_deref())
    }
}

impl<T: Kind> PartialEq for ByName<T> {
    fn eq(&self, other: &Self) -> bool {
        self.path() == other.path()
    }
}

impl<T: Kind> Eq for ByName<T> {}

impl<T: Kind> Hash for ByName<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.path().hash(state);
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
