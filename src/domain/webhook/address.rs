//! Which addresses the world outside may be reached at. Everything else is this machine, the network around it, or nobody:
//! whoever can name a URL must not be able to look around there.
//!
//! Source: the IANA special-purpose address registries for IPv4 (RFC 6890) and IPv6, as of 2026. Refused is what they do not
//! call globally reachable, and what only wraps another address, since the wrapped one would not be looked at.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

use ipnet::IpNet;
use ipnet::Ipv4Net;
use ipnet::Ipv6Net;

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(segments: [u16; 4], prefix: u8) -> Ipv6Net {
    let [a, b, c, d] = segments;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0), prefix)
}

const REFUSED_V4: [(Ipv4Net, &str); 15] = [
    (v4(0, 0, 0, 0, 8), "this network"),
    (v4(10, 0, 0, 0, 8), "private"),
    (v4(100, 64, 0, 0, 10), "shared behind a carrier's NAT"),
    (v4(127, 0, 0, 0, 8), "loopback"),
    (v4(169, 254, 0, 0, 16), "link-local"),
    (v4(172, 16, 0, 0, 12), "private"),
    (v4(192, 0, 0, 0, 24), "protocol assignments"),
    (v4(192, 0, 2, 0, 24), "documentation"),
    (v4(192, 88, 99, 0, 24), "6to4 relay"),
    (v4(192, 168, 0, 0, 16), "private"),
    (v4(198, 18, 0, 0, 15), "benchmarking"),
    (v4(198, 51, 100, 0, 24), "documentation"),
    (v4(203, 0, 113, 0, 24), "documentation"),
    (v4(224, 0, 0, 0, 4), "multicast"),
    (v4(240, 0, 0, 0, 4), "reserved"),
];

/// What of IPv6 is given out to anybody: all else is special, reserved, or not assigned.
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0, 0], 3);
/// A gateway turns these into the IPv4 address in their last 32 bits (RFC 6052).
const NAT64: Ipv6Net = v6([0x0064, 0xff9b, 0, 0], 96);

const REFUSED_V6: [(Ipv6Net, &str); 4] = [
    (v6([0x2001, 0, 0, 0], 23), "protocol assignments, Teredo among them"),
    (v6([0x2001, 0x0db8, 0, 0], 32), "documentation"),
    (v6([0x2002, 0, 0, 0], 16), "6to4"),
    (v6([0x3fff, 0, 0, 0], 20), "documentation"),
];

/// Why an address may not be contacted; `None` if it may. What is in `allowed` may, whatever it is: an operator says so for
/// the whole server, never a consumer.
pub fn refused(address: IpAddr, allowed: &[IpNet]) -> Option<&'static str> {
    if allowed.iter().any(|net| net.contains(&address)) {
        return None;
    }
    match address {
        IpAddr::V4(address) => refused_v4(address),
        IpAddr::V6(address) if NAT64.contains(&address) => {
            let [.., a, b, c, d] = address.octets();
            refused_v4(Ipv4Addr::new(a, b, c, d))
        }
        IpAddr::V6(address) if !GLOBAL_V6.contains(&address) => Some("not globally reachable"),
        IpAddr::V6(address) => REFUSED_V6.iter().find(|(net, _)| net.contains(&address)).map(|(_, why)| *why),
    }
}

fn refused_v4(address: Ipv4Addr) -> Option<&'static str> {
    REFUSED_V4.iter().find(|(net, _)| net.contains(&address)).map(|(_, why)| *why)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_refused(address: &str) -> bool {
        refused(address.parse().expect("an address"), &[]).is_some()
    }

    #[test]
    fn what_is_not_reached_from_everywhere_is_refused() {
        let refused = [
            // first and last of each
            "0.0.0.0",
            "0.255.255.255",
            "10.0.0.0",
            "10.255.255.255",
            "100.64.0.0",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.0.0",
            "169.254.169.254",
            "169.254.255.255",
            "172.16.0.0",
            "172.31.255.255",
            "192.0.0.0",
            "192.0.0.255",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.0",
            "192.168.255.255",
            "198.18.0.0",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            // IPv6: unspecified, loopback, IPv4-compatible, IPv4-mapped, SIIT, NAT64 of a private address and its local form,
            // discard, Teredo, benchmarking, ORCHID, documentation, 6to4, segment routing, unique local, link-local,
            // site-local, multicast
            "::",
            "::1",
            "::127.0.0.1",
            "::8.8.8.8",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::ffff:0:127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::8.8.8.8",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:10::1",
            "2001:1ff:ffff::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "2002:808:808::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ];
        for address in refused {
            assert!(is_refused(address), "{address}");
        }
    }

    #[test]
    fn what_is_beside_them_is_not() {
        let reached = [
            "1.0.0.0",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.0.3.0",
            "192.88.98.255",
            "192.88.100.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "198.51.99.255",
            "198.51.101.0",
            "203.0.112.255",
            "203.0.114.0",
            "223.255.255.255",
            "8.8.8.8",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2606:4700::1111",
            "2003::1",
            "2a00::1",
            "3ffe::1",
            "64:ff9b::8.8.8.8",
        ];
        for address in reached {
            assert!(!is_refused(address), "{address}");
        }
    }

    #[test]
    fn an_operator_can_allow_a_network() {
        let allowed: Vec<IpNet> = ["127.0.0.0/8", "fd00::/8"].map(|net| net.parse().expect("a network")).into();
        let is_refused = |address: &str| refused(address.parse().expect("an address"), &allowed).is_some();
        assert!(!is_refused("127.0.0.1") && !is_refused("fd12::1"));
        assert!(is_refused("10.0.0.1") && is_refused("::1") && is_refused("::ffff:127.0.0.1"));
    }

    proptest! {
        /// However an IPv4 address is wrapped in an IPv6 one, it is not reached more easily than by itself.
        #[test]
        fn wrapping_helps_nobody(bits in any::<u32>()) {
            let address = Ipv4Addr::from_bits(bits);
            let [a, b, c, d] = address.octets();
            let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            let wrapped = [
                Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
                address.to_ipv6_mapped(),
                Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
            ];
            for wrapped in wrapped {
                if refused(IpAddr::V4(address), &[]).is_some() {
                    prop_assert!(refused(IpAddr::V6(wrapped), &[]).is_some(), "{}", wrapped);
                }
            }
        }
    }
}
