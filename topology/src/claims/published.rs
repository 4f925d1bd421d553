//! Ports of a host that lead into containers, by three witnesses: Docker, the command line of a `docker-proxy`, and
//! connections that arrived and name the address they were meant for.

use std::net::{IpAddr, SocketAddr};

use super::Party;
use crate::fact::{Container, Flow, Process, Protocol};
use crate::id::Netns;

/// A port of a host that leads to a container, as Docker or its proxy says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Published {
    pub(super) address: IpAddr,
    pub(super) container: IpAddr,
    pub(super) container_port: u16,
}

impl Published {
    /// Whether a connection to `to` takes this way; an unspecified address stands for every one of its family.
    pub(super) fn fits(&self, to: IpAddr) -> bool {
        self.address == to || (self.address.is_unspecified() && self.address.is_ipv4() == to.is_ipv4())
    }
}

/// Where a port of a host leads.
pub(super) type Publication = ((Protocol, u16), Published);

/// What Docker says of a container.
pub(super) fn of_container(container: &Container) -> impl Iterator<Item = Publication> {
    let first = container.networks.values().flatten().next().copied();
    container.ports.iter().filter_map(move |port| {
        let (published, container) = (port.published?, first?);
        let to = Published { address: published.ip(), container, container_port: port.container_port };
        Some(((port.protocol, published.port()), to))
    })
}

/// What the arguments of a `docker-proxy` say: `-proto tcp -host-ip 0.0.0.0 -host-port 8080 -container-ip 172.17.0.2
/// -container-port 80`. `None` if one is missing or not understood.
pub(super) fn of_proxy(process: &Process) -> Option<Publication> {
    let words = || process.command_line.split_ascii_whitespace();
    let after = |name: &str| words().skip_while(move |word| *word != name).nth(1);
    let protocol = match after("-proto")? {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => return None,
    };
    let port = |name| after(name)?.parse::<u16>().ok();
    let address = |name| after(name)?.parse::<IpAddr>().ok();
    let (address, container) = (address("-host-ip")?, address("-container-ip")?);
    let to = Published { address, container, container_port: port("-container-port")? };
    Some(((protocol, port("-host-port")?), to))
}

/// A port of a host that leads into a namespace, as one who came that way tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Translation {
    pub(super) address: IpAddr,
    /// Who came.
    pub(super) remote: IpAddr,
    pub(super) netns: Netns,
    pub(super) port: u16,
    /// Whose the namespace is.
    pub(super) tenant: Option<Party>,
}

impl Translation {
    pub(super) fn of(flow: &Flow, via: SocketAddr, tenant: Option<Party>) -> Self {
        let [address, remote] = [via.ip(), flow.key.remote].map(|address| address.to_canonical());
        Self { address, remote, netns: flow.netns, port: flow.key.port, tenant }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ProcessId;

    #[test]
    fn a_proxy_says_where_its_port_leads() {
        let v4 = "/usr/bin/docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 8080 -container-ip 172.17.0.2 -container-port 80";
        let v6 = "docker-proxy -proto udp -host-ip :: -host-port 53 -container-ip fd00::2 -container-port 5353 -use-listen-fd";
        let cases = [
            (v4, Some((Protocol::Tcp, 8080, "0.0.0.0", "172.17.0.2", 80))),
            (v6, Some((Protocol::Udp, 53, "::", "fd00::2", 5353))),
            (&v4[..v4.len() - 3], None),
            ("docker-proxy -proto tcp -host-ip nowhere -host-port 1 -container-ip 172.17.0.2 -container-port 80", None),
            ("docker-proxy -proto ip -host-ip :: -host-port 1 -container-ip 172.17.0.2 -container-port 80", None),
            ("", None),
        ];
        for (command_line, want) in cases {
            let mut process = Process::new(ProcessId { pid: 1, start: 1 });
            process.command_line = command_line.into();
            let want = want.map(|(protocol, port, address, container, container_port)| {
                let [address, container] = [address, container].map(|text| text.parse().expect("an address"));
                ((protocol, port), Published { address, container, container_port })
            });
            assert_eq!(of_proxy(&process), want, "{command_line}");
        }
    }
}
