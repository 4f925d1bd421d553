//! Clusters written as text, and views drawn as text.
//!
//! ```text
//! host a 10.0.0.1/24                       facts below are host a's
//! container web 172.17.0.2 image=nginx:1.27 publish=8080:80 state=exited
//! process 20 nginx in web listen 80        listens on every address of its namespace
//! process 30 curl                          on the host
//! flow 30 -> 172.17.0.2:80                 outgoing
//! flow 20:80 <- 172.17.0.1                 incoming
//! flow net:web -> 172.17.0.9:80            by nobody known, in a namespace
//! flow 30 -> 172.17.0.2:80 via 10.0.0.1:8080 as 172.17.0.1      translated: what it named, what it looks like
//! process 40 dns at inner listen udp/53    in a namespace that is no container's; so is `20:53/udp` of a flow
//! process 50 docker-proxy args -proto,tcp  commas are blanks
//! namespace web 172.17.0.2/16              addresses of a container's namespace, or of another
//! name 203.0.113.9 a.example.com,b.example.com reverse=c.example.com
//! service .example.com Example             a suffix, or a network, and its name
//! ```
//!
//! Flow number n of a host has 10·n connections open.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use topology::cluster::Writer;
use topology::fact::{
    Container, ContainerState, Direction, Fact, Flow, FlowKey, Host, Listener, ListenerKey, Namespace, Network, Owner,
    Port, Process, Protocol, RemoteName,
};
use topology::gauges::{FlowGauges, Gauges};
use topology::graph::Change;
use topology::resolve::Relation;
use topology::services::{Pattern, Rule};
use topology::summary::Summary;
use topology::{Cluster, ContainerId, Kind, Netns, Options, Party, PeerId, ProcessId, Timestamp, View};

/// When everything is looked at.
pub(crate) const NOW: Timestamp = Timestamp(1_800_000_000_000);

const ROOT: Netns = Netns(1);

struct Scribe {
    peer: PeerId,
    changes: Vec<Change>,
    netns: BTreeMap<String, Netns>,
    processes: BTreeMap<u32, Process>,
    rules: Vec<Rule>,
    serial: u32,
}

/// The cluster a text tells of.
pub(crate) fn cluster(text: &str) -> Cluster {
    let mut writer = Writer::default();
    write(&mut writer, text);
    writer.cluster()
}

/// Puts the facts of a text into a cluster.
pub(crate) fn write(writer: &mut Writer, text: &str) {
    let mut scribe: Option<Scribe> = None;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words[0] == "host" {
            flush(writer, scribe.take());
            scribe = Some(Scribe::new(&words[1..]));
        } else {
            let scribe = scribe.as_mut().expect("a host comes first");
            match words[0] {
                "container" => scribe.container(&words[1..]),
                "process" => scribe.process(&words[1..]),
                "flow" => scribe.flow(&words[1..]),
                "namespace" => scribe.namespace(&words[1..]),
                "name" => scribe.name(&words[1..]),
                "service" => scribe.service(&words[1..]),
                other => panic!("no {other} in {line:?}"),
            }
        }
    }
    flush(writer, scribe);
}

fn flush(writer: &mut Writer, scribe: Option<Scribe>) {
    if let Some(scribe) = scribe {
        let serials: Vec<u32> = (1..=scribe.serial).collect();
        let open = serials.iter().map(|serial| 10 * serial).collect();
        let gauges = Gauges::Flows(FlowGauges { at: NOW, serials, open, ..FlowGauges::default() });
        let rules = Fact::Services(scribe.rules);
        writer.apply(&scribe.peer, scribe.changes.into_iter().chain([rules, Fact::Gauges(gauges)].map(Change::put)));
    }
}

/// The id of the container of that name on that host.
pub(crate) fn container_id(host: &str, name: &str) -> ContainerId {
    let hex: String = format!("{host}/{name}").bytes().map(|byte| format!("{byte:02x}")).collect();
    ContainerId::new(&format!("{hex:0<64}")).expect("hexadecimal digits")
}

/// The peer on the host of that name.
pub(crate) fn peer(host: &str) -> PeerId {
    PeerId::new(&format!("peer-{host}")).expect("printable")
}

fn network(text: &str) -> Network {
    let (text, interface) = text.split_once('@').unwrap_or((text, "eth0"));
    let (ip, prefix) = text.split_once('/').expect("address/prefix");
    Network { interface: interface.into(), address: address(ip), prefix: prefix.parse().expect("bits") }
}

/// Without a `/udp` or a `udp/`.
fn protocol(text: &str) -> (Protocol, &str) {
    let udp = text.strip_suffix("/udp").or_else(|| text.strip_prefix("udp/"));
    udp.map_or((Protocol::Tcp, text), |rest| (Protocol::Udp, rest))
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| panic!("no address: {text}"))
}

impl Scribe {
    fn new(words: &[&str]) -> Self {
        let host = Host {
            name: words[0].into(),
            netns: Some(ROOT),
            memory_bytes: 1 << 30,
            booted_at: Timestamp(NOW.0 - 3_600_000),
            networks: words[1..].iter().map(|text| network(text)).collect(),
            ..Host::default()
        };
        Self {
            peer: peer(words[0]),
            changes: vec![Change::put(Fact::Host(host))],
            netns: BTreeMap::from([("host".to_owned(), ROOT)]),
            processes: BTreeMap::new(),
            rules: Vec::new(),
            serial: 0,
        }
    }

    fn host(&self) -> &str {
        self.peer.as_str().trim_start_matches("peer-")
    }

    fn container(&mut self, words: &[&str]) {
        let name = words[0];
        let mut container = Container::new(container_id(self.host(), name));
        container.name = name.into();
        container.hostname = name.into();
        container.image = "busybox:1.36".into();
        container.network_mode = "bridge".into();
        let netns = Netns(100 + self.netns.len() as u64);
        self.netns.insert(name.into(), netns);
        for word in &words[1..] {
            match word.split_once('=') {
                None => container.networks.entry("bridge".into()).or_default().push(address(word)),
                Some(("image", image)) => container.image = image.into(),
                Some(("hostname", name)) => container.hostname = name.into(),
                Some(("init", pid)) => container.init_pid = Some(pid.parse().expect("a pid")),
                Some(("label", label)) => drop(container.labels.insert(label.into(), "system".into())),
                Some(("state", "exited")) => container.state = ContainerState::Exited(1),
                Some(("state", "paused")) => container.state = ContainerState::Paused,
                Some(("publish", ports)) => container.ports.push(published(ports)),
                Some(("network", "host")) => {
                    container.network_mode = "host".into();
                    self.netns.insert(name.into(), ROOT);
                }
                Some(("network", other)) => {
                    container.network_mode = format!("container:{other}");
                    self.netns.insert(name.into(), self.netns[other]);
                }
                Some(other) => panic!("no {other:?}"),
            }
        }
        self.changes.push(Change::put(Fact::Container(container)));
    }

    fn process(&mut self, words: &[&str]) {
        let pid: u32 = words[0].parse().expect("a pid");
        let mut process = Process::new(ProcessId { pid, start: u64::from(pid) });
        process.name = words[1].into();
        process.netns = Some(ROOT);
        let mut rest = words[2..].iter();
        while let Some(word) = rest.next() {
            let value = rest.next().expect("a word after each");
            match *word {
                "in" => {
                    process.container = Some(container_id(self.host(), value));
                    process.netns = Some(self.netns[*value]);
                }
                "at" => process.netns = Some(self.namespace_of(value)),
                "args" => process.command_line = value.replace(',', " "),
                "listen" => self.listener(process.netns.expect("set above"), process.id, value),
                other => panic!("no {other}"),
            }
        }
        self.processes.insert(pid, process.clone());
        self.changes.push(Change::put(Fact::Process(process)));
    }

    fn listener(&mut self, netns: Netns, owner: ProcessId, at: &str) {
        let (protocol, at) = protocol(at);
        let at = at.parse().unwrap_or_else(|_| SocketAddr::from((Ipv4Addr::UNSPECIFIED, at.parse().expect("a port"))));
        let key = ListenerKey { netns, protocol, address: at.ip(), port: at.port() };
        self.changes.push(Change::put(Fact::Listener(Listener { key, v6_only: false, owners: vec![owner] })));
    }

    fn flow(&mut self, words: &[&str]) {
        let (protocol, direction, owner, remote, port) = match words {
            [owner, "->", to, ..] => {
                let (protocol, to) = protocol(to);
                let to: SocketAddr = to.parse().unwrap_or_else(|_| panic!("address:port: {to}"));
                (protocol, Direction::Outgoing, *owner, to.ip(), to.port())
            }
            [owner, "<-", from, ..] => {
                let (protocol, owner) = protocol(owner);
                let (owner, port) = owner.rsplit_once(':').expect("owner:port");
                (protocol, Direction::Incoming, owner, address(from), port.parse().expect("a port"))
            }
            other => panic!("no flow: {other:?}"),
        };
        let (owner, netns) = match owner.strip_prefix("net:") {
            Some(name) => (Owner::Netns(self.netns[name]), self.netns[name]),
            None => {
                let process = &self.processes[&owner.parse().expect("a pid")];
                (Owner::Process(process.id), process.netns.expect("every process here has one"))
            }
        };
        self.serial += 1;
        let key = FlowKey { owner, direction, protocol, remote, port };
        let mut flow = Flow::new(key, self.serial, netns, NOW);
        for pair in words[3..].chunks(2) {
            match *pair {
                ["via", named] => flow.via = Some(named.parse().expect("address:port")),
                ["as", seen] => flow.masquerade = Some(address(seen)),
                ref other => panic!("no {other:?}"),
            }
        }
        self.changes.push(Change::put(Fact::Flow(flow)));
    }

    /// The namespace of that name, a new one if there is none.
    fn namespace_of(&mut self, name: &str) -> Netns {
        let next = Netns(100 + self.netns.len() as u64);
        *self.netns.entry(name.into()).or_insert(next)
    }

    fn namespace(&mut self, words: &[&str]) {
        let netns = self.namespace_of(words[0]);
        let networks = words[1..].iter().map(|text| network(text)).collect();
        self.changes.push(Change::put(Fact::Namespace(Namespace { netns, networks })));
    }

    fn name(&mut self, words: &[&str]) {
        let reverse = words.iter().find_map(|word| word.strip_prefix("reverse=")).map(str::to_owned);
        let asked = words[1..].iter().filter(|word| !word.contains('='));
        let names = asked.flat_map(|names| names.split(',')).map(str::to_owned).collect();
        self.changes.push(Change::put(Fact::RemoteName(RemoteName { address: address(words[0]), names, reverse })));
    }

    fn service(&mut self, words: &[&str]) {
        let pattern = match words[0].split_once('/') {
            Some((net, prefix)) => Pattern::Net { address: address(net), prefix: prefix.parse().expect("bits") },
            None => Pattern::Suffix(words[0].trim_start_matches('.').into()),
        };
        let name = words.get(1).map(|&name| name.to_owned());
        self.rules.push(Rule { pattern, name, icon: None, group: None });
    }
}

/// `[ADDRESS:]HOST_PORT:CONTAINER_PORT`.
fn published(ports: &str) -> Port {
    let (outside, inside) = ports.rsplit_once(':').expect("host port:container port");
    let outside =
        outside.parse().unwrap_or_else(|_| SocketAddr::from((Ipv4Addr::UNSPECIFIED, outside.parse().expect("a port"))));
    Port { container_port: inside.parse().expect("a port"), protocol: Protocol::Tcp, published: Some(outside) }
}

/// A view with a query's options, a line a node: `label (minor) shape -> label, label`.
pub(crate) fn draw(cluster: &Cluster, kind: Kind, query: &str) -> String {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let query = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let view = View::of(cluster, kind, Options::from_query(kind, &query));
    let summaries: BTreeMap<_, _> =
        view.nodes().map(|node| (node.id.clone(), Summary::of(node, cluster, NOW))).collect();
    let mut lines: Vec<String> = summaries.values().map(|summary| line(summary, &summaries)).collect();
    lines.sort();
    lines.join("\n")
}

fn line(summary: &Summary, all: &BTreeMap<topology::NodeId, Summary>) -> String {
    let name = |summary: &Summary| match summary.label_minor.as_str() {
        "" => summary.label.clone(),
        minor => format!("{} ({minor})", summary.label),
    };
    let stack = if summary.stack { "s" } else { "" };
    let targets: Vec<String> = summary.adjacency.iter().map(|id| name(&all[id])).collect();
    let arrow = if targets.is_empty() { String::new() } else { format!(" -> {}", targets.join(", ")) };
    format!("{} {}{stack}{arrow}", name(summary), summary.shape)
}

/// All relations, a line each: `client/process@host -> process@host tcp 80 at ADDRESS [client's flows|server's|of several]`,
/// a flow being its host and number; `confirmed` if both ends tell.
pub(crate) fn relations(cluster: &Cluster) -> String {
    let lines: Vec<String> = cluster.relations().iter().map(relation).collect();
    lines.join("\n")
}

fn relation(relation: &Relation) -> String {
    let Relation { client, server, protocol, port, remote, .. } = relation;
    let [client, server] = [client, server].map(party);
    let together = [&*relation.together_by_client, &*relation.together_by_server].concat();
    let told = [&relation.told_by_client, &relation.told_by_server, &together].map(|told| {
        let names =
            told.iter().map(|told| format!("{}{}", told.peer.as_str().trim_start_matches("peer-"), told.serial));
        names.collect::<Vec<_>>().join(" ")
    });
    let confirmed = if relation.is_confirmed() { " confirmed" } else { "" };
    format!("{client} -> {server} {} {port} at {remote} [{}]{confirmed}", protocol.as_str(), told.join("|"))
}

fn party(party: &Party) -> String {
    let host = |peer: &PeerId| peer.as_str().trim_start_matches("peer-").to_owned();
    match party {
        Party::Process { peer, process, container } => {
            let container = container.iter().map(|it| format!("{}/", it.name)).collect::<String>();
            format!("{container}{}@{}", process.name, host(peer))
        }
        Party::Container { peer, container } => format!("{}@{}", container.name, host(peer)),
        Party::Host(peer) => format!("@{}", host(peer)),
        Party::Service(service) => format!("service {}", service.name),
        Party::Unknown { network, prefix } => format!("unknown {network}/{prefix}"),
        Party::Internet => "Internet".into(),
    }
}
