//! The handle through which the rest of the process asks whether it leads.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use tokio::sync::watch;
use tollgate::{BootClock, Clock, Timestamp};

use super::error::LeaseError;
use super::record::Term;

/// What an election last reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// This candidate holds the lease.
    Leading(Term),
    /// Another candidate holds the lease, or none does, or it is not known yet which.
    Following {
        /// The identity in the record last seen. It may be this candidate's own, after its term
        /// lapsed.
        holder: Option<String>,
    },
}

/// Tells whether this process leads: cheap to clone, and to ask at each request.
///
/// [`check`](Self::check) is what safety rests on: it compares the clock with the term's deadline,
/// so it turns false at the deadline even if the election's task does not run. The other methods
/// follow the reports of that task.
pub struct Leadership<C = BootClock> {
    validity: Arc<Validity<C>>,
    role: watch::Receiver<Role>,
    error: watch::Receiver<Option<Arc<LeaseError>>>,
}

/// The valid term, in two words that one task writes.
///
/// A writer stores the term before its deadline. A reader that finds a deadline ahead and then a
/// later term than that deadline was stored with has found a term that has been acquired.
struct Validity<C> {
    clock: C,
    /// In nanoseconds by the clock; zero if no term is held.
    until: AtomicU64,
    term: AtomicU32,
}

/// The writing side of a [`Leadership`].
pub(super) struct Reporter<C> {
    validity: Arc<Validity<C>>,
    pub(super) role: watch::Sender<Role>,
    pub(super) error: watch::Sender<Option<Arc<LeaseError>>>,
}

impl<C: Clock> Reporter<C> {
    pub(super) fn new(clock: C) -> Self {
        Self {
            validity: Arc::new(Validity {
                clock,
                until: AtomicU64::new(0),
                term: AtomicU32::new(0),
            }),
            role: watch::Sender::new(Role::Following { holder: None }),
            error: watch::Sender::new(None),
        }
    }

    pub(super) fn clock(&self) -> &C {
        &self.validity.clock
    }

    pub(super) fn leadership(&self) -> Leadership<C> {
        Leadership {
            validity: Arc::clone(&self.validity),
            role: self.role.subscribe(),
            error: self.error.subscribe(),
        }
    }

    /// Publishes the term and its deadline; `holder` names the holder if there is no term.
    pub(super) fn publish(&self, held: Option<(Term, Timestamp)>, holder: Option<&str>) {
        let validity = &self.validity;
        let role = if let Some((term, until)) = held {
            validity.term.store(term.number(), Ordering::Relaxed);
            // Release pairs with the Acquire in `check`: the term is visible with its deadline.
            validity.until.store(until.as_nanos(), Ordering::Release);
            Role::Leading(term)
        } else {
            validity.until.store(0, Ordering::Release);
            Role::Following {
                holder: holder.map(str::to_owned),
            }
        };
        self.role.send_if_modified(|current| {
            let changed = *current != role;
            *current = role;
            changed
        });
    }
}

impl<C> Drop for Reporter<C> {
    fn drop(&mut self) {
        // The task has ended or was aborted: nothing renews the term any more.
        self.validity.until.store(0, Ordering::Release);
        self.role.send_replace(Role::Following { holder: None });
    }
}

impl<C: Clock> Leadership<C> {
    /// Returns the term that is valid now: reads the clock and two words.
    ///
    /// To be called directly before each action that only the leader may take.
    #[inline]
    pub fn check(&self) -> Option<Term> {
        // The deadline is loaded first: a stale one ends earlier than the current one of its term.
        let until = self.validity.until.load(Ordering::Acquire);
        let valid = self.validity.clock.now().as_nanos() < until;
        valid.then(|| Term::new(self.validity.term.load(Ordering::Relaxed)))
    }

    /// Returns the first instant, by the election's clock, at which [`check`](Self::check) fails
    /// unless the term is renewed; `None` if no term is valid now.
    pub fn deadline(&self) -> Option<Timestamp> {
        let until = self.validity.until.load(Ordering::Acquire);
        let valid = self.validity.clock.now().as_nanos() < until;
        valid.then_some(Timestamp::from_nanos(until))
    }

    /// Returns what the election last reported. After a deadline it may say `Leading` until the
    /// election's task runs again.
    pub fn role(&self) -> Role {
        self.role.borrow().clone()
    }

    /// Waits until the role differs from the one that this handle last returned here, and returns
    /// it; `None` after the election has ended.
    ///
    /// # Cancel safety
    /// Dropping the future loses no change: the next call returns it.
    pub async fn changed(&mut self) -> Option<Role> {
        self.role.changed().await.ok()?;
        Some(self.role.borrow_and_update().clone())
    }

    /// Waits until a term is valid, and returns it; `None` after the election has ended.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn leading(&self) -> Option<Term> {
        let mut role = self.role.clone();
        loop {
            role.borrow_and_update();
            if let Some(term) = self.check() {
                return Some(term);
            }
            role.changed().await.ok()?;
        }
    }

    /// Waits until `term` is not valid any more: at its deadline, or when the election ends it
    /// earlier. Returns at once if it is not valid now.
    ///
    /// At the deadline itself a timer wakes this future: late by what the timer and the runtime are
    /// late. Nothing depends on that, because [`check`](Self::check) is exact.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn lost(&self, term: Term) {
        let mut role = self.role.clone();
        loop {
            role.borrow_and_update();
            let deadline = self.deadline();
            let Some(deadline) = deadline.filter(|_| self.check() == Some(term)) else {
                return;
            };
            // A closed channel means that the term has been ended: the next turn sees it.
            tokio::select! {
                () = self.validity.clock.sleep_until(deadline) => {}
                _ = role.changed() => {}
            }
        }
    }

    /// Returns why the last request to the API server failed; `None` after a success.
    pub fn error(&self) -> Option<Arc<LeaseError>> {
        self.error.borrow().clone()
    }

    /// Returns a receiver of [`error`](Self::error), for instance to log each change.
    pub fn errors(&self) -> watch::Receiver<Option<Arc<LeaseError>>> {
        self.error.clone()
    }
}

impl<C> Clone for Leadership<C> {
    fn clone(&self) -> Self {
        Self {
            validity: Arc::clone(&self.validity),
            role: self.role.clone(),
            error: self.error.clone(),
        }
    }
}

impl<C: Clock> fmt::Debug for Leadership<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leadership")
            .field("term", &self.check())
            .field("deadline", &self.deadline())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
