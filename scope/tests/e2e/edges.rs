//! Who talks to whom, by every road a connection can take on one host.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::harness::api::{MAP_BOUND, View, label, parent};
use crate::harness::chain;
use crate::harness::dockerd::Dockerd;
use crate::harness::host::Host;
use crate::harness::image::TRAFFIC;
use crate::harness::lab::lab;
use crate::harness::peer::Peer;
use crate::harness::process::Process;
use crate::harness::sockets::{self, Awaited};
use crate::harness::wait::{ensure, holds_for, wait_for};

/// The processes that have connections.
const CONNECTED: &str = "processes?unconnected=hide";

/// The peer's own process.
const PEER: &str = "scope";

/// The host's first process: its network namespace is the host's.
const INIT: u64 = 1;

#[test]
fn a_chain_of_containers_has_exactly_its_three_edges() {
    let lab = lab!();
    let host = lab.host("alpha");
    let docker = Dockerd::start(&host);
    chain::start(&docker);
    let peer = Peer::launch(&host, &[]);

    let view = peer.api().wait_view("containers", |view| view.has_exactly(&chain::NAMES, &chain::EDGES));
    assert_eq!(view.labels(), chain::NAMES.into(), "and nothing else is on the map");
    let processes = peer.api().wait_view(CONNECTED, |view| {
        let edges = edges_by_container(view);
        let wanted = chain::EDGES.map(|(from, to)| (from.to_owned(), to.to_owned()));
        ensure(edges == wanted.into(), || format!("processes' edges by container: {edges:?}"))
    });
    let names = processes.labels();
    assert!(names.is_subset(&["cat", "nc", PEER].into()), "only the chain is connected: {names:?}");
}

#[test]
fn a_container_started_after_launch_gets_its_edges() {
    let lab = lab!();
    let host = lab.host("alpha");
    let docker = Dockerd::start(&host);
    let peer = Peer::launch(&host, &[]);
    chain::start(&docker);
    peer.api().wait_view("containers", |view| view.has_exactly(&chain::NAMES, &chain::EDGES));
    docker.run_client("late", &["--network", "shop"], "api", 9000);
    peer.api().wait_view("containers", |view| {
        let edges = [&chain::EDGES[..], &[("late", "api")]].concat();
        view.has_exactly(&[&chain::NAMES[..], &["late"]].concat(), &edges)
    });
}

#[test]
fn containers_of_one_network_namespace_are_told_apart_on_loopback() {
    let lab = lab!();
    let host = lab.host("alpha");
    let docker = Dockerd::start(&host);
    docker.run_server("server", &[], 80);
    docker.run_client("client", &["--network", "container:server"], "127.0.0.1", 80);
    let peer = Peer::launch(&host, &[]);
    expect_edge(&peer, "client", "server");
}

#[test]
fn a_connection_over_the_default_bridge_is_an_edge() {
    let lab = lab!();
    let host = lab.host("alpha");
    let docker = Dockerd::start(&host);
    docker.run_server("server", &[], 80);
    let address = docker.address("server", "bridge", "IPAddress");
    docker.run_client("client", &[], &address, 80);
    let peer = Peer::launch(&host, &[]);
    expect_edge(&peer, "client", "server");
}

#[test]
fn a_connection_over_ipv6_is_an_edge() {
    let lab = lab!();
    let host = lab.host("alpha");
    let docker = Dockerd::start(&host);
    docker.docker(&["network", "create", "--ipv6", "--subnet", "fd00:6::/64", "six"]);
    docker.run_server("server", &["--network", "six"], 80);
    let address = docker.address("server", "six", "GlobalIPv6Address");
    docker.run_client("client", &["--network", "six"], &address, 80);
    let peer = Peer::launch(&host, &[]);
    expect_edge(&peer, "client", "server");
}

#[test]
fn a_connection_between_processes_of_the_host_is_an_edge() {
    let lab = lab!();
    let host = lab.host("alpha");
    let _server = Process::applet(&host, &["nc", "-ll", "-p", "7000", "-e", "cat"]);
    sockets::wait(host.namespaces(), INIT, Awaited::Listener(7000));
    let _client = connect_process(&host, "127.0.0.1", 7000);
    let peer = Peer::launch(&host, &["--no-docker"]);
    peer.api().wait_view(CONNECTED, |view| {
        let edges = edges_of_others(view);
        ensure(edges == [("nc", "cat")].into(), || format!("edges {edges:?}"))
    });
}

#[test]
fn a_container_of_the_hosts_network_is_a_party_by_its_own_name() {
    let lab = lab!();
    let host = lab.host("alpha");
    let docker = Dockerd::start(&host);
    docker.run_server("server", &["--network", "host"], 7001);
    docker.run_client("client", &[], &host.address().to_string(), 7001);
    let peer = Peer::launch(&host, &[]);
    expect_edge(&peer, "client", "server");
}

#[test]
fn a_published_port_used_on_the_host_leads_to_the_container_not_to_dockers_proxy() {
    let lab = lab!();
    let host = lab.host("alpha");
    let docker = Dockerd::start(&host);
    docker.run_server("server", &["--publish", "8080:80"], 80);
    let _client = connect_process(&host, "127.0.0.1", 8080);
    docker.wait_socket("server", Awaited::ConnectionAt(80));
    let peer = Peer::launch(&host, &[]);

    let processes = peer.api().wait_view(CONNECTED, |view| {
        let edges = edges_by_container(view);
        let wanted = ("nc".to_owned(), "server".to_owned());
        ensure(edges == [wanted].into(), || format!("processes' edges by container: {edges:?}"))
    });
    assert!(processes.find("docker-proxy").is_err(), "the proxy is no party");
    peer.api().wait_view("containers?pseudo=show", |view| {
        let edges = view.edges();
        ensure(edges.contains(&("Uncontained", "server")), || format!("edges {edges:?}"))
    });
}

#[test]
fn a_published_port_used_from_the_internet_leads_to_the_container() {
    let lab = lab!();
    let host = lab.host("alpha");
    let docker = Dockerd::start(&host);
    docker.run_server("server", &["--publish", "8080:80"], 80);
    // A machine with a public address one hop away, as a router would show it.
    let stranger = lab.host("stranger");
    stranger.run("ip", &["address", "add", "203.0.113.9/32", "dev", "lo"]);
    let target = host.address().to_string();
    stranger.run("ip", &["route", "add", &target, "dev", "eth0", "src", "203.0.113.9"]);
    let back = stranger.address().to_string();
    host.run("ip", &["route", "add", "203.0.113.0/24", "via", &back]);
    let _client = connect_process(&stranger, &target, 8080);
    docker.wait_socket("server", Awaited::ConnectionAt(80));
    let peer = Peer::launch(&host, &[]);

    peer.api().wait_view("containers", |view| {
        let edges = edges_of_others(view);
        ensure(edges == [("The Internet", "server")].into(), || format!("edges {edges:?}"))
    });
}

#[test]
fn what_goes_over_an_edge_is_told_each_way() {
    const PUSHED: f64 = 300_000.0;
    let lab = lab!();
    let host = lab.host("alpha");
    let docker = Dockerd::start(&host);
    docker.run("server", &[], &[TRAFFIC, "serve", "80"]);
    docker.wait_socket("server", Awaited::Listener(80));
    let target = format!("{}:80", docker.address("server", "bridge", "IPAddress"));
    docker.run("client", &[], &[TRAFFIC, "push", &target, &PUSHED.to_string()]);
    // Where connections come and go, a namespace is looked at between two readings of what the one that stays has carried.
    let beside = ["--network", "container:client"];
    docker.run("beside", &beside, &[TRAFFIC, "connect", &target, "3", "600", "100000"]);
    let peer = Peer::launch(&host, &[]);
    let api = peer.api();

    let wanted = [("client", "server"), ("beside", "server")];
    let view = api.wait_view("containers", |view| view.has_exactly(&["client", "beside", "server"], &wanted));
    let id = |name: &str| view.find(name).expect("it was there")["id"].as_str().expect("an id").to_owned();
    let look = || api.edge("containers", &id("client"), &id("server"));
    let is_right = || {
        let edge = look()?;
        let sent = edge["sent"].as_f64().unwrap_or_default();
        ensure((sent - PUSHED).abs() < PUSHED * 0.15, || format!("sent is not about {PUSHED}: {edge}"))
    };
    wait_for("the bytes of the edge", MAP_BOUND, is_right);
    holds_for("the bytes of the edge", Duration::from_secs(20), is_right);
    let edge = look().expect("it was there");
    assert!(edge["received"].as_f64().is_some_and(|received| received < PUSHED / 1000.0), "nothing comes back: {edge}");
    assert_eq!((&edge["open"], &edge["confirmed"]), (&1.into(), &true.into()), "{edge}");
}

#[test]
fn a_file_of_services_names_what_is_outside() {
    let lab = lab!();
    let host = lab.host("alpha");
    let docker = Dockerd::start(&host);
    let stranger = lab.host("stranger");
    for address in ["203.0.113.9/32", "198.51.100.9/32"] {
        stranger.run("ip", &["address", "add", address, "dev", "lo"]);
        host.run("ip", &["route", "add", address, "via", &stranger.address().to_string()]);
    }
    let _server = Process::applet(&stranger, &["nc", "-ll", "-p", "7000", "-e", "cat"]);
    sockets::wait(stranger.namespaces(), INIT, Awaited::Listener(7000));
    docker.run_client("clerk", &[], "203.0.113.9", 7000);
    docker.run_client("guest", &[], "198.51.100.9", 7000);
    let file = "/run/services.toml";
    let rules = "[[service]]\ncidr = \"203.0.113.0/24\"\nname = \"Bank\"\nicon = \"payment\"\ngroup = \"Money\"\n";
    std::fs::write(host.namespaces().path(file), rules).expect("the host's own /run");
    let peer = Peer::launch(&host, &["--services", file]);

    let view = peer.api().wait_view("containers", |view| {
        let edges = edges_of_others(view);
        let wanted = [("clerk", "Bank"), ("guest", "The Internet")];
        ensure(edges == wanted.into(), || format!("edges {edges:?}"))
    });
    let bank = view.find("Bank").expect("it has an edge");
    assert_eq!((&bank["icon"], &bank["labelMinor"]), (&"payment".into(), &"Money".into()), "{bank}");
}

/// Waits until the only edge between the two containers is the wanted one.
#[track_caller]
fn expect_edge(peer: &Peer, from: &str, to: &str) {
    peer.api().wait_view("containers", |view| view.has_exactly(&[from, to], &[(from, to)]));
}

/// The edges but those of the peer itself, which the test talks to from an address that no host has.
fn edges_of_others(view: &View) -> BTreeSet<(&str, &str)> {
    let mut edges = view.edges();
    edges.retain(|(from, to)| *from != PEER && *to != PEER && (*from, *to) != ("Unknown hosts", "Uncontained"));
    edges
}

/// The edges of a view of processes, each end by the name of its container.
fn edges_by_container(view: &View) -> BTreeSet<(String, String)> {
    let name = |node: &Value| parent(node, "containers").unwrap_or_else(|| label(node)).to_owned();
    let target = |id: &Value| view.nodes.get(id.as_str()?).map(name);
    view.nodes
        .values()
        .flat_map(|node| {
            let targets = node["adjacency"].as_array().into_iter().flatten();
            targets.filter_map(target).map(|to| (name(node), to)).collect::<Vec<_>>()
        })
        .filter(|(from, to)| from != PEER && to != PEER)
        .collect()
}

/// A process on the host that is connected to `port` of `address`.
#[track_caller]
fn connect_process(host: &Host, address: &str, port: u16) -> Process {
    let client = Process::applet(host, &["nc", address, &port.to_string()]);
    sockets::wait(host.namespaces(), INIT, Awaited::ConnectionTo(port));
    client
}
