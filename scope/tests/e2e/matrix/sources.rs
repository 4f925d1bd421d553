//! Sources that fail, and come back.

use rustix::process::Signal;
use serde_json::Value;

use super::check::{container_edges, edge_between};
use super::mode::Mode;
use super::rows::visits;
use super::world::{World, run_server};
use crate::harness::api::{Api, MAP_BOUND};
use crate::harness::dockerd::Dockerd;
use crate::harness::lab::{OUTSIDE, lab};
use crate::harness::peer;
use crate::harness::process::Process;
use crate::harness::sockets::Awaited;
use crate::harness::wait::{ensure, wait_for};

/// What the kernel tells of its own types: the eBPF program is fitted to them.
const BTF: &str = "/sys/kernel/btf";

/// Datagrams, a flow each: more than a socket's buffer holds, fewer than the peer keeps.
const STORM_FLOWS: &str = "60000";

/// Weave Scope gave eBPF up after its second failure; here it is tried again.
#[test]
fn a_peer_without_btf_says_so_falls_back_and_takes_ebpf_up_once_it_can_313_315() {
    let lab = lab!();
    let world = World::with_docker(&lab, &["alpha"]);
    let (host, docker) = (&world.hosts[0], world.docker());
    run_server(docker, "server", &[], 80);
    let to = format!("{}:80", docker.address("server", "bridge", "IPAddress"));
    docker.run("client", &[], &visits(&to));
    host.run("mount", &["-t", "tmpfs", "tmpfs", BTF]);

    let peers = world.launch(Mode::Full);
    let api = peers[0].api();
    let source = api.wait_source("ebpf", &["off", "degraded"]);
    let reason = source["reason"].as_str().unwrap_or_default();
    assert!(reason.contains(BTF), "the reason names what is missing: {source}");
    let status = peer::run(host, "status", &[]);
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains(reason), "scope status says it too: {status}");
    wait_for("the edge without eBPF", MAP_BOUND, || {
        let edge = edge_between(&api, &world, "client", "server")?;
        ensure(!is_seen_by_ebpf(&edge), || edge.to_string())
    });

    host.run("umount", &[BTF]);
    api.wait_source("ebpf", &["ok"]);
    wait_for("the edge by eBPF", MAP_BOUND, || {
        let edge = edge_between(&api, &world, "client", "server")?;
        ensure(is_seen_by_ebpf(&edge), || edge.to_string())
    });
}

fn is_seen_by_ebpf(edge: &Value) -> bool {
    edge["seenBy"].as_array().is_some_and(|seen| seen.iter().any(|by| by == "eBPF"))
}

#[test]
fn an_overflow_of_connection_tracking_is_counted_and_repaired() {
    let lab = lab!();
    let world = World::with_docker(&lab, &["alpha"]);
    let (host, docker) = (&world.hosts[0], world.docker());
    docker.run("server", &[], &["traffic", "serve-udp", "53"]);
    docker.wait_socket("server", Awaited::Datagrams(53));
    ask(docker, "early");
    let mut peers = world.launch(Mode::Full);
    let api = peers[0].api();
    api.wait_source("conntrack", &["ok"]);
    wait_for("the edge of before", MAP_BOUND, || has_exactly(&api, &world, &["early"]));

    let peer = peers[0].process();
    peer.signal(Signal::STOP);
    let mut storm = Process::applet(host, &["traffic", "storm", &format!("{OUTSIDE}:9"), STORM_FLOWS]);
    assert!(storm.wait_exit(MAP_BOUND).success(), "the storm passed");
    // What it is told of this one is lost with the rest: only reading the whole table shows it.
    ask(docker, "late");
    peer.signal(Signal::CONT);

    wait_for("losses of connection tracking", MAP_BOUND, || {
        let source = api.source("conntrack")?;
        let is_said = source["state"] == "degraded" && source["reason"] != "";
        ensure(is_said && source["lost"].as_u64() > Some(0), || source.to_string())
    });
    wait_for("the right edges", MAP_BOUND, || has_exactly(&api, &world, &["early", "late"]));
}

/// A container that asks `server` by datagrams, from a socket that is not connected.
#[track_caller]
fn ask(docker: &Dockerd, name: &str) {
    let to = format!("{}:53", docker.address("server", "bridge", "IPAddress"));
    docker.run(name, &[], &["traffic", "ask", &to, "unconnected"]);
}

/// Whether the map has the edges of these clients to `server`, and no other.
fn has_exactly(api: &Api, world: &World, clients: &[&str]) -> Result<(), String> {
    let edges = container_edges(&api.view("containers?pseudo=show")?, world);
    let wanted = clients.iter().map(|client| ((*client).to_owned(), "server".to_owned())).collect();
    ensure(edges == wanted, || format!("{edges:?}"))
}
