//! Whom a request came from: the peer, or, behind proxies that are trusted, whom those name. Pure.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;

/// How many hops of `X-Forwarded-For` are looked at.
const HOPS: usize = 32;

/// Networks whose word about an address is believed; none, unless told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies(Vec<Network>);

/// A network: an address, and how many of its first bits are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    bits: u32,
}

impl Proxies {
    /// Networks such as `10.0.0.0/8` or `2001:db8::/32`, separated by commas; a single address is one as well.
    ///
    /// # Errors
    /// The first that is no network.
    pub fn parse(text: &str) -> Result<Self, String> {
        text.split(',')
            .map(str::trim)
            .map(|one| network(one).ok_or_else(|| one.to_owned()))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether an address is a trusted proxy's.
    #[must_use]
    pub fn trust(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.holds(address))
    }

    /// The client: of the addresses that a request came through, the peer being the last, the last that is not trusted.
    /// What stands before it may be anybody's invention. Where a proxy named nobody, it is the client itself.
    pub(super) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer;
        let lines: Vec<&str> =
            headers.get_all("x-forwarded-for").iter().filter_map(|line| line.to_str().ok()).collect();
        let mut hops = lines.iter().rev().flat_map(|line| line.rsplit(',')).map(hop).take(HOPS);
        while self.trust(client) {
            match hops.next() {
                Some(Some(before)) => client = before,
                Some(None) | None => break,
            }
        }
        client
    }
}

impl Network {
    fn holds(&self, address: IpAddr) -> bool {
        let (ours, theirs, width): (u128, u128, u32) = match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => (ours.to_bits().into(), theirs.to_bits().into(), 32),
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => (ours.to_bits(), theirs.to_bits(), 128),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
        };
        (ours ^ theirs).checked_shr(width - self.bits).unwrap_or(0) == 0
    }
}

fn network(text: &str) -> Option<Network> {
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let address: IpAddr = address.parse().ok()?;
    let width = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.map_or(Some(width), |bits| bits.parse().ok())?;
    (bits <= width).then_some(Network { address, bits })
}

/// An address as proxies write it: bare, in brackets, or with a port.
fn hop(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse().map(|address: SocketAddr| address.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Who the client is, for a peer and the lines of `X-Forwarded-For`.
    fn check(trusted: &str, peer: &str, lines: &[&str], client: &str) {
        let proxies = if trusted.is_empty() { Proxies::default() } else { Proxies::parse(trusted).unwrap() };
        let headers = lines.iter().map(|line| ("x-forwarded-for".parse().unwrap(), line.parse().unwrap())).collect();
        assert_eq!(proxies.client(ip(peer), &headers), ip(client), "{trusted} {peer} {lines:?}");
    }

    #[test]
    fn o05_a_forwarded_address_is_believed_of_trusted_proxies_only() {
        check("", "10.0.0.1", &["192.0.2.1"], "10.0.0.1");
        check("10.0.0.0/8", "192.0.2.9", &["192.0.2.1"], "192.0.2.9");
        check("10.0.0.0/8", "10.0.0.1", &["192.0.2.1"], "192.0.2.1");
        check("10.0.0.0/8", "10.0.0.1", &[], "10.0.0.1");
        check("10.0.0.0/8", "10.0.0.1", &["203.0.113.7, 192.0.2.1"], "192.0.2.1");
        check("10.0.0.0/8", "10.0.0.1", &["203.0.113.7, 192.0.2.1, 10.0.0.2"], "192.0.2.1");
        check("10.0.0.0/8", "10.0.0.1", &["203.0.113.7", "192.0.2.1", "10.0.0.2 , 10.9.9.9"], "192.0.2.1");
        check("10.0.0.0/8", "10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3");
        check("10.0.0.0/8", "10.0.0.1", &["192.0.2.1, unknown"], "10.0.0.1");
        check("10.0.0.0/8", "::ffff:10.0.0.1", &["192.0.2.1:4711"], "192.0.2.1");
        check("2001:db8::/32", "2001:db8::1", &["[2001:dead::2]:80"], "2001:dead::2");
        check("2001:db8::/32", "2001:db8::1", &["[2001:dead::2]"], "2001:dead::2");
        check("10.0.0.0/8", "10.0.0.1", &[&["10.0.0.2"; 100].join(",")], "10.0.0.2");
    }

    proptest! {
        #[test]
        fn o13_whatever_a_proxy_names_there_is_a_client(lines in vec(vec(any::<u8>(), 0..60), 0..4)) {
            let proxies = Proxies::parse("10.0.0.0/8").unwrap();
            let values = lines.iter().filter_map(|line| HeaderValue::from_bytes(line).ok());
            let headers = values.map(|value| (HeaderName::from_static("x-forwarded-for"), value)).collect();
            prop_assert_eq!(proxies.client(ip("192.0.2.9"), &headers), ip("192.0.2.9"));
            let client = proxies.client(ip("10.0.0.1"), &headers);
            prop_assert!(client == ip("10.0.0.1") || headers.values().any(|value| !value.is_empty()));
        }
    }

    #[test]
    fn o05_networks_are_read_with_their_bits() {
        let proxies = Proxies::parse("10.1.0.0/16, 192.0.2.7,2001:db8::/33 ,0.0.0.0/32").unwrap();
        for (address, trusted) in [
            ("10.1.255.255", true),
            ("10.2.0.0", false),
            ("192.0.2.7", true),
            ("192.0.2.6", false),
            ("2001:db8:7fff::1", true),
            ("2001:db8:8000::1", false),
            ("0.0.0.1", false),
        ] {
            assert_eq!(proxies.trust(ip(address)), trusted, "{address}");
        }
        assert!(Proxies::parse("0.0.0.0/0").unwrap().trust(ip("203.0.113.1")));
        for wrong in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "localhost", "10.0.0.0/", "10.0.0.0/8,", "/8"] {
            assert!(Proxies::parse(wrong).is_err(), "{wrong}");
        }
    }
}
