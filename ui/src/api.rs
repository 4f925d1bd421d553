//! Handlers of the API: extract, ask, convert. What takes longer than that is in [`topology`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::http::header::{CONTENT_TYPE, ETAG};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use topology::cluster::HostEntry;
use topology::detail::Detail;
use topology::fact::SourceState;
use topology::services::Refused;
use topology::{Kind, NodeId, Options, PeerId, Timestamp};

use crate::error::{ApiError, quoted};
use crate::live::socket::{Follower, INCOMING_BYTES_MAX, SOCKETS_MAX};
use crate::live::{Key, beat};
use crate::metrics::{MEDIA_TYPE, Now};
use crate::peers::Peers;
use crate::server::Server;
use crate::topologies::{Topology, topologies};
use crate::{etag, origin};

type Answer = Result<Response, ApiError>;

/// The time. Read here and nowhere else: `topology` takes it as an argument.
pub(crate) fn now() -> Timestamp {
    // A clock before 1970 is the epoch.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The parameters of a query. One that cannot be read is none: unknown options mean nothing either.
pub(crate) struct Params(BTreeMap<String, String>);

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(Query::try_from_uri(&parts.uri).map(|Query(params)| params).unwrap_or_default()))
    }
}

fn kind(id: &str) -> Result<Kind, ApiError> {
    Kind::from_id(id).ok_or_else(|| ApiError::NoTopology(quoted(id)))
}

/// What a path's pattern took from it.
fn taken<T>(path: Result<Path<T>, PathRejection>) -> Result<T, ApiError> {
    path.map(|Path(taken)| taken).map_err(|rejection| ApiError::BadPath(rejection.body_text()))
}

/// `GET /api`.
pub(crate) async fn about(State(server): State<Arc<Server>>) -> Json<Value> {
    let about = &server.about;
    let peers = server.peers.borrow().clone();
    Json(json!({
        "id": about.id,
        "version": about.version,
        "hostname": about.hostname,
        "plugins": [],
        "capabilities": { "historic_reports": false },
        "time": now().to_string(),
        "peers": peers.lives(),
        "openMesh": peers.mesh.open,
        "meshProblems": peers.mesh.problems.len(),
    }))
}

/// `GET /api/topology`.
pub(crate) async fn list(State(server): State<Arc<Server>>, Params(query): Params) -> Json<Vec<Topology>> {
    let stats = |kind| server.views.stats(kind, Options::from_query(kind, &query));
    Json(server.renders.run(|| topologies(stats)).await)
}

/// `GET /api/topology/{t}`.
pub(crate) async fn topology(
    State(server): State<Arc<Server>>,
    path: Result<Path<String>, PathRejection>,
    Params(query): Params,
    headers: HeaderMap,
) -> Answer {
    let kind = kind(&taken(path)?)?;
    let options = Options::from_query(kind, &query);
    let render = || server.views.body(kind, options, now());
    conditional(&server, &headers, || Ok(render())).await
}

/// `GET /api/topology/{t}/edges`. A node of that name is at `%65dges`: paths are matched as they are written.
pub(crate) async fn edges(
    State(server): State<Arc<Server>>,
    path: Result<Path<String>, PathRejection>,
    Params(query): Params,
    headers: HeaderMap,
) -> Answer {
    let kind = kind(&taken(path)?)?;
    let options = Options::from_query(kind, &query);
    conditional(&server, &headers, || Ok(server.views.edges(kind, options))).await
}

/// `GET /api/edge/{source}/{target}`.
pub(crate) async fn edge(
    State(server): State<Arc<Server>>,
    path: Result<Path<(String, String)>, PathRejection>,
    Params(query): Params,
    headers: HeaderMap,
) -> Answer {
    let (source, target) = taken(path)?;
    let kind = match query.get("topology") {
        Some(topology) => kind(topology)?,
        None => kind_of(&source, &target)?,
    };
    let missing = || ApiError::NoEdge { kind, from: quoted(&source), to: quoted(&target) };
    conditional(&server, &headers, || server.views.edge(kind, &source, &target).ok_or_else(missing)).await
}

/// The topology of an edge's ends, if their ids tell.
fn kind_of(source: &str, target: &str) -> Result<Kind, ApiError> {
    match [source, target].map(NodeId::kind_of) {
        [Some(one), Some(other)] if one != other => Err(ApiError::WhichTopology),
        [one, other] => one.or(other).ok_or(ApiError::WhichTopology),
    }
}

/// `GET /api/report`.
pub(crate) async fn report(State(server): State<Arc<Server>>, headers: HeaderMap) -> Answer {
    let render = || {
        let cluster = server.cluster.borrow().clone();
        let report = topology::report::report(&cluster, now());
        Ok((cluster.version(), Bytes::from(report.to_string())))
    };
    conditional(&server, &headers, render).await
}

/// Renders, unless the client has what would come of it. `render` gives the version of the cluster it shows, and JSON.
async fn conditional(
    server: &Server,
    headers: &HeaderMap,
    render: impl FnOnce() -> Result<(u64, Bytes), ApiError>,
) -> Answer {
    // The version starts over with the peer, so the tag names the run too.
    let tag = |version: u64| format!("W/\"{:x}-{version:x}\"", server.started.0);
    let current = tag(server.cluster.borrow().version());
    if etag::is_known(headers, &current) {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, current)]).into_response());
    }
    let (version, body) = server.renders.run(render).await?;
    Ok(([(CONTENT_TYPE, "application/json".to_owned()), (ETAG, tag(version))], body).into_response())
}

/// `GET /api/topology/{t}/{id}`.
pub(crate) async fn node(
    State(server): State<Arc<Server>>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Answer {
    let (topology, id) = taken(path)?;
    detail(&server, kind(&topology)?, &id).await
}

#[derive(Serialize)]
struct NodeAnswer {
    node: Detail,
}

async fn detail(server: &Server, kind: Kind, id: &str) -> Answer {
    let missing = || ApiError::NoNode { kind, id: quoted(id) };
    let detail = server.renders.run(|| server.views.detail(kind, id, now())).await;
    Ok(Json(NodeAnswer { node: detail.ok_or_else(missing)? }).into_response())
}

/// `GET /api/topology/{t}/ws`: the stream of diffs. Asked for without an upgrade, it is the node of the name `ws`.
pub(crate) async fn socket(
    State(server): State<Arc<Server>>,
    path: Result<Path<String>, PathRejection>,
    Params(query): Params,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Answer {
    let kind = kind(&taken(path)?)?;
    let Ok(upgrade) = upgrade else { return detail(&server, kind, "ws").await };
    origin::check(&headers)?;
    let t = query.get("t").map(String::as_str);
    let beat = beat(t).ok_or_else(|| ApiError::BadBeat(quoted(t.unwrap_or_default())))?;
    let permit = server.sockets.clone().try_acquire_owned().map_err(|_| ApiError::TooManySockets(SOCKETS_MAX))?;
    let key = Key { kind, options: Options::from_query(kind, &query), beat };
    let feed = server.live.follow(key)?;
    let follower = Follower { live: server.live.clone(), key, feed, stop: server.stop.clone(), permit };
    let token = server.tasks.token();
    let upgrade = upgrade.max_message_size(INCOMING_BYTES_MAX).max_frame_size(INCOMING_BYTES_MAX);
    Ok(upgrade.on_upgrade(|socket| async move {
        follower.run(socket).await;
        drop(token);
    }))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Probe<'a> {
    id: &'a PeerId,
    hostname: &'a str,
    version: &'a str,
    /// RFC 3339, by our clock; `None` of a host of which neither mesh nor figures tell.
    last_seen: Option<String>,
    sources: Vec<ProbeSource<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProbeSource<'a> {
    name: &'a str,
    state: SourceState,
    mode: &'a str,
    reason: Cow<'a, str>,
    /// Of one CPU; `None` until it was measured.
    cpu_percent: Option<f64>,
    /// What it has missed since it started; `None` of one that does not count.
    lost: Option<u64>,
}

impl<'a> Probe<'a> {
    fn of(peer: &'a PeerId, entry: &'a HostEntry, refused: Option<&Refused>, own: &str, peers: &Peers) -> Self {
        let newest = entry.gauges.host().next_back();
        let sources = entry.graph.status.sources.iter().map(|(name, source)| ProbeSource {
            name,
            state: source.state,
            mode: &source.mode,
            reason: source.reason.as_str().into(),
            cpu_percent: newest.and_then(|block| block.cost(name)),
            lost: newest.and_then(|block| block.lost(name)),
        });
        let read = newest.map(|block| entry.clock.ours(block.at));
        let last_seen = if peer.as_str() == own { read.or_else(|| Some(now())) } else { peers.heard_at(peer).or(read) };
        Self {
            id: peer,
            hostname: entry.graph.name(),
            version: &entry.graph.host.scope_version,
            last_seen: last_seen.map(|at| at.to_string()),
            sources: sources.chain(refused.map(ProbeSource::of_services)).collect(),
        }
    }
}

impl ProbeSource<'_> {
    /// Rules of known services that came from a host and are not used. Not the host says so but we, with those of all hosts.
    fn of_services(refused: &Refused) -> Self {
        let reason = refused.to_string().into();
        Self { name: "services", state: SourceState::Degraded, mode: "rules", reason, cpu_percent: None, lost: None }
    }
}

/// `GET /api/probes`.
pub(crate) async fn probes(State(server): State<Arc<Server>>, Params(query): Params) -> Response {
    let cluster = server.cluster.borrow().clone();
    if query.contains_key("sparse") {
        return Json(cluster.hosts().len() > 0).into_response();
    }
    let (own, peers) = (&server.about.id, server.peers.borrow().clone());
    let probes: Vec<_> = cluster
        .hosts()
        .map(|(peer, entry)| Probe::of(peer, entry, cluster.refused_services(peer), own, &peers))
        .collect();
    Json(probes).into_response()
}

/// `GET /api/peers`. The tag is of the answer itself: it has no version.
pub(crate) async fn peers(State(server): State<Arc<Server>>, headers: HeaderMap) -> Response {
    let body = server.peers.borrow().clone().json();
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    let tag = format!("W/\"{:x}-{:x}\"", server.started.0, hasher.finish());
    if etag::is_known(&headers, &tag) {
        return (StatusCode::NOT_MODIFIED, [(ETAG, tag)]).into_response();
    }
    ([(CONTENT_TYPE, "application/json".to_owned()), (ETAG, tag)], body).into_response()
}

/// `GET /healthz`.
pub(crate) async fn health(State(server): State<Arc<Server>>) -> Json<Value> {
    let cluster = server.cluster.borrow().clone();
    Json(json!({ "status": "ok", "clusterVersion": cluster.version(), "hosts": cluster.hosts().len() }))
}

/// `GET /metrics`.
pub(crate) async fn metrics(State(server): State<Arc<Server>>) -> Response {
    let cluster = server.cluster.borrow().clone();
    let text = server.metrics.text(&Now {
        live_views: server.live.views(),
        sockets: SOCKETS_MAX - server.sockets.available_permits(),
        connections: server.connections(),
        hosts: cluster.hosts().len(),
        peers: server.peers.borrow().lives(),
        version: cluster.version(),
    });
    ([(CONTENT_TYPE, MEDIA_TYPE)], text).into_response()
}

/// What is not there.
pub(crate) async fn missing(uri: Uri) -> ApiError {
    ApiError::NoRoute(quoted(uri.path()))
}
