//! Who may open a WebSocket. Browsers let any page open one to anywhere and name the page's origin; only a page that came from
//! here may. Requests without an `Origin` come from no browser and are let in: what has no browser can send any header.

use axum::http::HeaderMap;
use axum::http::header::{HOST, ORIGIN};

use crate::error::{ApiError, quoted};

/// Lets a request through if it comes from our own page or from no page at all.
///
/// # Errors
/// [`ApiError::ForeignOrigin`] if the `Origin` is another than the `Host` the request was sent to.
pub(crate) fn check(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or_default();
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    if !host.is_empty() && authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host)) {
        Ok(())
    } else {
        Err(ApiError::ForeignOrigin { origin: quoted(origin), host: quoted(host) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_page_may_open_a_socket() {
        let cases = [
            (None, Some("a:4040"), true),
            (Some("http://a:4040"), Some("a:4040"), true),
            (Some("https://Scope.Example"), Some("scope.example"), true),
            (Some("http://[fd00::1]:4040"), Some("[fd00::1]:4040"), true),
            (Some("http://a"), Some("a:4040"), false),
            (Some("http://evil.example"), Some("a:4040"), false),
            (Some("http://a:4040.evil.example"), Some("a:4040"), false),
            (Some("null"), Some("a:4040"), false),
            (Some("a:4040"), Some("a:4040"), false),
            (Some("http://"), Some(""), false),
            (Some("http://a:4040"), None, false),
        ];
        for (origin, host, want) in cases {
            let header = |name, value: Option<&str>| Some((name, value?.parse().expect("a header's value")));
            let headers: HeaderMap = [header(ORIGIN, origin), header(HOST, host)].into_iter().flatten().collect();
            assert_eq!(check(&headers).is_ok(), want, "{origin:?} at {host:?}");
        }
    }
}
