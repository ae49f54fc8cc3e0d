//! The settings of groups, and the group of a key while the key is added.
//!
//! The queue does not know the type of groups: [`Grouping`] and [`GroupName`] erase it.

use std::any::Any;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use crate::limiter::ops::rate_limiter::RateLimiter;
use crate::list::Index;
use crate::queue::core::hash::FastHash;
use crate::queue::core::throttle::Throttle;

/// The grouping of a queue's keys, with weights, bounds and rate limits: for
/// [`QueueBuilder::groups`](crate::queue::QueueBuilder::groups).
///
/// `G` identifies the group of a key, for example its tenant. Keys that are equal must have equal
/// groups.
///
/// Group keys where tenants share a queue, so that one with many keys does not starve the others. To
/// serve some keys before others, use a [`Priority`](crate::Priority).
///
/// # Fairness
/// Within a priority, groups take turns by deficit round robin, in which each key costs one; the
/// keys of a group are served in FIFO order. Between two turns of a group that may run, its priority
/// hands out at most the sum of the weights of the other groups that may run.
///
/// A group that reaches its bound on keys in process, or whose limiter refuses, is passed over. It
/// rejoins the round at its end when a key of it is finished, or its limiter has a token.
///
/// # Cost
/// O(1) for each key, and O(log n) to pass over one of n groups whose limiters refuse. Memory is
/// bounded by the live keys. The functions for group, weight and limit run without the queue's lock;
/// `Eq` of groups runs under it.
///
/// ```
/// use tollgate::WorkQueue;
/// use tollgate::queue::Groups;
///
/// type Key = (&'static str, u32);
///
/// let tenants = Groups::by(|key: &Key| key.0).weight(|tenant| if *tenant == "paying" { 2 } else { 1 });
/// let queue = WorkQueue::builder(100).groups(tenants).build()?;
/// for n in 0..4 {
///     queue.try_add(("free", n)).unwrap();
/// }
/// for n in 0..4 {
///     queue.try_add(("paying", n)).unwrap();
/// }
/// let order: Vec<_> = std::iter::from_fn(|| queue.try_get()).map(|work| work.0).collect();
/// assert_eq!(order, ["free", "paying", "paying", "free", "paying", "paying", "free", "free"]);
/// # Ok::<(), tollgate::QueueError>(())
/// ```
#[must_use = "groups have no effect until a queue is built with them"]
pub struct Groups<K, G> {
    by: Box<dyn Fn(&K) -> G + Send + Sync>,
    weight: Box<dyn Fn(&G) -> u32 + Send + Sync>,
    limit: Option<Box<LimitOf<G>>>,
    bounds: GroupBounds,
    hasher: FastHash,
}

type LimitOf<G> = dyn Fn(&G) -> Option<Arc<dyn RateLimiter>> + Send + Sync;

/// The bounds of each group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupBounds {
    pub(crate) processing: u32,
    pub(crate) live: u32,
    /// Whether groups may have limiters.
    pub(crate) limited: bool,
}

impl<K, G: Hash + Eq + Send + 'static> Groups<K, G> {
    /// Groups keys by `by`, which is called at every add.
    pub fn by(by: impl Fn(&K) -> G + Send + Sync + 'static) -> Self {
        Self {
            by: Box::new(by),
            weight: Box::new(|_| 1),
            limit: None,
            bounds: GroupBounds {
                processing: u32::MAX,
                live: u32::MAX,
                limited: false,
            },
            hasher: FastHash::default(),
        }
    }

    /// Sets how many keys a group hands out in its turn: 1 unless set, and 0 counts as 1. It is called
    /// when a new key is added, and takes effect at the group's next turn.
    pub fn weight(mut self, weight: impl Fn(&G) -> u32 + Send + Sync + 'static) -> Self {
        self.weight = Box::new(weight);
        self
    }

    /// Bounds how many keys of a group are in process at once.
    pub fn max_processing(mut self, keys: u32) -> Self {
        self.bounds.processing = keys;
        self
    }

    /// Bounds how many keys of a group are live: for a new key of a group at its bound the queue is
    /// full. Blocked adders take turns by group, and an adder of a full group holds up no other.
    pub fn max_live(mut self, keys: u32) -> Self {
        self.bounds.live = keys;
        self
    }

    /// Sets the limiter of each group: a key takes a token of it when it is handed out. `limit` is
    /// called for a new group, and its limiter is kept at least as long as a key of the group is live.
    ///
    /// A group whose limiter refuses waits in the limiter's line while it has ready keys. The token
    /// that it is granted there is kept until a consumer takes the key. If a limiter is closed, its
    /// keys stay in the queue, and [`close`](crate::WorkQueue::close) and
    /// [`drain`](crate::WorkQueue::drain) return them.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tollgate::queue::Groups;
    /// use tollgate::{KeyedLimiter, RateLimiter, WorkQueue};
    ///
    /// let limits: Arc<KeyedLimiter<u32>> = Arc::new(KeyedLimiter::new("1/h".parse()?, 1_000)?);
    /// let by_tenant = Groups::by(|key: &(u32, u32)| key.0)
    ///     .rate_limit(move |tenant| Some(Arc::new(limits.owned_key(*tenant))));
    /// let queue = WorkQueue::builder(8).groups(by_tenant).build()?;
    /// for key in [(1, 1), (1, 2), (2, 1)] {
    ///     queue.try_add(key).unwrap();
    /// }
    /// assert_eq!(*queue.try_get().unwrap(), (1, 1));
    /// assert_eq!(*queue.try_get().unwrap(), (2, 1)); // (1, 2) is passed over
    /// assert!(queue.try_get().is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn rate_limit(
        mut self,
        limit: impl Fn(&G) -> Option<Arc<dyn RateLimiter>> + Send + Sync + 'static,
    ) -> Self {
        self.limit = Some(Box::new(limit));
        self.bounds.limited = true;
        self
    }
}

impl<K, G> fmt::Debug for Groups<K, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Groups")
            .field("bounds", &self.bounds)
            .finish_non_exhaustive()
    }
}

/// The group of a key, while the key is added.
pub(crate) struct GroupKey<'a> {
    pub(crate) hash: u64,
    pub(crate) weight: u32,
    pub(crate) name: &'a mut dyn GroupName,
    /// Whether the caller's function for `limiter` has yet to be called.
    pub(crate) needs_limiter: bool,
    pub(crate) limiter: Option<Arc<dyn RateLimiter>>,
    /// The throttle of the group that had the slot before.
    pub(crate) evicted: Option<Box<Throttle>>,
}

impl GroupKey<'_> {
    /// Calls the caller's function for the limiter of a new group; not under the lock.
    pub(crate) fn make_limiter(&mut self) {
        self.needs_limiter = false;
        self.limiter = self.name.limiter();
    }
}

/// [`Groups`] with the type of groups erased.
pub(crate) trait Grouping<K>: Send + Sync {
    /// Calls `then` with a key that is added and its group.
    fn with(
        &self,
        key: &mut Option<K>,
        then: &mut dyn FnMut(&mut Option<K>, Option<&mut GroupKey<'_>>),
    );

    /// Returns an empty vector for the groups of a queue.
    fn names(&self) -> Box<dyn Any + Send>;

    fn bounds(&self) -> GroupBounds;
}

impl<K, G: Hash + Eq + Send + 'static> Grouping<K> for Groups<K, G> {
    fn with(
        &self,
        key: &mut Option<K>,
        then: &mut dyn FnMut(&mut Option<K>, Option<&mut GroupKey<'_>>),
    ) {
        let Some(group) = key.as_ref().map(&self.by) else {
            return then(key, None);
        };
        let (hash, weight) = (self.hasher.hash_one(&group), (self.weight)(&group));
        let (group, limit) = (Some(group), self.limit.as_deref());
        let mut name = NameOf { group, limit };
        let mut group = GroupKey {
            hash,
            weight: weight.max(1),
            name: &mut name,
            needs_limiter: limit.is_some(),
            limiter: None,
            evicted: None,
        };
        then(key, Some(&mut group));
    }

    fn names(&self) -> Box<dyn Any + Send> {
        Box::new(Vec::<Option<G>>::new())
    }

    fn bounds(&self) -> GroupBounds {
        self.bounds
    }
}

/// The group of a key, with its type erased. The groups of a queue are a `Vec<Option<G>>`, by their
/// slots.
pub(crate) trait GroupName {
    /// Returns true if the group is in this slot. Runs the `Eq` of groups.
    fn is_in(&self, names: &dyn Any, at: Index) -> bool;

    /// Swaps the group with the content of its slot, so that the caller drops that without the lock.
    fn swap_with(&mut self, names: &mut dyn Any, at: Index);

    /// Calls the caller's function for the limiter of the group.
    fn limiter(&self) -> Option<Arc<dyn RateLimiter>>;
}

struct NameOf<'a, G> {
    group: Option<G>,
    limit: Option<&'a LimitOf<G>>,
}

impl<G: Eq + 'static> GroupName for NameOf<'_, G> {
    fn is_in(&self, names: &dyn Any, at: Index) -> bool {
        let names = names.downcast_ref::<Vec<Option<G>>>();
        names.is_some_and(|names| names.get(at as usize) == Some(&self.group))
    }

    fn swap_with(&mut self, names: &mut dyn Any, at: Index) {
        let at = at as usize;
        if let Some(names) = names.downcast_mut::<Vec<Option<G>>>() {
            names.resize_with(names.len().max(at + 1), || None);
            std::mem::swap(&mut names[at], &mut self.group);
        }
    }

    fn limiter(&self) -> Option<Arc<dyn RateLimiter>> {
        self.limit?(self.group.as_ref()?)
    }
}
