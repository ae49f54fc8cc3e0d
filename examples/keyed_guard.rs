//! A limit for each client in front of a handler: a client that is over its limit is answered 429,
//! with the seconds after which it may come again.

use std::hash::RandomState;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tollgate::{Denied, KeyedLimiter, ManualClock, RateLimiter};

/// The status, and the header `Retry-After` in seconds.
type Response = (u16, Option<u64>);

/// Passes on what the limits allow.
struct Guard {
    /// A service leaves hasher and clock out: `KeyedLimiter<IpAddr>` is on the system's clock.
    clients: KeyedLimiter<IpAddr, RandomState, ManualClock>,
}

impl Guard {
    fn handle(&self, client: IpAddr) -> Response {
        match self.clients.key(&client).try_acquire(1) {
            Ok(()) => (200, None),
            Err(denied) => (429, retry_after(denied)),
        }
    }
}

/// Rounded up: rounded down, it would have clients come back too early. `None` if nobody can
/// tell, as when too many clients are in use.
fn retry_after(denied: Denied) -> Option<u64> {
    let wait = denied.retry_after()?;
    Some(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let clock = ManualClock::new();
    // At most 100,000 clients are remembered, in bounded memory.
    let clients = KeyedLimiter::builder("30/min burst 2".parse()?, 100_000)
        .clock(clock.clone())
        .build()?;
    let guard = Guard { clients };
    let [one, other] = [1, 2].map(|host| IpAddr::from(Ipv4Addr::new(192, 0, 2, host)));

    assert_eq!([guard.handle(one), guard.handle(one)], [(200, None); 2]);
    assert_eq!(guard.handle(one), (429, Some(2)));
    assert_eq!(guard.handle(other), (200, None)); // the others do not notice

    clock.advance(Duration::from_millis(500));
    assert_eq!(guard.handle(one), (429, Some(2))); // 1.5 s, rounded up
    clock.advance(Duration::from_millis(1_500));
    assert_eq!(guard.handle(one), (200, None));
    println!("each client was held to {}", guard.clients.quota());
    Ok(())
}
