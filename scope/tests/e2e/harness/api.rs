//! A peer's JSON API, and a view of it that tests can ask for names instead of ids.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::Value;
use ureq::Agent;

use super::wait::wait_for;

/// One request, also with every core busy.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The largest answer a test reads.
const BODY_BYTES_MAX: u64 = 64 << 20;

/// How long a change may take to be on the map: Weave Scope's own tests gave a minute.
pub(crate) const MAP_BOUND: Duration = Duration::from_secs(60);

/// One peer's API.
#[derive(Clone)]
pub(crate) struct Api {
    agent: Agent,
    address: Ipv4Addr,
}

impl Api {
    pub(crate) fn at(address: Ipv4Addr) -> Self {
        let config =
            Agent::config_builder().timeout_global(Some(TIMEOUT)).http_status_as_error(false).proxy(None).build();
        Self { agent: config.into(), address }
    }

    /// The page's address.
    pub(crate) fn url(&self) -> String {
        format!("http://{}:4040", self.address)
    }

    pub(crate) fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Status and body of a GET.
    pub(crate) fn get(&self, path: &str) -> Result<(u16, String), String> {
        let url = format!("{}{path}", self.url());
        let mut response = self.agent.get(&url).call().map_err(|error| error.to_string())?;
        let body = response
            .body_mut()
            .with_config()
            .limit(BODY_BYTES_MAX)
            .read_to_string()
            .map_err(|error| error.to_string())?;
        Ok((response.status().as_u16(), body))
    }

    /// The JSON of an answer 200.
    pub(crate) fn json(&self, path: &str) -> Result<Value, String> {
        match self.get(path)? {
            (200, body) => serde_json::from_str(&body).map_err(|error| format!("{path}: {error}")),
            (status, body) => Err(format!("{path}: {status}: {body}")),
        }
    }

    /// A topology with options, such as `processes?unconnected=hide`.
    pub(crate) fn view(&self, topology: &str) -> Result<View, String> {
        let answer = self.json(&format!("/api/topology/{topology}"))?;
        let nodes = answer["nodes"].as_object().ok_or("no object of nodes")?;
        Ok(View::new(nodes.iter().map(|(id, node)| (id.clone(), node.clone())).collect()))
    }

    /// Everything about the connections between two nodes of a topology, by their ids.
    pub(crate) fn edge(&self, topology: &str, source: &str, target: &str) -> Result<Value, String> {
        let path = format!("/api/edge/{}/{}?topology={topology}", encoded(source), encoded(target));
        self.json(&path)
    }

    /// The first view that `accept` is content with.
    #[track_caller]
    pub(crate) fn wait_view(&self, topology: &str, mut accept: impl FnMut(&View) -> Result<(), String>) -> View {
        wait_for(&format!("the {topology} view"), MAP_BOUND, || {
            let view = self.view(topology)?;
            accept(&view).map_err(|why| format!("{why}; {}", view.describe()))?;
            Ok(view)
        })
    }

    /// What the peer says of its source of facts called `name`.
    pub(crate) fn source(&self, name: &str) -> Result<Value, String> {
        self.find_source(name, |_| true)
    }

    /// What the peer says of a source of a host.
    pub(crate) fn source_of(&self, host: &str, name: &str) -> Result<Value, String> {
        self.find_source(name, |probe| probe["hostname"] == host)
    }

    fn find_source(&self, name: &str, of: impl Fn(&Value) -> bool) -> Result<Value, String> {
        let probes = self.json("/api/probes")?;
        probes
            .as_array()
            .into_iter()
            .flatten()
            .filter(|probe| of(probe))
            .flat_map(|probe| probe["sources"].as_array().into_iter().flatten())
            .find(|source| source["name"] == name)
            .cloned()
            .ok_or_else(|| format!("no source {name} in {probes}"))
    }

    /// The source once its state is one of `states`.
    #[track_caller]
    pub(crate) fn wait_source(&self, name: &str, states: &[&str]) -> Value {
        wait_for(&format!("the source {name} to be one of {states:?}"), MAP_BOUND, || {
            let source = self.source(name)?;
            let state = source["state"].as_str().unwrap_or_default();
            if states.contains(&state) { Ok(source) } else { Err(source.to_string()) }
        })
    }
}

/// The nodes of a topology by id.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    pub(crate) nodes: BTreeMap<String, Value>,
}

impl View {
    pub(crate) fn new(nodes: BTreeMap<String, Value>) -> Self {
        Self { nodes }
    }

    /// The labels of all nodes that are no pseudo nodes.
    pub(crate) fn labels(&self) -> BTreeSet<&str> {
        self.nodes.values().filter(|node| node["pseudo"] != true).map(label).collect()
    }

    pub(crate) fn find(&self, wanted: &str) -> Result<&Value, String> {
        self.nodes.values().find(|node| label(node) == wanted).ok_or_else(|| format!("no node {wanted}"))
    }

    /// Whether all of `wanted` are there.
    pub(crate) fn has(&self, wanted: &[&str]) -> Result<(), String> {
        wanted.iter().try_for_each(|label| self.find(label).map(|_| ()))
    }

    /// All edges, by label. An edge to a node that is not in the view shows the node's id.
    pub(crate) fn edges(&self) -> BTreeSet<(&str, &str)> {
        let name = |id| self.nodes.get(id).map_or(id, label);
        self.nodes
            .values()
            .flat_map(|node| {
                let targets = node["adjacency"].as_array().into_iter().flatten();
                targets.filter_map(Value::as_str).map(move |id| (label(node), name(id)))
            })
            .collect()
    }

    /// The edges with both ends among `labels`.
    pub(crate) fn edges_among(&self, labels: &[&str]) -> BTreeSet<(&str, &str)> {
        let among = |label: &str| labels.contains(&label);
        self.edges().into_iter().filter(|(from, to)| among(from) && among(to)).collect()
    }

    /// Whether exactly `wanted` are the edges among `labels`.
    pub(crate) fn has_exactly(&self, labels: &[&str], wanted: &[(&str, &str)]) -> Result<(), String> {
        self.has(labels)?;
        let edges = self.edges_among(labels);
        if edges == wanted.iter().copied().collect() { Ok(()) } else { Err(format!("edges {edges:?}")) }
    }

    /// Labels and edges, shortened, for a failure's message.
    fn describe(&self) -> String {
        let mut text = format!("{} nodes {:?}, edges {:?}", self.nodes.len(), self.labels(), self.edges());
        if let Some((cut, _)) = text.char_indices().nth(2000) {
            text.truncate(cut);
        }
        text
    }
}

pub(crate) fn label(node: &Value) -> &str {
    node["label"].as_str().unwrap_or_default()
}

/// The label of a node's parent in `topology`.
pub(crate) fn parent<'n>(node: &'n Value, topology: &str) -> Option<&'n str> {
    let parents = node["parents"].as_array()?;
    parents.iter().find(|parent| parent["topologyId"] == topology)?["label"].as_str()
}

/// As one segment of a path.
fn encoded(id: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    id.bytes().map(byte).collect()
}
