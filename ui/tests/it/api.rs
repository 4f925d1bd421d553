//! Routes, shapes and semantics of the API.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use serde_json::{Value, json};
use topology::Timestamp;
use topology::fact::Fact;
use topology::services::{Pattern, Rule};

use super::harness::{Served, extra, id};

const JSON: &str = "application/json";
const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[tokio::test]
async fn every_route_answers() {
    let served = Served::start().await;
    let web = format!("/api/topology/containers/{}%3B%3Ccontainer%3E", id('b'));
    let cases: [(&str, &str, u16, &str); 28] = [
        ("GET", "/api", 200, JSON),
        ("GET", "/api/topology", 200, JSON),
        ("HEAD", "/api/topology", 200, JSON),
        ("GET", "/api/topology/hosts", 200, JSON),
        ("GET", &web, 200, JSON),
        ("GET", "/api/topology/processes-by-name/odd%2Fname%3B%3Cx%3E", 200, JSON),
        ("GET", "/api/topology/processes-by-name/odd/name;%3Cx%3E", 200, JSON),
        ("GET", "/api/topology/hosts/edges", 200, JSON),
        ("GET", "/api/report", 200, JSON),
        ("GET", "/api/probes", 200, JSON),
        ("GET", "/api/peers", 200, JSON),
        ("GET", "/healthz", 200, JSON),
        ("GET", "/metrics", 200, TEXT),
        ("GET", "/api/topology/pods", 404, JSON),
        ("GET", "/api/topology/pods/x", 404, JSON),
        ("GET", "/api/topology/pods/ws", 404, JSON),
        ("GET", "/api/topology/pods/edges", 404, JSON),
        ("GET", "/api/topology/containers/ws", 404, JSON),
        ("GET", "/api/topology/containers/nope", 404, JSON),
        ("GET", "/api/topology/containers/%ff", 400, JSON),
        ("GET", "/api/edge/x", 404, JSON),
        ("GET", "/api/nothing/here", 404, JSON),
        ("GET", "/nothing.js", 404, JSON),
        ("POST", "/api/report", 404, JSON),
        ("POST", "/api/control/peer-a/x/docker_stop", 404, JSON),
        ("DELETE", "/api/pipe/1", 404, JSON),
        ("POST", "/api/topology", 405, JSON),
        ("DELETE", "/", 405, JSON),
    ];
    for (method, path, status, media_type) in cases {
        let answer = served.ask(method, path, &[]).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (status, media_type), "{method} {path}");
        if status >= 400 {
            assert!(answer.json()["error"].as_str().is_some_and(|text| !text.is_empty()), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn an_unknown_topology_is_told_which_there_are() {
    let served = Served::start().await;
    let error = served.get("/api/topology/pods").await.json()["error"].as_str().expect("text").to_owned();
    assert_eq!(
        error,
        "no topology \"pods\"; there are containers, containers-by-hostname, containers-by-image, hosts, processes, \
         processes-by-name"
    );
}

#[tokio::test]
async fn the_peer_says_who_it_is() {
    let served = Served::start().await;
    let want = json!({
        "id": "peer-a", "version": "0.1.0", "hostname": "a", "plugins": [], "capabilities": { "historic_reports": false },
        "peers": { "live": 0, "suspect": 0, "gone": 0 }, "openMesh": false, "meshProblems": 0,
    });
    let mut about = served.get("/api").await.json();
    let time = about["time"].take();
    about.as_object_mut().expect("an object").remove("time");
    assert_eq!(about, want);
    assert!(time.as_str().is_some_and(|time| time.parse::<Timestamp>().is_ok()), "{time}");
    let health = served.get("/healthz").await.json();
    assert_eq!(health, json!({ "status": "ok", "clusterVersion": 1, "hosts": 1 }));
}

#[tokio::test]
async fn the_list_describes_each_view_with_the_figures_of_its_options() {
    let served = Served::start().await;
    let list = served.get("/api/topology?stopped=both").await.json();
    let row = |entry: &Value| {
        (entry["name"].clone(), entry["url"].clone(), entry["rank"].clone(), entry["hide_if_empty"].clone())
    };
    let rows: Vec<_> = list.as_array().expect("a list").iter().map(row).collect();
    let want = [
        (json!("Containers"), json!("/api/topology/containers"), json!(2), json!(false)),
        (json!("Hosts"), json!("/api/topology/hosts"), json!(4), json!(false)),
        (json!("Processes"), json!("/api/topology/processes"), json!(1), json!(true)),
    ];
    assert_eq!(rows, want);
    let subs: Vec<_> =
        list[0]["sub_topologies"].as_array().expect("subs").iter().map(|sub| sub["name"].clone()).collect();
    assert_eq!(
        (subs, &list[2]["sub_topologies"][0]["name"]),
        (vec![json!("by DNS name"), json!("by image")], &json!("by name"))
    );
    assert_eq!(
        list[0]["options"][1],
        json!({ "id": "stopped", "defaultValue": "running", "selectType": "", "noneLabel": "", "options": [
            { "value": "stopped", "label": "Stopped containers" },
            { "value": "running", "label": "Running containers" },
            { "value": "both", "label": "Both" },
        ] })
    );
    let stats = json!({ "node_count": 3, "nonpseudo_node_count": 3, "edge_count": 1, "filtered_nodes": 1 });
    assert_eq!(list[0]["stats"], stats, "the sandbox is left out, the stopped one is not");
    let list = served.get("/api/topology").await.json();
    assert_eq!(list[0]["stats"]["filtered_nodes"], 0, "nothing asked for, nothing left out");
}

#[tokio::test]
async fn options_mean_what_they_meant_in_weave_scope() {
    let served = Served::start().await;
    let cases = [
        // No parameter at all is no filter at all, not the defaults.
        ("", "client old sandbox web"),
        // Any parameter brings the defaults of what is not given.
        ("?t=5s", "client web"),
        ("?timestamp=", "client web"),
        ("?stopped=both", "client old web"),
        ("?stopped=stopped", "old"),
        ("?system=system", "sandbox"),
        // An unknown value filters nothing in its group.
        ("?system=show", "client sandbox web"),
        ("?system=show&stopped=nonsense", "client old sandbox web"),
        ("?unheard=of", "client web"),
        ("?%zz=%ff", "client web"),
    ];
    for (query, want) in cases {
        let body = served.get(&format!("/api/topology/containers{query}")).await.json();
        let nodes = body["nodes"].as_object().expect("nodes by id");
        let labels: BTreeSet<_> = nodes.values().filter_map(|node| node["label"].as_str()).collect();
        assert_eq!(labels, want.split(' ').collect(), "{query}");
        assert!(nodes.iter().all(|(id, node)| node["id"] == **id), "keyed by id");
    }
}

#[tokio::test]
async fn edges_lead_from_client_to_server() {
    let served = Served::start().await;
    let body = served.get("/api/topology/containers").await.json();
    let [client, web] = [id('a'), id('b')].map(|id| format!("{id};<container>"));
    assert_eq!(body["nodes"][&client]["adjacency"], json!([web]));
}

#[tokio::test]
async fn a_node_has_details_also_when_options_leave_it_out() {
    let served = Served::start().await;
    let old = format!("{};<container>", id('c'));
    let answer = served.get(&format!("/api/topology/containers/{}%3B%3Ccontainer%3E?stopped=running", id('c'))).await;
    let node = &answer.json()["node"];
    assert_eq!((&node["id"], &node["label"], &node["controls"]), (&json!(old), &json!("old"), &json!([])));
}

#[tokio::test]
async fn probes_say_how_their_sources_do() {
    let served = Served::start().await;
    let source = json!({ "name": "docker", "state": "degraded", "mode": "poll", "reason": "no events", "cpuPercent": 0.75, "lost": 3 });
    let want = json!([{
        "id": "peer-a", "hostname": "a", "version": "0.1.0", "lastSeen": "2026-11-22T09:30:00Z", "sources": [source],
    }]);
    assert_eq!(served.get("/api/probes").await.json(), want);
    assert_eq!(served.get("/api/probes?sparse").await.json(), json!(true));
    assert_eq!(served.get("/api/probes?sparse=true").await.json(), json!(true));
}

#[tokio::test]
async fn rules_of_services_that_are_not_used_are_told_beside_the_sources() {
    let mut served = Served::start().await;
    let bad = Rule { pattern: Pattern::Suffix("..".into()), name: None, icon: None, group: None };
    served.put(Fact::Services(vec![bad]));
    let probes = served.get("/api/probes").await.json();
    let source = &probes[0]["sources"][1];
    assert_eq!(
        (&source["name"], &source["state"], &source["mode"]),
        (&json!("services"), &json!("degraded"), &json!("rules"))
    );
    let reason = source["reason"].as_str().unwrap_or_default();
    assert!(reason.starts_with("one of this host's rules is not used: rule 1: \"..\" is no suffix"), "{reason}");
}

#[tokio::test]
async fn what_a_client_has_is_not_sent_again() {
    let mut served = Served::start().await;
    for path in ["/api/topology/containers?stopped=both", "/api/report"] {
        let first = served.get(path).await;
        let etag = first.header("etag").to_owned();
        assert!(etag.starts_with("W/\""), "{path}: {etag}");
        let again = served.ask("GET", path, &[("if-none-match", &etag)]).await;
        assert_eq!((again.status, again.body.len()), (StatusCode::NOT_MODIFIED, 0), "{path}");
        assert_eq!((again.header("etag"), again.header("cache-control")), (&*etag, "no-store"), "{path}");
        served.put(extra(path));
        let changed = served.ask("GET", path, &[("if-none-match", &etag)]).await;
        assert_eq!(changed.status, StatusCode::OK, "{path}");
        assert_ne!(changed.header("etag"), etag, "{path}");
    }
}

#[tokio::test]
async fn answers_are_compressed_for_who_can_read_it() {
    let served = Served::start().await;
    let plain = served.get("/api/topology/containers").await;
    assert_eq!(plain.header("content-encoding"), "");
    for (accept, want) in [("gzip", "gzip"), ("br", "br"), ("gzip, deflate, br", "br"), ("identity", "")] {
        let answer = served.ask("GET", "/api/topology/containers", &[("accept-encoding", accept)]).await;
        assert_eq!(answer.header("content-encoding"), want, "{accept}");
        assert_eq!(answer.body.len() < plain.body.len(), !want.is_empty(), "{accept}");
        assert!(answer.header("vary").eq_ignore_ascii_case("accept-encoding"), "{accept}");
    }
}

#[tokio::test]
async fn every_answer_is_hardened() {
    let served = Served::start().await;
    for path in ["/", "/api", "/api/nothing", "/metrics", "/api/topology/containers"] {
        let answer = served.get(path).await;
        let csp = answer.header("content-security-policy");
        assert!(csp.contains("default-src 'self'") && csp.contains("frame-ancestors 'none'"), "{path}: {csp}");
        assert!(!csp.contains("unsafe"), "{path}: {csp}");
        assert_eq!(
            (answer.header("x-content-type-options"), answer.header("referrer-policy")),
            ("nosniff", "no-referrer")
        );
        let caching = if path == "/" { "no-cache" } else { "no-store" };
        assert_eq!(answer.header("cache-control"), caching, "{path}");
    }
}

#[tokio::test]
async fn metrics_count_requests_by_route() {
    let served = Served::start().await;
    served.get("/api/topology/containers/nope").await;
    served.ask("BREW", "/api", &[]).await;
    let text = String::from_utf8(served.get("/metrics").await.body.to_vec()).expect("text");
    let node = r#"scope_request_duration_seconds_count{method="GET",route="/api/topology/{t}/{*id}",status_code="404",ws="false"} 1"#;
    let odd = r#"scope_request_duration_seconds_count{method="other",route="/api",status_code="405",ws="false"} 1"#;
    for line in [node, odd, "scope_hosts 1", "scope_build_info{version=\"0.1.0\"} 1", "# EOF"] {
        assert!(text.lines().any(|it| it == line), "{line} in {text}");
    }
}

#[tokio::test]
async fn polling_an_unchanged_cluster_draws_nothing_anew() {
    let mut served = Served::start().await;
    for _ in 0..5 {
        served.get("/api/topology").await;
        served.get("/api/topology/hosts").await;
    }
    assert_eq!(updates(&served, "hosts").await, Some(1));
    served.put(extra("redis"));
    served.get("/api/topology/hosts").await;
    assert_eq!(updates(&served, "hosts").await, Some(2));
}

#[tokio::test]
async fn details_are_taken_from_the_view_that_is_kept() {
    let served = Served::start().await;
    let of = |digit| format!("/api/topology/containers/{}%3B%3Ccontainer%3E", id(digit));
    for digit in ['a', 'b', 'a'] {
        assert_eq!(served.get(&of(digit)).await.status, StatusCode::OK);
        assert_eq!(updates(&served, "containers").await, Some(1));
    }
}

/// Times a view was drawn or brought up to date.
async fn updates(served: &Served, topology: &str) -> Option<u32> {
    let text = String::from_utf8(served.get("/metrics").await.body.to_vec()).expect("text");
    let name = format!("scope_view_updates_total{{topology=\"{topology}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&name));
    line.and_then(|count| count.parse().ok())
}
