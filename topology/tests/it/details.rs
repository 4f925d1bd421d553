//! What there is to say of one node.

use insta::assert_snapshot;
use topology::detail::Detail;
use topology::{Kind, NodeId};

use crate::fixture::{NOW, cluster, container_id, peer};

const HOST: &str = "
    host a 10.0.0.1/24
    container client 172.17.0.2 init=20
    container web 172.17.0.3 image=nginx:1.27 publish=8080:80 init=30
    process 20 curl in client
    process 30 nginx in web listen 80
    process 31 worker in web
    process 40 backup
    flow 20 -> 172.17.0.3:80
    flow 31:80 <- 172.17.0.2
    flow 31:80 <- 198.51.100.7
    flow 31:80 <- 198.51.100.8
    flow 40 -> 203.0.113.5:443
";

/// The parts of a node's details that are about other nodes, a line each.
fn relations(kind: Kind, id: &NodeId) -> String {
    let detail = Detail::of(&cluster(HOST), kind, id, NOW).expect("a node of the cluster");
    let mut lines = vec![format!("{}: {}", detail.summary.label, detail.summary.label_minor)];
    lines.extend(detail.summary.parents.iter().map(|parent| format!("in {} {}", parent.topology_id, parent.label)));
    for group in &detail.children {
        let labels: Vec<_> = group.nodes.iter().map(|node| node.label.as_str()).collect();
        lines.push(format!("{}: {}", group.label, labels.join(", ")));
    }
    for table in &detail.connections {
        for connection in &table.connections {
            let cells = connection.metadata.iter().filter(|cell| cell.id != "last_seen");
            let cells: Vec<_> = cells.map(|cell| format!("{}={}", cell.id, cell.value)).collect();
            lines.push(format!("{} {} {}", table.label, connection.label, cells.join(" ")));
        }
    }
    lines.join("\n")
}

#[test]
fn a_container_has_its_parents_processes_and_connections() {
    assert_snapshot!(relations(Kind::Containers, &NodeId::Container(container_id("a", "web"))), @r#"
    web: a
    in containers-by-image nginx
    in hosts a
    Processes: nginx, worker
    Inbound client port=80 count=20 confirmed=both ends first_seen=2027-01-15T08:00:00Z
    Inbound The Internet port=80 count=30 remote=198.51.100.7 confirmed=one end first_seen=2027-01-15T08:00:00Z
    Inbound The Internet port=80 count=40 remote=198.51.100.8 confirmed=one end first_seen=2027-01-15T08:00:00Z
    "#);
}

#[test]
fn a_process_is_part_of_its_container_image_and_host() {
    assert_snapshot!(relations(Kind::Processes, &NodeId::Process(peer("a"), 31)), @r#"
    worker: a (web:31)
    in containers web
    in containers-by-image nginx
    in hosts a
    Inbound curl port=80 count=20 confirmed=both ends first_seen=2027-01-15T08:00:00Z
    Inbound The Internet port=80 count=30 remote=198.51.100.7 confirmed=one end first_seen=2027-01-15T08:00:00Z
    Inbound The Internet port=80 count=40 remote=198.51.100.8 confirmed=one end first_seen=2027-01-15T08:00:00Z
    "#);
}

#[test]
fn a_host_has_its_containers_processes_and_images() {
    assert_snapshot!(relations(Kind::Hosts, &NodeId::Host(peer("a"))), @r#"
    a: 
    Containers: client, web
    Processes: backup, curl, nginx, worker
    Container images: busybox, nginx
    Inbound a port=80 count=20 confirmed=both ends first_seen=2027-01-15T08:00:00Z
    Inbound The Internet port=80 count=30 remote=198.51.100.7 confirmed=one end first_seen=2027-01-15T08:00:00Z
    Inbound The Internet port=80 count=40 remote=198.51.100.8 confirmed=one end first_seen=2027-01-15T08:00:00Z
    Outbound a port=80 count=20 confirmed=both ends first_seen=2027-01-15T08:00:00Z
    Outbound The Internet port=443 count=50 remote=203.0.113.5 confirmed=one end first_seen=2027-01-15T08:00:00Z
    "#);
}

#[test]
fn groups_and_pseudo_nodes_have_members_and_connections() {
    assert_snapshot!(relations(Kind::ContainersByImage, &NodeId::ImageName("nginx".into())), @r#"
    nginx: 1 container
    Containers: web
    Processes: nginx, worker
    Inbound busybox port=80 count=20 confirmed=both ends first_seen=2027-01-15T08:00:00Z
    Inbound The Internet port=80 count=30 remote=198.51.100.7 confirmed=one end first_seen=2027-01-15T08:00:00Z
    Inbound The Internet port=80 count=40 remote=198.51.100.8 confirmed=one end first_seen=2027-01-15T08:00:00Z
    "#);
    assert_snapshot!(relations(Kind::Containers, &NodeId::Uncontained(peer("a"))), @r#"
    Uncontained: a
    Processes: backup
    Outbound The Internet port=443 count=50 remote=203.0.113.5 confirmed=one end first_seen=2027-01-15T08:00:00Z
    "#);
    assert_snapshot!(relations(Kind::Containers, &NodeId::InternetIn), @r#"
    The Internet: Inbound connections
    Outbound web port=80 count=30 remote=198.51.100.7 confirmed=one end first_seen=2027-01-15T08:00:00Z
    Outbound web port=80 count=40 remote=198.51.100.8 confirmed=one end first_seen=2027-01-15T08:00:00Z
    "#);
}

#[test]
fn ids_read_what_they_print_and_others_have_no_node() {
    let id = NodeId::Container(container_id("a", "web"));
    assert_eq!(NodeId::parse(Kind::Containers, &id.to_string()), Some(id));
    let ids = [NodeId::Process(peer("a"), 31), NodeId::Uncontained(peer("a")), NodeId::InternetOut];
    for id in ids {
        assert_eq!(NodeId::parse(Kind::Processes, &id.to_string()), Some(id));
    }
    for text in ["", "x", ";<host>", "peer-a;x", "a;b;<container>"] {
        assert_eq!(NodeId::parse(Kind::Containers, text), None, "{text:?}");
    }
    let gone = NodeId::Process(peer("a"), 99);
    assert_eq!(Detail::of(&cluster(HOST), Kind::Processes, &gone, NOW), None);
}

#[test]
fn ids_tell_their_topology_or_do_not() {
    let cases = [
        ("peer-a;<host>", Some(Kind::Hosts)),
        ("4f5e;<container>", Some(Kind::Containers)),
        ("nginx;<container_image>", Some(Kind::ContainersByImage)),
        ("peer-a;4711", Some(Kind::Processes)),
        ("pseudo:uncontained:peer-a", Some(Kind::Containers)),
        ("peer-a;x", None),
        ("nginx", None),
        ("in-theinternet", None),
        ("service-db", None),
        ("", None),
    ];
    for (text, want) in cases {
        assert_eq!(NodeId::kind_of(text), want, "{text:?}");
    }
}

#[test]
fn a_summary_is_weave_scopes_json() {
    let id = NodeId::Container(container_id("a", "web"));
    let detail = Detail::of(&cluster(HOST), Kind::Containers, &id, NOW).expect("a container");
    let json = serde_json::to_value(&detail.summary).expect("plain data");
    insta::assert_json_snapshot!(json, @r#"
    {
      "adjacency": [],
      "id": "612f776562000000000000000000000000000000000000000000000000000000;<container>",
      "label": "web",
      "labelMinor": "a",
      "metadata": [
        {
          "id": "docker_image_tag",
          "label": "Image tag",
          "priority": 1.0,
          "value": "1.27"
        },
        {
          "id": "docker_image_name",
          "label": "Image name",
          "priority": 2.0,
          "value": "nginx"
        },
        {
          "id": "docker_container_state_human",
          "label": "State",
          "priority": 4.0,
          "value": "Running"
        },
        {
          "dataType": "number",
          "id": "docker_container_restart_count",
          "label": "Restart #",
          "priority": 6.0,
          "value": "0"
        },
        {
          "id": "docker_container_networks",
          "label": "Networks",
          "priority": 7.0,
          "value": "bridge"
        },
        {
          "dataType": "ip",
          "id": "docker_container_ips",
          "label": "IPs",
          "priority": 8.0,
          "value": "172.17.0.3"
        },
        {
          "id": "docker_container_ports",
          "label": "Ports",
          "priority": 9.0,
          "value": "0.0.0.0:8080->80/tcp"
        },
        {
          "id": "docker_container_id",
          "label": "ID",
          "priority": 11.0,
          "truncate": 12,
          "value": "612f776562000000000000000000000000000000000000000000000000000000"
        }
      ],
      "metrics": [
        {
          "first": "1970-01-01T00:00:00Z",
          "format": "percent",
          "id": "docker_cpu_total_usage",
          "label": "CPU",
          "last": "1970-01-01T00:00:00Z",
          "max": 100.0,
          "min": 0.0,
          "priority": 1.0,
          "samples": [],
          "value": 0.0,
          "valueEmpty": true
        },
        {
          "first": "1970-01-01T00:00:00Z",
          "format": "filesize",
          "id": "docker_memory_usage",
          "label": "Memory",
          "last": "1970-01-01T00:00:00Z",
          "max": 1073741824.0,
          "min": 0.0,
          "priority": 2.0,
          "samples": [],
          "value": 0.0,
          "valueEmpty": true
        }
      ],
      "parents": [
        {
          "id": "nginx;<container_image>",
          "label": "nginx",
          "topologyId": "containers-by-image"
        },
        {
          "id": "peer-a;<host>",
          "label": "a",
          "topologyId": "hosts"
        }
      ],
      "rank": "nginx",
      "shape": "hexagon",
      "tables": [],
      "tag": ""
    }
    "#);
}
