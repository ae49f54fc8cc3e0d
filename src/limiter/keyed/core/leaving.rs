use crate::limiter::keyed::core::lines::KeyLine;
use crate::limiter::keyed::core::seats::Seats;

/// Keys that were taken out under a lock, to be dropped once it is released. The seats that they had
/// are free then, whatever panics until then.
pub(crate) struct Leaving<'a, K> {
    seats: &'a Seats,
    pub(crate) seated: Vec<K>,
    others: Vec<K>,
}

impl<'a, K> Leaving<'a, K> {
    pub(crate) const fn new(seats: &'a Seats) -> Self {
        Self {
            seats,
            seated: Vec::new(),
            others: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, line: KeyLine<K>) {
        if line.has_seat {
            self.seated.push(line.key);
        } else {
            self.others.push(line.key);
        }
    }
}

impl<K> Drop for Leaving<'_, K> {
    fn drop(&mut self) {
        self.seats.free(self.seated.len() as u64);
    }
}
