//! Addresses of the host's interfaces, with the networks they are in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::SockaddrStorage;
use topology::fact::Network;

/// Networks kept, in their order. A host with many bridges has some dozens.
const NETWORKS_MAX: usize = 512;

/// Reads the addresses of our own network namespace, sorted. Left out: loopback, and IPv6 link-local ones, which no host
/// on another link can mean.
///
/// # Errors
/// The operating system's, if it tells no interfaces.
pub(in crate::probe) fn read() -> std::io::Result<Vec<Network>> {
    Ok(read_all()?.into_iter().filter(|network| !is_v6_link_local(network.address)).take(NETWORKS_MAX).collect())
}

fn is_v6_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// The same with IPv6 link-local ones: by these containers of one bridge reach each other.
///
/// # Errors
/// As [`read`].
pub(in crate::probe) fn read_all() -> std::io::Result<Vec<Network>> {
    let mut networks: Vec<Network> = getifaddrs()?
        .filter(|interface| !interface.flags.contains(InterfaceFlags::IFF_LOOPBACK))
        .filter_map(|interface| {
            let address = ip(interface.address.as_ref()?)?;
            let prefix = prefix(ip(interface.netmask.as_ref()?)?);
            is_worth_telling(address).then_some(Network { interface: interface.interface_name, address, prefix })
        })
        .collect();
    networks.sort_unstable();
    networks.dedup();
    networks.truncate(2 * NETWORKS_MAX);
    Ok(networks)
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| Some(IpAddr::V6(address.as_sockaddr_in6()?.ip())))
}

/// Length of a netmask, in bits.
fn prefix(netmask: IpAddr) -> u8 {
    let ones = match netmask {
        IpAddr::V4(mask) => mask.to_bits().leading_ones(),
        IpAddr::V6(mask) => mask.to_bits().leading_ones(),
    };
    u8::try_from(ones).unwrap_or(128)
}

fn is_worth_telling(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4 != Ipv4Addr::UNSPECIFIED,
        IpAddr::V6(v6) => v6 != Ipv6Addr::UNSPECIFIED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_netmask_is_its_leading_ones() {
        let cases = [
            ("255.255.255.0", 24),
            ("255.255.0.0", 16),
            ("0.0.0.0", 0),
            ("255.255.255.255", 32),
            ("ffff:ffff::", 32),
            ("::", 0),
        ];
        for (mask, want) in cases {
            assert_eq!(prefix(mask.parse().expect("an address")), want, "{mask}");
        }
    }

    #[test]
    fn link_local_addresses_are_a_namespaces_but_not_the_hosts() {
        let cases = [
            ("fe80::1", true, false),
            ("::", false, false),
            ("0.0.0.0", false, false),
            ("169.254.1.1", true, true),
            ("10.0.0.1", true, true),
            ("fd00::1", true, true),
        ];
        for (text, of_namespace, of_host) in cases {
            let address = text.parse().expect("an address");
            assert_eq!(is_worth_telling(address), of_namespace, "{text}");
            assert_eq!(is_worth_telling(address) && !is_v6_link_local(address), of_host, "{text}");
        }
    }

    #[test]
    fn our_own_networks_are_sorted_and_without_loopback() {
        let networks = read().expect("interfaces");
        assert!(networks.is_sorted() && networks.iter().all(|network| !network.address.is_loopback()), "{networks:?}");
    }
}
