//! What is told of edges.

use axum::http::StatusCode;
use serde_json::json;
use topology::Timestamp;
use topology::fact::{Fact, Process};
use topology::gauges::{FlowGauges, Gauges};

use super::harness::{Served, id};

const AT: Timestamp = Timestamp(1_795_339_800_000);

/// The figures of the one flow there is: `client` talks to `web`.
fn figures(sent: u64) -> Fact {
    Fact::Gauges(Gauges::Flows(FlowGauges {
        at: AT,
        serials: vec![1],
        open: vec![3],
        opened: vec![120],
        sent: vec![sent],
        received: vec![53_000],
        rtt: vec![180],
        retransmits: vec![2],
        idle: vec![0],
    }))
}

/// The path of an edge between two containers.
fn path(source: char, target: char) -> String {
    let [source, target] = [source, target].map(|digit| format!("{}%3B%3Ccontainer%3E", id(digit)));
    format!("/api/edge/{source}/{target}")
}

#[tokio::test]
async fn an_edge_has_details_also_when_options_leave_it_out() {
    let mut served = Served::start().await;
    served.put(figures(1200));
    let answer = served.get(&format!("{}?topology=containers&system=system", path('a', 'b'))).await;
    let traffic = json!({
        "open": 3, "opened": 120, "sent": 1200, "received": 53000, "rttMicros": 180, "retransmits": 2,
        "confirmed": false, "fading": false,
        "firstSeen": "1970-01-01T00:00:00.001Z", "lastSeen": "2026-11-22T09:30:00Z", "seenBy": [],
    });
    let mut want = json!({
        "topology": "containers",
        "source": { "id": format!("{};<container>", id('a')), "label": "client", "labelMinor": "a" },
        "target": { "id": format!("{};<container>", id('b')), "label": "web", "labelMinor": "a" },
        "relations": [{
            "protocol": "tcp", "port": 80, "address": "10.0.0.3", "toldBy": ["a"],
            "client": { "label": "wget (2)", "host": "a", "node": "peer-a;2", "topology": "processes" },
            "server": { "label": "nginx (3)", "host": "a", "node": "peer-a;3", "topology": "processes" },
        }],
    });
    for (name, value) in traffic.as_object().expect("an object") {
        want[name] = value.clone();
        want["relations"][0][name] = value.clone();
    }
    assert_eq!(answer.json(), want);
}

#[tokio::test]
async fn an_edge_is_asked_for_by_its_ends_and_its_topology_where_they_do_not_tell() {
    let served = Served::start().await;
    let cases = [
        (path('a', 'b'), 200),
        (path('b', 'a'), 404),
        (path('a', 'c'), 404),
        (path('a', 'b') + "?topology=containers", 200),
        (path('a', 'b') + "?topology=hosts", 404),
        (path('a', 'b') + "?topology=pods", 404),
        ("/api/edge/peer-a%3B2/peer-a%3B3".into(), 200),
        ("/api/edge/peer-a%3B%3Chost%3E/peer-a%3B%3Chost%3E".into(), 200),
        ("/api/edge/peer-a%3B%3Chost%3E/out-theinternet".into(), 404),
        ("/api/edge/busybox%3B%3Ccontainer_image%3E/nginx%3B%3Ccontainer_image%3E".into(), 200),
        ("/api/edge/wget/nginx".into(), 400),
        ("/api/edge/wget/nginx?topology=processes-by-name".into(), 200),
        ("/api/edge/in-theinternet/service-db".into(), 400),
        ("/api/edge/peer-a%3B2/peer-a%3B%3Chost%3E".into(), 400),
        ("/api/edge/%ff/x".into(), 400),
    ];
    for (path, status) in cases {
        let answer = served.get(&path).await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
        let error = answer.json()["error"].as_str().unwrap_or_default().to_owned();
        assert_eq!(error.is_empty(), status == 200, "{path}: {error}");
        assert!(status != 400 || path.contains("%ff") || error.contains("?topology="), "{path}: {error}");
    }
}

#[tokio::test]
async fn edges_of_a_topology_are_those_its_options_leave() {
    let mut served = Served::start().await;
    served.put(figures(1200));
    let [client, web] = [id('a'), id('b')].map(|id| format!("{id};<container>"));
    let edge = json!({
        "source": client, "target": web, "open": 3, "sent": 1200, "received": 53000, "confirmed": false, "fading": false,
    });
    let cases =
        [("", json!([edge])), ("?t=1s", json!([edge])), ("?system=system", json!([])), ("?stopped=stopped", json!([]))];
    for (query, want) in cases {
        let answer = served.get(&format!("/api/topology/containers/edges{query}")).await;
        assert_eq!(answer.json(), json!({ "edges": want }), "{query}");
    }
}

#[tokio::test]
async fn a_node_called_edges_is_found_by_another_spelling() {
    let mut served = Served::start().await;
    let process = topology::ProcessId { pid: 40, start: 1 };
    served.put(Fact::Process(Process { name: "edges".into(), ..Process::new(process) }));
    let [list, node] = ["edges", "%65dges"].map(|name| format!("/api/topology/processes-by-name/{name}"));
    assert!(served.get(&list).await.json()["edges"].is_array());
    assert_eq!(served.get(&node).await.json()["node"]["label"], "edges");
}

#[tokio::test]
async fn edges_that_a_client_has_are_not_sent_again() {
    let mut served = Served::start().await;
    for (path, sent) in [(path('a', 'b'), 1), ("/api/topology/containers/edges?t=1s".into(), 2)] {
        let etag = served.get(&path).await.header("etag").to_owned();
        let again = served.ask("GET", &path, &[("if-none-match", &etag)]).await;
        assert_eq!((again.status, again.body.len()), (StatusCode::NOT_MODIFIED, 0), "{path}");
        served.put(figures(sent));
        let changed = served.ask("GET", &path, &[("if-none-match", &etag)]).await;
        assert_eq!((changed.status, changed.header("etag") != etag), (StatusCode::OK, true), "{path}");
    }
}
