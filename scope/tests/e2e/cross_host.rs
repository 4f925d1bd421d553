//! Who talks to whom across hosts, the same on every host.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::harness::api::{Api, MAP_BOUND, View, label, parent};
use crate::harness::dockerd::Dockerd;
use crate::harness::lab::lab;
use crate::harness::mesh::{MEET_BOUND, Mesh, common_graph};
use crate::harness::peer::Peer;
use crate::harness::process::Process;
use crate::harness::sockets::{self, Awaited};
use crate::harness::wait::{ensure, wait_for};

/// The host's first process: its network namespace is the host's.
const INIT: u64 = 1;

/// Containers, and the edges between them.
const CONTAINERS: [&str; 6] = ["db1", "db2", "client1", "client2", "published", "direct"];
const EDGES: [(&str, &str); 2] = [("client1", "published"), ("client2", "direct")];

/// Containers, processes and hosts that talk across hosts, on two with Docker, three without and one that only looks.
#[test]
fn five_hosts_show_the_same_graph_with_the_edges_that_cross_them() {
    let lab = lab!();
    let hosts: Vec<_> = ["alpha", "beta", "gamma", "delta", "epsilon"].map(|name| lab.host(name)).into();
    let [alpha, beta] = [&hosts[0], &hosts[1]].map(Dockerd::start);
    alpha.run("db1", &[], &["sleep", "100000"]);
    beta.run("db2", &[], &["sleep", "100000"]);
    let at_beta = hosts[1].address().to_string();
    beta.run_server("published", &["--publish", "8080:80"], 80);
    beta.run_server("direct", &["--network", "host"], 7001);
    alpha.run_client("client1", &[], &at_beta, 8080);
    alpha.run_client("client2", &[], &at_beta, 7001);
    let _server = Process::applet(&hosts[3], &["nc", "-ll", "-p", "7000", "-e", "cat"]);
    sockets::wait(hosts[3].namespaces(), INIT, Awaited::Listener(7000));
    let at_delta = hosts[3].address().to_string();
    let _client = Process::applet(&hosts[2], &["nc", &at_delta, "7000"]);
    sockets::wait(hosts[2].namespaces(), INIT, Awaited::ConnectionTo(7000));

    let mesh = Mesh::on(hosts, &[]);
    let zeta = lab.host("zeta");
    let watcher = Peer::launch(&zeta, &["--no-probe", &mesh.peers[0].api().address().to_string()]);
    mesh.wait_met(MEET_BOUND);
    let apis = [mesh.apis(), vec![watcher.api()]].concat();
    for api in &apis {
        api.wait_view("containers", |view| view.has_exactly(&CONTAINERS, &EDGES));
        api.wait_view("processes?unconnected=hide", |view| {
            let edges = edges_by_host(view);
            ensure(edges.contains(&edge(("gamma", "nc"), ("delta", "cat"))), || format!("edges {edges:?}"))
        });
        wait_host_edges(api);
    }
    for topology in
        ["hosts", "containers", "containers?stopped=both", "containers-by-image", "processes?unconnected=hide"]
    {
        let graph = wait_for("the same graph on all hosts", MAP_BOUND, || common_graph(&apis, topology));
        assert!(!graph.is_empty(), "{topology}");
    }
}

/// An edge, each end by host and label.
type Edge = ((String, String), (String, String));

fn edge(from: (&str, &str), to: (&str, &str)) -> Edge {
    let own = |(host, label): (&str, &str)| (host.to_owned(), label.to_owned());
    (own(from), own(to))
}

fn edges_by_host(view: &View) -> BTreeSet<Edge> {
    let name = |node: &Value| (parent(node, "hosts").unwrap_or_default().to_owned(), label(node).to_owned());
    let target = |id: &Value| view.nodes.get(id.as_str()?).map(name);
    let edges = view.nodes.values().flat_map(|node| {
        let targets = node["adjacency"].as_array().into_iter().flatten();
        targets.filter_map(target).map(|to| (name(node), to)).collect::<Vec<_>>()
    });
    edges.collect()
}

#[track_caller]
fn wait_host_edges(api: &Api) {
    api.wait_view("hosts", |view| {
        let edges = view.edges();
        let wanted = [("alpha", "beta"), ("gamma", "delta")];
        ensure(wanted.iter().all(|edge| edges.contains(edge)), || format!("edges {edges:?}"))
    });
}
