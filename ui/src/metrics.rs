//! Metrics of the HTTP side, in the OpenMetrics text format. Weave Scope's request histogram keeps its name and labels.

use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use topology::Kind;

use crate::About;
use crate::peers::Lives;

/// Media type of what [`Metrics::text`] gives.
pub(crate) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of the request histogram, in seconds: a 304 takes well under one of the first, a large render one of the last.
const BUCKETS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0];

/// What is counted apart. Every label has few values, whatever clients send.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Request {
    /// HTTP method; `other` for what HTTP does not define.
    pub(crate) method: &'static str,
    /// The route's template.
    pub(crate) route: String,
    pub(crate) status_code: u32,
    /// `true` for WebSockets.
    pub(crate) ws: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfView {
    topology: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfMessage {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfLife {
    life: &'static str,
}

/// Figures that are read when metrics are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    pub(crate) live_views: usize,
    pub(crate) sockets: usize,
    pub(crate) connections: usize,
    pub(crate) hosts: usize,
    pub(crate) peers: Lives,
    /// Of the cluster.
    pub(crate) version: u64,
}

/// What a WebSocket message is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Made {
    /// Everything, for those who have nothing.
    Reset,
    /// Nodes or edges differ.
    Structure,
    /// The beat: metrics differ.
    Beat,
}

/// The figures of this crate, and the registry they are in.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Request, Histogram, fn() -> Histogram>,
    updates: Family<OfView, Counter>,
    messages: Family<OfMessage, Counter>,
    lagged: Counter,
    live_views: Gauge,
    sockets: Gauge,
    connections: Gauge,
    hosts: Gauge,
    peers: Family<OfLife, Gauge>,
    version: Gauge,
}

impl Metrics {
    pub(crate) fn new(mut registry: Registry, about: &About) -> Self {
        let requests = Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        let mut metrics = Self {
            registry: Registry::default(),
            requests,
            updates: Family::default(),
            messages: Family::default(),
            lagged: Counter::default(),
            live_views: Gauge::default(),
            sockets: Gauge::default(),
            connections: Gauge::default(),
            hosts: Gauge::default(),
            peers: Family::default(),
            version: Gauge::default(),
        };
        metrics.register(registry.sub_registry_with_prefix("scope"), about);
        metrics.registry = registry;
        metrics
    }

    fn register(&self, to: &mut Registry, about: &About) {
        let build = Info::new([("version", about.version)]);
        to.register("build", "What runs", build);
        let seconds = Unit::Seconds;
        to.register_with_unit("request_duration", "Time to answer a request", seconds, self.requests.clone());
        to.register("view_updates", "Times a view was drawn or brought up to date", self.updates.clone());
        to.register("diffs", "Messages made for WebSockets, each once for all of them", self.messages.clone());
        to.register("lagged_sockets", "Times a WebSocket was too slow and started over", self.lagged.clone());
        to.register("live_views", "Views that WebSockets follow", self.live_views.clone());
        to.register("websockets", "Open WebSockets", self.sockets.clone());
        to.register("http_connections", "Open connections, WebSockets left out", self.connections.clone());
        to.register("hosts", "Hosts on the map", self.hosts.clone());
        to.register("peers", "Peers of the mesh that are not forgotten, this one included", self.peers.clone());
        to.register("cluster_version", "Changes taken since the start", self.version.clone());
    }

    pub(crate) fn answered(&self, request: &Request, took: Duration) {
        self.requests.get_or_create(request).observe(took.as_secs_f64());
    }

    pub(crate) fn view_updated(&self, kind: Kind) {
        self.updates.get_or_create(&OfView { topology: kind.id() }).inc();
    }

    pub(crate) fn message(&self, made: Made) {
        let kind = match made {
            Made::Reset => "reset",
            Made::Structure => "structure",
            Made::Beat => "beat",
        };
        self.messages.get_or_create(&OfMessage { kind }).inc();
    }

    pub(crate) fn lagged(&self) {
        self.lagged.inc();
    }

    /// All metrics of the registry as text.
    pub(crate) fn text(&self, now: &Now) -> String {
        let gauges = [
            (&self.live_views, now.live_views),
            (&self.sockets, now.sockets),
            (&self.connections, now.connections),
            (&self.hosts, now.hosts),
        ];
        for (gauge, value) in gauges {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
        let Lives { live, suspect, gone } = now.peers;
        for (life, peers) in [("live", live), ("suspect", suspect), ("gone", gone)] {
            self.peers.get_or_create(&OfLife { life }).set(i64::try_from(peers).unwrap_or(i64::MAX));
        }
        self.version.set(i64::try_from(now.version).unwrap_or(i64::MAX));
        let mut text = String::new();
        text::encode(&mut text, &self.registry).expect("a String takes every write");
        text
    }
}
