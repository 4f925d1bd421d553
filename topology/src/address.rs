//! Addresses: networks, and what an address nobody owns is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network: its first address and the length of its prefix in bits.
pub(crate) type Net = (IpAddr, u8);

/// The network `address` is in.
pub(crate) fn network(address: IpAddr, prefix: u8) -> Net {
    match address {
        IpAddr::V4(v4) => {
            let prefix = prefix.min(32);
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            (IpAddr::from((v4.to_bits() & mask).to_be_bytes()), prefix)
        }
        IpAddr::V6(v6) => {
            let prefix = prefix.min(128);
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            (IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask)), prefix)
        }
    }
}

/// Whether `net` has `address`.
pub(crate) fn contains(net: Net, address: IpAddr) -> bool {
    net.0.is_ipv4() == address.is_ipv4() && network(address, net.1) == net
}

/// Whether `address` may be that of one machine in `net`: not the network's own, nor that of all in it.
pub(crate) fn is_of_one(net: Net, address: IpAddr) -> bool {
    let IpAddr::V4(v4) = address else { return address != net.0 || net.1 >= 127 };
    let last = u32::MAX.checked_shr(u32::from(net.1)).unwrap_or(0);
    let rest = v4.to_bits() & last;
    net.1 >= 31 || (rest != 0 && rest != last)
}

/// Blocks of addresses that anybody may give to their own: private, a carrier's, unique local (RFC 1918, 6598, 4193).
const PRIVATE: [Net; 5] = [
    (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)), 8),
    (IpAddr::V4(Ipv4Addr::new(172, 16, 0, 0)), 12),
    (IpAddr::V4(Ipv4Addr::new(192, 168, 0, 0)), 16),
    (IpAddr::V4(Ipv4Addr::new(100, 64, 0, 0)), 10),
    (IpAddr::V6(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0)), 7),
];

/// The block of private addresses that an address is in.
pub(crate) fn private_block(address: IpAddr) -> Option<Net> {
    PRIVATE.into_iter().find(|block| contains(*block, address))
}

/// Whether an address is of those anybody may give to their own.
pub(crate) fn is_private(address: IpAddr) -> bool {
    private_block(address).is_some()
}

/// Whether an address can only be of this link: nobody beyond it is meant.
pub(crate) fn is_link_scoped(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast() || v4.is_multicast() || v4.is_unspecified(),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_multicast() || v6.is_unspecified(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_network_neither_the_first_address_nor_the_one_of_all_is_a_machines() {
        let cases = [
            ("10.0.0.0", 24, false),
            ("10.0.0.1", 24, true),
            ("10.0.0.254", 24, true),
            ("10.0.0.255", 24, false),
            ("10.0.0.255", 16, true),
            ("10.0.0.0", 31, true),
            ("10.0.0.1", 31, true),
            ("10.0.0.7", 32, true),
            ("0.0.0.1", 0, true),
            ("fd00:1::", 64, false),
            ("fd00:1::ffff", 64, true),
            ("fd00:1::", 127, true),
        ];
        for (address, prefix, want) in cases {
            let address: IpAddr = address.parse().expect("an address");
            assert_eq!(is_of_one(network(address, prefix), address), want, "{address}/{prefix}");
        }
    }

    #[test]
    fn a_network_has_the_addresses_of_its_prefix() {
        let cases = [
            ("172.17.0.1", 16, "172.17.255.254", true),
            ("172.17.0.1", 16, "172.18.0.1", false),
            ("10.0.0.7", 32, "10.0.0.7", true),
            ("10.0.0.7", 0, "203.0.113.9", true),
            ("fd00:1::1", 64, "fd00:1::ff", true),
            ("fd00:1::1", 64, "fd00:2::1", false),
            ("fd00:1::1", 0, "2001:db8::1", true),
            ("10.0.0.7", 0, "2001:db8::1", false),
        ];
        for (of, prefix, address, want) in cases {
            let [of, address] = [of, address].map(|text| text.parse::<IpAddr>().expect("an address"));
            assert_eq!(contains(network(of, prefix), address), want, "{address} in {of}/{prefix}");
        }
    }
}
