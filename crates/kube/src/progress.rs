//! Which sources have their first list, for the readiness probe, and what ends the operator.

use std::any::TypeId;
use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::watch;

/// The sources of an operator.
#[derive(Debug)]
pub(crate) struct Sources {
    /// By name and type: two types may stand for one URL, each with a watch of its own.
    pending: watch::Sender<BTreeSet<(String, TypeId)>>,
    /// How long a first list, or the lease, may be refused before the operator ends with an error.
    pub(crate) patience: Duration,
    fatal: watch::Sender<Option<Lack>>,
}

/// What an operator cannot start without, as one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lack {
    /// The cluster does not serve a kind.
    Kind(String),
    /// The cluster refuses a list, or the lease.
    Right(String),
}

impl Sources {
    pub(crate) fn new(patience: Duration) -> Self {
        Self {
            pending: watch::Sender::default(),
            patience,
            fatal: watch::Sender::new(None),
        }
    }

    /// Counts one more source that has no list yet.
    pub(crate) fn expect(&self, name: &str, of: TypeId) {
        self.pending
            .send_if_modified(|pending| pending.insert((name.to_owned(), of)));
    }

    /// Counts a source as ready.
    pub(crate) fn ready(&self, name: &str, of: TypeId) {
        let source = (name.to_owned(), of);
        self.pending
            .send_if_modified(|pending| pending.remove(&source));
    }

    /// The sources that have no list yet.
    pub(crate) fn pending(&self) -> Vec<String> {
        let pending = self.pending.borrow();
        pending.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Whether a source has its first list.
    pub(crate) fn is_ready(&self, name: &str, of: TypeId) -> bool {
        !self.pending.borrow().contains(&(name.to_owned(), of))
    }

    /// Completes once every source has its first list.
    pub(crate) async fn listed(&self) {
        let mut pending = self.pending.subscribe();
        // The sender lives as long as `self`.
        drop(pending.wait_for(BTreeSet::is_empty).await);
    }

    /// Ends the operator for this reason; the first one counts.
    pub(crate) fn fail(&self, lack: Lack) {
        self.fatal
            .send_if_modified(|fatal| fatal.is_none() && fatal.replace(lack).is_none());
    }

    /// Completes with the reason that ends the operator.
    pub(crate) async fn failed(&self) -> Lack {
        let mut fatal = self.fatal.subscribe();
        let lack = fatal.wait_for(Option::is_some).await;
        let lack = lack.ok().and_then(|lack| lack.clone());
        lack.expect("the sender lives as long as `self`")
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn the_first_failure_counts() {
        let sources = Sources::new(Duration::ZERO);
        sources.fail(Lack::Kind("one".into()));
        sources.fail(Lack::Right("two".into()));
        assert_eq!(sources.failed().await, Lack::Kind("one".into()));
    }

    #[tokio::test]
    async fn a_source_is_pending_until_it_is_ready() {
        let sources = Sources::new(Duration::ZERO);
        let of = TypeId::of::<()>();
        sources.expect("pods", of);
        sources.expect("jobs", of);
        sources.ready("pods", of);
        assert_eq!(sources.pending(), ["jobs"]);
        assert!(sources.is_ready("pods", of) && !sources.is_ready("jobs", of));
        assert!(sources.listed().now_or_never().is_none());
        sources.ready("jobs", of);
        sources.listed().await;
    }
}
