//! The joining half of a view: shares of all hosts into nodes, touching only what changed. Vertices are numbered, so that
//! edges between them cost an index and no hash.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use foldhash::{HashMap, HashSet};

use super::Diff;
use super::options::Unconnected;
use super::part::Share;
use crate::id::PeerId;
use crate::life::Life;
use crate::node::{Node, NodeId, Subject};

/// A vertex by its place in [`Join::vertices`].
pub(super) type Place = u32;

/// What of `a` is not in `b`; both sorted.
fn without(a: &[Place], b: &[Place]) -> Vec<Place> {
    a.iter().filter(|place| b.binary_search(place).is_err()).copied().collect()
}

/// One host's share, with the places its edges lead to, sorted.
#[derive(Debug)]
struct Held {
    peer: PeerId,
    share: Share,
    targets: Box<[Place]>,
}

/// All that is known of one id: what hosts say of it, who points at it, and the node made of that.
#[derive(Debug)]
struct Vertex {
    id: NodeId,
    /// By peer.
    held: Vec<Held>,
    /// Vertices that point here, once for each share that says so; sorted.
    pointers: Vec<Place>,
    /// Whether some host knows what it is.
    is_known: bool,
    /// Whether it waits to be made anew.
    is_touched: bool,
    node: Option<Arc<Node>>,
}

impl Vertex {
    fn new(id: NodeId) -> Self {
        Self { id, held: Vec::new(), pointers: Vec::new(), is_known: false, is_touched: false, node: None }
    }

    /// What it is, and whether that is still so. Groups add up; of anything else the live host is believed before one that is
    /// not heard of, and of equals the first in the order of ids.
    fn subject(&self) -> Option<(Subject, Life)> {
        let mut shares = self.held.iter().map(|held| &held.share).filter(|share| share.subject.is_some());
        let mut best = shares.next()?;
        let mut total = best.members();
        for share in shares {
            total += share.members();
            if share.life.worth() > best.life.worth() {
                best = share;
            }
        }
        let subject = match best.subject.as_ref()? {
            Subject::Group { .. } => Subject::Group { members: total },
            other => other.clone(),
        };
        Some((subject, best.life))
    }
}

/// The nodes of a view and what they are made of.
#[derive(Debug)]
pub(super) struct Join {
    unconnected: Unconnected,
    places: HashMap<NodeId, Place>,
    vertices: Vec<Vertex>,
    /// Places of vertices that are gone.
    free: Vec<Place>,
    /// Places that wait to be made anew.
    touched: Vec<Place>,
    /// Nodes that are known but left out because nothing connects to them.
    hidden: HashSet<Place>,
}

impl Join {
    pub(super) fn new(unconnected: Unconnected) -> Self {
        Self {
            unconnected,
            places: HashMap::default(),
            vertices: Vec::new(),
            free: Vec::new(),
            touched: Vec::new(),
            hidden: HashSet::default(),
        }
    }

    pub(super) fn node(&self, id: &NodeId) -> Option<&Arc<Node>> {
        self.vertex(*self.places.get(id)?).node.as_ref()
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.vertices.iter().filter_map(|vertex| vertex.node.as_ref())
    }

    /// How many nodes are known but left out because nothing connects to them.
    pub(super) fn unconnected(&self) -> usize {
        self.hidden.len()
    }

    fn vertex(&self, place: Place) -> &Vertex {
        &self.vertices[place as usize]
    }

    fn vertex_mut(&mut self, place: Place) -> &mut Vertex {
        &mut self.vertices[place as usize]
    }

    fn place(&mut self, id: NodeId) -> Place {
        let vacant = match self.places.entry(id) {
            Entry::Occupied(known) => return *known.get(),
            Entry::Vacant(vacant) => vacant,
        };
        let vertex = Vertex::new(vacant.key().clone());
        let place = match self.free.pop() {
            Some(place) => {
                self.vertices[place as usize] = vertex;
                place
            }
            None => {
                self.vertices.push(vertex);
                Place::try_from(self.vertices.len() - 1).expect("fewer than 2³² nodes fit into memory")
            }
        };
        *vacant.insert(place)
    }

    fn touch(&mut self, place: Place) {
        let vertex = self.vertex_mut(place);
        if !std::mem::replace(&mut vertex.is_touched, true) {
            self.touched.push(place);
        }
    }

    /// Takes one host's share of a node in place of what it said before, and notes whose node may differ for it.
    pub(super) fn put(&mut self, peer: &PeerId, id: NodeId, share: Share) -> Place {
        let place = self.place(id);
        if self.held(place, peer).is_none_or(|held| held.share != share) {
            let mut targets: Box<[Place]> = share.adjacency.iter().map(|target| self.place(target.clone())).collect();
            targets.sort_unstable();
            self.replace(place, peer, Some(Held { peer: peer.clone(), share, targets }));
        }
        place
    }

    /// Forgets one host's share of a node.
    pub(super) fn take(&mut self, peer: &PeerId, place: Place) {
        self.replace(place, peer, None);
    }

    fn held(&self, place: Place, peer: &PeerId) -> Option<&Held> {
        let held = &self.vertex(place).held;
        held.binary_search_by(|held| held.peer.cmp(peer)).ok().map(|at| &held[at])
    }

    fn replace(&mut self, place: Place, peer: &PeerId, new: Option<Held>) {
        self.touch(place);
        let old = self.swap(place, peer, new);
        let [gone, come] = {
            let [old, new] =
                [old.as_ref(), self.held(place, peer)].map(|held| held.map_or(&[][..], |held| &held.targets));
            [without(old, new), without(new, old)]
        };
        for target in gone {
            self.unpoint(place, target);
        }
        for target in come {
            self.point(place, target);
        }
        let is_known = self.vertex(place).held.iter().any(|held| held.share.subject.is_some());
        if is_known != std::mem::replace(&mut self.vertex_mut(place).is_known, is_known) {
            self.touch_neighbours(place);
        }
    }

    /// Where an edge comes or goes a node may have been connected, or not be any more.
    fn point(&mut self, from: Place, to: Place) {
        let pointers = &mut self.vertex_mut(to).pointers;
        let at = pointers.partition_point(|pointer| *pointer < from);
        pointers.insert(at, from);
        self.touch(to);
    }

    fn unpoint(&mut self, from: Place, to: Place) {
        let pointers = &mut self.vertex_mut(to).pointers;
        if let Ok(at) = pointers.binary_search(&from) {
            pointers.remove(at);
        }
        self.touch(to);
    }

    /// Puts a share into its vertex; gives back the one it takes the place of.
    fn swap(&mut self, place: Place, peer: &PeerId, new: Option<Held>) -> Option<Held> {
        let held = &mut self.vertex_mut(place).held;
        match (held.binary_search_by(|held| held.peer.cmp(peer)), new) {
            (Ok(at), Some(new)) => Some(std::mem::replace(&mut held[at], new)),
            (Ok(at), None) => Some(held.remove(at)),
            (Err(at), Some(new)) => {
                held.insert(at, new);
                None
            }
            (Err(_), None) => None,
        }
    }

    fn touch_neighbours(&mut self, place: Place) {
        let vertex = self.vertex(place);
        let targets = vertex.held.iter().flat_map(|held| &held.targets);
        let neighbours: Vec<Place> = vertex.pointers.iter().chain(targets).copied().collect();
        for neighbour in neighbours {
            self.touch(neighbour);
        }
    }

    /// Makes the touched nodes anew.
    pub(super) fn settle(&mut self) -> Diff {
        let mut diff = Diff::default();
        for place in std::mem::take(&mut self.touched) {
            let new = self.draw(place);
            let vertex = self.vertex_mut(place);
            vertex.is_touched = false;
            match (vertex.node.take(), new) {
                (None, Some(new)) => diff.added.push(vertex.node.insert(Arc::new(new)).clone()),
                (Some(old), Some(new)) if *old == new => vertex.node = Some(old),
                (Some(_), Some(new)) => diff.updated.push(vertex.node.insert(Arc::new(new)).clone()),
                (Some(_), None) => diff.removed.push(vertex.id.clone()),
                (None, None) => {}
            }
            self.tidy(place);
        }
        diff
    }

    /// Counts a vertex as hidden or not, and frees its place if nothing is known of it any more.
    fn tidy(&mut self, place: Place) {
        let vertex = self.vertex(place);
        if vertex.node.is_none() && vertex.is_known && !vertex.id.is_pseudo() {
            self.hidden.insert(place);
        } else {
            self.hidden.remove(&place);
        }
        let vertex = self.vertex(place);
        if vertex.held.is_empty() && vertex.pointers.is_empty() {
            let id = vertex.id.clone();
            self.places.remove(&id);
            self.free.push(place);
        }
    }

    /// The node of a vertex, if it is in the view.
    fn draw(&self, place: Place) -> Option<Node> {
        let vertex = self.vertex(place);
        if !vertex.is_known {
            return None;
        }
        let targets = || vertex.held.iter().flat_map(|held| &held.targets).map(|target| self.vertex(*target));
        let must_connect = vertex.id.is_pseudo() || self.unconnected == Unconnected::Hide;
        let is_connected = || {
            targets().any(|target| target.is_known) || vertex.pointers.iter().any(|from| self.vertex(*from).is_known)
        };
        if must_connect && !is_connected() {
            return None;
        }
        let mut adjacency: Vec<NodeId> =
            targets().filter(|target| target.is_known).map(|target| target.id.clone()).collect();
        adjacency.sort_unstable();
        adjacency.dedup();
        let (subject, life) = vertex.subject()?;
        Some(Node { id: vertex.id.clone(), subject, adjacency, life })
    }
}
