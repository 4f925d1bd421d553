//! The page, embedded when the crate is built: `web/dist`, or a note that says how to build it.

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use crate::error::ApiError;
use crate::{api, etag};

/// One file of the page.
struct Asset {
    /// Path below `/`.
    path: &'static str,
    media_type: &'static str,
    /// Changes with the bytes.
    etag: &'static str,
    bytes: &'static [u8],
}

// ASSETS: &[Asset], sorted by path. Made by build.rs.
include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// `GET /`.
pub(crate) async fn page(uri: Uri, headers: HeaderMap) -> Result<Response, ApiError> {
    answer("index.html", uri, &headers).await
}

/// `GET` of any other file of the page.
pub(crate) async fn asset(
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let path = path.map(|Path(path)| path).unwrap_or_default();
    answer(&path, uri, &headers).await
}

/// The file, or that the browser has it. Names carry no hashes, so browsers ask each time and mostly get a 304.
async fn answer(path: &str, uri: Uri, headers: &HeaderMap) -> Result<Response, ApiError> {
    let Ok(found) = ASSETS.binary_search_by(|asset| asset.path.cmp(path)) else { return Err(api::missing(uri).await) };
    let asset = &ASSETS[found];
    let caching = [(ETAG, asset.etag), (CACHE_CONTROL, "no-cache")];
    if etag::is_known(headers, asset.etag) {
        return Ok((StatusCode::NOT_MODIFIED, caching).into_response());
    }
    Ok((caching, [(CONTENT_TYPE, asset.media_type)], asset.bytes).into_response())
}
