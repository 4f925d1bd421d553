//! Several hosts with a `scope` each, and what they say of each other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::api::{Api, View, label};
use super::host::Host;
use super::lab::Lab;
use super::peer::Peer;
use super::wait::{ensure, wait_for};

/// How long peers may take to meet where nothing is measured, on a busy machine.
pub(crate) const MEET_BOUND: Duration = Duration::from_secs(30);

/// Peers that are to meet, each on the host of the same index.
pub(crate) struct Mesh {
    pub(crate) peers: Vec<Peer>,
    pub(crate) hosts: Vec<Host>,
}

/// What a peer says of one of the mesh, itself included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) id: String,
    pub(crate) host: String,
    pub(crate) life: String,
    /// Versions that are missing here.
    pub(crate) lag: u64,
    pub(crate) epoch: u64,
    /// Of its facts, as held here.
    pub(crate) version: u64,
    pub(crate) last_heard: Duration,
    pub(crate) is_self: bool,
}

/// The graph of a topology: label and adjacency of each node by id, without anything that ticks.
pub(crate) type Graph = BTreeMap<String, (String, BTreeSet<String>)>;

impl Mesh {
    /// Serves on the first host, then on all others at once, which are told of the first.
    #[track_caller]
    pub(crate) fn launch(lab: &Lab, names: &[&str], arguments: &[&str]) -> Self {
        Self::on(names.iter().map(|name| lab.host(name)).collect(), arguments)
    }

    /// [`Mesh::launch`] on hosts that run already.
    #[track_caller]
    pub(crate) fn on(hosts: Vec<Host>, arguments: &[&str]) -> Self {
        Self { peers: Self::launch_on(&hosts, arguments), hosts }
    }

    /// The peers of [`Mesh::on`], of hosts that outlive them.
    #[track_caller]
    pub(crate) fn launch_on(hosts: &[Host], arguments: &[&str]) -> Vec<Peer> {
        let (first, others) = hosts.split_first().expect("a mesh has a first host");
        let first = Peer::launch(first, arguments);
        let seed = first.api().address().to_string();
        let told = [arguments, &[&seed]].concat();
        let mut peers = vec![first];
        peers.extend(others.iter().map(|host| Peer::spawn(host, &told)));
        peers.iter_mut().for_each(Peer::wait_serving);
        peers
    }

    pub(crate) fn apis(&self) -> Vec<Api> {
        self.peers.iter().map(Peer::api).collect()
    }

    /// Returns once each peer shows each host, none of them stale.
    #[track_caller]
    pub(crate) fn wait_met(&self, bound: Duration) {
        let apis = self.apis();
        let all: BTreeMap<_, _> = self.hosts.iter().map(|host| (host.namespaces().name().to_owned(), None)).collect();
        wait_for("all hosts, live, on the map of each", bound, || {
            apis.iter().try_for_each(|api| {
                let shown = lives(&api.view("hosts")?);
                ensure(shown == all, || format!("{} shows {shown:?}", api.address()))
            })
        });
    }
}

impl Api {
    /// All peers this one knows of.
    pub(crate) fn members(&self) -> Result<Vec<Member>, String> {
        let answer = self.json("/api/peers")?;
        let peers = answer["peers"].as_array().ok_or("no list of peers")?;
        peers.iter().map(|peer| member(peer).ok_or_else(|| format!("not a peer: {peer}"))).collect()
    }

    /// The peer of a host.
    pub(crate) fn member(&self, host: &str) -> Result<Member, String> {
        let members = self.members()?;
        let of_host: Vec<_> = members.iter().filter(|member| member.host == host).collect();
        match of_host[..] {
            [member] => Ok(member.clone()),
            _ => Err(format!("not one peer of {host}: {members:?}")),
        }
    }

    /// [`Api::member`] once the peer knows it: what it says of the mesh is up to a second old.
    #[track_caller]
    pub(crate) fn wait_member(&self, host: &str) -> Member {
        wait_for(&format!("the peer of {host}"), MEET_BOUND, || self.member(host))
    }
}

/// The hosts of a view by label, with `suspect` or `gone` if they are stale.
pub(crate) fn lives(hosts: &View) -> BTreeMap<String, Option<String>> {
    let of_hosts = hosts.nodes.values().filter(|node| node["pseudo"] != true);
    of_hosts.map(|node| (label(node).to_owned(), stale(node).map(ToOwned::to_owned))).collect()
}

/// `suspect` or `gone`, if a node is stale.
pub(crate) fn stale(node: &Value) -> Option<&str> {
    node["stale"]["state"].as_str()
}

/// The graph that all peers serve of a topology, if it is one and the same.
pub(crate) fn common_graph(apis: &[Api], topology: &str) -> Result<Graph, String> {
    let graphs = apis.iter().map(|api| Ok(graph(&api.view(topology)?))).collect::<Result<Vec<_>, String>>()?;
    let (first, others) = graphs.split_first().ok_or("nobody was asked")?;
    let different = apis[1..].iter().zip(others).find(|(_, graph)| *graph != first);
    match different {
        None => Ok(first.clone()),
        Some((api, graph)) => {
            let here: Vec<_> = first.iter().filter(|(id, node)| graph.get(*id) != Some(node)).collect();
            let there: Vec<_> = graph.iter().filter(|(id, node)| first.get(*id) != Some(node)).collect();
            Err(format!("{topology}: {} has {here:?}, {} has {there:?}", apis[0].address(), api.address()))
        }
    }
}

fn graph(view: &View) -> Graph {
    let adjacency = |node: &Value| {
        let targets = node["adjacency"].as_array().into_iter().flatten();
        targets.filter_map(Value::as_str).map(ToOwned::to_owned).collect()
    };
    view.nodes.iter().map(|(id, node)| (id.clone(), (label(node).to_owned(), adjacency(node)))).collect()
}

fn member(peer: &Value) -> Option<Member> {
    let text = |field: &str| peer[field].as_str().map(ToOwned::to_owned);
    Some(Member {
        id: text("id")?,
        host: text("host")?,
        life: text("life")?,
        lag: peer["lag"].as_u64()?,
        epoch: peer["epoch"].as_u64()?,
        version: peer["version"].as_u64()?,
        last_heard: Duration::from_millis(peer["lastHeardMs"].as_u64()?),
        is_self: peer["isSelf"].as_bool()?,
    })
}
