//! What the API says of other hosts and of the mesh.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};
use topology::fact::{Fact, Host};
use topology::graph::Change;
use topology::{PeerId, Timestamp};
use ui::Peers;
use ui::peers::{Direction, Life, Link, Mesh, Name, Peer};

use super::harness::{Served, peer};

/// 2026-11-22T09:30:00Z.
const AT: Timestamp = Timestamp(1_795_339_800_000);

fn other(host: &str, life: Life, ago_s: u64) -> Peer {
    Peer {
        id: id(host),
        host: host.into(),
        addresses: vec!["192.0.2.7:4030".parse().expect("an address")],
        agent: "scope/0.1.0".into(),
        life,
        last_heard: Duration::from_secs(ago_s),
        lag: 0,
        link: None,
        epoch: 3,
        version: 41,
        is_self: false,
    }
}

fn id(host: &str) -> PeerId {
    PeerId::new(&format!("peer-{host}")).expect("an id")
}

/// Five hosts, of which two are on the other side of a cut.
fn cut() -> Peers {
    let link = Link {
        address: "[2001:db8::7]:4030".parse().expect("an address"),
        direction: Direction::Outgoing,
        rtt: Some(Duration::from_nanos(1_234_567)),
        bytes_in: 10,
        bytes_out: 20,
    };
    Peers {
        at: AT,
        mesh: Mesh {
            open: true,
            listen: vec!["0.0.0.0:4030".parse().expect("an address")],
            epoch: 2,
            version: 7,
            problems: vec!["another machine uses this peer's key".into()],
        },
        discovery: vec![Name { name: "scope.weave.local".into(), state: "no such name".into(), addresses: Vec::new() }],
        peers: vec![
            other("e", Life::Gone, 120),
            other("d", Life::Suspect, 12),
            other("c", Life::Live, 1),
            Peer { link: Some(link), lag: 2, ..other("b", Life::Live, 0) },
            Peer { is_self: true, ..other("a", Life::Live, 0) },
        ],
    }
}

#[tokio::test]
async fn peers_are_listed_with_this_one_first_and_the_live_before_the_rest() {
    let served = Served::start().await;
    served.mesh(cut());
    let answer = served.get("/api/peers").await.json();
    assert_eq!(answer["time"], "2026-11-22T09:30:00Z");
    assert_eq!(
        answer["mesh"],
        json!({ "open": true, "listen": ["0.0.0.0:4030"], "epoch": 2, "version": 7,
                "problems": ["another machine uses this peer's key"] })
    );
    assert_eq!(answer["discovery"], json!([{ "name": "scope.weave.local", "state": "no such name", "addresses": [] }]));
    let row = |peer: &Value| (peer["host"].clone(), peer["life"].clone(), peer["lastHeardMs"].clone());
    let rows: Vec<_> = answer["peers"].as_array().expect("a list").iter().map(row).collect();
    let want =
        [("a", "live", 0), ("b", "live", 0), ("c", "live", 1000), ("d", "suspect", 12_000), ("e", "gone", 120_000)];
    assert_eq!(rows, want.map(|(host, life, ms)| (json!(host), json!(life), json!(ms))));
    assert_eq!(
        answer["peers"][1],
        json!({
            "id": "peer-b", "host": "b", "addresses": ["192.0.2.7:4030"], "agent": "scope/0.1.0", "life": "live",
            "lastHeardMs": 0, "lag": 2, "epoch": 3, "version": 41, "isSelf": false,
            "link": { "address": "[2001:db8::7]:4030", "direction": "outgoing", "rttMs": 1.235, "bytesIn": 10, "bytesOut": 20 },
        })
    );
    assert_eq!((&answer["peers"][0]["isSelf"], &answer["peers"][0]["link"]), (&json!(true), &Value::Null));
    let about = served.get("/api").await.json();
    assert_eq!(about["peers"], json!({ "live": 3, "suspect": 1, "gone": 1 }));
    assert_eq!((&about["openMesh"], &about["meshProblems"]), (&json!(true), &json!(1)));
    let metrics = String::from_utf8(served.get("/metrics").await.body.to_vec()).expect("text");
    for line in ["scope_peers{life=\"live\"} 3", "scope_peers{life=\"suspect\"} 1", "scope_peers{life=\"gone\"} 1"] {
        assert!(metrics.lines().any(|it| it == line), "{line} in {metrics}");
    }
}

#[tokio::test]
async fn a_mesh_that_is_as_it_was_is_not_sent_again() {
    let served = Served::start().await;
    served.mesh(cut());
    let etag = served.get("/api/peers").await.header("etag").to_owned();
    let again = async |etag: &str| served.ask("GET", "/api/peers", &[("if-none-match", etag)]).await;
    let same = again(&etag).await;
    assert_eq!((same.status, same.body.len(), same.header("etag")), (StatusCode::NOT_MODIFIED, 0, &*etag));
    served.mesh(Peers { at: Timestamp(AT.0 + 1000), ..cut() });
    assert_eq!(again(&etag).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_host_is_seen_when_the_mesh_heard_of_it() {
    let mut served = Served::start().await;
    served.mesh(cut());
    let host = |name: &str| Change::put(Fact::Host(Host { name: name.into(), ..Host::default() }));
    served.write(|writer| ["d", "x"].iter().for_each(|name| writer.apply(&id(name), [host(name)])));
    let probes = served.get("/api/probes").await.json();
    let seen: Vec<_> = probes.as_array().expect("a list").iter().map(|it| (&it["hostname"], &it["lastSeen"])).collect();
    let want = [
        (json!("a"), json!("2026-11-22T09:30:00Z")),
        (json!("d"), json!("2026-11-22T09:29:48Z")),
        (json!("x"), Value::Null), // the mesh does not know it, and no figures have come
    ];
    assert_eq!(seen, want.iter().map(|(name, at)| (name, at)).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_silent_host_is_marked_at_once_and_stays() {
    let mut served = Served::start().await;
    let mut socket = served.open("/api/topology/containers/ws", &[]).await.expect("open");
    let first = socket.next().await.expect("a reset");
    let all = first["add"].as_array().expect("nodes").len();
    assert!(first["add"].as_array().expect("nodes").iter().all(|node| node.get("stale").is_none()));
    let life = topology::Life::Suspect { since: AT };
    served.write(|writer| writer.set_life(&peer(), life));
    let diff = socket.next().await.expect("a diff");
    let stale: Vec<_> = diff["update"].as_array().expect("nodes").iter().map(|node| &node["stale"]).collect();
    assert_eq!(stale, vec![&json!({ "state": "suspect", "since": "2026-11-22T09:30:00Z" }); all]);
    assert_eq!((&diff["add"], &diff["remove"]), (&Value::Null, &Value::Null));
    let host = served.get("/api/topology/hosts/peer-a%3B%3Chost%3E").await.json();
    assert_eq!(
        (&host["node"]["stale"]["state"], &host["node"]["metrics"][0]["valueEmpty"]),
        (&json!("suspect"), &json!(true))
    );
    served.write(|writer| writer.set_life(&peer(), topology::Life::Live));
    let diff = socket.next().await.expect("a diff");
    assert!(diff["update"].as_array().expect("nodes").iter().all(|node| node.get("stale").is_none()));
}
