//! How long an edge stays: it fades rather than flickers.

use std::time::{Duration, Instant};

use super::check::{container_edges, edge_between};
use super::mode::Mode;
use super::world::{World, run_server};
use crate::harness::api::Api;
use crate::harness::lab::lab;
use crate::harness::logs::measured;
use crate::harness::wait::{ensure, holds_for, wait_for};

/// For how long the only connection of an edge is open, in seconds.
const OPEN_S: u64 = 3;

/// From the end of the last connection until its edge is said to fade.
const FADING_BOUND: Duration = Duration::from_secs(15);
/// From then until it is gone.
const GONE_BOUND: Duration = Duration::from_secs(60);

/// Between two connections of a client that comes back, in seconds.
const RETURN_S: &str = "5";
/// Six returns.
const WATCHED: Duration = Duration::from_secs(30);

#[test]
fn an_edge_fades_after_its_last_connection_and_does_not_flicker_between_two() {
    let lab = lab!();
    let world = World::with_docker(&lab, &["alpha"]);
    let docker = world.docker();
    run_server(docker, "server", &[], 80);
    let to = format!("{}:80", docker.address("server", "bridge", "IPAddress"));
    let peers = world.launch(Mode::Full);
    let api = peers[0].api();
    docker.run("returning", &[], &["traffic", "every", &to, RETURN_S]);
    docker.run("passing", &[], &["traffic", "once", &to, &OPEN_S.to_string()]);

    let opened = Instant::now();

    let is_fading = |client: &str| {
        let edge = edge_between(&api, &world, client, "server")?;
        edge["fading"].as_bool().ok_or_else(|| edge.to_string())
    };
    wait_for("the edge of an open connection", FADING_BOUND, || {
        ensure(!is_fading("passing")?, || "it fades while the connection is open".to_owned())
    });
    wait_for("the edge of a client that returns", FADING_BOUND, || has_edge(&api, &world, "returning"));
    wait_for("the fading edge", FADING_BOUND + Duration::from_secs(OPEN_S), || {
        ensure(is_fading("passing")?, || "it does not fade".to_owned())
    });
    let faded = Instant::now();
    measured("an edge fades after its connection opened", opened.elapsed());
    has_edge(&api, &world, "passing").expect("what fades is still on the map");
    holds_for("the edge of a client that returns", WATCHED, || has_edge(&api, &world, "returning"));
    wait_for("the end of the faded edge", GONE_BOUND.saturating_sub(faded.elapsed()), || {
        ensure(has_edge(&api, &world, "passing").is_err(), || "it is still there".to_owned())
    });
}

/// Whether the map has the edge from a container to `server`.
fn has_edge(api: &Api, world: &World, client: &str) -> Result<(), String> {
    let edges = container_edges(&api.view("containers")?, world);
    ensure(edges.contains(&(client.to_owned(), "server".to_owned())), || format!("{edges:?}"))
}
