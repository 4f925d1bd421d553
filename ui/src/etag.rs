//! Conditional requests, RFC 9110 §13.1.2. Our tags are weak: the same content goes out in several encodings.

use axum::http::HeaderMap;
use axum::http::header::IF_NONE_MATCH;

/// Whether the client already has what `etag` names.
pub(crate) fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let wanted = opaque(etag);
    let lists = headers.get_all(IF_NONE_MATCH).into_iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|tag| tag.trim() == "*" || opaque(tag) == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_compared_weakly_with_each_of_a_list() {
        let cases = [
            ("", false),
            ("*", true),
            ("W/\"1-2\"", true),
            ("\"1-2\"", true),
            ("\"0\", W/\"1-2\"", true),
            ("W/\"1-3\"", false),
            ("1-2", false),
        ];
        for (list, want) in cases {
            let headers = HeaderMap::from_iter([(IF_NONE_MATCH, list.parse().expect("a header's value"))]);
            assert_eq!(is_known(&headers, "W/\"1-2\""), want, "{list}");
        }
    }
}
