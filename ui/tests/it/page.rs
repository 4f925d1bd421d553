//! The embedded page, or the note in its place.

use axum::http::StatusCode;

use super::harness::Served;

#[tokio::test]
async fn the_page_is_html_and_revalidates() {
    let served = Served::start().await;
    for path in ["/", "/index.html"] {
        let page = served.get(path).await;
        assert_eq!((page.status, page.header("content-type")), (StatusCode::OK, "text/html; charset=utf-8"), "{path}");
        assert!(page.body.starts_with(b"<!doctype html>"), "{path}");
        let again = served.ask("GET", path, &[("if-none-match", page.header("etag"))]).await;
        assert_eq!((again.status, again.body.len()), (StatusCode::NOT_MODIFIED, 0), "{path}");
    }
}

#[tokio::test]
async fn what_the_page_links_to_is_there() {
    let served = Served::start().await;
    let page = served.get("/").await;
    let text = String::from_utf8(page.body.to_vec()).expect("UTF-8");
    let links = text.split(['"', '\'']).filter(|it| it.starts_with("./assets/") || it.starts_with("api/"));
    for link in links {
        let answer = served.get(&format!("/{}", link.trim_start_matches("./"))).await;
        assert_eq!(answer.status, StatusCode::OK, "{link}");
        assert!(!answer.header("content-type").contains("octet-stream"), "{link}");
    }
}
