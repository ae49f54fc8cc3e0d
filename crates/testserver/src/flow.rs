//! A bound on the requests in flight, as priority and fairness sets it.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The requests in flight of the clients that meet faults.
#[derive(Debug)]
pub struct Flow {
    limit: usize,
    in_flight: AtomicUsize,
    refused: AtomicUsize,
}

impl Flow {
    /// Admits this many requests at a time.
    pub fn new(limit: Option<usize>) -> Flow {
        Flow {
            limit: limit.unwrap_or(usize::MAX),
            in_flight: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
        }
    }

    /// Takes a seat for one request, until it is dropped; `None` if all are taken.
    pub fn enter(&self) -> Option<Seat<'_>> {
        let another = |taken| (taken < self.limit).then_some(taken + 1);
        let entered = self
            .in_flight
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, another)
            .is_ok();
        if !entered {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        // Lazily: dropping a seat that was not taken would free one that is.
        entered.then(|| Seat(self))
    }

    /// The number of requests that found no seat.
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }
}

/// The seat of a request in flight.
#[derive(Debug)]
pub struct Seat<'a>(&'a Flow);

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_is_free_again_when_its_request_ends() {
        let flow = Flow::new(Some(2));
        let first = flow.enter().expect("free");
        let _second = flow.enter().expect("free");
        for _ in 0..2 {
            assert!(flow.enter().is_none());
        }
        drop(first);
        assert!(flow.enter().is_some());
        assert_eq!(flow.refused(), 2);
        let closed = Flow::new(Some(0));
        assert!(closed.enter().is_none() && Flow::new(None).enter().is_some());
    }
}
