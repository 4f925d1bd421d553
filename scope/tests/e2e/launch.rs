//! `scope launch` on a host with Docker: what is on the map and in the report a minute later.

use crate::harness::api::MAP_BOUND;
use crate::harness::chain;
use crate::harness::dockerd::Dockerd;
use crate::harness::image::IMAGE;
use crate::harness::lab::lab;
use crate::harness::peer::Peer;
use crate::harness::wait::{ensure, wait_for};

#[test]
fn launch_shows_the_containers_of_its_host_and_serves_the_page() {
    let lab = lab!();
    let host = lab.host("alpha");
    let docker = Dockerd::start(&host);
    docker.run("db1", &[], &["sleep", "100000"]);
    docker.run("db2", &[], &["sleep", "100000"]);
    let peer = Peer::launch(&host, &[]);

    peer.api().wait_view("containers", |view| view.has(&["db1", "db2"]));
    let (status, page) = peer.api().get("/").expect("the page");
    assert_eq!(status, 200);
    assert!(page.len() > 500 && page.contains("<script"), "the page: {page}");
}

#[test]
fn a_peer_whose_name_does_not_resolve_does_not_keep_launch_from_serving() {
    let lab = lab!();
    let host = lab.host("alpha");
    let peer = Peer::launch(&host, &["noatrealhost.foo"]);
    peer.api().wait_view("hosts", |view| view.has(&["alpha"]));
}

#[test]
fn the_report_holds_every_kind_of_node_of_a_docker_host() {
    let lab = lab!();
    let host = lab.host("alpha");
    let docker = Dockerd::start(&host);
    chain::start(&docker);
    let peer = Peer::launch(&host, &[]);

    for topology in ["Host", "Process", "Container", "ContainerImage", "Endpoint"] {
        wait_for(&format!("{topology} nodes in the report"), MAP_BOUND, || {
            let report = peer.api().json("/api/report")?;
            let nodes = report[topology]["nodes"].as_object().ok_or("no such topology")?;
            ensure(!nodes.is_empty(), || "none".to_owned())
        });
    }
}

#[test]
fn every_view_of_one_host_shows_its_part_of_the_same_chain() {
    let lab = lab!();
    let host = lab.host("alpha");
    let docker = Dockerd::start(&host);
    chain::start(&docker);
    let peer = Peer::launch(&host, &[]);
    let api = peer.api();

    api.wait_view("containers", |view| view.has_exactly(&chain::NAMES, &chain::EDGES));
    api.wait_view("containers-by-hostname", |view| view.has_exactly(&chain::NAMES, &chain::EDGES));
    let image = IMAGE.split(':').next().expect("split gives one part at least");
    api.wait_view("containers-by-image", |view| view.has(&[image]));
    let hosts = api.wait_view("hosts", |view| view.has(&["alpha"]));
    assert_eq!(hosts.labels().len(), 1, "one host: {:?}", hosts.labels());
}
