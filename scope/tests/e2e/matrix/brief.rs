//! Short connections, counted.

use std::time::Duration;

use serde_json::Value;

use super::check::edge_between;
use super::mode::Mode;
use super::row::Row;
use super::rows::one_host::SHORT_LIVED;
use crate::harness::api::MAP_BOUND;
use crate::harness::lab::lab;
use crate::harness::logs::note;
use crate::harness::wait::{ensure, wait_for};

/// How much the count may be off, in percent of the connections that were made: too few are missed, too many counted twice.
const OFF_MAX: f64 = 1.0;

/// Longer than the ten seconds the client takes, on a busy machine.
const CLIENT_BOUND: Duration = Duration::from_secs(60);

#[test]
fn a_thousand_connections_a_second_are_counted_to_one_in_a_hundred_310() {
    let lab = lab!();
    let Row { world, .. } = SHORT_LIVED;
    let world = world(&lab);
    let peers = world.launch(Mode::Full);
    let api = peers[0].api();
    api.wait_source("ebpf", &["ok"]);

    let docker = world.docker();
    let to = format!("{}:80", docker.address("server", "bridge", "IPAddress"));
    docker.run("client", &[], &["traffic", "connect", &to, "1000", "1", "10"]);
    let made = wait_for("the client's count", CLIENT_BOUND, || {
        let said = docker.docker(&["logs", "client"]);
        said.strip_prefix("made ").and_then(|count| count.parse::<u32>().ok()).ok_or(said)
    });
    assert!(made > 9_000, "the machine made {made} of 10,000 connections");

    let edge = wait_for("the edge with its count", MAP_BOUND, || {
        let edge = edge_between(&api, &world, "client", "server")?;
        let off = (100.0 * counted(&edge) / f64::from(made) - 100.0).abs();
        ensure(off <= OFF_MAX, || format!("of {made}: {edge}"))?;
        Ok(edge)
    });
    note(&format!("{made} connections of 1 ms were made, {} were counted", counted(&edge)));
    assert!(edge["seenBy"].as_array().is_some_and(|seen| seen.iter().any(|by| by == "eBPF")), "{edge}");
    let source = api.source("ebpf").expect("it was there");
    assert_eq!(source["lost"].as_u64().unwrap_or_default(), 0, "{source}");
}

fn counted(edge: &Value) -> f64 {
    edge["opened"].as_f64().unwrap_or_default()
}
