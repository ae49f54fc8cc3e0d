//! The guard of a key without its type parameters, for a request of the controller.

use std::future::Future;
use std::hash::{BuildHasher, Hash};
use std::pin::Pin;

use crate::clock::Clock;
use crate::queue::core::add_error::AddError;
use crate::queue::core::options::AddOptions;
use crate::queue::core::run::Run;
use crate::queue::ops::work::Work;

/// A [`Work`] whose clock and hasher types are erased.
pub(crate) trait ErasedWork<K>: Sync {
    fn key(&self) -> &K;
    fn run(&self) -> &Run;
    fn is_dirty(&self) -> bool;
    fn dirtied(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
    fn add_related(&self, key: K, options: AddOptions) -> Result<(), AddError<K>>;
}

impl<K, C, S> ErasedWork<K> for Work<K, C, S>
where
    K: Hash + Eq + Send + Sync,
    C: Clock,
    S: BuildHasher + Send + Sync,
{
    fn key(&self) -> &K {
        self.key()
    }

    fn run(&self) -> &Run {
        &self.run
    }

    fn is_dirty(&self) -> bool {
        self.is_dirty()
    }

    fn dirtied(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.dirtied())
    }

    fn add_related(&self, key: K, options: AddOptions) -> Result<(), AddError<K>> {
        self.add_related_with(key, options)
    }
}
