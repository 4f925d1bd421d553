//! What a request can fail with, and how that is answered: a status and `{"error": "…"}`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use topology::Kind;

/// Most characters of a client's own words in an answer.
const QUOTED_CHARS_MAX: usize = 120;

/// Why a request is not answered as asked.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("nothing at {0}; see docs/api.md for what is")]
    NoRoute(String),
    #[error("{0} is not allowed here")]
    Method(String),
    #[error("no topology {0:?}; there are {known}", known = known())]
    NoTopology(String),
    #[error("no node {id:?} in {topology}", topology = .kind.id())]
    NoNode { kind: Kind, id: String },
    #[error("no edge from {from:?} to {to:?} in {topology}", topology = .kind.id())]
    NoEdge { kind: Kind, from: String, to: String },
    #[error("which topology the edge is in is not told by its ends: say it, as in ?topology=containers")]
    WhichTopology,
    #[error("not a well-formed path: {0}")]
    BadPath(String),
    #[error("t={0:?} is no duration such as 500ms, 1s or 1m30s")]
    BadBeat(String),
    #[error(
        "a page of {origin:?} may not open a WebSocket of {host:?}; a proxy in between must pass the Host header on"
    )]
    ForeignOrigin { origin: String, host: String },
    #[error("{0} views are watched already, no more fit; close one or try again later")]
    TooManyViews(usize),
    #[error("{0} WebSockets are open already, no more fit; close one or try again later")]
    TooManySockets(usize),
    #[error("no answer within {0} s")]
    TimedOut(u64),
}

fn known() -> String {
    Kind::ALL.map(Kind::id).join(", ")
}

/// The start of a client's text, fit for an answer.
pub(crate) fn quoted(text: &str) -> String {
    text.chars().take(QUOTED_CHARS_MAX).collect()
}

impl ApiError {
    fn status(&self) -> StatusCode {
        match self {
            Self::NoRoute(_) | Self::NoTopology(_) | Self::NoNode { .. } | Self::NoEdge { .. } => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::BadPath(_) | Self::BadBeat(_) | Self::WhichTopology => StatusCode::BAD_REQUEST,
            Self::ForeignOrigin { .. } => StatusCode::FORBIDDEN,
            Self::TooManyViews(_) | Self::TooManySockets(_) | Self::TimedOut(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status(), Json(json!({ "error": self.to_string() }))).into_response()
    }
}
