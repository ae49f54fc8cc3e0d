//! An API server with one Lease and one object that the leader writes.

use tollgate_kube::election::machine::{Answer, Operation};
use tollgate_kube::election::{Record, Stored, Term};

#[derive(Default)]
pub struct Server {
    pub lease: Option<Stored>,
    /// The revision of the latest write.
    pub revision: u64,
    /// The version of the object, and the term of its last writer.
    pub object: (u64, Option<Term>),
}

impl Server {
    /// Applies an operation on the Lease.
    pub fn apply(&mut self, operation: &Operation) -> Answer {
        match (operation, &self.lease) {
            (Operation::Read, Some(lease)) => Answer::Stored(lease.clone()),
            (Operation::Read | Operation::Update(_), None) => Answer::NotFound,
            (Operation::Create(_), Some(_)) => Answer::Conflict,
            (Operation::Create(record), None) => self.store(record),
            // As on a real server: an update without a version is unconditional.
            (Operation::Update(new), Some(old))
                if new.version.is_empty() || new.version == old.version =>
            {
                self.store(&new.record)
            }
            (Operation::Update(_), Some(_)) => Answer::Conflict,
        }
    }

    fn store(&mut self, record: &Record) -> Answer {
        self.revision += 1;
        let stored = Stored {
            record: record.clone(),
            version: self.revision.to_string(),
        };
        self.lease = Some(stored.clone());
        Answer::Stored(stored)
    }

    /// Writes the object if it still has `version`.
    ///
    /// # Panics
    /// If the write of an earlier term overwrites one of a later term.
    pub fn write(&mut self, version: u64, term: Term) -> bool {
        if version != self.object.0 {
            return false;
        }
        let last = self.object.1;
        assert!(last <= Some(term), "term {term} overwrites term {last:?}");
        self.object = (version + 1, Some(term));
        true
    }
}
