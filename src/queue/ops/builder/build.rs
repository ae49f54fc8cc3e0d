//! Validates the options of a queue and assembles it.

use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::Duration;

use crate::backoff::Random;
use crate::clock::Clock;
use crate::prefetch::PrefetchHint;
use crate::queue::core::groups::grouping::GroupBounds;
use crate::queue::core::groups::ready::ReadyKeys;
use crate::queue::core::groups::scheduler::{GroupScheduler, MakeLimiterWaker};
use crate::queue::core::machine::Machine;
use crate::queue::core::throttle::Throttle;
use crate::queue::core::waiting::queue_state::QueueState;
use crate::queue::ops::builder::{Options, QueueBuilder};
use crate::queue::ops::queue_error::QueueError;
use crate::queue::ops::work_queue::WorkQueue;
use crate::queue::shell::limiter_waker::LimiterWaker;
use crate::queue::shell::shared::Shared;
use crate::sync::Mutex;

/// Entries are numbered by 32 bits, and one number means "none".
const MAX_CAPACITY: usize = u32::MAX as usize - 1;

type MakeWakersOf<K, C, S> = fn(Weak<Shared<K, C, S>>) -> MakeLimiterWaker;

impl<K, C, S> QueueBuilder<K, C, S>
where
    K: Send + Sync + 'static,
    C: Clock + 'static,
    S: Send + Sync + 'static,
{
    /// Builds the queue.
    ///
    /// Memory for keys is allocated as they are added, not here.
    ///
    /// # Errors
    /// [`QueueError`], which names the option that is out of bounds.
    pub fn build(self) -> Result<WorkQueue<K, C, S>, QueueError> {
        self.build_with(Some(|queue| {
            Box::new(move |group| {
                let queue = Weak::clone(&queue);
                Waker::from(Arc::new(LimiterWaker { queue, group }))
            })
        }))
    }
}

impl<K, C, S> QueueBuilder<K, C, S> {
    /// Builds the queue with the wakers of its limiters. A waker owns its key type for `'static`, which
    /// a queue without limiters need not: so they are an argument.
    pub(super) fn build_with(
        self,
        wakers: Option<MakeWakersOf<K, C, S>>,
    ) -> Result<WorkQueue<K, C, S>, QueueError> {
        self.options.validate()?;
        let (limits, grouping) = (self.options.limits, &self.options.grouping);
        let has_memory = !limits.min_interval.is_zero() || limits.given_up.is_some();
        let needs_general_add = grouping.is_some() || limits.keeps_newest || has_memory;
        let groups = grouping.as_ref().map(|it| (it.names(), it.bounds()));
        let (limiter, aging) = (self.options.limiter, limits.aging);
        let state = |queue: &Weak<Shared<K, C, S>>| {
            let wakers = || wakers.map(|wakers| wakers(Weak::clone(queue)));
            let throttle = limiter.zip(wakers());
            let throttle = throttle.map(|(limiter, waker)| Throttle::new(limiter, waker(None)));
            let scheduler = groups
                .zip(wakers())
                .map(|((names, bounds), wakers)| GroupScheduler::new(names, bounds, wakers, aging));
            let ready = ReadyKeys::new(aging, scheduler);
            QueueState::new(Machine::new(limits, ready), throttle)
        };
        let shared = Arc::new_cyclic(|queue| Shared {
            state: Mutex::new(state(queue)),
            index_hint: PrefetchHint::new(),
            clock: self.clock,
            hasher: self.hasher,
            backoff: self.options.backoff,
            max_attempts: self.options.max_attempts,
            random: Random::new(self.options.seed),
            observer: self.options.observer,
            grouping: self.options.grouping,
            clone_key: self.options.clone_key,
            needs_general_add,
        });
        Ok(WorkQueue(shared))
    }
}

impl<K> Options<K> {
    fn validate(&self) -> Result<(), QueueError> {
        let (limits, max) = (&self.limits, MAX_CAPACITY);
        let debounce_max = limits.debounce.map(|debounce| debounce.max);
        let bounds = self.grouping.as_ref().map(|grouping| grouping.bounds());
        let is_zero = |bounds: GroupBounds| bounds.processing == 0 || bounds.live == 0;
        let errors = [
            (limits.capacity == 0, QueueError::ZeroCapacity),
            (limits.capacity > max, QueueError::CapacityTooLarge { max }),
            (
                limits.reserve >= limits.capacity,
                QueueError::NothingButReserve,
            ),
            (
                debounce_max == Some(Duration::ZERO),
                QueueError::ZeroDebounceMaximum,
            ),
            (self.max_attempts == Some(0), QueueError::ZeroAttempts),
            (bounds.is_some_and(is_zero), QueueError::ZeroGroupBound),
        ];
        let first = errors.iter().find(|(is_one, _)| *is_one);
        first.map_or(Ok(()), |(_, error)| Err(*error))
    }
}
