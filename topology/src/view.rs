//! Views: named graphs drawn from a [`Cluster`]. A [`View`] holds one of them for one choice of options and follows the
//! cluster: [`View::update`] renders anew the hosts that changed, joins, and says what is different.
//!
//! ```text
//! HostEntry ──part──▶ shares by node ──join──▶ nodes ──▶ Diff
//!  (changed)          (of that host)          (touched)
//! ```
//!
//! A *part* is what one host has to say in a view: which nodes it knows, and which edges. A node of the view is the join of
//! all hosts' shares of it: groups add up, edges unite. A node is in the view if some host knows what it is, and, where the
//! options ask for it, if it is connected. Drawing from scratch is the same code with every host changed.

mod join;
pub mod options;
pub(crate) mod part;

use std::sync::Arc;

use foldhash::HashMap;

pub use options::Options;

use crate::cluster::Cluster;
use crate::id::PeerId;
use crate::node::{Node, NodeId};
use join::{Join, Place};
use part::Part;

/// Which view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Processes, one node each.
    Processes,
    /// Processes of one name are one node.
    ProcessesByName,
    /// Containers, one node each.
    Containers,
    /// Containers of one image are one node.
    ContainersByImage,
    /// Containers of one host name are one node.
    ContainersByHostname,
    /// Hosts.
    Hosts,
}

impl Kind {
    /// All views, in the order of their ids.
    pub const ALL: [Self; 6] = [
        Self::Containers,
        Self::ContainersByHostname,
        Self::ContainersByImage,
        Self::Hosts,
        Self::Processes,
        Self::ProcessesByName,
    ];

    /// The view's id in URLs.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::Processes => "processes",
            Self::ProcessesByName => "processes-by-name",
            Self::Containers => "containers",
            Self::ContainersByImage => "containers-by-image",
            Self::ContainersByHostname => "containers-by-hostname",
            Self::Hosts => "hosts",
        }
    }

    /// The view with that id.
    #[must_use]
    pub fn from_id(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.id() == id)
    }
}

/// Figures of a view, as the topology bar shows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Nodes in the view.
    pub nodes: usize,
    /// Those that are one thing of the cluster.
    pub nonpseudo_nodes: usize,
    /// Edges between them.
    pub edges: usize,
    /// Nodes that the options left out.
    pub filtered: usize,
}

/// What became different in a view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// New nodes.
    pub added: Vec<Arc<Node>>,
    /// Nodes that differ.
    pub updated: Vec<Arc<Node>>,
    /// Nodes that are gone.
    pub removed: Vec<NodeId>,
}

impl Diff {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.updated.is_empty() && self.removed.is_empty()
    }
}

/// What a view has taken of one host.
#[derive(Debug, Default)]
struct Followed {
    /// Version of the host's entry.
    version: u64,
    /// Nodes it has a share of, sorted.
    places: Vec<Place>,
    /// How many the options left out.
    filtered: usize,
}

/// One view for one choice of options, following the cluster.
#[derive(Debug)]
pub struct View {
    kind: Kind,
    options: Options,
    followed: HashMap<PeerId, Followed>,
    join: Join,
}

impl View {
    /// A view of nothing yet.
    #[must_use]
    pub fn new(kind: Kind, options: Options) -> Self {
        let options = options.of(kind);
        Self { kind, options, followed: HashMap::default(), join: Join::new(options.unconnected) }
    }

    /// A view of the cluster as it is.
    #[must_use]
    pub fn of(cluster: &Cluster, kind: Kind, options: Options) -> Self {
        let mut view = Self::new(kind, options);
        view.update(cluster);
        view
    }

    /// Which view this is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The node of that id.
    #[must_use]
    pub fn node(&self, id: &NodeId) -> Option<&Arc<Node>> {
        self.join.node(id)
    }

    /// The id a text names in this view.
    #[must_use]
    pub fn find(&self, text: &str) -> Option<NodeId> {
        NodeId::parse(self.kind, text)
    }

    /// Whether an edge is drawn.
    #[must_use]
    pub fn has_edge(&self, source: &NodeId, target: &NodeId) -> bool {
        self.node(source).is_some_and(|node| node.adjacency.binary_search(target).is_ok())
            && self.node(target).is_some()
    }

    /// All nodes, in no order.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.join.nodes()
    }

    /// Figures of the view.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats =
            Stats { filtered: self.followed.values().map(|followed| followed.filtered).sum(), ..Stats::default() };
        stats.filtered += self.join.unconnected();
        for node in self.nodes() {
            stats.nodes += 1;
            stats.nonpseudo_nodes += usize::from(!node.id.is_pseudo());
            stats.edges += node.adjacency.len();
        }
        stats
    }

    /// Follows the cluster; says what became different. Costs the hosts that changed and the nodes they touch.
    pub fn update(&mut self, cluster: &Cluster) -> Diff {
        let gone: Vec<PeerId> = self.followed.keys().filter(|peer| cluster.host(peer).is_none()).cloned().collect();
        for peer in gone {
            self.follow(&peer, 0, Part::default());
            self.followed.remove(&peer);
        }
        for (peer, entry) in cluster.hosts() {
            if self.followed.get(peer).is_none_or(|followed| followed.version != entry.version) {
                self.follow(peer, entry.version, Part::of(self.kind, self.options, entry));
            }
        }
        self.join.settle()
    }

    /// Puts what a host has to say in the place of what it said before.
    fn follow(&mut self, peer: &PeerId, version: u64, part: Part) {
        let mut places: Vec<Place> =
            part.shares.into_iter().map(|(id, share)| self.join.put(peer, id, share)).collect();
        places.sort_unstable();
        let old = self.followed.remove(peer).unwrap_or_default();
        for place in old.places.into_iter().filter(|place| places.binary_search(place).is_err()) {
            self.join.take(peer, place);
        }
        self.followed.insert(peer.clone(), Followed { version, places, filtered: part.filtered });
    }
}
