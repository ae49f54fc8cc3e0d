//! The sources of an operator and their stores, by kind: controllers that watch the same objects share one watch.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use kube::Api;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;

use crate::kinds::Kind;
use crate::progress::Sources;
use crate::source::{Handler, Source};

/// The stores of an operator, by kind.
#[derive(Clone, Default)]
pub struct Stores(HashMap<TypeId, Vec<Arc<dyn Any + Send + Sync>>>);

impl Stores {
    /// The object, if a watch of its kind has seen it.
    pub fn get<T: Kind>(&self, reference: &ObjectRef<T>) -> Option<Arc<T>> {
        self.of::<T>().find_map(|store| store.get(reference))
    }

    /// All stores of a kind: one for each namespace and selector that is watched.
    pub fn of<T: Kind>(&self) -> impl Iterator<Item = &Store<T>> {
        let stores = self.0.get(&TypeId::of::<T>());
        stores
            .into_iter()
            .flatten()
            .filter_map(|store| store.downcast_ref())
    }

    fn insert<T: Kind>(&mut self, store: Store<T>) {
        self.0
            .entry(TypeId::of::<T>())
            .or_default()
            .push(Arc::new(store));
    }
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stores")
            .field("kinds", &self.0.len())
            .finish()
    }
}

/// The sources that run once the operator does, by their URL and selectors.
#[derive(Default)]
pub(crate) struct Registry {
    sources: HashMap<(TypeId, String), Box<dyn AnySource>>,
    pub(crate) stores: Stores,
}

impl Registry {
    /// Calls `handler` at each change of what is watched, and returns its store. A second caller with the same
    /// API and selectors shares the watch of the first.
    pub(crate) fn subscribe<T: Kind>(
        &mut self,
        api: &Api<T>,
        config: &watcher::Config,
        handler: Handler<T>,
    ) -> Store<T> {
        let name = name_of(api.resource_url(), config);
        let key = (TypeId::of::<T>(), name.clone());
        let source = self.sources.entry(key).or_insert_with(|| {
            let source = Source::new(name, api.clone(), config.clone());
            self.stores.insert(source.store());
            Box::new(source)
        });
        let source = source.as_any().downcast_mut::<Source<T>>();
        let source = source.expect("the key holds the type");
        source.subscribe(handler);
        source.store()
    }

    /// The tasks that watch.
    pub(crate) fn into_tasks(self, sources: &Arc<Sources>) -> Vec<BoxFuture<'static, ()>> {
        let each = self.sources.into_iter();
        each.map(|((of, name), source)| {
            sources.expect(&name, of);
            source.run(Arc::clone(sources))
        })
        .collect()
    }
}

/// What a source watches, for keys and for people: its URL, with the selectors if there are any.
fn name_of(url: &str, config: &watcher::Config) -> String {
    let labels = config
        .label_selector
        .iter()
        .map(|labels| ("labels", labels));
    let fields = config
        .field_selector
        .iter()
        .map(|fields| ("fields", fields));
    let selectors = labels.chain(fields);
    selectors.fold(url.to_owned(), |name, (kind, selector)| {
        format!("{name} with {kind} {selector}")
    })
}

/// A [`Source`] whose kind is erased.
trait AnySource: Send {
    fn as_any(&mut self) -> &mut dyn Any;
    fn run(self: Box<Self>, sources: Arc<Sources>) -> BoxFuture<'static, ()>;
}

impl<T: Kind> AnySource for Source<T> {
    fn as_any(&mut self) -> &mut dyn Any {
        self
    }

    fn run(self: Box<Self>, sources: Arc<Sources>) -> BoxFuture<'static, ()> {
        (*self).run(sources).boxed()
    }
}
