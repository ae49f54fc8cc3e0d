//! A rate limit per client in front of a handler. A client over its limit gets a 429 with `Retry-After`.

use std::hash::RandomState;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use tollgate::{ClientAddr, KeyedLimiter, ManualClock, RateLimiter};

/// The status, and the header `Retry-After` in seconds.
type Response = (u16, Option<u64>);

/// Admits the requests that are within the limits.
struct Guard {
    /// A service uses `KeyedLimiter<ClientAddr>`, with the default hasher and the system's clock.
    clients: KeyedLimiter<ClientAddr, RandomState, ManualClock>,
}

impl Guard {
    /// `ClientAddr` in place of `IpAddr`: an IPv6 host has 2^64 addresses, which share one limit.
    fn handle(&self, client: IpAddr) -> Response {
        match self.clients.key(&ClientAddr::from(client)).try_acquire(1) {
            Ok(()) => (200, None),
            Err(denied) => (429, denied.retry_after_secs()),
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let clock = ManualClock::new();
    // The limiter holds at most 100,000 clients, in bounded memory.
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
    // A dual-stack socket reports the same client by a mapped address.
    assert_eq!(guard.handle(one.to_ipv6_mapped().into()), (429, Some(2)));
    assert_eq!(guard.handle(other.into()), (200, None)); // another client has its own limit

    clock.advance(Duration::from_millis(500));
    assert_eq!(guard.handle(one.into()), (429, Some(2))); // 1.5 s, rounded up
    clock.advance(Duration::from_millis(1_500));
    assert_eq!(guard.handle(one.into()), (200, None));

    // An IPv6 host that sends each request from another address of its network has one limit.
    let network = u128::from("2001:db8:1:2::".parse::<Ipv6Addr>()?);
    let addresses = (0..200_000).map(|host| Ipv6Addr::from(network + host));
    let answers = addresses.map(|address| guard.handle(address.into()));
    assert_eq!(answers.filter(|&(status, _)| status == 200).count(), 2);
    println!("each client was held to {}", guard.clients.quota());
    Ok(())
}
