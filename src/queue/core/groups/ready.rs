//! The ready keys: in bands, or, where the queue has groups, in their lanes.

use crate::list::{Index, Linked, NIL};
use crate::queue::core::bands::{Bands, Turn};
use crate::queue::core::groups::grouping::GroupKey;
use crate::queue::core::groups::lanes::Lanes;
use crate::queue::core::priority::Priority;
use crate::queue::core::waiting::adders::OfGroup;

#[derive(Debug)]
pub(crate) struct Ready {
    /// All, where there are no groups.
    pub(crate) bands: Bands,
    lanes: Option<Box<Lanes>>,
}

impl Ready {
    pub(crate) fn new(aging: u32) -> Self {
        Self {
            bands: Bands::new(aging),
            lanes: None,
        }
    }

    pub(crate) fn in_lanes(self, lanes: Lanes) -> Self {
        Self {
            lanes: Some(Box::new(lanes)),
            ..self
        }
    }

    pub(crate) fn groups(&self) -> Option<&Lanes> {
        self.lanes.as_deref()
    }

    #[inline]
    pub(crate) fn groups_mut(&mut self) -> Option<&mut Lanes> {
        self.lanes.as_deref_mut()
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        match &self.lanes {
            None => self.bands.len(),
            Some(lanes) => lanes.len(),
        }
    }

    /// How many of them may start.
    #[inline]
    pub(crate) fn startable(&self) -> usize {
        match &self.lanes {
            None => self.bands.len(),
            Some(lanes) => lanes.startable(),
        }
    }

    #[inline]
    pub(crate) fn push<T: Linked>(&mut self, slots: &mut [T], index: Index, priority: Priority) {
        match &mut self.lanes {
            None => self.bands.push(slots, index, priority),
            Some(lanes) => lanes.push(slots, index, priority),
        }
    }

    #[inline]
    pub(crate) fn remove<T: Linked>(&mut self, slots: &mut [T], index: Index, priority: Priority) {
        match &mut self.lanes {
            None => self.bands.remove(slots, index, priority),
            Some(lanes) => lanes.remove(slots, index, priority),
        }
    }

    /// Whose turn it is.
    pub(crate) fn turn(&self) -> Option<Turn> {
        match &self.lanes {
            None => self.bands.turn(),
            Some(lanes) => lanes.turn(),
        }
    }

    /// Takes out whose turn it is, to be processed.
    #[inline]
    pub(crate) fn take<T: Linked>(&mut self, slots: &mut [T], turn: Turn) {
        match &mut self.lanes {
            Some(lanes) if turn.lane != NIL => lanes.take(slots, turn),
            _ => self.bands.take(slots, turn),
        }
    }

    /// Takes out any.
    pub(crate) fn pop_any<T: Linked>(&mut self, slots: &mut [T]) -> Option<Index> {
        match &mut self.lanes {
            None => self.bands.pop_any(slots),
            Some(lanes) => lanes.pop_any(slots),
        }
    }

    /// All, in order.
    pub(crate) fn list<T: Linked>(&self, slots: &[T]) -> Vec<Index> {
        match &self.lanes {
            None => self.bands.iter(slots).collect(),
            Some(lanes) => lanes.list(slots),
        }
    }

    /// Where the group of a key is that may come to a place, if it is there. Runs the `Eq` of groups.
    pub(crate) fn find_group(&self, key: &GroupKey<'_>, place: Option<Index>) -> Option<Index> {
        let lanes = self.groups()?;
        lanes.groups.find(key, lanes.hint(place))
    }

    /// Whether there is room for a key in its group.
    pub(crate) fn has_room_in(&self, group: Option<Index>) -> bool {
        self.groups()
            .is_none_or(|lanes| lanes.groups.has_room(group))
    }

    /// The group of an adder that waits. Runs the `Eq` of groups.
    pub(crate) fn of_group(&self, key: &GroupKey<'_>) -> OfGroup {
        let found = self.find_group(key, None).zip(self.groups());
        OfGroup {
            hash: key.hash,
            id: found.and_then(|(at, lanes)| lanes.groups.used_id(at)),
        }
    }
}
