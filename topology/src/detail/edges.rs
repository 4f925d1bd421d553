//! The edges of a view with their figures: what lines are drawn by.

use foldhash::HashMap;
use serde::Serialize;

use super::figures::{Tally, Tellers};
use crate::cluster::Cluster;
use crate::life::Stale;
use crate::node::NodeId;
use crate::summary;
use crate::view::View;
use crate::view::part;

/// The edges of a view.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Edges {
    /// By source and target.
    pub edges: Vec<EdgeFigures>,
}

/// Figures of one edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EdgeFigures {
    /// The node that connects.
    #[serde(serialize_with = "summary::text")]
    pub source: NodeId,
    /// The node that is connected to.
    #[serde(serialize_with = "summary::text")]
    pub target: NodeId,
    /// Connections open now, if a live host says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open: Option<u32>,
    /// Bytes per second from source to target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent: Option<u64>,
    /// Bytes per second from target to source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received: Option<u64>,
    /// Whether both ends tell of it.
    pub confirmed: bool,
    /// Whether no host that is heard of has a connection open, and the last one ended a while ago.
    pub fading: bool,
    /// Where all hosts that tell of it are silent; left out of the rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale: Option<Stale>,
}

impl Edges {
    /// The edges that are drawn in a view of the cluster. Costs one pass over all relations, and over the flows they are told by.
    #[must_use]
    pub fn of_view(drawn: &View, cluster: &Cluster) -> Self {
        let relations = cluster.relations();
        let tellers = Tellers::new(cluster, &relations);
        let kind = drawn.kind();
        let mut tallies: HashMap<(NodeId, NodeId), Tally> = HashMap::default();
        for relation in relations.iter() {
            let ends = (part::client_id(kind, &relation.client), part::server_id(kind, &relation.server));
            let (Some(source), Some(target)) = ends else { continue };
            tallies.entry((source, target)).or_default().take(relation, &tellers);
        }
        let drawn = tallies.into_iter().filter(|((source, target), _)| drawn.has_edge(source, target));
        let mut edges: Vec<EdgeFigures> = drawn.map(|(ends, tally)| EdgeFigures::of(ends, &tally)).collect();
        edges.sort_unstable_by(|a, b| (&a.source, &a.target).cmp(&(&b.source, &b.target)));
        Self { edges }
    }
}

impl EdgeFigures {
    fn of((source, target): (NodeId, NodeId), tally: &Tally) -> Self {
        let figures = tally.figures();
        Self {
            source,
            target,
            open: figures.open,
            sent: figures.sent,
            received: figures.received,
            confirmed: tally.is_confirmed(),
            fading: tally.is_fading(),
            stale: tally.stale(),
        }
    }
}
