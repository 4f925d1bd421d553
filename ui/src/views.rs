//! Views that requests ask for. Each is kept for a while and brought up to date when it is asked for again, so that polling
//! costs what changed, and any number of clients of one version of the cluster share one body.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use serde::{Serialize, Serializer};
use tokio::sync::watch;
use tokio::time::Instant;
use topology::detail::{Detail, EdgeDetail, Edges};
use topology::summary::Summary;
use topology::view::Stats;
use topology::{Cluster, Kind, Node, NodeId, Options, Timestamp, View};

use crate::metrics::Metrics;

/// Views kept: all six with five choices of options each. One more, and the one unused for longest goes.
const VIEWS_MAX: usize = 30;

/// How long a view is kept after its last use: a page that polls keeps its own, a script's single request keeps nothing.
const KEPT: Duration = Duration::from_secs(60);

/// A view and what was made of it.
#[derive(Debug)]
struct Kept {
    view: View,
    version: Option<u64>,
    stats: Option<Stats>,
    body: Option<Bytes>,
    edges: Option<Bytes>,
}

impl Kept {
    fn new(kind: Kind, options: Options) -> Self {
        Self { view: View::new(kind, options), version: None, stats: None, body: None, edges: None }
    }
}

#[derive(Debug)]
struct Slot {
    kept: Arc<Mutex<Kept>>,
    used: Instant,
}

/// The kept views, by what they show.
#[derive(Debug)]
pub(crate) struct Views {
    cluster: watch::Receiver<Cluster>,
    slots: Mutex<HashMap<(Kind, Options), Slot>>,
    metrics: Arc<Metrics>,
}

/// Locks, also after a panic elsewhere: one request that failed must not fail all that follow.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Views {
    pub(crate) fn new(cluster: watch::Receiver<Cluster>, metrics: Arc<Metrics>) -> Self {
        Self { cluster, slots: Mutex::default(), metrics }
    }

    /// The view's figures now.
    pub(crate) fn stats(&self, kind: Kind, options: Options) -> Stats {
        let kept = self.slot(kind, options);
        let mut kept = lock(&kept);
        self.follow(&mut kept);
        let Kept { view, stats, .. } = &mut *kept;
        *stats.get_or_insert_with(|| view.stats())
    }

    /// The view as JSON, `{"nodes":{"<id>":{…}}}`, with the version of the cluster it shows.
    pub(crate) fn body(&self, kind: Kind, options: Options, now: Timestamp) -> (u64, Bytes) {
        let kept = self.slot(kind, options);
        let mut kept = lock(&kept);
        let cluster = self.follow(&mut kept);
        let Kept { view, body, .. } = &mut *kept;
        let body = body.get_or_insert_with(|| nodes(view, &cluster, now));
        (cluster.version(), body.clone())
    }

    /// All there is to say of a node, also if options leave it out of its view; `None` if it is not there.
    pub(crate) fn detail(&self, kind: Kind, id: &str, now: Timestamp) -> Option<Detail> {
        let kept = self.slot(kind, Options::default());
        let mut kept = lock(&kept);
        let cluster = self.follow(&mut kept);
        let id = kept.view.find(id)?;
        Detail::of_view(&kept.view, &cluster, &id, now)
    }

    /// The figures of the view's edges as JSON, with the version of the cluster they are of.
    pub(crate) fn edges(&self, kind: Kind, options: Options) -> (u64, Bytes) {
        let kept = self.slot(kind, options);
        let mut kept = lock(&kept);
        let cluster = self.follow(&mut kept);
        let Kept { view, edges, .. } = &mut *kept;
        let edges = edges.get_or_insert_with(|| json(&Edges::of_view(view, &cluster)));
        (cluster.version(), edges.clone())
    }

    /// All there is to say of an edge as JSON, also if options leave out its ends, with the version of the cluster; `None` if it
    /// is not there.
    pub(crate) fn edge(&self, kind: Kind, source: &str, target: &str) -> Option<(u64, Bytes)> {
        let kept = self.slot(kind, Options::default());
        let mut kept = lock(&kept);
        let cluster = self.follow(&mut kept);
        let (source, target) = (kept.view.find(source)?, kept.view.find(target)?);
        let edge = EdgeDetail::of_view(&kept.view, &cluster, &source, &target)?;
        Some((cluster.version(), json(&edge)))
    }

    /// Drops what nobody asked for of late.
    pub(crate) fn sweep(&self) {
        lock(&self.slots).retain(|_, slot| slot.used.elapsed() < KEPT);
    }

    fn slot(&self, kind: Kind, options: Options) -> Arc<Mutex<Kept>> {
        let mut slots = lock(&self.slots);
        let key = (kind, options);
        if !slots.contains_key(&key) && slots.len() >= VIEWS_MAX {
            let oldest = slots.iter().min_by_key(|(_, slot)| slot.used).map(|(key, _)| *key);
            oldest.map(|key| slots.remove(&key));
        }
        let slot = slots
            .entry(key)
            .or_insert_with(|| Slot { kept: Arc::new(Mutex::new(Kept::new(kind, options))), used: Instant::now() });
        slot.used = Instant::now();
        slot.kept.clone()
    }

    /// Brings a view up to the newest cluster; to be called with its lock held, so that it never goes back.
    fn follow(&self, kept: &mut Kept) -> Cluster {
        let cluster = self.cluster.borrow().clone();
        if kept.version != Some(cluster.version()) {
            self.metrics.view_updated(kept.view.kind());
            kept.view.update(&cluster);
            kept.version = Some(cluster.version());
            kept.stats = None;
            kept.body = None;
            kept.edges = None;
        }
        cluster
    }
}

/// A node's id as JSON.
pub(crate) struct Id<'a>(pub(crate) &'a NodeId);

impl Serialize for Id<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self.0)
    }
}

/// A view's nodes in the order of their ids, so that equal views are equal bytes.
pub(crate) fn sorted(view: &View) -> Vec<&Node> {
    let mut nodes: Vec<&Node> = view.nodes().map(|node| &**node).collect();
    nodes.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    nodes
}

struct Nodes<'a>(&'a View, &'a Cluster, Timestamp);

impl Serialize for Nodes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(view, cluster, now) = *self;
        serializer.collect_map(sorted(view).into_iter().map(|node| (Id(&node.id), Summary::of(node, cluster, now))))
    }
}

#[derive(Serialize)]
struct Topology<'a> {
    nodes: Nodes<'a>,
}

fn nodes(view: &View, cluster: &Cluster, now: Timestamp) -> Bytes {
    json(&Topology { nodes: Nodes(view, cluster, now) })
}

fn json(answer: &impl Serialize) -> Bytes {
    serde_json::to_vec(answer).expect("answers are plain data, and ids are strings").into()
}
