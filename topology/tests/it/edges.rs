//! What there is to say of edges: their figures, as both ends have them, and who tells of them.

use std::collections::BTreeMap;

use insta::{assert_json_snapshot, assert_snapshot};
use topology::cluster::Writer;
use topology::detail::{Detail, EdgeDetail, Edges};
use topology::fact::{Evidence, Fact, Flow, Protocol, RemoteName, Source, SourceState, Status};
use topology::gauges::{FlowGauges, Gauges, HostGauges};
use topology::graph::Change;
use topology::services::{Pattern, Rule};
use topology::{Cluster, Kind, Life, NodeId, Options, Timestamp, View};

use crate::fixture::{NOW, container_id, peer, write};

/// `curl` in a container talks to `nginx` in another; each host sees both ends. A backup goes to a bucket, and to who knows.
pub(crate) const SHOP: &str = "
    host a 10.0.0.1/24
    container client 172.17.0.2 init=20
    container web 172.17.0.3 image=nginx:1.27 init=30
    process 20 curl in client
    process 30 nginx in web listen 80
    process 40 backup
    flow 20 -> 172.17.0.3:80
    flow 30:80 <- 172.17.0.2
    flow 40 -> 203.0.113.5:443
    flow 40 -> 203.0.113.9:443
";

/// A cluster written as text, with figures of its flows: `HOST SERIAL COLUMN=VALUE …` a line.
pub(crate) fn told(text: &str, figures: &str) -> Writer {
    let mut writer = Writer::default();
    write(&mut writer, text);
    let mut blocks: BTreeMap<&str, FlowGauges> = BTreeMap::new();
    for line in figures.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut words = line.split_whitespace();
        let (host, serial) = (words.next().expect("a host"), words.next().expect("a serial"));
        let columns: BTreeMap<_, _> = words.filter_map(|word| word.split_once('=')).collect();
        let value = |name: &str| columns.get(name).map_or(0, |value| value.parse::<u32>().expect("a number"));
        let block = blocks.entry(host).or_default();
        block.at = NOW;
        block.serials.push(serial.parse().expect("a serial"));
        block.open.push(value("open"));
        block.opened.push(value("opened"));
        block.sent.push(value("sent").into());
        block.received.push(value("received").into());
        block.rtt.push(value("rtt"));
        block.retransmits.push(value("again"));
        block.idle.push(value("idle"));
    }
    for (host, block) in blocks {
        writer.apply(&peer(host), [Change::put(Fact::Gauges(Gauges::Flows(block)))]);
    }
    writer
}

/// Changes a flow of a host.
pub(crate) fn amend(writer: &mut Writer, host: &str, serial: u32, change: impl Fn(&mut Flow)) {
    let cluster = writer.cluster();
    let mut flows = cluster.host(&peer(host)).expect("a host").graph.flows.values();
    let mut flow = (**flows.find(|flow| flow.serial == serial).expect("a flow")).clone();
    let old = Change::Remove(topology::Key::Flow(flow.key));
    change(&mut flow);
    writer.apply(&peer(host), [old, Change::put(Fact::Flow(flow))]);
}

fn name(writer: &mut Writer, address: [u8; 4], names: &[&str]) {
    let names = names.iter().map(ToString::to_string).collect();
    let fact = RemoteName { address: address.into(), names, reverse: None };
    writer.apply(&peer("a"), [Change::put(Fact::RemoteName(fact))]);
}

/// The bucket is a service by a rule of the host's.
pub(crate) fn know_bucket(writer: &mut Writer) {
    name(writer, [203, 0, 113, 5], &["backup.bucket.example"]);
    let rule = Rule {
        pattern: Pattern::Suffix("bucket.example".into()),
        name: Some("Buckets".into()),
        icon: Some("storage".into()),
        group: Some("Example Cloud".into()),
    };
    writer.apply(&peer("a"), [Change::put(Fact::Services(vec![rule]))]);
}

fn container(name: &str) -> NodeId {
    NodeId::Container(container_id("a", name))
}

fn edge(cluster: &Cluster, kind: Kind, source: &NodeId, target: &NodeId) -> Option<EdgeDetail> {
    EdgeDetail::of_view(&View::of(cluster, kind, Options::default()), cluster, source, target)
}

/// `open/opened sent/received rtt retransmits`, of an edge or one of its relations; `-` is unknown.
fn figures(of: &topology::detail::Figures) -> String {
    fn text<V: ToString>(value: Option<V>) -> String {
        value.map_or("-".into(), |value| value.to_string())
    }
    let (open, opened) = (text(of.open), text(of.opened));
    let (sent, received) = (text(of.sent), text(of.received));
    format!("{open}/{opened} {sent}/{received} {} {}", text(of.rtt_micros), text(of.retransmits))
}

/// A node's connections, a line each.
pub(crate) fn connections(cluster: &Cluster, kind: Kind, id: &NodeId) -> String {
    let detail = Detail::of(cluster, kind, id, NOW).expect("a node");
    let mut lines = Vec::new();
    for table in &detail.connections {
        let columns: Vec<_> = table.columns.iter().map(|column| column.id).collect();
        lines.push(format!("{}: {}", table.label, columns.join(" ")));
        for row in &table.connections {
            let cells: Vec<_> = row.metadata.iter().map(|cell| cell.value.as_str()).collect();
            lines.push(format!("  {}: {}", row.label, cells.join(" ")));
        }
    }
    lines.join("\n")
}

#[test]
fn an_edge_says_all_that_its_connections_are() {
    let mut writer = told(
        SHOP,
        "
        a 1 open=3 opened=120 sent=1200 received=53000 rtt=180 again=2
        a 2 open=3 opened=118 sent=54000 received=1100 rtt=90 again=1
    ",
    );
    amend(&mut writer, "a", 1, |flow| {
        flow.evidence = Evidence::SOCK_DIAG | Evidence::EBPF;
        flow.first_seen = Timestamp(NOW.0 - 60_000);
        flow.via = Some("10.0.0.1:8080".parse().expect("an address"));
        flow.masquerade = Some([10, 0, 0, 1].into());
    });
    amend(&mut writer, "a", 2, |flow| flow.evidence = Evidence::CONNTRACK);
    name(&mut writer, [172, 17, 0, 3], &["web.shop.example", "web"]);
    let edge = edge(&writer.cluster(), Kind::Containers, &container("client"), &container("web"));
    assert_json_snapshot!(edge, @r#"
    {
      "topology": "containers",
      "source": {
        "id": "612f636c69656e74000000000000000000000000000000000000000000000000;<container>",
        "label": "client",
        "labelMinor": "a"
      },
      "target": {
        "id": "612f776562000000000000000000000000000000000000000000000000000000;<container>",
        "label": "web",
        "labelMinor": "a"
      },
      "open": 3,
      "opened": 120,
      "sent": 1200,
      "received": 54000,
      "rttMicros": 180,
      "retransmits": 3,
      "confirmed": true,
      "fading": false,
      "firstSeen": "2027-01-15T07:59:00Z",
      "lastSeen": "2027-01-15T08:00:00Z",
      "seenBy": [
        "sock_diag",
        "eBPF",
        "conntrack"
      ],
      "relations": [
        {
          "protocol": "tcp",
          "port": 80,
          "client": {
            "label": "curl (20)",
            "host": "a",
            "node": "peer-a;20",
            "topology": "processes"
          },
          "server": {
            "label": "nginx (30)",
            "host": "a",
            "node": "peer-a;30",
            "topology": "processes"
          },
          "address": "172.17.0.3",
          "via": "10.0.0.1:8080",
          "masquerade": "10.0.0.1",
          "name": "web.shop.example",
          "open": 3,
          "opened": 120,
          "sent": 1200,
          "received": 54000,
          "rttMicros": 180,
          "retransmits": 3,
          "confirmed": true,
          "fading": false,
          "firstSeen": "2027-01-15T07:59:00Z",
          "lastSeen": "2027-01-15T08:00:00Z",
          "seenBy": [
            "sock_diag",
            "eBPF",
            "conntrack"
          ],
          "toldBy": [
            "a"
          ]
        }
      ]
    }
    "#);
}

#[test]
fn the_figure_of_the_end_that_missed_less_is_taken() {
    let cases = [
        ("both agree", "a 1 open=2 opened=2 sent=5 received=7", "a 2 open=2 opened=2 sent=7 received=5", "2/2 5/7 - -"),
        ("the server saw more", "a 1 open=1 opened=4 sent=5", "a 2 open=2 opened=9 received=8", "2/9 8/- - -"),
        ("the client knows its round trip", "a 1 open=1 rtt=90", "a 2 open=1 rtt=200", "1/- -/- 90 -"),
        ("only the server does", "a 1 open=1", "a 2 open=1 rtt=200", "1/- -/- 200 -"),
        ("each sends its own again", "a 1 open=1 again=2", "a 2 open=1 again=3", "1/- -/- - 5"),
        ("only the client tells", "a 1 open=4 opened=4", "", "4/4 -/- - -"),
    ];
    for (case, client, server, want) in cases {
        let cluster = told(SHOP, &format!("{client}\n{server}")).cluster();
        let edge = edge(&cluster, Kind::Containers, &container("client"), &container("web")).expect("an edge");
        assert_eq!((figures(&edge.traffic.figures).as_str(), edge.traffic.confirmed), (want, true), "{case}");
    }
}

#[test]
fn a_client_whose_host_counts_every_end_knows_how_many_there_were() {
    let (ok, degraded) = (Some(SourceState::Ok), Some(SourceState::Degraded));
    let cases = [
        ("it may have missed some", None, 0, 60, "1/501 -/- - -"),
        ("it loses some", degraded, 0, 60, "1/501 -/- - -"),
        ("it has lost some", ok, 1, 60, "1/501 -/- - -"),
        ("it was started anew", ok, 0, 50, "1/501 -/- - -"),
        ("the server counts others that have gone", ok, 0, 60, "1/1 -/- - -"),
        ("it was a moment later", ok, 0, 58, "1/1 -/- - -"),
    ];
    for (case, state, lost, age, want) in cases {
        let mut writer = told(SHOP, "a 1 open=1 opened=1\na 2 open=1 opened=501");
        for (serial, age) in [(1, age), (2, 60)] {
            amend(&mut writer, "a", serial, |flow| flow.first_seen = Timestamp(NOW.0 - 1000 * age));
        }
        let block = HostGauges { at: NOW, probe_lost: vec![(Status::EBPF.into(), lost)], ..HostGauges::default() };
        writer.apply(&peer("a"), [Change::put(Fact::Gauges(Gauges::Host(block)))]);
        let source = |state| (Status::EBPF.into(), Source { state, mode: String::new(), reason: String::new() });
        let status = Status { sources: state.map(source).into_iter().collect() };
        writer.apply(&peer("a"), [Change::put(Fact::Status(status))]);
        let edge = edge(&writer.cluster(), Kind::Containers, &container("client"), &container("web"));
        assert_eq!(figures(&edge.expect("an edge").traffic.figures), want, "{case}");
    }
}

#[test]
fn bytes_that_nobody_counts_are_unknown_and_not_none() {
    let cases = [
        ("no source said", Evidence::default(), Protocol::Tcp, "1/1 -/- - -"),
        ("the table of /proc has no bytes", Evidence::PROC_NET, Protocol::Tcp, "1/1 -/- - -"),
        ("a quiet connection", Evidence::SOCK_DIAG, Protocol::Tcp, "1/1 0/0 - 0"),
        ("a connection that ended", Evidence::EBPF, Protocol::Tcp, "1/1 0/0 - 0"),
        ("a UDP socket does not count", Evidence::SOCK_DIAG, Protocol::Udp, "1/1 -/- - -"),
    ];
    for (case, evidence, protocol, want) in cases {
        let mut writer = told(SHOP, "a 3 open=1 opened=1");
        amend(&mut writer, "a", 3, |flow| {
            flow.evidence = evidence;
            flow.key.protocol = protocol;
        });
        amend(&mut writer, "a", 4, |flow| flow.key.remote = [10, 0, 0, 99].into()); // an unknown address, and another edge
        let cluster = writer.cluster();
        let edge = edge(&cluster, Kind::Processes, &NodeId::Process(peer("a"), 40), &NodeId::InternetOut);
        assert_eq!(figures(&edge.expect("an edge").traffic.figures), want, "{case}");
    }
}

#[test]
fn a_servers_flow_of_several_clients_counts_once() {
    let text = "
        host a 10.0.0.1/24
        container client 172.17.0.2 init=20
        container web 172.17.0.3 init=30
        process 20 wget in client
        process 21 curl in client
        process 30 nginx in web listen 80
        flow 20 -> 172.17.0.3:80
        flow 21 -> 172.17.0.3:80
        flow 30:80 <- 172.17.0.2
    ";
    let cluster = told(text, "a 1 open=2 opened=5\n a 2 open=3 opened=6\n a 3 open=6 opened=11").cluster();
    let whole = edge(&cluster, Kind::Containers, &container("client"), &container("web")).expect("an edge");
    let rows: Vec<_> =
        whole.relations.iter().map(|it| format!("{} {}", it.client.label, figures(&it.traffic.figures))).collect();
    assert_eq!(figures(&whole.traffic.figures), "6/11 -/- - -", "as the server counts all of them");
    assert_eq!(rows, ["curl (21) 3/6 -/- - -", "wget (20) 2/5 -/- - -"], "each as the client counts its own");
    let [wget, nginx] = [20, 30].map(|pid| NodeId::Process(peer("a"), pid));
    let one = edge(&cluster, Kind::Processes, &wget, &nginx).expect("an edge");
    assert_eq!((figures(&one.traffic.figures).as_str(), one.traffic.confirmed), ("2/5 -/- - -", true));
}

#[test]
fn the_better_end_is_chosen_for_each_relation() {
    let text = "
        host a 10.0.0.1/24
        container web 172.17.0.2 init=30
        container db 172.17.0.3 init=40
        process 20 curl
        process 30 nginx in web listen 80
        process 40 postgres in db listen 5432
        flow 20 -> 172.17.0.2:80
        flow 30:80 <- 172.17.0.1
        flow 20 -> 172.17.0.3:5432
        flow 40:5432 <- 172.17.0.1
    ";
    let figures_told = "a 1 open=1 opened=90\n a 2 open=1 opened=5\n a 3 open=1 opened=2\n a 4 open=1 opened=40";
    let cluster = told(&text.replace("10.0.0.1/24", "10.0.0.1/24 172.17.0.1/16"), figures_told).cluster();
    let host = NodeId::Host(peer("a"));
    let whole = edge(&cluster, Kind::Hosts, &host, &host).expect("an edge");
    assert_eq!((whole.relations.len(), figures(&whole.traffic.figures).as_str()), (2, "2/130 -/- - -"));
}

#[test]
fn only_relations_with_flows_in_common_are_pooled() {
    // Two servers, each with one flow of two clients behind one address.
    let text = "
        host a 10.0.0.1/24
        container client 172.17.0.2 init=20
        container web 172.17.0.3 init=30
        process 20 wget in client
        process 21 curl in client
        process 30 nginx in web listen 80
        process 31 api in web listen 81
        flow 20 -> 172.17.0.3:80
        flow 21 -> 172.17.0.3:80
        flow 20 -> 172.17.0.3:81
        flow 21 -> 172.17.0.3:81
        flow 30:80 <- 172.17.0.2
        flow 31:81 <- 172.17.0.2
    ";
    let cluster = told(
        text,
        "
        a 1 open=1 opened=5
        a 2 open=1 opened=6
        a 3 open=1 opened=50
        a 4 open=1 opened=60
        a 5 open=2 opened=30
        a 6 open=2 opened=70
    ",
    )
    .cluster();
    let whole = edge(&cluster, Kind::Containers, &container("client"), &container("web")).expect("an edge");
    assert_eq!((whole.relations.len(), figures(&whole.traffic.figures).as_str()), (4, "4/140 -/- - -"));
}

#[test]
fn an_edge_is_stale_if_nobody_who_tells_of_it_is_heard_of() {
    let text = "
        host a 10.0.0.1/24
        process 20 curl
        flow 20 -> 10.0.0.2:80
        host b 10.0.0.2/24
        process 30 nginx listen 80
        flow 30:80 <- 10.0.0.1
    ";
    let mut writer = told(text, "a 1 open=1\n b 1 open=1");
    let [a, b] = ["a", "b"].map(|host| NodeId::Host(peer(host)));
    let (suspect, gone) = (Life::Suspect { since: NOW }, Life::Gone { since: Timestamp(NOW.0 - 60_000) });
    let cases = [
        (Life::Live, Life::Live, false, None),
        (gone, Life::Live, false, None),
        (Life::Live, suspect, false, None),
        (gone, suspect, true, Some("suspect")),
        (gone, gone, true, Some("gone")),
    ];
    for (of_a, of_b, fading, stale) in cases {
        writer.set_life(&peer("a"), of_a);
        writer.set_life(&peer("b"), of_b);
        let traffic = edge(&writer.cluster(), Kind::Hosts, &a, &b).expect("an edge").traffic;
        assert_eq!((traffic.fading, traffic.stale.map(|stale| stale.state)), (fading, stale), "{of_a:?}, {of_b:?}");
    }
}

#[test]
fn rows_have_the_columns_that_some_row_has() {
    let mut writer = told(
        SHOP,
        "
        a 1 open=3 opened=120 sent=1200 received=53000 rtt=180 again=2
        a 3 opened=9 idle=30
        a 4 open=1 opened=1
    ",
    );
    amend(&mut writer, "a", 4, |flow| {
        flow.key.protocol = Protocol::Udp;
        flow.evidence = Evidence::SOCK_DIAG | Evidence::CONNTRACK;
    });
    name(&mut writer, [203, 0, 113, 9], &["time.example"]);
    let cluster = writer.cluster();
    assert_snapshot!(connections(&cluster, Kind::Containers, &container("client")), @r#"
    Outbound: port count opened sent received rtt retransmits confirmed first_seen last_seen
      web: 80 3 120 1200 53000 0.18 2 both ends 2027-01-15T08:00:00Z 2027-01-15T08:00:00Z
    "#);
    assert_snapshot!(connections(&cluster, Kind::Containers, &container("web")), @r#"
    Inbound: port count opened sent received rtt retransmits confirmed first_seen last_seen
      client: 80 3 120 53000 1200 0.18 2 both ends 2027-01-15T08:00:00Z 2027-01-15T08:00:00Z
    "#);
    assert_snapshot!(connections(&cluster, Kind::Processes, &NodeId::Process(peer("a"), 40)), @r#"
    Outbound: port count protocol opened remote name confirmed first_seen last_seen seen_by
      The Internet: 443 0 tcp 9 203.0.113.5 one end 2027-01-15T08:00:00Z 2027-01-15T07:59:30Z
      The Internet: 443 1 udp 1 203.0.113.9 time.example one end 2027-01-15T08:00:00Z 2027-01-15T08:00:00Z sock_diag, conntrack
    "#);
}

#[test]
fn a_table_keeps_the_rows_with_the_most_connections() {
    let flows: String =
        (0..1200).map(|row| format!("flow 40 -> 203.0.{}.{}:443\n", row / 250, 1 + row % 250)).collect();
    let mut writer = Writer::default();
    write(&mut writer, &format!("host a 10.0.0.1/24\nprocess 40 backup\n{flows}"));
    let cluster = writer.cluster();
    let backup = NodeId::Process(peer("a"), 40);
    let detail = Detail::of(&cluster, Kind::Processes, &backup, NOW).expect("a process");
    let table = &detail.connections[0];
    let least = table.connections.iter().flat_map(|row| &row.metadata).filter(|cell| cell.id == "count");
    let least = least.filter_map(|cell| cell.value.parse::<u32>().ok()).min();
    assert_eq!((table.connections.len(), table.more, least), (1000, 200, Some(10 * 201)));
    let edge = edge(&cluster, Kind::Processes, &backup, &NodeId::InternetOut).expect("an edge");
    assert_eq!((edge.relations.len(), edge.more), (1000, 200));
    assert_eq!(edge.traffic.figures.open, Some(10 * (1..=1200).sum::<u32>()), "those left out are counted");
}

/// The edges of a view, a line each.
fn edges(cluster: &Cluster, kind: Kind, query: &str) -> String {
    let query = query.split('&').filter_map(|pair| pair.split_once('=')).map(|(a, b)| (a.to_owned(), b.to_owned()));
    let view = View::of(cluster, kind, Options::from_query(kind, &query.collect()));
    let mut labels = BTreeMap::new();
    for node in view.nodes() {
        let summary = topology::summary::Summary::of(node, cluster, NOW);
        labels.insert(node.id.clone(), summary.label);
    }
    let line = |edge: &topology::detail::EdgeFigures| {
        let of = topology::detail::Figures {
            open: edge.open,
            sent: edge.sent,
            received: edge.received,
            ..topology::detail::Figures::default()
        };
        let confirmed = if edge.confirmed { " confirmed" } else { "" };
        let fading = if edge.fading { " fading" } else { "" };
        let stale = edge.stale.map_or_else(String::new, |stale| format!(" {}", stale.state));
        format!("{} -> {}: {}{confirmed}{fading}{stale}", labels[&edge.source], labels[&edge.target], figures(&of))
    };
    Edges::of_view(&view, cluster).edges.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn edges_of_a_view_are_those_that_are_drawn() {
    let mut writer = told(
        SHOP,
        "
        a 1 open=3 opened=120 sent=1200 received=53000
        a 2 open=3 opened=118 sent=54000 received=1100
        a 3 opened=9 idle=30
        a 4 open=1 opened=1
    ",
    );
    know_bucket(&mut writer);
    amend(&mut writer, "a", 3, |flow| flow.open = false);
    let cluster = writer.cluster();
    assert_snapshot!(edges(&cluster, Kind::Containers, "t=1s"), @"client -> web: 3/- 1200/54000 - - confirmed");
    assert_snapshot!(edges(&cluster, Kind::Containers, ""), @r#"
    client -> web: 3/- 1200/54000 - - confirmed
    Uncontained -> The Internet: 1/- -/- - -
    Uncontained -> Buckets: 0/- -/- - - fading
    "#);
    assert_snapshot!(edges(&cluster, Kind::Processes, ""), @r#"
    curl -> nginx: 3/- 1200/54000 - - confirmed
    backup -> The Internet: 1/- -/- - -
    backup -> Buckets: 0/- -/- - - fading
    "#);
    assert_snapshot!(edges(&cluster, Kind::Hosts, ""), @r#"
    a -> a: 3/- 1200/54000 - - confirmed
    a -> The Internet: 1/- -/- - -
    a -> Buckets: 0/- -/- - - fading
    "#);
    writer.set_life(&peer("a"), Life::Gone { since: NOW });
    assert_snapshot!(edges(&writer.cluster(), Kind::Containers, "t=1s"), @"client -> web: -/- -/- - - confirmed fading gone");
}

#[test]
fn an_edge_was_last_seen_with_its_last_trace_whatever_the_hosts_clock_says() {
    let mut writer = told(SHOP, "a 3 opened=9 idle=30");
    amend(&mut writer, "a", 3, |flow| (flow.open, flow.first_seen) = (false, Timestamp(NOW.0 - 90_000)));
    amend(&mut writer, "a", 4, |flow| flow.key.remote = [10, 0, 0, 99].into());
    let seen = |writer: &mut Writer| {
        let cluster = writer.cluster();
        let backup = NodeId::Process(peer("a"), 40);
        let traffic = edge(&cluster, Kind::Processes, &backup, &NodeId::InternetOut).expect("an edge").traffic;
        let ago = |at: Option<Timestamp>| at.map(|at| NOW.0 / 1000 - at.0 / 1000);
        (ago(traffic.first_seen), ago(traffic.last_seen), traffic.fading)
    };
    assert_eq!(seen(&mut writer), (Some(90), Some(30), true));
    writer
        .apply(&peer("a"), [Change::put(Fact::Gauges(Gauges::Host(HostGauges { at: NOW, ..HostGauges::default() })))]);
    writer.observe_clock(&peer("a"), Timestamp(NOW.0 - 3_600_000)); // the host is an hour ahead of us
    assert_eq!(seen(&mut writer), (Some(3690), Some(3630), true));
}

#[test]
fn what_is_no_edge_has_no_details() {
    let cluster = told(SHOP, "").cluster();
    let (client, web) = (container("client"), container("web"));
    assert!(edge(&cluster, Kind::Containers, &client, &web).is_some());
    for (source, target) in [(&web, &client), (&client, &NodeId::InternetOut), (&container("none"), &web)] {
        assert_eq!(edge(&cluster, Kind::Containers, source, target), None, "{source} {target}");
    }
}

#[test]
fn a_relation_of_two_hosts_is_told_by_both() {
    let text = "
        host a 10.0.0.1/24
        container shop 10.0.9.3 init=20
        process 20 curl in shop
        flow 20 -> 10.0.9.4:80
        host b 10.0.0.2/24
        container db 10.0.9.4 init=30
        process 30 nginx in db listen 80
        flow 30:80 <- 10.0.9.3
    ";
    let mut writer = told(text, "a 1 open=3 opened=9 sent=100 received=7\n b 1 open=3 opened=8 sent=8 received=90");
    let [shop, db] = [("a", "shop"), ("b", "db")].map(|(host, name)| NodeId::Container(container_id(host, name)));
    let seen = |writer: &mut Writer| {
        let edge = edge(&writer.cluster(), Kind::Containers, &shop, &db).expect("an edge");
        let link = &edge.relations[0];
        let hosts = [&link.client, &link.server].map(|end| end.host.clone().unwrap_or_default());
        format!("{} {} told by {}", hosts.join(" -> "), figures(&edge.traffic.figures), link.told_by.join(", "))
    };
    assert_eq!(seen(&mut writer), "a -> b 3/9 100/8 - - told by a, b");
    writer.set_life(&peer("a"), Life::Suspect { since: NOW });
    assert_eq!(seen(&mut writer), "a -> b 3/8 90/8 - - told by a, b", "figures are of those who are heard of");
}
