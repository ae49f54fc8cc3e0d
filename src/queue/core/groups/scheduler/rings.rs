//! The flows of a group, and the rings that they join and leave.
//!
//! Invariant: a group has one flow for each priority of its ready keys, or one without keys.

use crate::list::{Index, Links, List, NIL};
use crate::queue::core::groups::flow::Flow;
use crate::queue::core::groups::scheduler::GroupScheduler;
use crate::queue::core::priority::Priority;

impl GroupScheduler {
    /// Iterates over the flows of a group that have keys.
    pub(super) fn flows_of(&self, at: Index) -> impl Iterator<Item = Index> {
        let some = |flow: Index| (flow != NIL).then_some(flow);
        let next = move |flow: &Index| some(self.flows[*flow].next);
        let all = std::iter::successors(some(self.groups.slots[at].flows), next);
        all.filter(|flow| !self.flows[*flow].keys.is_empty())
    }

    /// Moves the flows of a group into the rings, or out of them.
    pub(super) fn move_flows(&mut self, at: Index, into_rings: bool) {
        let mut flow = self.groups.slots[at].flows;
        while flow != NIL {
            if !into_rings {
                self.leave_ring(flow);
            } else if !self.flows[flow].keys.is_empty() {
                self.join_ring(at, flow);
            }
            flow = self.flows[flow].next;
        }
    }

    pub(super) fn join_ring(&mut self, at: Index, flow: Index) {
        let this = &mut self.flows[flow];
        if !this.in_ring {
            (this.in_ring, this.credit) = (true, self.groups.slots[at].weight);
            let priority = this.priority;
            self.rings.push(self.flows.slots_mut(), flow, priority);
        }
    }

    pub(super) fn leave_ring(&mut self, flow: Index) {
        let this = &mut self.flows[flow];
        if std::mem::take(&mut this.in_ring) {
            let priority = this.priority;
            self.rings.remove(self.flows.slots_mut(), flow, priority);
        }
    }

    /// Returns the flow of a group for a priority: an existing one, one without keys, or a new one.
    pub(super) fn flow_for(&mut self, at: Index, priority: Priority) -> Index {
        let mut flow = self.groups.slots[at].flows;
        while flow != NIL {
            let this = &mut self.flows[flow];
            if this.keys.is_empty() {
                // It is the only one of its group, and in no ring.
                this.priority = priority;
            }
            if this.priority == priority {
                return flow;
            }
            flow = this.next;
        }
        let group = &mut self.groups.slots[at];
        group.flows = self.flows.insert(Flow {
            links: Links::new(),
            keys: List::new(),
            group: at,
            priority,
            credit: 0,
            next: group.flows,
            in_ring: false,
        });
        group.flows
    }

    /// Frees a flow without keys, unless it is the only one of its group: most groups get keys again.
    pub(super) fn free_flow(&mut self, at: Index, flow: Index) {
        let next = self.flows[flow].next;
        let group = &mut self.groups.slots[at];
        if group.flows == flow {
            if next == NIL {
                return;
            }
            group.flows = next;
        } else {
            let mut before = group.flows;
            while self.flows[before].next != flow {
                before = self.flows[before].next;
            }
            self.flows[before].next = next;
        }
        self.flows.release(flow);
    }
}
