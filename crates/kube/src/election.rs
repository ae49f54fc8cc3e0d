//! Leader election on a `coordination.k8s.io/v1` Lease, judged by each candidate's own clock.
//!
//! ```no_run
//! use tollgate_kube::election::{Election, ElectionOptions};
//!
//! # async fn work() {}
//! # async fn run(client: kube::Client) -> Result<(), tollgate_kube::election::ConfigError> {
//! let election = Election::spawn(client, ElectionOptions::new("prod", "my-operator"))?;
//! let leadership = election.leadership();
//! if let Some(term) = leadership.leading().await {
//!     tokio::select! {
//!         () = work() => {}
//!         () = leadership.lost(term) => {} // the work is cancelled
//!     }
//! }
//! election.release().await;
//! # Ok(()) }
//! ```
//!
//! | type | does |
//! |---|---|
//! | [`Election`] | contends for the Lease, as a task |
//! | [`Leadership`] | tells the rest of the process whether it leads |
//! | [`FenceLayer`] | lets a client's requests pass only while it leads |
//! | [`machine::Elector`] | the rules alone, without clock and I/O: for simulations |
//!
//! # The rules
//! The rules are client-go's, with two more: each update is conditional on what was seen, and each
//! leadership has a number of its own. Candidates that run client-go can contend for the same Lease.
//!
//! - A holder renews its record each retry period. It is valid from a successful renewal until the
//!   renew deadline, counted from **before** the renewal was sent.
//! - A candidate reads the record each retry period. It takes the lease over when it has seen the
//!   record (its `resourceVersion` included) unchanged for the duration that is written in it. No
//!   decision depends on the times in a record, so wall clocks may be wrong by any amount.
//! - A duration that is absent, not positive, or above a day is not believed; the candidate's own
//!   counts instead. A record without a holder is free at once.
//! - Each write carries the `resourceVersion` that it was decided on; after a 409, the candidate
//!   reads again.
//! - A candidate that saw the Lease deleted waits for the last record's duration before it creates
//!   a new one.
//!
//! While the server answers within a second, another candidate leads within one lease duration, two
//! retry periods and four answers after the holder's last renewal was applied.
//!
//! # What a lease promises, and what remains
//! At no instant do two candidates pass [`Leadership::check`], if
//!
//! - the rates of their clocks differ by less than the lease duration is to the renew deadline (1.5
//!   with the defaults), whatever the clocks show;
//! - each clock goes on while its process is stopped and its machine suspended, as
//!   [`BootClock`](tollgate::BootClock) does;
//! - no two living processes have the same identity;
//! - no candidate starts within a lease duration of a deletion of the Lease by hand, and nothing
//!   else edits its `spec`.
//!
//! A lease cannot promise more. A leader may check, be stopped for a minute, and send then; and a
//! request that it sent in time may reach the server after the next leader's. Therefore
//!
//! - check directly before each request ([`FenceLayer`]): what remains is the time from the check
//!   to the request's arrival;
//! - let each write carry the `resourceVersion` that it was computed from: if anything was written
//!   since, a late one gets 409 instead of overwriting it. A late write to an object that no other
//!   leader has touched is applied;
//! - where the resource written to can compare, send it the [`Term`]: it increases with each
//!   leadership.

mod config;
mod error;
mod fence;
mod leadership;
mod lease;
pub mod machine;
mod record;
mod shell;

pub use config::{ConfigError, ElectionConfig};
pub use error::LeaseError;
pub use fence::{Fence, FenceLayer, NotLeading};
pub use leadership::{Leadership, Role};
pub use record::{Record, Stored, Term};
pub use shell::{Election, ElectionOptions};
