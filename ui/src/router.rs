//! Routes, and what all of them share: limits, headers, compression, measurement.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state, map_response};
use axum::response::Response;
use axum::routing::{any, get};
use tokio::time::{Instant, timeout};
use tower_http::compression::CompressionLayer;

use crate::error::{ApiError, quoted};
use crate::server::Server;
use crate::{api, assets, metrics};

/// Time to answer a request, waiting for a turn to render included. WebSockets are answered when they open.
const REQUEST_DEADLINE: Duration = Duration::from_secs(30);

/// Nothing from elsewhere, nothing inline, no frame around us. In today's browsers `connect-src 'self'` covers `ws:` of the
/// same origin too (CSP 3, §6.7.2.8).
const CSP: &str = "default-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; \
                   frame-ancestors 'none'";

/// Headers of every answer; a handler that sets one itself knows better.
const HEADERS: [(HeaderName, &str); 4] = [
    (CONTENT_SECURITY_POLICY, CSP),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-store"),
];

/// All routes of a peer.
pub(crate) fn router(server: Arc<Server>) -> Router {
    Router::new()
        .route("/api", get(api::about))
        .route("/api/topology", get(api::list))
        .route("/api/topology/{t}", get(api::topology))
        .route("/api/topology/{t}/ws", get(api::socket))
        .route("/api/topology/{t}/edges", get(api::edges))
        .route("/api/topology/{t}/{*id}", get(api::node))
        .route("/api/edge/{source}/{target}", get(api::edge))
        .route("/api/report", get(api::report).post(api::missing))
        .route("/api/probes", get(api::probes))
        .route("/api/peers", get(api::peers))
        .route("/api/{*path}", any(api::missing))
        .route("/healthz", get(api::health))
        .route("/metrics", get(api::metrics))
        .route("/", get(assets::page))
        .route("/{*path}", get(assets::asset))
        .method_not_allowed_fallback(wrong_method)
        .fallback(api::missing)
        .layer(from_fn(limit))
        .layer(CompressionLayer::new())
        .layer(map_response(harden))
        .layer(from_fn_with_state(server.clone(), measure))
        .with_state(server)
}

async fn wrong_method(method: Method) -> ApiError {
    ApiError::Method(quoted(method.as_str()))
}

async fn limit(request: Request, next: Next) -> Result<Response, ApiError> {
    let answer = timeout(REQUEST_DEADLINE, next.run(request)).await;
    answer.map_err(|_| ApiError::TimedOut(REQUEST_DEADLINE.as_secs()))
}

async fn harden(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

async fn measure(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = known(request.method());
    let route = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str).to_owned();
    let response = next.run(request).await;
    let status = response.status();
    let ws = if status == StatusCode::SWITCHING_PROTOCOLS { "true" } else { "false" };
    let request = metrics::Request { method, route, status_code: status.as_u16().into(), ws };
    server.metrics.answered(&request, started.elapsed());
    response
}

/// A method as a label: clients may invent methods, but no labels.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        _ => "other",
    }
}
