//! A limit for each client in front of a handler: a client over its limit is answered 429, with
//! the seconds after which it may come again.

use std::hash::RandomState;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use tollgate::{ClientAddr, KeyedLimiter, ManualClock, RateLimiter};

/// The status, and the header `Retry-After` in seconds.
type Response = (u16, Option<u64>);

/// Passes on what the limits allow.
struct Guard {
    /// A service leaves hasher and clock out: `KeyedLimiter<ClientAddr>` is on the system's clock.
    clients: KeyedLimiter<ClientAddr, RandomState, ManualClock>,
}

impl Guard {
    /// `ClientAddr` and not `IpAddr`: an IPv6 host has 2^64 addresses, and one limit.
    fn handle(&self, client: IpAddr) -> Response {
        match self.clients.key(&ClientAddr::from(client)).try_acquire(1) {
            Ok(()) => (200, None),
            Err(denied) => (429, denied.retry_after_secs()),
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let clock = ManualClock::new();
    // At most 100,000 clients are remembered, in bounded memory.
    let clients = KeyedLimiter::builder("30/min burst 2".parse()?, 100_000)
        .clock(clock.clone())
        .build()?;
    let guard = Guard { clients };
    let [one, other] = [1, 2].map(|host| Ipv4Addr::new(192, 0, 2, host));

    assert_eq!(
        [guard.handle(one.into()), guard.handle(one.into())],
        [(200, None); 2]
    );
    assert_eq!(guard.handle(one.into()), (429, Some(2)));
    // A dual-stack socket reports the same client like this.
    assert_eq!(guard.handle(one.to_ipv6_mapped().into()), (429, Some(2)));
    assert_eq!(guard.handle(other.into()), (200, None)); // another client has its own limit

    clock.advance(Duration::from_millis(500));
    assert_eq!(guard.handle(one.into()), (429, Some(2))); // 1.5 s, rounded up
    clock.advance(Duration::from_millis(1_500));
    assert_eq!(guard.handle(one.into()), (200, None));

    // One IPv6 host that sends each request from another address of its network.
    let network = u128::from("2001:db8:1:2::".parse::<Ipv6Addr>()?);
    let addresses = (0..200_000).map(|host| Ipv6Addr::from(network + host));
    let answers = addresses.map(|address| guard.handle(address.into()));
    assert_eq!(answers.filter(|&(status, _)| status == 200).count(), 2);
    println!("each client was held to {}", guard.clients.quota());
    Ok(())
}
