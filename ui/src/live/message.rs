//! Messages of a live view as JSON: Weave Scope's diffs, with whole summaries of what is new or differs.

use std::sync::Arc;

use serde::{Serialize, Serializer};
use topology::summary::Summary;
use topology::view::Diff;
use topology::{Cluster, Node, NodeId, Timestamp, View};

use crate::views::{Id, sorted};

/// Lists that are empty are `null`, and `reset` is left out when false.
#[derive(Serialize)]
struct Message<'a> {
    add: Option<Summaries<'a>>,
    update: Option<Summaries<'a>>,
    remove: Option<Ids<'a>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    reset: bool,
}

struct Summaries<'a> {
    nodes: Vec<&'a Node>,
    cluster: &'a Cluster,
    now: Timestamp,
}

impl Serialize for Summaries<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // One at a time: all summaries of a large view together are larger than the view.
        serializer.collect_seq(self.nodes.iter().map(|node| Summary::of(node, self.cluster, self.now)))
    }
}

struct Ids<'a>(&'a [NodeId]);

impl Serialize for Ids<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Id))
    }
}

fn plain(nodes: &[Arc<Node>]) -> Vec<&Node> {
    nodes.iter().map(|node| &**node).collect()
}

fn some<'a>(nodes: Vec<&'a Node>, cluster: &'a Cluster, now: Timestamp) -> Option<Summaries<'a>> {
    (!nodes.is_empty()).then_some(Summaries { nodes, cluster, now })
}

fn text(message: &Message<'_>) -> String {
    serde_json::to_string(message).expect("summaries are plain data, and ids are strings")
}

/// The whole view.
pub(super) fn reset(view: &View, cluster: &Cluster, now: Timestamp) -> String {
    text(&Message { add: some(sorted(view), cluster, now), update: None, remove: None, reset: true })
}

/// What became different.
pub(super) fn diff(diff: &Diff, cluster: &Cluster, now: Timestamp) -> String {
    text(&Message {
        add: some(plain(&diff.added), cluster, now),
        update: some(plain(&diff.updated), cluster, now),
        remove: (!diff.removed.is_empty()).then_some(Ids(&diff.removed)),
        reset: false,
    })
}
