//! Which sources have their first list, for the readiness probe, and what ends the operator.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// The sources of an operator.
#[derive(Debug)]
pub(crate) struct Sources {
    pending: Mutex<BTreeSet<String>>,
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
            pending: Mutex::default(),
            patience,
            fatal: watch::Sender::new(None),
        }
    }

    /// Counts one more source that has no list yet.
    pub(crate) fn expect(&self, name: &str) {
        self.with_pending(|pending| pending.insert(name.to_owned()));
    }

    /// Counts a source as ready.
    pub(crate) fn ready(&self, name: &str) {
        self.with_pending(|pending| pending.remove(name));
    }

    /// The sources that have no list yet.
    pub(crate) fn pending(&self) -> Vec<String> {
        self.with_pending(|pending| pending.iter().cloned().collect())
    }

    /// Whether a source has its first list.
    pub(crate) fn is_ready(&self, name: &str) -> bool {
        self.with_pending(|pending| !pending.contains(name))
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

    fn with_pending<T>(&self, change: impl FnOnce(&mut BTreeSet<String>) -> T) -> T {
        change(&mut self.pending.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_failure_counts() {
        let sources = Sources::new(Duration::ZERO);
        sources.fail(Lack::Kind("one".into()));
        sources.fail(Lack::Right("two".into()));
        assert_eq!(sources.failed().await, Lack::Kind("one".into()));
    }

    #[test]
    fn a_source_is_pending_until_it_is_ready() {
        let sources = Sources::new(Duration::ZERO);
        sources.expect("pods");
        sources.expect("jobs");
        sources.ready("pods");
        assert_eq!(sources.pending(), ["jobs"]);
        assert!(sources.is_ready("pods") && !sources.is_ready("jobs"));
    }
}
