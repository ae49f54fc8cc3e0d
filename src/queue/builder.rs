use std::fmt;
use std::hash::RandomState;
use std::marker::PhantomData;
use std::sync::Arc;

use super::WorkQueue;
use super::machine::Machine;
use super::shared::{Shared, State};
use crate::backoff::{Backoff, ExponentialBackoff, Random};
use crate::clock::{Clock, SystemClock};
use crate::observe::{Observer, Silent};
use crate::sync::Mutex;

/// Builds a [`WorkQueue`]; from [`WorkQueue::builder`].
pub struct QueueBuilder<K, C = SystemClock> {
    capacity: usize,
    backoff: Box<dyn Backoff>,
    seed: u64,
    observer: Arc<dyn Observer>,
    clock: C,
    keys: PhantomData<fn(K)>,
}

impl<K> QueueBuilder<K> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            backoff: Box::new(ExponentialBackoff::default()),
            seed: 0,
            observer: Arc::new(Silent),
            clock: SystemClock::new(),
            keys: PhantomData,
        }
    }
}

impl<K, C> QueueBuilder<K, C> {
    /// How long a failed key waits; [`ExponentialBackoff::default`] unless set.
    pub fn backoff(mut self, backoff: impl Backoff + 'static) -> Self {
        self.backoff = Box::new(backoff);
        self
    }

    /// The seed of the random numbers that the backoff gets.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Who is told what happens.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = observer;
        self
    }

    /// The clock to go by; [`SystemClock`] unless set.
    pub fn clock<D: Clock>(self, clock: D) -> QueueBuilder<K, D> {
        let Self {
            capacity,
            backoff,
            seed,
            observer,
            clock: _,
            keys,
        } = self;
        QueueBuilder {
            capacity,
            backoff,
            seed,
            observer,
            clock,
            keys,
        }
    }

    /// The queue.
    ///
    /// # Errors
    /// [`QueueError::ZeroCapacity`].
    ///
    /// ```
    /// use tollgate::{QueueError, WorkQueue};
    ///
    /// assert_eq!(WorkQueue::<u8>::new(0).unwrap_err(), QueueError::ZeroCapacity);
    /// ```
    pub fn build(self) -> Result<WorkQueue<K, C>, QueueError>
    where
        C: Clock,
    {
        if self.capacity == 0 {
            return Err(QueueError::ZeroCapacity);
        }
        Ok(WorkQueue(Arc::new(Shared {
            state: Mutex::new(State::new(Machine::new(self.capacity))),
            clock: self.clock,
            hasher: RandomState::new(),
            backoff: self.backoff,
            random: Random::new(self.seed),
            observer: self.observer,
        })))
    }
}

impl<K, C: fmt::Debug> fmt::Debug for QueueBuilder<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueBuilder")
            .field("capacity", &self.capacity)
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

/// Why a queue could not be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueueError {
    /// A queue of capacity 0 could never take a key.
    ZeroCapacity,
}

impl fmt::Display for QueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the capacity of a queue must be at least 1")
    }
}

impl std::error::Error for QueueError {}
