//! A flow: the FIFO list of the ready keys of one group and one priority.

use crate::list::{Index, Linked, Links, List};
use crate::queue::core::priority::Priority;

pub(crate) struct Flow {
    pub(crate) links: Links,
    pub(crate) keys: List,
    pub(crate) group: Index,
    pub(crate) priority: Priority,
    /// How many more keys it may hand out in this turn: the deficit counter.
    pub(crate) credit: u32,
    /// The next flow of its group.
    pub(crate) next: Index,
    pub(crate) in_ring: bool,
}

impl Linked for Flow {
    fn links(&self) -> &Links {
        &self.links
    }

    fn links_mut(&mut self) -> &mut Links {
        &mut self.links
    }
}
