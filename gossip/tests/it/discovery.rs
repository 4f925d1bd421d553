//! Peers that find each other by name, against a real DNS server and a stand-in for weaveDNS.

mod bind;
mod peer;
mod weave;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use gossip::discovery::dns::{self, WeaveConfig};
use gossip::discovery::{Config, LookupError, Outcome, Registration, UpdateError, View, WeaveError};
use hyper::Method;

use bind::Bind;
use peer::{Peer, at, set, within};
use weave::WeaveApi;

const MESH: &str = "scope.weave.local";
const SERVICE: &str = "_scope._tcp.scope.weave.local";

#[tokio::test]
async fn peers_register_and_are_found_and_leave_with_their_own_records() {
    let bind = Bind::start("");
    let first =
        Peer::start(registering(&bind, bind::KEY), local(&["10.0.0.5:4030", "[2001:db8::5]:4030", "127.0.0.1:4030"]));
    let mut second = Peer::start(registering(&bind, bind::KEY), local(&["10.0.0.6:4031"]));
    first.registered(&["10.0.0.5:4030", "[2001:db8::5]:4030"]).await;
    second.registered(&["10.0.0.6:4031"]).await;

    assert_eq!(bind.dig(MESH, "A"), ["10.0.0.5", "10.0.0.6"]);
    assert_eq!(bind.dig(MESH, "AAAA"), ["2001:db8::5"]);
    assert_eq!(
        bind.dig(SERVICE, "SRV"),
        [
            "0 0 4030 10-0-0-5.scope.weave.local.",
            "0 0 4030 2001-0db8-0000-0000-0000-0000-0000-0005.scope.weave.local.",
            "0 0 4031 10-0-0-6.scope.weave.local.",
        ]
    );
    let mut seeker = Peer::start(seeking(&bind, MESH), View::default());
    assert_eq!(seeker.found().await, set(&["10.0.0.5:4030", "[2001:db8::5]:4030", "10.0.0.6:4031"]));

    assert_eq!(first.stop().await.dns, Registration::Withdrawn);
    assert_eq!(bind.dig(MESH, "A"), ["10.0.0.6"]);
    assert_eq!(bind.dig(MESH, "AAAA"), [""; 0]);
    assert_eq!(bind.dig(SERVICE, "SRV"), ["0 0 4031 10-0-0-6.scope.weave.local."]);
    assert_eq!(bind.dig("10-0-0-5.scope.weave.local", "A"), [""; 0]);
    let mut late = Peer::start(seeking(&bind, MESH), View::default());
    assert_eq!(late.found().await, set(&["10.0.0.6:4031"]));
    assert!(second.found().await.contains(&at("10.0.0.6:4031")), "a peer is told of its own records too");

    assert_eq!(second.stop().await.dns, Registration::Withdrawn);
    assert_eq!(bind.dig(MESH, "ANY"), [""; 0]);
}

#[tokio::test]
async fn a_peer_that_moves_takes_its_old_records_out() {
    let bind = Bind::start("");
    let peer = Peer::start(registering(&bind, bind::KEY), View::default());
    peer.view(local(&["10.0.0.5:4030", "10.0.0.6:4030"]));
    peer.registered(&["10.0.0.5:4030", "10.0.0.6:4030"]).await;
    peer.view(local(&["10.0.0.6:4030", "10.0.0.7:4030"]));
    peer.registered(&["10.0.0.6:4030", "10.0.0.7:4030"]).await;
    assert_eq!(bind.dig(MESH, "A"), ["10.0.0.6", "10.0.0.7"]);
    assert_eq!(bind.dig(SERVICE, "SRV").len(), 2);
    peer.view(View::default());
    peer.status(|status| status.dns == Registration::Pending).await;
    assert_eq!(bind.dig(MESH, "A"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn survivors_remove_the_dead_and_nobody_else() {
    let bind = Bind::start("");
    let all = ["10.0.0.5:4030", "10.0.0.6:4030", "10.0.0.6:4031", "10.0.0.7:4030"];
    let mut peers = Vec::new();
    for address in all {
        let peer = Peer::start(registering(&bind, bind::KEY), local(&[address]));
        peer.registered(&[address]).await;
        peers.push(peer);
    }
    assert_eq!(bind.dig(MESH, "A"), ["10.0.0.5", "10.0.0.6", "10.0.0.7"]);

    // One of the two peers at 10.0.0.6, and the one at 10.0.0.7.
    let gone = ["10.0.0.6:4031", "10.0.0.7:4030"];
    for dead in peers.split_off(2) {
        dead.kill().await;
    }
    for survivor in &peers {
        survivor.change_view(|view| {
            view.live = set(&all[..2]);
            // A peer that others took for dead does not remove itself.
            view.gone = set(&gone).into_iter().chain(view.local.clone()).collect();
        });
    }
    within("the dead are in DNS", || {
        let services = ["0 0 4030 10-0-0-5.scope.weave.local.", "0 0 4030 10-0-0-6.scope.weave.local."];
        bind.dig(MESH, "A") == ["10.0.0.5", "10.0.0.6"]
            && bind.dig(SERVICE, "SRV") == services
            && bind.dig("10-0-0-7.scope.weave.local", "A").is_empty()
    })
    .await;
    let mut seeker = Peer::start(seeking(&bind, MESH), View::default());
    assert_eq!(seeker.found().await, set(&all[..2]));
}

#[tokio::test]
async fn a_server_that_refuses_says_why_and_stops_nothing() {
    type Want = fn(&UpdateError) -> bool;
    let bind = Bind::start("");
    let nobody = unused_address();
    let key = || Some(bind::KEY);
    let cases: [(&str, SocketAddr, Option<&str>, Want); 5] = [
        (MESH, bind.address(), Some(bind::KEY_WITH_WRONG_SECRET), |e| matches!(e, UpdateError::WrongSecret { .. })),
        (MESH, bind.address(), Some(bind::KEY_NOBODY_KNOWS), |e| matches!(e, UpdateError::UnknownKey { .. })),
        (MESH, bind.address(), Some(bind::KEY_WITHOUT_RIGHTS), |e| matches!(e, UpdateError::Refused { .. })),
        ("scope.example.com", bind.address(), key(), |e| matches!(e, UpdateError::NoZone { .. })),
        (MESH, nobody, key(), |e| matches!(e, UpdateError::Unreachable { .. })),
    ];
    for (name, server, key, want) in cases {
        let mut dns = asking(server, name);
        dns.update_key = key.map(|key| key.parse().unwrap());
        let config = Config { peers: vec!["10.0.0.9".parse().unwrap()], dns: Some(dns) };
        let mut peer = Peer::start(config, local(&["10.0.0.5:4030"]));
        let status = peer.status(|status| matches!(status.dns, Registration::Failed(_))).await;
        let Registration::Failed(error) = status.dns else { unreachable!() };
        assert!(want(&error), "{name} at {server}: {error:?}");
        assert!(error.to_string().contains(&server.to_string()), "{error}");
        assert_eq!(peer.found().await, set(&["10.0.0.9:4030"]), "look-ups go on");
        peer.stop().await;
    }
    assert_eq!(bind.dig(MESH, "A"), [""; 0]);
}

#[tokio::test]
async fn a_server_that_is_full_says_so() {
    let bind = Bind::start("max-records-per-type 2;");
    let addresses = ["10.0.0.5:4030", "10.0.0.6:4030", "10.0.0.7:4030"];
    let peer = Peer::start(registering(&bind, bind::KEY), local(&addresses));
    let status = peer.status(|status| matches!(status.dns, Registration::Failed(_))).await;
    assert!(status.dns.to_string().contains("max-records-per-type"), "{}", status.dns);
    peer.view(local(&addresses[..2]));
    peer.registered(&addresses[..2]).await;
}

#[tokio::test]
async fn a_peer_without_a_key_registers_nothing() {
    let bind = Bind::start("");
    let peer = Peer::start(seeking(&bind, MESH), local(&["10.0.0.5:4030"]));
    let status = peer.status(|status| status.names[0].outcome != Outcome::Pending).await;
    assert_eq!(status.dns, Registration::Off);
    assert_eq!(peer.stop().await.dns, Registration::Off);
    assert_eq!(bind.dig(MESH, "A"), [""; 0]);
}

#[tokio::test]
async fn a_name_that_comes_later_is_found() {
    let bind = Bind::start("");
    let mut seeker = Peer::start(seeking(&bind, MESH), View::default());
    let status = seeker.status(|status| status.names[0].outcome != Outcome::Pending).await;
    let unknown = matches!(&status.names[0].outcome, Outcome::Failed { error, .. } if error.is_unknown_name());
    assert!(unknown && status.names[0].is_mesh, "{status:?}");
    assert!(status.names[0].next_lookup.is_some());
    let peer = Peer::start(registering(&bind, bind::KEY), local(&["10.0.0.5:4030"]));
    peer.registered(&["10.0.0.5:4030"]).await;
    assert_eq!(seeker.found().await, set(&["10.0.0.5:4030"]));
}

#[tokio::test]
async fn every_address_behind_a_peers_name_is_delivered() {
    let bind = Bind::start("");
    let mut config = seeking(&bind, MESH);
    config.peers = ["db1.weave.local:4031", "nowhere.weave.local", "alias.weave.local", "10.0.0.8", "localhost:7"]
        .map(|peer| peer.parse().unwrap())
        .to_vec();
    let mut peer = Peer::start(config, View::default());
    let mut found = BTreeSet::new();
    let want = set(&[
        "10.0.0.9:4031",
        "[2001:db8::9]:4031",
        "10.0.0.9:4030",
        "[2001:db8::9]:4030",
        "10.0.0.8:4030",
        "127.0.0.1:7",
    ]);
    while !found.is_superset(&want) {
        found.extend(peer.found().await);
    }
    let status = peer.status(|status| matches!(status.names[1].outcome, Outcome::Failed { .. })).await;
    let names: Vec<_> = status.names.iter().map(|name| name.name.as_str()).collect();
    assert_eq!(
        names[..4],
        ["db1.weave.local:4031", "nowhere.weave.local:4030", "alias.weave.local:4030", "10.0.0.8:4030"]
    );
    assert_eq!(status.names[3].outcome, Outcome::Literal);
    peer.stop().await;
}

#[tokio::test]
async fn an_answer_too_large_for_udp_is_whole() {
    let bind = Bind::start("");
    let mut peer = Peer::start(seeking(&bind, "many.local"), View::default());
    let found = peer.found().await;
    assert_eq!(found.len(), bind::MANY);
}

#[tokio::test]
async fn service_records_say_the_ports_and_other_addresses_have_the_default() {
    let want = set(&["10.0.0.9:4032", "[2001:db8::9]:4032", "10.0.0.20:4040"]);
    for options in ["", "minimal-responses yes;"] {
        let bind = Bind::start(options);
        let mut config = seeking(&bind, "other.weave.local");
        config.dns.as_mut().unwrap().port = 4040;
        let mut peer = Peer::start(config, View::default());
        assert_eq!(peer.found().await, want, "{options:?}");
    }
}

#[tokio::test]
async fn weave_dns_is_asked_when_nobody_else_knows() {
    let bind = Bind::start("");
    let mut dns = asking(unused_address(), "other.weave.local");
    dns.weave = Some(WeaveConfig { dns: bind.address(), ..WeaveConfig::new(String::new()) });
    let mut peer = Peer::start(Config { peers: Vec::new(), dns: Some(dns) }, View::default());
    assert!(peer.found().await.contains(&at("10.0.0.20:4030")));
}

#[tokio::test]
async fn weave_dns_is_told_of_a_peer_and_of_its_exit() {
    let bind = Bind::start("");
    // It refuses to delete, which keeps nobody from being found.
    let mut weave = WeaveApi::start(|method| if method == Method::DELETE { 404 } else { 204 }).await;
    let peer = Peer::start(telling(&bind, weave.address()), local(&["10.0.0.5:4030", "[2001:db8::5]:4030"]));
    assert_eq!(weave.request().await, "PUT /name/12D3KooW/10.0.0.5 fqdn=scope.weave.local.");
    peer.status(|status| matches!(status.weave, Registration::Done { .. })).await;

    peer.view(local(&["10.0.0.6:4030"]));
    assert_eq!(weave.request().await, "PUT /name/12D3KooW/10.0.0.6 fqdn=scope.weave.local.");
    assert_eq!(weave.request().await, "DELETE /name/12D3KooW/10.0.0.5 ");
    peer.status(
        |status| matches!(&status.weave, Registration::Done { addresses, .. } if addresses[0] == at("10.0.0.6:4030")),
    )
    .await;

    assert_eq!(peer.stop().await.weave, Registration::Withdrawn);
    assert_eq!(weave.request().await, "DELETE /name/12D3KooW/10.0.0.6 ");
}

#[tokio::test]
async fn weave_dns_that_is_absent_or_refuses_stops_nothing() {
    let bind = Bind::start("");
    let failing = WeaveApi::start(|_| 500).await;
    let (absent, refusing) = (unused_address(), failing.address());
    let cases = [
        (absent, WeaveError::Absent { server: absent }),
        (refusing, WeaveError::Refused { server: refusing, status: 500 }),
    ];
    for (server, want) in cases {
        let peer = Peer::start(telling(&bind, server), local(&["10.0.0.5:4030"]));
        let status = peer.status(|status| matches!(status.weave, Registration::Failed(_))).await;
        assert_eq!(status.weave, Registration::Failed(want));
        peer.stop().await;
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let server = unused_address();
    let peer = Peer::start(Config { peers: Vec::new(), dns: Some(asking(server, MESH)) }, View::default());
    let status = peer.status(|status| status.names[0].outcome != Outcome::Pending).await;
    let Outcome::Failed { error, failures: 1 } = &status.names[0].outcome else { panic!("{status:?}") };
    assert!(matches!(error, LookupError::NoAnswer { .. } | LookupError::Failed { .. }), "{error:?}");
    assert!(error.to_string().contains(&server.to_string()), "{error}");
}

/// Asks `server` for the mesh's name, and nobody else.
fn asking(server: SocketAddr, name: &str) -> dns::Config {
    let defaults = dns::Config::new("id".to_owned());
    dns::Config { name: name.parse().unwrap(), server: Some(server), weave: None, ..defaults }
}

fn seeking(bind: &Bind, name: &str) -> Config {
    Config { peers: Vec::new(), dns: Some(asking(bind.address(), name)) }
}

fn registering(bind: &Bind, key: &str) -> Config {
    let mut config = seeking(bind, MESH);
    config.dns.as_mut().unwrap().update_key = Some(key.parse().unwrap());
    config
}

fn telling(bind: &Bind, weave: SocketAddr) -> Config {
    let mut config = seeking(bind, MESH);
    let weave = WeaveConfig { dns: bind.address(), http: weave, id: "12D3KooW".to_owned() };
    config.dns.as_mut().unwrap().weave = Some(weave);
    config
}

fn local(addresses: &[&str]) -> View {
    View { local: set(addresses), ..View::default() }
}

/// Where nothing listens.
fn unused_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}
