//! The topology bar: which views there are, what they are called, and how large they are now.

use serde::Serialize;
use topology::Kind;
use topology::view::Stats;
use topology::view::options::{Group, Options};

/// One view as `/api/topology` describes it.
#[derive(Debug, Serialize)]
pub(crate) struct Topology {
    name: &'static str,
    rank: u8,
    hide_if_empty: bool,
    url: String,
    options: Vec<OptionGroup>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sub_topologies: Vec<Topology>,
    stats: Figures,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OptionGroup {
    id: &'static str,
    default_value: &'static str,
    /// `union` where several values may be chosen; none of ours is.
    select_type: &'static str,
    none_label: &'static str,
    options: Vec<Choice>,
}

#[derive(Debug, Serialize)]
struct Choice {
    value: &'static str,
    label: &'static str,
}

#[derive(Debug, Serialize)]
struct Figures {
    node_count: usize,
    nonpseudo_node_count: usize,
    edge_count: usize,
    filtered_nodes: usize,
}

/// The views, sorted by name; `stats` gives the figures of each.
pub(crate) fn topologies(mut stats: impl FnMut(Kind) -> Stats) -> Vec<Topology> {
    let mut views = |kinds: &[Kind]| kinds.iter().map(|kind| Topology::of(*kind, stats(*kind))).collect::<Vec<_>>();
    let [by_hostname_and_image, by_name] =
        [views(&[Kind::ContainersByHostname, Kind::ContainersByImage]), views(&[Kind::ProcessesByName])];
    let mut top = views(&[Kind::Containers, Kind::Hosts, Kind::Processes]);
    top[0].sub_topologies = by_hostname_and_image;
    top[2].sub_topologies = by_name;
    top
}

impl Topology {
    fn of(kind: Kind, stats: Stats) -> Self {
        let (name, rank) = match kind {
            Kind::Processes => ("Processes", 1),
            Kind::ProcessesByName => ("by name", 0),
            Kind::Containers => ("Containers", 2),
            Kind::ContainersByHostname => ("by DNS name", 0),
            Kind::ContainersByImage => ("by image", 0),
            Kind::Hosts => ("Hosts", 4),
        };
        Self {
            name,
            rank,
            hide_if_empty: matches!(kind, Kind::Processes | Kind::ProcessesByName),
            url: format!("/api/topology/{}", kind.id()),
            options: Options::groups(kind).iter().map(OptionGroup::of).collect(),
            sub_topologies: Vec::new(),
            stats: Figures {
                node_count: stats.nodes,
                nonpseudo_node_count: stats.nonpseudo_nodes,
                edge_count: stats.edges,
                filtered_nodes: stats.filtered,
            },
        }
    }
}

impl OptionGroup {
    fn of(group: &Group) -> Self {
        let options = group.choices.iter().map(|(value, label)| Choice { value, label }).collect();
        Self { id: group.id, default_value: group.default, select_type: "", none_label: "", options }
    }
}
