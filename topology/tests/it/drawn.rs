//! Views draw the edges that relations tell of, and no others.

use std::collections::BTreeSet;

use proptest::prelude::*;
use topology::cluster::Writer;
use topology::fact::Container;
use topology::view::options::{Options, Stopped, image_name};
use topology::{Cluster, Kind, NodeId, Party, View};

use crate::fixture::{cluster, relations, write};
use crate::incremental::{event, happen};

/// An edge of a view.
type Drawn = (NodeId, NodeId);

/// The node that a party is in a view; `internet` is the one this end of an edge leads to.
fn node_of(kind: Kind, party: &Party, internet: NodeId) -> Option<NodeId> {
    match (kind, party) {
        (_, Party::Internet) => Some(internet),
        (_, Party::Service(service)) => Some(NodeId::Service(service.name.clone())),
        (_, Party::Unknown { network, prefix }) => Some(NodeId::Unknown(*network, *prefix)),
        (Kind::Hosts, inside) => inside.peer().cloned().map(NodeId::Host),
        (Kind::Processes, Party::Process { peer, process, .. }) => Some(NodeId::Process(peer.clone(), process.id.pid)),
        (Kind::ProcessesByName, Party::Process { process, .. }) => {
            Some(NodeId::ProcessName(process.name.as_str().into()))
        }
        (Kind::Processes | Kind::ProcessesByName, _) | (_, Party::Host(_)) => None,
        (_, Party::Process { peer, container: None, .. }) => Some(NodeId::Uncontained(peer.clone())),
        (_, inside) => inside.container().map(|container| node_of_container(kind, container)),
    }
}

fn node_of_container(kind: Kind, container: &Container) -> NodeId {
    match kind {
        Kind::ContainersByImage => NodeId::ImageName(image_name(&container.image).into()),
        Kind::ContainersByHostname => NodeId::Hostname(container.hostname.as_str().into()),
        _ => NodeId::Container(container.id.clone()),
    }
}

/// What relations come to in a view.
fn told(cluster: &Cluster, kind: Kind) -> BTreeSet<Drawn> {
    let edges = cluster.relations();
    let edges = edges.iter().filter_map(|relation| {
        let client = node_of(kind, &relation.client, NodeId::InternetIn)?;
        Some((client, node_of(kind, &relation.server, NodeId::InternetOut)?))
    });
    edges.collect()
}

fn drawn(view: &View) -> BTreeSet<Drawn> {
    let targets = |node: &std::sync::Arc<topology::Node>| {
        let source = node.id.clone();
        node.adjacency.clone().into_iter().map(move |target| (source.clone(), target))
    };
    view.nodes().flat_map(targets).collect()
}

/// Nodes of a view without containers that do not run, and without what is uncontained.
fn shown(cluster: &Cluster, kind: Kind) -> BTreeSet<NodeId> {
    let of_host = |entry: &topology::cluster::HostEntry| -> Vec<NodeId> {
        let containers = entry.graph.containers.values().filter(|container| container.state.is_running());
        containers.map(|container| node_of_container(kind, container)).collect()
    };
    match kind {
        Kind::Containers | Kind::ContainersByImage | Kind::ContainersByHostname => {
            cluster.hosts().flat_map(|(_, entry)| of_host(entry)).collect()
        }
        _ => View::of(cluster, kind, Options::default()).nodes().map(|node| node.id.clone()).collect(),
    }
}

/// Edges of a view that no relation tells of, and of relations that it does not draw; in words.
pub(crate) fn wrong(cluster: &Cluster) -> Vec<String> {
    let mut wrong = Vec::new();
    for kind in Kind::ALL {
        let (told, drawn) = (told(cluster, kind), drawn(&View::of(cluster, kind, Options::default())));
        let name = |(from, to): &Drawn| format!("{from} -> {to}");
        wrong.extend(told.difference(&drawn).map(|edge| format!("{kind:?}: {} is missing", name(edge))));
        wrong.extend(drawn.difference(&told).map(|edge| format!("{kind:?}: {} is told by nobody", name(edge))));
        let strict = Options { stopped: Stopped::Running, hide_uncontained: true, ..Options::default() };
        let filtered = self::drawn(&View::of(cluster, kind, strict));
        let shown = shown(cluster, kind);
        let is_shown = |id: &NodeId| id.is_outside() || shown.contains(id);
        let want: BTreeSet<Drawn> = told.into_iter().filter(|(from, to)| is_shown(from) && is_shown(to)).collect();
        let differing = want.symmetric_difference(&filtered);
        wrong.extend(differing.map(|edge| format!("{kind:?}, filtered: {} is amiss", name(edge))));
    }
    wrong
}

/// Lines of a host that connects to the other one and to itself in every way there is: ports lead to several containers,
/// processes serve without a listener, clients are masqueraded and not. `client` is all its clients.
fn lines(own: u8, other: u8, client: u32) -> Vec<String> {
    let addresses = [format!("10.0.0.{own}"), format!("10.0.0.{other}"), "172.17.0.1".into(), "172.17.0.3".into()];
    let unknown = ["10.0.0.9", "172.17.0.9", "203.0.113.9", "10.0.0.100"].map(str::to_owned);
    let remotes = || addresses.iter().chain(&unknown);
    let mut lines = Vec::new();
    for remote in remotes() {
        lines.push(format!("flow {client} -> {remote}:80"));
        lines.push(format!("flow {client} -> {remote}:8080 as 10.0.0.{own}"));
        lines.push(format!("flow 40:80 <- {remote}"));
        for server in [31, 32, 33] {
            lines.push(format!("flow {server}:80 <- {remote} via 10.0.0.{own}:8080"));
            lines.push(format!("flow {server}:8080 <- {remote} via 10.0.0.100:80"));
        }
    }
    lines.extend(["one", "two"].map(|name| format!("flow net:{name}:80 <- 10.0.0.{other} via 10.0.0.{own}:8080")));
    lines.extend([format!("flow {client} -> 127.0.0.1:80"), "flow 31:80 <- 127.0.0.1".into()]);
    lines
}

/// What runs on a host; which processes listen.
fn things(own: u8, listening: &[usize]) -> String {
    let listen = |number| if listening.contains(&number) { " listen 80" } else { "" };
    let processes = [(20, "curl", ""), (40, "sshd", ""), (30, "wget", " in one"), (31, "nginx", " in one")];
    let processes = processes.into_iter().chain([(32, "worker", " in two"), (33, "worker", " in two")]);
    let processes = (0..).zip(processes).map(|(at, (pid, name, place))| {
        let listen = listen(at);
        format!("process {pid} {name}{place}{listen}\n")
    });
    let processes: String = processes.collect();
    let publish = if listening.contains(&6) { " publish=8080:80" } else { "" };
    format!(
        "host {own} 10.0.0.{own}/24 172.17.0.1/16
        container one 172.17.0.2 image=wget init=30
        container two 172.17.0.3{publish} image=worker init=32
        {processes}"
    )
}

/// Two hosts that tell some of these lines each.
fn two_hosts() -> impl Strategy<Value = String> {
    let host = |own: u8, other: u8| {
        let listening = prop::sample::subsequence((0..7).collect::<Vec<usize>>(), 0..=7);
        // Of two clients that look alike to several servers it is not known whose of whom.
        let both = move |(one, two)| [lines(own, other, one), lines(own, other, two)].concat();
        let clients = (prop::sample::select(vec![20, 30, 32]), prop::sample::select(vec![20, 30, 32]));
        let lines = clients.prop_flat_map(move |clients| prop::sample::subsequence(both(clients), 1..14));
        (listening, lines)
            .prop_map(move |(listening, lines)| format!("{}{}", things(own, &listening), lines.join("\n")))
    };
    (host(1, 2), host(2, 1)).prop_map(|(a, b)| format!("{a}\n{b}"))
}

#[test]
fn what_cannot_be_told_apart_is_not_drawn() {
    let balanced = "host 1 10.0.0.1/24
        process 20 curl
        process 21 wget
        flow 20 -> 10.0.0.2:8090
        flow 21 -> TARGET:8090
        host 2 10.0.0.2/24 172.18.0.1/16
        container one 172.18.0.3 init=31
        container two 172.18.0.4 init=32
        container three 172.18.0.5 init=33
        process 31 oned in one
        process 32 twod in two
        process 33 threed in three listen 8090
        flow 31:80 <- 10.0.0.1 via 10.0.0.2:8090
        flow 32:80 <- 10.0.0.1 via 10.0.0.2:8090
        flow 33:8090 <- 10.0.0.1";
    let cases = [
        // Another service on that port, which nobody translates to.
        ("172.18.0.5", "curl -> oned, curl -> twod, wget -> threed"),
        // Each may have reached one of them alone.
        ("10.0.0.2", ""),
    ];
    for (target, want) in cases {
        let cluster = cluster(&balanced.replace("TARGET", target));
        assert_eq!(wrong(&cluster), Vec::<String>::new(), "{target}\n{}", relations(&cluster));
        let drawn = drawn(&View::of(&cluster, Kind::ProcessesByName, Options::default()));
        let drawn: Vec<String> = drawn.iter().map(|(from, to)| format!("{from} -> {to}")).collect();
        assert_eq!(drawn.join(", "), want, "{target}\n{}", relations(&cluster));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn views_draw_what_is_balanced_and_masqueraded_as_relations_tell(text in two_hosts()) {
        let cluster = cluster(&text);
        prop_assert_eq!(wrong(&cluster), Vec::<String>::new(), "{}\n{}", text, relations(&cluster));
        // One host first, and the other's facts when edges were drawn already.
        let (a, b) = text.split_at(text.find("\nhost 2").expect("two hosts"));
        for halves in [[a, b], [b, a]] {
            let mut writer = Writer::default();
            for half in halves {
                write(&mut writer, half);
                drop(writer.cluster());
            }
            prop_assert_eq!(wrong(&writer.cluster()), Vec::<String>::new(), "{}", text);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn views_draw_the_edges_that_relations_tell(events in prop::collection::vec(event(), 1..20)) {
        let mut writer = Writer::default();
        events.iter().for_each(|event| happen(&mut writer, event));
        let cluster = writer.cluster();
        prop_assert_eq!(wrong(&cluster), Vec::<String>::new());
    }
}
