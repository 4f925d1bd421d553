//! Docker's daemon comes and goes; the peer stays.

use crate::harness::chain;
use crate::harness::dockerd::Dockerd;
use crate::harness::lab::lab;
use crate::harness::peer::Peer;
use crate::harness::wait::ensure;

#[test]
fn a_daemon_killed_under_us_is_reported_and_its_containers_are_back_with_it() {
    let lab = lab!();
    let host = lab.host("alpha");
    let mut docker = Dockerd::start(&host);
    chain::start(&docker);
    let peer = Peer::launch(&host, &[]);
    let api = peer.api();
    api.wait_view("containers", |view| view.has_exactly(&chain::NAMES, &chain::EDGES));

    docker.kill();
    let source = api.wait_source("docker", &["degraded", "off"]);
    assert_has_reason(&source);
    api.view("containers").expect("the map is served without the daemon");
    api.wait_view("hosts", |view| view.has(&["alpha"]));

    docker.serve();
    api.wait_source("docker", &["ok"]);
    api.wait_view("containers", |view| view.has_exactly(&chain::NAMES, &chain::EDGES));
    docker.run("new", &["--network", "shop"], &["sleep", "100000"]);
    api.wait_view("containers", |view| view.has(&["new"]));
    docker.docker(&["rm", "--force", "new"]);
    api.wait_view("containers", |view| {
        ensure(view.find("new").is_err(), || "the removed container is there".to_owned())
    });
}

#[test]
fn a_daemon_that_appears_after_launch_is_found() {
    let lab = lab!();
    let host = lab.host("alpha");
    let peer = Peer::launch(&host, &[]);
    let source = peer.api().wait_source("docker", &["degraded", "off"]);
    assert_has_reason(&source);

    let docker = Dockerd::start(&host);
    docker.run("db1", &[], &["sleep", "100000"]);
    peer.api().wait_view("containers", |view| view.has(&["db1"]));
    peer.api().wait_source("docker", &["ok"]);
}

#[test]
fn without_docker_by_choice_there_is_a_map_of_processes() {
    let lab = lab!();
    let host = lab.host("alpha");
    let docker = Dockerd::start(&host);
    let id = docker.run("db1", &[], &["sleep", "100000"]);
    let peer = Peer::launch(&host, &["--no-docker"]);

    peer.api().wait_view("processes?unconnected=show", |view| view.has(&["dockerd", "sleep"]));
    let source = peer.api().wait_source("docker", &["off"]);
    assert_has_reason(&source);
    // Its cgroup tells its id, and nobody its name.
    let containers = peer.api().wait_view("containers", |view| view.has(&[&id[..12]]));
    assert!(containers.find("db1").is_err(), "docker was not asked: {:?}", containers.labels());
}

#[track_caller]
fn assert_has_reason(source: &serde_json::Value) {
    let reason = source["reason"].as_str().unwrap_or_default();
    assert!(!reason.is_empty(), "a source that is not ok says why: {source}");
}
