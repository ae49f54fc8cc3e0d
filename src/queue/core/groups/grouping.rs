//! What a queue is told of the groups of its keys, and a key's group while it is added.

use std::any::Any;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use crate::limiter::ops::rate_limiter::RateLimiter;
use crate::list::Index;
use crate::queue::core::hash::FastHash;
use crate::queue::core::throttle::Throttle;

/// How the keys of a queue are grouped, and what each group may have: for
/// [`QueueBuilder::groups`](crate::queue::QueueBuilder::groups).
///
/// `G` says which group a key is of, for example its tenant. It has to follow from what the key's `Eq`
/// compares.
///
/// # When to use it
/// Where tenants share a queue, so that one with a thousand keys does not hold up the others. Not to
/// put some keys before others: that is what a [`Priority`](crate::Priority) is for.
///
/// # Turns
/// Within a priority, groups take turns (weighted round robin: deficit round robin of which each key
/// costs one); the keys of a group stay first come, first served. Between two turns of a group that may
/// run, its priority hands out at most the sum of the weights of the other groups that may run.
///
/// A group that may not run, because it is at its most keys in process or its limiter refuses, is passed
/// over and not waited for. It comes back, to the end of the round, when a key of it is finished or its
/// limiter has a token.
///
/// # Cost
/// O(1) a key, but O(log n) to pass over one of n groups whose limiters refuse. Memory is bounded by the
/// live keys. The function that groups, and those of weights and limits, run without the queue's lock; `Eq`
/// of a group under it.
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
#[must_use = "it does nothing before it is given to a queue"]
pub struct Groups<K, G> {
    by: Box<dyn Fn(&K) -> G + Send + Sync>,
    weight: Box<dyn Fn(&G) -> u32 + Send + Sync>,
    limit: Option<Box<LimitOf<G>>>,
    bounds: GroupBounds,
    hasher: FastHash,
}

type LimitOf<G> = dyn Fn(&G) -> Option<Arc<dyn RateLimiter>> + Send + Sync;

/// What each group may have at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupBounds {
    pub(crate) processing: u32,
    pub(crate) live: u32,
    /// Whether groups may have limiters.
    pub(crate) limited: bool,
}

impl<K, G: Hash + Eq + Send + 'static> Groups<K, G> {
    /// Groups keys by what `by` says of each. It is called at every add.
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

    /// How many keys a group hands out in its turn, 1 unless set; 0 counts as 1. Asked when a new key
    /// is added, and in force from the group's next turn on.
    pub fn weight(mut self, weight: impl Fn(&G) -> u32 + Send + Sync + 'static) -> Self {
        self.weight = Box::new(weight);
        self
    }

    /// At most so many keys of a group are processed at once.
    ///
    /// ```
    /// use tollgate::WorkQueue;
    /// use tollgate::queue::Groups;
    ///
    /// let one_each = Groups::by(|key: &(u32, u32)| key.0).max_processing(1);
    /// let queue = WorkQueue::builder(8).groups(one_each).build()?;
    /// for key in [(1, 1), (1, 2), (2, 1)] {
    ///     queue.try_add(key).unwrap();
    /// }
    /// let first = queue.try_get().unwrap();
    /// assert_eq!(*queue.try_get().unwrap(), (2, 1)); // (1, 2) waits for (1, 1)
    /// first.done();
    /// assert_eq!(*queue.try_get().unwrap(), (1, 2));
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn max_processing(mut self, keys: u32) -> Self {
        self.bounds.processing = keys;
        self
    }

    /// At most so many keys of a group are live: a new one finds the queue full, for its group. Blocked
    /// adders are served by turns of their groups.
    ///
    /// ```
    /// use tollgate::queue::Groups;
    /// use tollgate::{AddError, WorkQueue};
    ///
    /// let few_each = Groups::by(|key: &(u32, u32)| key.0).max_live(2);
    /// let queue = WorkQueue::builder(100).groups(few_each).build()?;
    /// queue.try_add((1, 1)).unwrap();
    /// queue.try_add((1, 2)).unwrap();
    /// assert_eq!(queue.try_add((1, 3)), Err(AddError::Full((1, 3))));
    /// assert!(queue.try_add((2, 1)).is_ok());
    /// # Ok::<(), tollgate::QueueError>(())
    /// ```
    pub fn max_live(mut self, keys: u32) -> Self {
        self.bounds.live = keys;
        self
    }

    /// Each key that is handed out takes a token of its group's limiter, if it has one. It is asked for
    /// when the group comes into being, and kept for as long as the group has live keys at least.
    ///
    /// A group whose limiter refuses stands in the limiter's line, once, while it has ready keys, and the
    /// token that it is given at its turn is kept until a consumer takes the key. The keys behind a
    /// limiter that is closed stay, and [`close`](crate::WorkQueue::close) and
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

/// A key's group, while the key is added.
pub(crate) struct GroupKey<'a> {
    pub(crate) hash: u64,
    pub(crate) weight: u32,
    /// An `Option` of the group: what the table takes, and what it leaves there, is dropped without the
    /// lock.
    pub(crate) name: &'a mut (dyn Any + Send),
    limit: Option<&'a AnyLimit<'a>>,
    /// Whether the limiter of a new group was asked for, and what came of it.
    has_asked: bool,
    pub(crate) limiter: Option<Arc<dyn RateLimiter>>,
    /// Of the group that had the place before.
    pub(crate) spare: Option<Box<Throttle>>,
}

type AnyLimit<'a> = dyn Fn(&dyn Any) -> Option<Arc<dyn RateLimiter>> + 'a;

impl GroupKey<'_> {
    /// Asks for the limiter of a new group.
    pub(crate) fn make_limiter(&mut self) {
        let name: &dyn Any = self.name;
        self.limiter = self.limit.and_then(|limit| limit(name));
        self.has_asked = true;
    }

    /// Whether a new group can come into being.
    pub(crate) const fn is_ready(&self) -> bool {
        self.limit.is_none() || self.has_asked
    }
}

/// [`Groups`] of any type.
pub(crate) trait Grouping<K>: Send + Sync {
    /// Passes on a key that is added, with its group.
    fn with(
        &self,
        key: &mut Option<K>,
        then: &mut dyn FnMut(&mut Option<K>, Option<&mut GroupKey<'_>>),
    );

    fn names(&self) -> Box<dyn Names>;

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
        let limit = self.limit.as_deref();
        let limit = limit
            .map(|limit| move |name: &dyn Any| limit(name.downcast_ref::<Option<G>>()?.as_ref()?));
        let mut name = Some(group);
        let mut group = GroupKey {
            hash,
            weight: weight.max(1),
            name: &mut name,
            limit: limit.as_ref().map(|limit| limit as _),
            has_asked: false,
            limiter: None,
            spare: None,
        };
        then(key, Some(&mut group));
    }

    fn names(&self) -> Box<dyn Names> {
        Box::new(NamesOf::<G>(Vec::new()))
    }

    fn bounds(&self) -> GroupBounds {
        self.bounds
    }
}

/// The groups that a queue has, by their places.
pub(crate) trait Names: Send {
    /// Whether a group is at a place. Runs its `Eq`.
    fn is(&self, at: Index, name: &dyn Any) -> bool;

    /// Swaps a group with the one at its place.
    fn swap(&mut self, at: Index, name: &mut dyn Any);

    fn as_any(&self) -> &dyn Any;
}

pub(crate) struct NamesOf<G>(Vec<Option<G>>);

impl<G> NamesOf<G> {
    pub(crate) fn get(&self, at: Index) -> Option<&G> {
        self.0.get(at as usize)?.as_ref()
    }
}

impl<G: Eq + Send + 'static> Names for NamesOf<G> {
    fn is(&self, at: Index, name: &dyn Any) -> bool {
        let name = name.downcast_ref::<Option<G>>();
        name.is_some_and(|name| self.get(at) == name.as_ref())
    }

    fn swap(&mut self, at: Index, name: &mut dyn Any) {
        let at = at as usize;
        if at >= self.0.len() {
            self.0.resize_with(at + 1, || None);
        }
        if let Some(name) = name.downcast_mut::<Option<G>>() {
            std::mem::swap(&mut self.0[at], name);
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
