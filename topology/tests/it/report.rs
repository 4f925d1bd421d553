//! What is told of flows and of the sources that saw them, for scripts and for those who look for what is missing.

use insta::{assert_json_snapshot, assert_snapshot};
use topology::cluster::Writer;
use topology::detail::Detail;
use topology::fact::{Evidence, Fact, Namespace, Network, Source, SourceState, Status};
use topology::gauges::{Gauges, HostGauges};
use topology::graph::Change;
use topology::{Kind, Life, Netns, NodeId};

use crate::edges::{SHOP, amend, know_bucket, told};
use crate::fixture::{NOW, peer};

#[test]
fn a_host_says_how_its_sources_do() {
    let mut writer = told(SHOP, "");
    let source = |state, mode: &str, reason: &str| Source { state, mode: mode.into(), reason: reason.into() };
    let sources = [
        ("docker", source(SourceState::Ok, "events", "")),
        ("ebpf", source(SourceState::Off, "", "no BTF in this kernel")),
        ("connections", source(SourceState::Degraded, "sock_diag", "no conntrack")),
    ];
    let sources = sources.into_iter().map(|(name, source)| (name.to_owned(), source)).collect();
    let gauges = HostGauges {
        at: NOW,
        probe_cpu: vec![("connections".into(), 75), ("docker".into(), 0)],
        probe_lost: vec![("connections".into(), 12), ("docker".into(), 0)],
        ..HostGauges::default()
    };
    writer.apply(
        &peer("a"),
        [Change::put(Fact::Status(Status { sources })), Change::put(Fact::Gauges(Gauges::Host(gauges)))],
    );
    let table = |writer: &mut Writer| {
        let detail = Detail::of(&writer.cluster(), Kind::Hosts, &NodeId::Host(peer("a")), NOW).expect("a host");
        let table = detail.summary.tables.iter().find(|table| table.label == "Sources").expect("a table").clone();
        let line = |row: &topology::TableRow| format!("{}: {}", row.entries["label"], row.entries["value"]);
        table.rows.iter().map(line).collect::<Vec<_>>().join("\n")
    };
    assert_snapshot!(table(&mut writer), @r#"
    connections: degraded, sock_diag, 0.75 % of a CPU, 12 lost: no conntrack
    docker: ok, events, 0 % of a CPU
    ebpf: off: no BTF in this kernel
    "#);
    writer.set_life(&peer("a"), Life::Suspect { since: NOW });
    assert_snapshot!(table(&mut writer), @r#"
    connections: degraded, sock_diag: no conntrack
    docker: ok, events
    ebpf: off: no BTF in this kernel
    "#);
}

#[test]
fn a_report_has_all_that_is_told_of_flows() {
    let mut writer = told(SHOP, "a 3 open=1 opened=9 sent=5 received=6 rtt=7 again=8 idle=0");
    amend(&mut writer, "a", 3, |flow| {
        flow.via = Some("10.96.0.10:443".parse().expect("an address"));
        flow.masquerade = Some([10, 0, 0, 1].into());
        flow.evidence = Evidence::SOCK_DIAG | Evidence::CONNTRACK;
    });
    know_bucket(&mut writer);
    let namespace = Namespace {
        netns: Netns(4_026_532_000),
        networks: vec![Network { interface: "eth0".into(), address: [172, 17, 0, 2].into(), prefix: 16 }],
    };
    writer.apply(&peer("a"), [Change::put(Fact::Namespace(namespace))]);
    let report = topology::report::report(&writer.cluster(), NOW);
    let rows = |topology: &str, id: &str| {
        let latest = report[topology]["nodes"][id]["latest"].as_object().unwrap_or_else(|| panic!("no {id}"));
        latest.iter().map(|(name, row)| format!("{name}={}", row["value"].as_str().expect("text"))).collect::<Vec<_>>()
    };
    assert_snapshot!(rows("Endpoint", "peer-a;flow/40.40/outgoing/tcp/203.0.113.5/443").join("\n"), @r#"
    bytes_received_per_second=6
    bytes_sent_per_second=5
    conn_count=1
    conn_opened=9
    direction=outgoing
    first_seen=2027-01-15T08:00:00Z
    host_node_id=peer-a;<host>
    last_seen=2027-01-15T08:00:00Z
    masquerade=10.0.0.1
    network_namespace=1
    pid=40
    port=443
    protocol=tcp
    remote=203.0.113.5
    retransmits=8
    rtt_micros=7
    seen_by=sock_diag, conntrack
    via=10.96.0.10:443
    "#);
    assert_snapshot!(rows("Namespace", "peer-a;netns/4026532000").join("\n"), @r#"
    host_node_id=peer-a;<host>
    local_networks=172.17.0.2/16
    network_namespace=4026532000
    "#);
    assert_snapshot!(rows("RemoteName", "peer-a;name/203.0.113.5").join("\n"), @r#"
    address=203.0.113.5
    host_node_id=peer-a;<host>
    names=backup.bucket.example
    "#);
    assert_json_snapshot!(report["Services"], @r#"
    {
      "peer-a;<host>": [
        {
          "group": "Example Cloud",
          "icon": "storage",
          "name": "Buckets",
          "pattern": {
            "suffix": "bucket.example"
          }
        }
      ]
    }
    "#);
}
