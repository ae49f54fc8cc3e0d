//! A key for limits by the address of a client.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// The network of a client's address, as a key for a limit by address.
///
/// A client can send from any address of its network, so a limit for each [`IpAddr`] does not bound the
/// client. This key maps the addresses of one client to one value:
/// - An IPv6 address counts as its /64, the smallest network that a provider usually assigns.
///   [`with_prefix`](Self::with_prefix) takes another length.
/// - An IPv4-mapped IPv6 address (`::ffff:192.0.2.7`, as a dual-stack socket reports) counts as the IPv4
///   address.
/// - An IPv4 address counts as it is.
///
/// Behind a proxy, build the key from the address that a trusted proxy reports, not from the peer's.
///
/// # Examples
/// ```
/// use std::net::IpAddr;
/// use tollgate::{ClientAddr, KeyedLimiter, Quota, RateLimiter};
///
/// let clients: KeyedLimiter<ClientAddr> = KeyedLimiter::new(Quota::per_minute(1)?, 10_000)?;
/// let [one, same_network, other]: [IpAddr; 3] =
///     ["2001:db8::1".parse()?, "2001:db8::2".parse()?, "2001:db8:0:1::1".parse()?];
/// assert!(clients.key(&one.into()).try_acquire(1).is_ok());
/// assert!(clients.key(&same_network.into()).try_acquire(1).is_err());
/// assert!(clients.key(&other.into()).try_acquire(1).is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientAddr {
    /// In canonical form, with zeros beyond the prefix.
    network: IpAddr,
    /// In bits; 32 for an IPv4 address.
    prefix: u8,
}

impl ClientAddr {
    /// The prefix length of an IPv6 address unless [`with_prefix`](Self::with_prefix) sets another.
    pub const DEFAULT_PREFIX: u8 = 64;

    /// Creates the key of `addr`, with an IPv6 address cut to its /64.
    pub const fn new(addr: IpAddr) -> Self {
        Self::cut(addr, Self::DEFAULT_PREFIX)
    }

    /// Creates the key of `addr`, with an IPv6 address cut to its first `prefix` bits. An IPv4 address,
    /// mapped or not, ignores the length.
    ///
    /// Use one length for all keys of a limiter: keys with different lengths are never equal.
    ///
    /// # Errors
    /// [`PrefixTooLong`] if `prefix` is over 128, also for an IPv4 address.
    ///
    /// ```
    /// use std::net::IpAddr;
    /// use tollgate::{ClientAddr, PrefixTooLong};
    ///
    /// let addr: IpAddr = "2001:db8:1:2ff::7".parse()?;
    /// assert_eq!(ClientAddr::with_prefix(addr, 56)?.to_string(), "2001:db8:1:200::/56");
    /// assert_eq!(ClientAddr::with_prefix(addr, 129), Err(PrefixTooLong { prefix: 129 }));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn with_prefix(addr: IpAddr, prefix: u8) -> Result<Self, PrefixTooLong> {
        if prefix > 128 {
            return Err(PrefixTooLong { prefix });
        }
        Ok(Self::cut(addr, prefix))
    }

    const fn cut(addr: IpAddr, prefix: u8) -> Self {
        match addr.to_canonical() {
            IpAddr::V4(v4) => Self {
                network: IpAddr::V4(v4),
                prefix: 32,
            },
            IpAddr::V6(v6) => {
                // A shift by 128 bits is `None`: prefix 0, the network of every address.
                let mask = match u128::MAX.checked_shl(128 - prefix as u32) {
                    Some(mask) => mask,
                    None => 0,
                };
                Self {
                    network: IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask)),
                    prefix,
                }
            }
        }
    }

    /// Returns the first address of the network.
    pub const fn network(&self) -> IpAddr {
        self.network
    }

    /// Returns the prefix length in bits: 32 for an IPv4 address.
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }
}

impl<A: Into<IpAddr>> From<A> for ClientAddr {
    fn from(addr: A) -> Self {
        Self::new(addr.into())
    }
}

/// Writes an IPv4 address as it is, and an IPv6 network with its length: `2001:db8::/64`.
impl fmt::Display for ClientAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.network {
            IpAddr::V4(v4) => write!(f, "{v4}"),
            IpAddr::V6(v6) => write!(f, "{v6}/{}", self.prefix),
        }
    }
}

/// The error of [`ClientAddr::with_prefix`]: no IPv6 address has a prefix of this length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixTooLong {
    /// The length that was asked for, in bits.
    pub prefix: u8,
}

impl fmt::Display for PrefixTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the prefix of an IPv6 address has at most 128 bits, not {}",
            self.prefix
        )
    }
}

impl Error for PrefixTooLong {}

#[cfg(all(test, not(tollgate_loom)))]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::limiter::core::denied::Denied;
    use crate::limiter::keyed::shell::keyed_limiter::KeyedLimiter;
    use crate::limiter::ops::rate_limiter::RateLimiter;
    use proptest::prelude::*;

    fn addr(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_mapped_ipv4_address_is_the_ipv4_address() {
        let v4 = ClientAddr::new(addr("192.0.2.7"));
        assert_eq!(ClientAddr::new(addr("::ffff:192.0.2.7")), v4);
        assert_eq!(
            ClientAddr::with_prefix(addr("::ffff:192.0.2.7"), 0),
            Ok(v4),
            "a prefix is for IPv6 only"
        );
        assert_eq!((v4.to_string(), v4.prefix()), ("192.0.2.7".into(), 32));
        assert_ne!(ClientAddr::new(addr("192.0.2.8")), v4);
        // Compatible, not mapped: an IPv6 address like any other.
        assert_eq!(ClientAddr::new(addr("::192.0.2.7")).to_string(), "::/64");
    }

    #[test]
    fn an_ipv6_address_is_its_network() {
        let of = |text, prefix| ClientAddr::with_prefix(addr(text), prefix).unwrap();
        let full = "2001:db8:1:2ff:ffff:ffff:ffff:ffff";
        assert_eq!(of(full, 0).to_string(), "::/0");
        assert_eq!(of(full, 48).to_string(), "2001:db8:1::/48");
        assert_eq!(of(full, 63).to_string(), "2001:db8:1:2fe::/63");
        assert_eq!(of(full, 128).to_string(), format!("{full}/128"));
        assert_eq!(of(full, 64), ClientAddr::new(addr(full)));
        assert_ne!(of("2001:db8::", 64), of("2001:db8::", 65));
        let too_long = Err(PrefixTooLong { prefix: 255 });
        assert_eq!(ClientAddr::with_prefix(addr(full), 255), too_long);
        assert_eq!(ClientAddr::with_prefix(addr("192.0.2.7"), 255), too_long);
    }

    #[test]
    fn one_network_is_held_to_one_quota() {
        let clients: KeyedLimiter<ClientAddr, _, _> =
            KeyedLimiter::builder("30/min burst 2".parse().unwrap(), 100)
                .clock(ManualClock::new())
                .build()
                .unwrap();
        let take = |addr: IpAddr| clients.key(&addr.into()).try_acquire(1);
        let hosts = (0..10_000_u128)
            .map(|host| Ipv6Addr::from_bits(0x2001_0db8_0001_0002_u128 << 64 | host));
        assert_eq!(hosts.filter(|&host| take(host.into()).is_ok()).count(), 2);
        assert_eq!(take(addr("192.0.2.7")), Ok(()));
        assert_eq!(take(addr("::ffff:192.0.2.7")), Ok(()));
        assert!(matches!(
            take(addr("192.0.2.7")),
            Err(Denied::NotYet { .. })
        ));
    }

    proptest! {
        #[test]
        fn two_addresses_are_one_key_when_their_prefixes_agree(a: u128, flip in 0..128_u32, prefix in 0..=128_u8) {
            let key = |bits| ClientAddr::with_prefix(IpAddr::V6(Ipv6Addr::from_bits(bits)), prefix).unwrap();
            // Outside the mapped range, however the bit is flipped.
            let a = a | 1 << 126 | 1 << 125;
            let within = flip < u32::from(prefix);
            prop_assert_eq!(key(a) != key(a ^ 1 << (127 - flip)), within);
        }
    }
}
