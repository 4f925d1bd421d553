//! Hosts that are not heard of, and hosts whose clocks are off.

use insta::assert_snapshot;
use topology::cluster::Writer;
use topology::detail::Detail;
use topology::fact::{Container, ContainerState, Fact, Host};
use topology::gauges::{ContainerGauges, Gauges, HostGauges};
use topology::graph::Change;
use topology::report::report;
use topology::summary::Summary;
use topology::{Cluster, Key, Kind, Life, NodeId, Options, Timestamp, View};

use crate::fixture::{NOW, container_id, peer, write};

/// Two hosts that talk to each other, with an image and a process name in common.
const PAIR: &str = "
    host a 10.0.0.1/24
    container client 10.0.0.11 init=20
    container web 10.0.0.12 image=nginx:1.27 init=30
    process 20 curl in client
    process 30 nginx in web
    flow 20 -> 10.0.0.22:80
    host b 10.0.0.2/24
    container web 10.0.0.22 image=nginx:1.27 init=30
    process 30 nginx in web listen 80
    process 40 curl
    flow 30:80 <- 10.0.0.11
    flow 40 -> 203.0.113.5:443
";

const HOUR_MS: u64 = 3_600_000;

fn ago(ms: u64) -> Timestamp {
    Timestamp(NOW.0 - ms)
}

fn pair(a: Life, b: Life) -> Cluster {
    let mut writer = Writer::default();
    write(&mut writer, PAIR);
    writer.set_life(&peer("a"), a);
    writer.set_life(&peer("b"), b);
    writer.cluster()
}

/// A view's nodes, a line each: name, age in seconds if it is stale, names of what it connects to.
fn marked(cluster: &Cluster, kind: Kind) -> String {
    let view = View::of(cluster, kind, Options::default());
    let name = |id: &NodeId| {
        let summary = Summary::of(view.node(id).expect("a node of the view"), cluster, NOW);
        format!("{}/{}", summary.label, summary.label_minor)
    };
    let line = |node: &std::sync::Arc<topology::Node>| {
        let stale = Summary::of(node, cluster, NOW).stale;
        let stale = stale.map(|stale| format!(" ({} {} s)", stale.state, stale.since.seconds_until(NOW)));
        let targets: Vec<String> = node.adjacency.iter().map(name).collect();
        let arrow = if targets.is_empty() { String::new() } else { format!(" -> {}", targets.join(", ")) };
        format!("{}{}{arrow}", name(&node.id), stale.unwrap_or_default())
    };
    let mut lines: Vec<String> = view.nodes().map(line).collect();
    lines.sort();
    lines.join("\n")
}

#[test]
fn nodes_of_a_silent_host_stay_and_say_so_with_their_edges() {
    let cluster = pair(Life::Live, Life::Gone { since: ago(180_000) });
    assert_snapshot!(marked(&cluster, Kind::Hosts), @r"
    The Internet/Outbound connections (gone 180 s)
    a/ -> b/
    b/ (gone 180 s) -> The Internet/Outbound connections
    ");
    assert_snapshot!(marked(&cluster, Kind::Containers), @r"
    The Internet/Outbound connections (gone 180 s)
    Uncontained/b (gone 180 s) -> The Internet/Outbound connections
    client/a -> web/b
    web/a
    web/b (gone 180 s)
    ");
}

#[test]
fn what_several_hosts_know_of_is_stale_when_none_of_them_lives() {
    let (suspect, gone) = (Life::Suspect { since: ago(9000) }, Life::Gone { since: ago(60_000) });
    let cases = [
        (Life::Live, Life::Live, "curl/2 processes -> nginx/2 processes"),
        (gone, Life::Live, "curl/2 processes -> nginx/2 processes"),
        (Life::Live, suspect, "curl/2 processes -> nginx/2 processes"),
        (suspect, gone, "curl/2 processes (suspect 9 s) -> nginx/2 processes"),
        (gone, Life::Gone { since: ago(30_000) }, "curl/2 processes (gone 30 s) -> nginx/2 processes"),
    ];
    for (a, b, want) in cases {
        let drawn = marked(&pair(a, b), Kind::ProcessesByName);
        let line = drawn.lines().find(|line| line.starts_with("curl")).expect("a group");
        assert!(line.starts_with(want), "{a:?} {b:?}: {line}");
    }
}

#[test]
fn of_two_hosts_that_have_a_container_the_live_one_is_believed() {
    let id = container_id("a", "web");
    let on = |host: &str, state| {
        let container = Container { name: host.into(), state, ..Container::new(id.clone()) };
        [
            Change::put(Fact::Host(Host { name: host.into(), ..Host::default() })),
            Change::put(Fact::Container(container)),
        ]
    };
    let mut writer = Writer::default();
    writer.apply(&peer("a"), on("a", ContainerState::Exited(1)));
    writer.apply(&peer("b"), on("b", ContainerState::Running));
    for (life, want) in [(Life::Live, "a"), (Life::Suspect { since: ago(1) }, "b")] {
        writer.set_life(&peer("a"), life);
        let cluster = writer.cluster();
        let view = View::of(&cluster, Kind::Containers, Options::default());
        let node = view.node(&NodeId::Container(id.clone())).expect("a container");
        assert_eq!((Summary::of(node, &cluster, NOW).label.as_str(), node.life), (want, Life::Live));
    }
}

#[test]
fn hosts_of_one_name_stay_two_and_have_a_life_each() {
    let named = |_| [Change::put(Fact::Host(Host { name: "twin".into(), ..Host::default() }))];
    let mut writer = Writer::default();
    for host in ["a", "b"] {
        writer.apply(&peer(host), named(host));
    }
    writer.set_life(&peer("b"), Life::Suspect { since: ago(4000) });
    assert_snapshot!(marked(&writer.cluster(), Kind::Hosts), @r"
    twin/
    twin/ (suspect 4 s)
    ");
}

#[test]
fn a_life_may_be_told_before_the_facts_and_survives_them() {
    let life = Life::Gone { since: ago(1) };
    let mut writer = Writer::default();
    writer.set_life(&peer("a"), life);
    assert_eq!(writer.cluster().hosts().len(), 0, "nothing is known of it");
    write(&mut writer, "host a 10.0.0.1/24");
    let of = |writer: &mut Writer| writer.cluster().host(&peer("a")).map(|entry| entry.life);
    assert_eq!(of(&mut writer), Some(life));
    writer.apply(&peer("a"), [Change::Remove(Key::Host)]);
    assert_eq!(of(&mut writer), Some(life));
    writer.forget(&peer("a"));
    write(&mut writer, "host a 10.0.0.1/24");
    assert_eq!(of(&mut writer), Some(Life::Live), "as if it had never been");
}

/// A host that booted and started a container an hour ago by its own clock, which is so far ahead of ours; three beats.
fn off(ahead_ms: i64) -> Writer {
    let theirs = |ours: u64| Timestamp(ours.saturating_add_signed(ahead_ms));
    let started = theirs(NOW.0 - HOUR_MS);
    let container = Container {
        state: ContainerState::Running,
        started_at: Some(started),
        created_at: started,
        ..Container::new(container_id("a", "web"))
    };
    let host = Host { name: "a".into(), booted_at: started, ..Host::default() };
    let mut writer = Writer::default();
    writer.apply(&peer("a"), [Change::put(Fact::Host(host)), Change::put(Fact::Container(container.clone()))]);
    for ours in [NOW.0 - 4000, NOW.0 - 2000, NOW.0] {
        let gauges = Gauges::Host(HostGauges { at: theirs(ours), cpu: 100, ..HostGauges::default() });
        let row = ContainerGauges {
            at: theirs(ours),
            containers: vec![container.id.prefix()],
            cpu: vec![100],
            ..ContainerGauges::default()
        };
        writer.apply(&peer("a"), [gauges, Gauges::Containers(row)].map(|block| Change::put(Fact::Gauges(block))));
        writer.observe_clock(&peer("a"), Timestamp(ours));
    }
    writer
}

/// Uptimes of the host and its container, when that was created, and how old the newest samples are.
fn times(cluster: &Cluster, now: Timestamp) -> (String, String, String, [u64; 2]) {
    let detail = |kind, id| Detail::of(cluster, kind, &id, now).expect("a node").summary;
    let host = detail(Kind::Hosts, NodeId::Host(peer("a")));
    let container = detail(Kind::Containers, NodeId::Container(container_id("a", "web")));
    let row =
        |summary: &Summary, id: &str| summary.metadata.iter().find(|row| row.id == id).expect("a row").value.clone();
    let age = |summary: &Summary| {
        let samples = summary.metrics[0].samples.as_ref().expect("details have them");
        samples.last().expect("three").date.seconds_until(now)
    };
    (
        row(&host, "uptime"),
        row(&container, "docker_container_uptime"),
        row(&container, "docker_container_created"),
        [age(&host), age(&container)],
    )
}

#[test]
fn a_host_whose_clock_is_off_has_right_times() {
    for ahead_ms in [0, 3_600_000, -3_600_000, 120_000] {
        let cluster = off(ahead_ms).cluster();
        let want = ("3600".into(), "3600".into(), ago(HOUR_MS).to_string(), [0, 0]);
        assert_eq!(times(&cluster, NOW), want, "{ahead_ms} ms ahead");
    }
}

#[test]
fn a_silent_host_has_no_current_figures_and_no_uptime_that_grows() {
    let mut writer = off(3_600_000);
    writer.set_life(&peer("a"), Life::Gone { since: NOW });
    let (cluster, later) = (writer.cluster(), Timestamp(NOW.0 + 300_000));
    assert_eq!(times(&cluster, later), ("3600".into(), "3600".into(), ago(HOUR_MS).to_string(), [300, 300]));
    let view = View::of(&cluster, Kind::Hosts, Options::default());
    let metrics = view.nodes().flat_map(|node| Summary::metrics_of(node, &cluster));
    assert!(metrics.into_iter().all(|row| row.value_empty && row.value == 0.0), "no values");
}

#[test]
fn an_address_is_that_of_the_host_that_is_heard_of() {
    const TWINS: &str = "
        host a 10.0.0.1/24
        process 20 curl
        flow 20 -> 10.0.0.2:80
        host b 10.0.0.2/24
        process 30 old listen 80
        host c 10.0.0.2/24
        process 40 new listen 80
    ";
    let silent = Life::Suspect { since: ago(1) };
    let mut writer = Writer::default();
    write(&mut writer, TWINS);
    // Whose life becomes what, and whom `curl` talks to then.
    let steps = [
        ("c", Life::Live, None),
        ("b", silent, Some("new")),
        ("b", Life::Gone { since: ago(1) }, Some("new")),
        ("c", silent, None),
        ("b", Life::Live, Some("old")),
        ("c", Life::Live, None),
    ];
    for (step, (host, life, want)) in steps.into_iter().enumerate() {
        writer.set_life(&peer(host), life);
        let drawn = marked(&writer.cluster(), Kind::ProcessesByName);
        let edge = drawn.lines().find_map(|line| line.strip_prefix("curl/1 process -> "));
        assert_eq!(edge.map(|to| to.split('/').next().unwrap_or_default()), want, "step {step}: {drawn}");
    }
    writer.forget(&peer("c"));
    assert!(marked(&writer.cluster(), Kind::ProcessesByName).contains("-> old"), "the other has never been");
}

#[test]
fn connections_are_counted_by_live_hosts_alone() {
    let gone = Life::Gone { since: ago(1) };
    let cases = [(Life::Live, Life::Live, Some("10")), (gone, Life::Live, Some("10")), (gone, gone, None)];
    for (a, b, want) in cases {
        let cluster = pair(a, b);
        let id = NodeId::Container(container_id("b", "web"));
        let detail = Detail::of(&cluster, Kind::Containers, &id, NOW).expect("a container");
        let [inbound] = &detail.connections[..] else { panic!("one table: {:?}", detail.connections) };
        let count = inbound.connections[0].metadata.iter().find(|cell| cell.id == "count");
        assert_eq!(count.map(|cell| cell.value.as_str()), want, "{a:?} {b:?}");
    }
}

#[test]
fn the_children_of_a_silent_host_and_its_report_say_so_too() {
    let cluster = pair(Life::Suspect { since: ago(7000) }, Life::Live);
    for (host, want) in [("a", true), ("b", false)] {
        let detail = Detail::of(&cluster, Kind::Hosts, &NodeId::Host(peer(host)), NOW).expect("a host");
        let mut nodes = detail.children.iter().flat_map(|group| &group.nodes);
        assert!(nodes.all(|node| node.stale.is_some() == want), "{host}");
    }
    let report = report(&cluster, NOW);
    for topology in ["Host", "Container", "Process", "Endpoint"] {
        let nodes = report[topology]["nodes"].as_object().expect("nodes by id");
        let stale = nodes.values().filter(|node| node["stale"]["state"] == "suspect").count();
        assert!(stale > 0 && stale < nodes.len(), "{topology}: {stale} of {}", nodes.len());
    }
}
