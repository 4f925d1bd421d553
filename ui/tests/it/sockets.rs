//! WebSockets: who gets one, what comes out of it, and what it may cost.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::harness::{Served, Socket, extra, id};

const CONTAINERS: &str = "/api/topology/containers/ws";

fn labels(nodes: &Value) -> Vec<&str> {
    let mut labels: Vec<_> = nodes.as_array().into_iter().flatten().filter_map(|node| node["label"].as_str()).collect();
    labels.sort_unstable();
    labels
}

fn refusal(opened: Result<Socket, Error>) -> (StatusCode, String) {
    match opened {
        Err(Error::Http(response)) => {
            let body = response.body().clone().unwrap_or_default();
            (response.status(), String::from_utf8(body).expect("text"))
        }
        Err(error) => panic!("{error}"),
        Ok(_) => (StatusCode::SWITCHING_PROTOCOLS, String::new()),
    }
}

#[tokio::test]
async fn a_socket_gets_the_view_and_then_what_differs() {
    let mut served = Served::start().await;
    let mut socket = served.open(&format!("{CONTAINERS}?t=1s"), &[]).await.expect("a socket");
    let reset = socket.next().await.expect("the view");
    assert_eq!((labels(&reset["add"]), &reset["reset"]), (vec!["client", "web"], &json!(true)));
    assert_eq!((&reset["update"], &reset["remove"]), (&Value::Null, &Value::Null));
    served.put(extra("redis"));
    let diff = socket.next().await.expect("a diff");
    assert_eq!((labels(&diff["add"]), diff.get("reset")), (vec!["redis"], None));
    served.put(extra("valkey"));
    let diff = socket.next().await.expect("a diff");
    assert_eq!((&diff["add"], labels(&diff["update"])), (&Value::Null, vec!["valkey"]));
    assert_eq!(diff["update"][0]["id"], format!("{};<container>", id('e')));
}

/// Applies messages until the container `last` is there; gives the labels by id then.
async fn follow_until(socket: &mut Socket, last: &str) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let mut nodes = BTreeMap::new();
    while !nodes.values().any(|label| label == last) {
        let diff = socket.next().await.expect("a diff");
        if diff["reset"] == true {
            nodes.clear();
        }
        for node in ["add", "update"].into_iter().flat_map(|list| diff[list].as_array().into_iter().flatten()) {
            nodes.insert(text(&node["id"]), text(&node["label"]));
        }
        for gone in diff["remove"].as_array().into_iter().flatten() {
            nodes.remove(gone.as_str().expect("an id"));
        }
    }
    nodes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_clients_on_many_threads_see_one_picture() {
    let mut served = Served::start().await;
    let mut readers = Vec::new();
    for step in 0..200 {
        served.put(extra(&format!("redis-{step}")));
        if step % 10 == 0 {
            let query = ["t=200ms", "t=1s", "stopped=running"][step / 10 % 3];
            let mut socket = served.open(&format!("{CONTAINERS}?{query}"), &[]).await.expect("a socket");
            readers.push(tokio::spawn(async move { follow_until(&mut socket, "last").await }));
            assert_eq!(served.get("/api/topology/containers?t=1s").await.status, StatusCode::OK);
        }
    }
    served.put(extra("last"));
    let body = served.get("/api/topology/containers?t=1s").await.json();
    let nodes = body["nodes"].as_object().expect("nodes by id").iter();
    let want: BTreeMap<_, _> =
        nodes.map(|(id, node)| (id.clone(), node["label"].as_str().expect("text").to_owned())).collect();
    for reader in readers {
        assert_eq!(reader.await.expect("no panic"), want);
    }
}

#[tokio::test]
async fn sockets_take_the_options_of_their_query() {
    let served = Served::start().await;
    let cases = [
        ("", "client old sandbox web"),
        ("?stopped=both", "client old web"),
        ("?stopped=both&t=500ms", "client old web"),
    ];
    for (query, want) in cases {
        let mut socket = served.open(&format!("{CONTAINERS}{query}"), &[]).await.expect("a socket");
        let reset = socket.next().await.expect("the view");
        assert_eq!(labels(&reset["add"]).join(" "), want, "{query}");
    }
}

#[tokio::test]
async fn two_sockets_of_one_view_share_one_drawing() {
    let served = Served::start().await;
    let mut sockets = Vec::new();
    for _ in 0..2 {
        let mut socket = served.open(&format!("{CONTAINERS}?t=1s"), &[]).await.expect("a socket");
        sockets.push((socket.next().await, socket));
    }
    assert_eq!(sockets[0].0, sockets[1].0);
    let text = String::from_utf8(served.get("/metrics").await.body.to_vec()).expect("text");
    for line in ["scope_view_updates_total{topology=\"containers\"} 1", "scope_live_views 1", "scope_websockets 2"] {
        assert!(text.lines().any(|it| it == line), "{line} in {text}");
    }
}

#[tokio::test]
async fn sockets_are_for_our_own_page_and_for_scripts() {
    let served = Served::start().await;
    let own = format!("http://{}", served.address);
    let cases = [
        (vec![], StatusCode::SWITCHING_PROTOCOLS),
        (vec![("origin", &*own)], StatusCode::SWITCHING_PROTOCOLS),
        (vec![("origin", "http://evil.example")], StatusCode::FORBIDDEN),
        (vec![("origin", "null")], StatusCode::FORBIDDEN),
        // Anyone can send this one.
        (vec![("origin", "http://evil.example"), ("x-forwarded-host", "evil.example")], StatusCode::FORBIDDEN),
    ];
    for (headers, want) in cases {
        let (status, body) = refusal(served.open(CONTAINERS, &headers).await);
        assert_eq!(status, want, "{headers:?}");
        assert_eq!(body.contains("must pass the Host header"), status == StatusCode::FORBIDDEN, "{body}");
    }
}

#[tokio::test]
async fn what_is_no_socket_is_refused_before_it_opens() {
    let served = Served::start().await;
    let cases = [("/api/topology/pods/ws", 404, "no topology"), ("/api/topology/hosts/ws?t=soon", 400, "no duration")];
    for (path, status, why) in cases {
        let (got, body) = refusal(served.open(path, &[]).await);
        assert_eq!(got.as_u16(), status, "{path}");
        assert!(body.contains(why), "{body}");
    }
}

#[tokio::test]
async fn sockets_are_bounded() {
    let served = Served::start().await;
    let mut sockets = Vec::new();
    for _ in 0..256 {
        sockets.push(served.open(CONTAINERS, &[]).await.expect("a socket"));
    }
    let (status, body) = refusal(served.open(CONTAINERS, &[]).await);
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body.contains("256 WebSockets"), "{body}");
    assert_eq!(served.get("/healthz").await.status, StatusCode::OK, "the rest goes on");
}

#[tokio::test]
async fn views_watched_at_a_time_are_bounded() {
    let served = Served::start().await;
    let mut sockets = Vec::new();
    for ms in 0..64 {
        sockets.push(served.open(&format!("{CONTAINERS}?t={}ms", 300 + ms), &[]).await.expect("a socket"));
    }
    let (status, body) = refusal(served.open(&format!("{CONTAINERS}?t=2s"), &[]).await);
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body.contains("64 views"), "{body}");
}

#[tokio::test]
async fn what_a_client_says_is_ignored_and_too_much_of_it_ends_the_socket() {
    let mut served = Served::start().await;
    let mut socket = served.open(CONTAINERS, &[]).await.expect("a socket");
    socket.next().await.expect("the view");
    socket.0.send(Message::text("hello")).await.expect("sent");
    socket.0.send(Message::binary(vec![0; 4096])).await.expect("sent");
    served.put(extra("redis"));
    assert_eq!(labels(&socket.next().await.expect("a diff")["add"]), ["redis"]);
    socket.0.send(Message::text("x".repeat(4097))).await.expect("sent");
    assert_eq!(socket.next().await, None);
}
