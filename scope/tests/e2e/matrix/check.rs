//! Runs a row: its world once, peers anew in every mode, and what they show held against what is expected.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::mode::{Mode, SWITCHES};
use super::row::{Edge, Expect, Row};
use super::world::World;
use crate::harness::api::{Api, MAP_BOUND, View, label, parent};
use crate::harness::lab::Lab;
use crate::harness::peer::Peer;
use crate::harness::wait::{ensure, holds_for, wait_for};

/// The peers' own process.
const PEER: &str = "scope";

/// All containers, and what is in none.
const CONTAINERS: &str = "containers?pseudo=show&system=all";
/// The processes that have connections.
const PROCESSES: &str = "processes?unconnected=hide";

/// How long the edges take to be right: one that ended stays for 45 s, and who was handed a connection is found within 30.
const EDGES_BOUND: Duration = Duration::from_secs(100);

/// For how long the map must stay right once it is: sockets are read once a second.
const SETTLED: Duration = Duration::from_millis(1500);

/// Edges by the names of their ends, as in [`Edge`].
pub(super) type Edges = BTreeSet<(String, String)>;

/// What a mode is to show of a row.
struct Wanted {
    containers: Edges,
    /// Must be there, and may be there.
    processes: (Edges, Edges),
}

/// Looks at a row in every mode.
#[track_caller]
pub(super) fn check(lab: &Lab, row: &Row) {
    let mut world = (row.world)(lab);
    for mode in Mode::ALL {
        let peers = world.launch(mode);
        (row.once_launched)(&mut world);
        let apis: Vec<Api> = peers.iter().map(Peer::api).collect();
        for api in &apis {
            check_sources(api, &world, mode);
        }
        let wanted = Wanted::of(row, mode);
        for api in &apis {
            let what = format!("{mode:?}: the edges at {}", api.address());
            wait_for(&what, EDGES_BOUND, || wanted.is_shown(api, &world));
        }
        check_ends(&apis[0], row, &world, mode);
        holds_for(&format!("{mode:?}: the edges"), SETTLED, || {
            apis.iter().try_for_each(|api| wanted.is_shown(api, &world))
        });
    }
}

impl Wanted {
    fn of(row: &Row, mode: Mode) -> Self {
        let owned = |edges: &mut dyn Iterator<Item = &Edge>| -> Edges {
            edges.map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect()
        };
        let processes = row.cases.iter().map(|case| case.processes(mode));
        Self {
            containers: owned(
                &mut row.cases.iter().flat_map(|case| case.seen(mode)).filter(|(from, to)| !is_to_peer(from, to)),
            ),
            processes: (
                owned(&mut processes.clone().flat_map(|(must, _)| must)),
                owned(&mut processes.flat_map(|(_, may)| may)),
            ),
        }
    }

    fn is_shown(&self, api: &Api, world: &World) -> Result<(), String> {
        let shown = container_edges(&api.view(CONTAINERS)?, world);
        let wanted = &self.containers;
        ensure(shown == *wanted, || {
            let told = shown.difference(wanted).next().map(|(from, to)| edge_between(api, world, from, to));
            format!("containers: {shown:?} instead of {wanted:?}; of what is false it says {told:?}")
        })?;
        let shown = process_edges(&api.view(PROCESSES)?, world);
        let (must, may) = &self.processes;
        let is_right = must.is_subset(&shown) && shown.difference(must).all(|edge| may.contains(edge));
        ensure(is_right, || format!("processes: {shown:?} instead of {must:?}, perhaps {may:?}"))
    }
}

/// The map says which sources it lacks, and that it lacks no other.
#[track_caller]
fn check_sources(api: &Api, world: &World, mode: Mode) {
    for host in &world.hosts {
        let host = host.namespaces().name();
        for (source, flag) in SWITCHES {
            wait_for(&format!("{mode:?}: {source} of {host} at {}", api.address()), MAP_BOUND, || {
                let told = api.source_of(host, source)?;
                let is_told = if mode.flags().contains(&flag) {
                    let reason = told["reason"].as_str().unwrap_or_default();
                    told["state"] == "off" && told["mode"] == "disabled" && reason.contains(flag)
                } else {
                    told["state"] == "ok"
                };
                ensure(is_told, || told.to_string())
            });
        }
    }
}

/// Each edge says whether both its ends told of it.
#[track_caller]
fn check_ends(api: &Api, row: &Row, world: &World, mode: Mode) {
    for case in row.cases {
        let confirmed = match case.expect(mode) {
            Expect::Confirmed => true,
            Expect::OneSided { .. } => false,
            Expect::Unseen { .. } => continue,
        };
        for (from, to) in case.edges {
            wait_for(&format!("{mode:?}: {from} → {to}, confirmed: {confirmed}"), MAP_BOUND, || {
                let edge = edge_between(api, world, from, to)?;
                ensure(edge["confirmed"] == confirmed, || edge.to_string())
            });
        }
    }
}

/// What `/api/edge` says of an edge of the view of containers.
pub(super) fn edge_between(api: &Api, world: &World, from: &str, to: &str) -> Result<Value, String> {
    let view = api.view(CONTAINERS)?;
    let ends: BTreeMap<String, &String> =
        view.nodes.iter().map(|(id, node)| (container_name(id, node, world), id)).collect();
    // The Internet is two nodes: who comes, and who is gone to.
    let id = |name: &str, internet: &str| match name {
        INTERNET => Ok(internet.to_owned()),
        _ => ends.get(name).map(|id| (*id).clone()).ok_or_else(|| format!("no node {name}")),
    };
    api.edge("containers", &id(from, "in-theinternet")?, &id(to, "out-theinternet")?)
}

pub(super) const INTERNET: &str = "The Internet";

/// Machines without a peer in the hosts' own network; the tests look from there too.
const UNKNOWN: &str = "Unknown hosts";

/// The edges of a view of containers, but those to the peers themselves.
pub(super) fn container_edges(view: &View, world: &World) -> Edges {
    let name = |id: &str| view.nodes.get(id).map_or_else(|| id.to_owned(), |node| container_name(id, node, world));
    let mut edges = edges(view, name);
    edges.retain(|(from, to)| !is_to_peer(from, to));
    edges
}

/// The edges of a view of processes, but those of the peers.
fn process_edges(view: &View, world: &World) -> Edges {
    let name = |id: &str| match view.nodes.get(id) {
        None => id.to_owned(),
        Some(node) if node["pseudo"] == true => label(node).to_owned(),
        Some(node) => {
            let container = parent(node, "containers").map(|container| alias(container, world));
            let place = container.or(parent(node, "hosts")).unwrap_or_default();
            format!("{place}/{}", label(node))
        }
    };
    let is_peer = |end: &str| end.rsplit_once('/').is_some_and(|(_, name)| name == PEER);
    let mut edges = edges(view, name);
    edges.retain(|(from, to)| !is_peer(from) && !is_peer(to));
    edges
}

fn edges(view: &View, name: impl Fn(&str) -> String) -> Edges {
    let of_node = |(id, node): (&String, &Value)| {
        let from = name(id);
        let targets = node["adjacency"].as_array().into_iter().flatten().filter_map(Value::as_str);
        targets.map(|to| (from.clone(), name(to))).collect::<Vec<_>>()
    };
    view.nodes.iter().flat_map(of_node).collect()
}

fn container_name(id: &str, node: &Value, world: &World) -> String {
    if id.starts_with("pseudo:uncontained:") {
        format!("{}/uncontained", node["labelMinor"].as_str().unwrap_or_default())
    } else {
        alias(label(node), world).to_owned()
    }
}

fn alias<'n>(label: &'n str, world: &'n World) -> &'n str {
    world.names.get(label).copied().unwrap_or(label)
}

/// Between processes of two hosts, or from the tests' own address: in this view connections of the mesh and of those who look
/// at it are like any other's. The view of processes, which tells them apart, is checked for these.
fn is_to_peer(from: &str, to: &str) -> bool {
    let uncontained = |end: &str| end.ends_with("/uncontained");
    from != to && uncontained(to) && (uncontained(from) || from == UNKNOWN)
}
