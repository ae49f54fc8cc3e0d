//! The failures that a test causes in a running server: faults, refusals, outages and a missing type.

use std::sync::atomic::Ordering;

use super::faults::Injection;
use super::{ApiServer, resource};

impl ApiServer {
    /// The number of faults so far, random, injected, and cut watches.
    pub fn faults_injected(&self) -> usize {
        self.shell.faults().injected()
    }

    /// Makes the next matching requests of faulty clients fail.
    pub fn inject(&self, injection: Injection) {
        self.shell.faults().inject(injection);
    }

    /// Forbids all clients a verb (in lower case) on a resource: `databases` with its subresources,
    /// or `databases/status` alone.
    pub fn forbid(&self, verb: &str, plural: &str) {
        self.shell.faults().forbid(verb, plural);
    }

    /// Breaks the connections of all open watches of all clients, and returns their number.
    pub fn cut_watches(&self) -> usize {
        let open = self.shell.watches.load(Ordering::Relaxed);
        self.shell.cuts.send_modify(|epoch| *epoch += 1);
        open
    }

    /// Makes all resource versions so far too old to watch or list from. Open watches continue if they have
    /// delivered all events.
    pub fn expire_history(&self) {
        self.shell.write(|store, _| store.expire_history());
    }

    /// Refuses all further creates in a namespace with a 403, as while it is being deleted. Its objects stay, and may be
    /// changed and deleted.
    pub fn terminate_namespace(&self, namespace: &str) {
        self.shell
            .write(|store, _| store.terminate_namespace(namespace));
    }

    /// Allows at most `limit` objects of a type in a namespace: a create beyond it is a 403. A later limit replaces an
    /// earlier one; objects that are there already stay.
    ///
    /// # Panics
    ///
    /// If the server knows no such type.
    pub fn limit_quota(&self, namespace: &str, plural: &str, limit: usize) {
        let ty = resource::known(plural);
        self.shell
            .write(|store, _| store.limit_quota(ty, namespace, limit));
    }

    /// Stops serving a type until a `CustomResourceDefinition` of it is created: until then its paths are a 404 in plain
    /// text, and discovery does not show it. Open watches and the objects stay.
    ///
    /// # Panics
    ///
    /// If the server knows no such type.
    pub fn unserve(&self, plural: &str) {
        let ty = resource::known(plural);
        self.shell.write(|store, _| store.unserve(ty));
    }

    /// Begins (`false`) or ends an outage. It breaks all connections; later requests are recorded, and their connections
    /// closed without an answer.
    pub fn set_available(&self, available: bool) {
        self.shell.outage.set_down(!available);
    }

    /// Begins or ends a hang. Requests that arrive in it are answered at its end, if the client still waits; watches
    /// deliver nothing until then.
    pub fn hang(&self, hung: bool) {
        self.shell.outage.set_hung(hung);
    }

    /// The number of requests refused because [`Options::max_in_flight`](super::Options::max_in_flight) others were in
    /// flight.
    pub fn refused_in_flight(&self) -> usize {
        self.shell.flow.refused()
    }
}
