//! Remote addresses that are not of this host: those whose names others know.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

use topology::fact::Network;

/// What was of this host when flows were first seen to lead there.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    /// Among the remote addresses of the last call: no more than there are flows.
    ours: BTreeSet<IpAddr>,
}

impl Strangers {
    /// Those of `remotes` that no namespace with these `networks` has. One that was ours stays so for as long as it is a
    /// remote address: the container that had it is mostly gone before the flows that led to it. The rest of a network of a
    /// runtime's is ours too, that of any other is not: in the LAN, others have names.
    pub(super) fn among<'a>(
        &mut self,
        remotes: BTreeSet<IpAddr>,
        networks: impl Iterator<Item = &'a Network> + Clone,
    ) -> BTreeSet<IpAddr> {
        let own: HashSet<IpAddr> = networks.clone().map(|network| network.address.to_canonical()).collect();
        let bridges: Vec<&Network> = networks.filter(|network| network.is_runtimes()).collect();
        let is_ours = |address: &IpAddr| {
            own.contains(address)
                || self.ours.contains(address)
                || bridges.iter().any(|bridge| bridge.contains(*address))
        };
        let (ours, strangers) = remotes.into_iter().partition(is_ours);
        self.ours = ours;
        strangers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(text: &str) -> BTreeSet<IpAddr> {
        text.split_whitespace().map(|address| address.parse().expect("an address")).collect()
    }

    fn network(text: &str) -> Network {
        let (interface, rest) = text.split_once(' ').expect("an interface");
        let (address, prefix) = rest.split_once('/').expect("a prefix");
        Network {
            interface: interface.to_owned(),
            address: address.parse().expect("an address"),
            prefix: prefix.parse().expect("a number"),
        }
    }

    #[test]
    fn what_is_of_this_host_is_no_stranger() {
        let cases: [(&[&str], &str, &str); 8] = [
            // networks, remotes, then strangers
            (&[], "172.17.0.2 192.0.2.1", "172.17.0.2 192.0.2.1"),
            (&["eth0 192.168.1.5/24"], "192.168.1.5 192.168.1.6", "192.168.1.6"),
            (&["eth0 10.0.0.1/24", "eth0 172.20.0.2/16"], "172.20.0.2 172.20.0.3 10.0.0.1", "172.20.0.3"),
            (&["docker0 172.17.0.1/16"], "172.17.0.1 172.17.255.9 172.18.0.1", "172.18.0.1"),
            (&["br-0123456789ab 172.18.0.1/16"], "172.18.0.7 172.19.0.7", "172.19.0.7"),
            (&["br-lan 192.168.1.1/24"], "192.168.1.1 192.168.1.6", "192.168.1.6"),
            (&["docker0 fd00:1::1/64"], "fd00:1::2 fd00:2::2 172.17.0.2", "fd00:2::2 172.17.0.2"),
            (&["docker0 0.0.0.0/0"], "192.0.2.1 2001:db8::1", "2001:db8::1"),
        ];
        for (networks, remotes, want) in cases {
            let networks: Vec<Network> = networks.iter().map(|text| network(text)).collect();
            let got = Strangers::default().among(addresses(remotes), networks.iter());
            assert_eq!(got, addresses(want), "{remotes} on {networks:?}");
        }
    }

    #[test]
    fn what_was_ours_is_so_until_no_flow_leads_there() {
        let (mut strangers, container) = (Strangers::default(), network("eth0 172.20.0.2/16"));
        let mut among = |remotes: &str, networks: &[Network]| strangers.among(addresses(remotes), networks.iter());
        let both = "172.20.0.2 192.0.2.1";
        assert_eq!(among(both, std::slice::from_ref(&container)), addresses("192.0.2.1"));
        assert_eq!(among(both, &[]), addresses("192.0.2.1"), "its container has gone");
        assert_eq!(among("192.0.2.1", &[]), addresses("192.0.2.1"));
        assert_eq!(among(both, &[]), addresses(both), "whoever has it now");
    }
}
