//! A host whose clock is wrong.

use std::fs;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::harness::api::Api;
use crate::harness::host::Host;
use crate::harness::lab::{Lab, lab};
use crate::harness::mesh::{MEET_BOUND, Mesh, lives, stale};
use crate::harness::peer::{BINARY, Peer, STATE_DIR};
use crate::harness::wait::{ensure, wait_for};

/// In seconds.
const HOUR: i64 = 3600;

/// How much an age may be off: ages are compared with the machine's own a moment later.
const AGE_TOLERANCE: Duration = Duration::from_secs(60);

/// glibc puts the machine's library directory in for `$LIB`.
const FAKETIME: &str = "/usr/$LIB/faketime/libfaketimeMT.so.1";

#[test]
fn a_host_whose_clock_is_an_hour_ahead_is_live_with_its_figures_and_right_ages() {
    check_clock(&lab!(), HOUR);
}

#[test]
fn a_host_whose_clock_is_an_hour_behind_is_live_with_its_figures_and_right_ages() {
    check_clock(&lab!(), -HOUR);
}

/// Three hosts, the clock of the second one `ahead` by so many seconds.
fn check_clock(lab: &Lab, ahead: i64) {
    let hosts = ["alpha", "beta", "gamma"].map(|name| lab.host(name));
    let seed = hosts[0].address().to_string();
    let right = Peer::launch(&hosts[0], &["--no-docker"]);
    let wrong = launch_skewed(&hosts[1], ahead, &seed);
    let other = Peer::launch(&hosts[2], &["--no-docker", &seed]);
    let mesh = Mesh { peers: vec![right, wrong, other], hosts: hosts.into() };
    mesh.wait_met(MEET_BOUND);
    let clocks = mesh.apis().iter().map(|api| offset_of(api).expect("it serves")).collect::<Vec<_>>();
    assert!(clocks[0].abs() < 60 && clocks[2].abs() < 60, "clocks {clocks:?}");
    assert!((clocks[1] - ahead).abs() < 60, "clocks {clocks:?}");

    for (api, clock) in mesh.apis().iter().zip(clocks) {
        for host in ["alpha", "beta", "gamma"] {
            wait_for(&format!("{host} with figures and its age at {}", api.address()), MEET_BOUND, || {
                check_host(api, clock, host)
            });
        }
        let shown = lives(&api.view("hosts").expect("the view"));
        assert!(shown.values().all(Option::is_none), "none is stale: {shown:?}");
        let processes = api.view("processes?unconnected=show").expect("the view");
        assert!(processes.nodes.values().all(|node| stale(node).is_none()), "nor is what runs there");
        let members = api.members().expect("it serves");
        assert!(members.iter().all(|member| member.life == "live" && member.last_heard < MEET_BOUND), "{members:?}");
    }
}

/// Whether a peer, whose clock is off by `clock` seconds, shows a host's current figures and its age as they are.
fn check_host(api: &Api, clock: i64, host: &str) -> Result<(), String> {
    let view = api.view("hosts")?;
    let id =
        view.find(host)?["id"].as_str().ok_or("no id")?.replace(';', "%3B").replace('<', "%3C").replace('>', "%3E");
    let node = api.json(&format!("/api/topology/hosts/{id}"))?["node"].take();
    let uptime: u64 = row(&node, "uptime")?.parse().map_err(|error| format!("uptime: {error}"))?;
    let wanted = machine_uptime();
    ensure(uptime.abs_diff(wanted) < AGE_TOLERANCE.as_secs(), || format!("up for {uptime} s instead of {wanted}"))?;
    let metrics = node["metrics"].as_array().ok_or("no metrics")?;
    let memory = metrics.iter().find(|metric| metric["id"] == "host_mem_usage_bytes").ok_or("no memory")?;
    ensure(memory["value"].as_f64() > Some(0.0) && memory["valueEmpty"] != true, || format!("{memory}"))?;
    let samples = memory["samples"].as_array().ok_or("no samples")?;
    let newest = samples.last().and_then(|sample| sample["date"].as_str()).ok_or("no sample")?;
    let age = now() + clock - seconds(newest)?;
    ensure(age.unsigned_abs() < AGE_TOLERANCE.as_secs(), || format!("the newest figure, {newest}, is {age} s old"))
}

fn row<'n>(node: &'n Value, id: &str) -> Result<&'n str, String> {
    let rows = node["metadata"].as_array().into_iter().flatten();
    let value = rows.filter(|row| row["id"] == id).find_map(|row| row["value"].as_str());
    value.ok_or_else(|| format!("no {id} in {node}"))
}

/// A peer in whose world it is later by `ahead` seconds: by its clock, and by the kernel's time of boot.
#[track_caller]
fn launch_skewed(host: &Host, ahead: i64, seed: &str) -> Peer {
    let stat = fs::read_to_string(host.namespaces().path("/proc/stat")).expect("every kernel has it");
    let skewed = |line: &str| match line.strip_prefix("btime ").and_then(|time| time.parse::<i64>().ok()) {
        Some(time) => format!("btime {}\n", time + ahead),
        None => format!("{line}\n"),
    };
    let stat: String = stat.lines().map(skewed).collect();
    fs::write(host.namespaces().path("/run/stat"), stat).expect("a host's own /run is writable");
    host.run("mount", &["--bind", "/run/stat", "/proc/stat"]);
    let mut command = host.namespaces().command("env");
    command.arg(format!("LD_PRELOAD={FAKETIME}")).arg(format!("FAKETIME={ahead:+}"));
    // Files keep their times; what has passed is measured as everywhere.
    command.args(["NO_FAKE_STAT=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"]);
    command.args([BINARY, "launch", "--state-dir", STATE_DIR, "--no-docker", seed]);
    let mut peer = Peer::start(host, command);
    peer.wait_serving();
    peer
}

/// By how many seconds a peer's clock is ahead of the test's.
fn offset_of(api: &Api) -> Result<i64, String> {
    let about = api.json("/api")?;
    let time = about["time"].as_str().ok_or("no time")?;
    Ok(seconds(time)? - now())
}

fn machine_uptime() -> u64 {
    let uptime = fs::read_to_string("/proc/uptime").expect("every kernel has it");
    uptime.split('.').next().and_then(|seconds| seconds.parse().ok()).expect("it begins with seconds")
}

fn now() -> i64 {
    Timestamp::now().as_second()
}

fn seconds(time: &str) -> Result<i64, String> {
    time.parse::<Timestamp>().map(Timestamp::as_second).map_err(|error| format!("{time}: {error}"))
}
