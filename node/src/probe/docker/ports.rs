//! Ports of a container, as a daemon writes them: `"80/tcp": [{HostIp, HostPort}]` when inspected, rows when listed.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bollard::models::{PortBinding, PortMap, PortSummary, PortSummaryTypeEnum};
use topology::fact::{Port, Protocol};

/// Most ports of one container. Media servers publish ranges of thousands; the first of them tell enough.
const PORTS_MAX: usize = 512;

/// Ports of an inspected container, sorted: what it publishes, and what it or its image exposes besides.
pub(super) fn of_inspected(map: Option<&PortMap>, exposed: &[String]) -> Vec<Port> {
    let mut ports = BTreeSet::new();
    for (name, bindings) in map.into_iter().flatten() {
        let Some((container_port, protocol)) = parse(name) else { continue };
        let published = bindings.iter().flatten().filter_map(address);
        ports.extend(published.map(|address| Port { container_port, protocol, published: Some(address) }));
    }
    let named = exposed.iter().chain(map.into_iter().flat_map(|map| map.keys()));
    add_exposed(&mut ports, named.filter_map(|name| parse(name)));
    bounded(ports)
}

/// Ports of a listed container, sorted.
pub(super) fn of_listed(rows: &[PortSummary]) -> Vec<Port> {
    let mut ports = BTreeSet::new();
    let row_port = |row: &PortSummary| Some((row.private_port, protocol_of(row.typ)?));
    for row in rows {
        let Some((container_port, protocol)) = row_port(row) else { continue };
        let Some(port) = row.public_port.filter(|port| *port > 0) else { continue };
        let address = SocketAddr::new(host_address(row.ip.as_deref()), port);
        ports.insert(Port { container_port, protocol, published: Some(address) });
    }
    add_exposed(&mut ports, rows.iter().filter_map(row_port));
    bounded(ports)
}

/// Adds those that are not published anyhow.
fn add_exposed(ports: &mut BTreeSet<Port>, exposed: impl Iterator<Item = (u16, Protocol)>) {
    let published: BTreeSet<_> = ports.iter().map(|port| (port.container_port, port.protocol)).collect();
    let only_exposed = exposed.filter(|port| !published.contains(port));
    ports.extend(only_exposed.map(|(container_port, protocol)| Port { container_port, protocol, published: None }));
}

fn bounded(ports: BTreeSet<Port>) -> Vec<Port> {
    ports.into_iter().take(PORTS_MAX).collect()
}

/// `80/tcp`; without a protocol it is TCP.
fn parse(name: &str) -> Option<(u16, Protocol)> {
    let (port, protocol) = name.split_once('/').unwrap_or((name, "tcp"));
    let protocols = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
    Some((port.parse().ok()?, protocols.into_iter().find(|known| known.as_str() == protocol)?))
}

fn protocol_of(protocol: Option<PortSummaryTypeEnum>) -> Option<Protocol> {
    match protocol? {
        PortSummaryTypeEnum::TCP => Some(Protocol::Tcp),
        PortSummaryTypeEnum::UDP => Some(Protocol::Udp),
        PortSummaryTypeEnum::SCTP => Some(Protocol::Sctp),
        PortSummaryTypeEnum::EMPTY => None,
    }
}

/// Where a binding is published; `None` while no port has been chosen for it.
fn address(binding: &PortBinding) -> Option<SocketAddr> {
    let port = binding.host_port.as_deref()?.parse().ok().filter(|port| *port > 0)?;
    Some(SocketAddr::new(host_address(binding.host_ip.as_deref()), port))
}

/// No address means every one.
fn host_address(text: Option<&str>) -> IpAddr {
    text.and_then(|text| text.parse().ok()).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(ports: &[Port]) -> Vec<String> {
        let published = |port: &Port| port.published.map_or_else(String::new, |address| format!("{address}->"));
        let show = |port: &Port| format!("{}{}/{}", published(port), port.container_port, port.protocol.as_str());
        ports.iter().map(show).collect()
    }

    #[test]
    fn a_port_is_published_once_for_each_binding_or_else_exposed() {
        let cases: [(&str, &[&str], &[&str]); 8] = [
            (r#"{"80/tcp":null}"#, &[], &["80/tcp"]),
            (r#"{"80/tcp":[]}"#, &["80/tcp"], &["80/tcp"]),
            (r#"{}"#, &["9/udp", "8/sctp"], &["8/sctp", "9/udp"]),
            (
                r#"{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"},{"HostIp":"::","HostPort":"8080"}]}"#,
                &["80/tcp"],
                &["0.0.0.0:8080->80/tcp", "[::]:8080->80/tcp"],
            ),
            (r#"{"80/tcp":[{"HostIp":"","HostPort":"81"}]}"#, &["80/udp"], &["0.0.0.0:81->80/tcp", "80/udp"]),
            (r#"{"80/tcp":[{"HostIp":"127.0.0.1","HostPort":""}]}"#, &[], &["80/tcp"]),
            (r#"{"80/tcp":[{"HostPort":"70000"}],"x/tcp":null,"1/icmp":null}"#, &["1-2/tcp"], &["80/tcp"]),
            (r#"{"53":[{"HostIp":"fd00::1","HostPort":"53"}]}"#, &[], &["[fd00::1]:53->53/tcp"]),
        ];
        for (map, exposed, want) in cases {
            let exposed: Vec<String> = exposed.iter().map(|port| (*port).to_owned()).collect();
            let map: PortMap = serde_json::from_str(map).expect("a port map");
            assert_eq!(show(&of_inspected(Some(&map), &exposed)), want, "{map:?}");
        }
    }

    #[test]
    fn listed_ports_read_the_same() {
        let cases: [(&str, &[&str]); 3] = [
            (r#"[{"PrivatePort":53,"Type":"udp"}]"#, &["53/udp"]),
            (
                r#"[{"IP":"0.0.0.0","PrivatePort":80,"PublicPort":8080,"Type":"tcp"},{"IP":"::","PrivatePort":80,"PublicPort":8080,"Type":"tcp"}]"#,
                &["0.0.0.0:8080->80/tcp", "[::]:8080->80/tcp"],
            ),
            (r#"[{"PrivatePort":80,"PublicPort":0,"Type":"tcp"},{"PrivatePort":1,"Type":""}]"#, &["80/tcp"]),
        ];
        for (rows, want) in cases {
            let rows: Vec<PortSummary> = serde_json::from_str(rows).expect("rows");
            assert_eq!(show(&of_listed(&rows)), want, "{rows:?}");
        }
    }

    #[test]
    fn a_range_of_ports_is_bounded() {
        let exposed: Vec<String> = (1..=60_000).map(|port| format!("{port}/udp")).collect();
        assert_eq!(of_inspected(None, &exposed).len(), PORTS_MAX);
    }
}
