//! The ready keys: in bands, or, where the queue has groups, in their lanes.

use super::Priority;
use super::adders::OfGroup;
use super::bands::{Bands, Turn};
use super::groups::GroupKey;
use super::lanes::Lanes;
use crate::list::{Index, Linked, NIL};

#[derive(Debug)]
pub(super) struct Ready {
    /// All, where there are no groups.
    pub(super) bands: Bands,
    lanes: Option<Box<Lanes>>,
}

impl Ready {
    pub(super) fn new(aging: u32) -> Self {
        Self {
            bands: Bands::new(aging),
            lanes: None,
        }
    }

    pub(super) fn in_lanes(self, lanes: Lanes) -> Self {
        Self {
            lanes: Some(Box::new(lanes)),
            ..self
        }
    }

    pub(super) fn groups(&self) -> Option<&Lanes> {
        self.lanes.as_deref()
    }

    #[inline]
    pub(super) fn groups_mut(&mut self) -> Option<&mut Lanes> {
        self.lanes.as_deref_mut()
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        match &self.lanes {
            None => self.bands.len(),
            Some(lanes) => lanes.len(),
        }
    }

    /// How many of them may start.
    #[inline]
    pub(super) fn startable(&self) -> usize {
        match &self.lanes {
            None => self.bands.len(),
            Some(lanes) => lanes.startable(),
        }
    }

    #[inline]
    pub(super) fn push<T: Linked>(&mut self, slots: &mut [T], index: Index, priority: Priority) {
        match &mut self.lanes {
            None => self.bands.push(slots, index, priority),
            Some(lanes) => lanes.push(slots, index, priority),
        }
    }

    #[inline]
    pub(super) fn remove<T: Linked>(&mut self, slots: &mut [T], index: Index, priority: Priority) {
        match &mut self.lanes {
            None => self.bands.remove(slots, index, priority),
            Some(lanes) => lanes.remove(slots, index, priority),
        }
    }

    /// Whose turn it is.
    pub(super) fn turn(&self) -> Option<Turn> {
        match &self.lanes {
            None => self.bands.turn(),
            Some(lanes) => lanes.turn(),
        }
    }

    /// Takes out whose turn it is, to be processed.
    #[inline]
    pub(super) fn take<T: Linked>(&mut self, slots: &mut [T], turn: Turn) {
        match &mut self.lanes {
            Some(lanes) if turn.lane != NIL => lanes.take(slots, turn),
            _ => self.bands.take(slots, turn),
        }
    }

    /// Takes out any.
    pub(super) fn pop_any<T: Linked>(&mut self, slots: &mut [T]) -> Option<Index> {
        match &mut self.lanes {
            None => self.bands.pop_any(slots),
            Some(lanes) => lanes.pop_any(slots),
        }
    }

    /// All, in order.
    pub(super) fn list<T: Linked>(&self, slots: &[T]) -> Vec<Index> {
        match &self.lanes {
            None => self.bands.iter(slots).collect(),
            Some(lanes) => lanes.list(slots),
        }
    }

    /// Where the group of a key is that may come to a place, if it is there. Runs the `Eq` of groups.
    pub(super) fn find_group(&self, key: &GroupKey<'_>, place: Option<Index>) -> Option<Index> {
        let lanes = self.groups()?;
        lanes.groups.find(key, lanes.hint(place))
    }

    /// Whether there is room for a key in its group.
    pub(super) fn has_room_in(&self, group: Option<Index>) -> bool {
        self.groups()
            .is_none_or(|lanes| lanes.groups.has_room(group))
    }

    /// The group of an adder that waits. Runs the `Eq` of groups.
    pub(super) fn of_group(&self, key: &GroupKey<'_>) -> OfGroup {
        let found = self.find_group(key, None).zip(self.groups());
        OfGroup {
            hash: key.hash,
            id: found.and_then(|(at, lanes)| lanes.groups.used_id(at)),
        }
    }
}
