//! How `scope` starts, ends and complains.

use std::fs;
use std::os::unix::fs::chown;
use std::process::Output;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::dockerd::Dockerd;
use crate::harness::lab::Lab;
use crate::harness::peer::{self, BINARY, Peer};
use crate::harness::wait::{ensure, wait_for};

/// Within this a peer that was told to end has ended.
const EXIT_BOUND: Duration = Duration::from_secs(2);

/// Debian's `nobody`.
const NOBODY: u32 = 65534;

#[test]
fn a_signal_ends_it_cleanly_within_two_seconds() {
    let lab = Lab::new();
    let host = lab.host("alpha");
    for signal in [Signal::TERM, Signal::INT] {
        let mut peer = Peer::launch(&host, &[]);
        peer.api().wait_view("hosts", |view| view.has(&["alpha"]));
        peer.process().signal(signal);
        let status = peer.process().wait_exit(EXIT_BOUND);
        assert_eq!(status.code(), Some(0), "{signal:?}: {}", peer.output());
        assert!(says_ended(&peer), "{signal:?}: the log says so: {}", peer.output());
    }
}

#[test]
fn stop_ends_it_as_cleanly_while_a_browser_watches() {
    let lab = Lab::new();
    let host = lab.host("alpha");
    let mut peer = Peer::launch(&host, &[]);
    let _watch = crate::harness::watch::Watch::open(&peer.api(), "hosts", "t=1s");
    let status = peer::run(&host, "status", &[]);
    assert_eq!(status.status.code(), Some(0), "it runs: {}", text(&status));

    let asked = Instant::now();
    let stop = peer::run(&host, "stop", &[]);
    assert_eq!(stop.status.code(), Some(0), "{}", text(&stop));
    let status = peer.process().wait_exit(EXIT_BOUND.saturating_sub(asked.elapsed()));
    assert_eq!(status.code(), Some(0), "{}", peer.output());
    assert!(says_ended(&peer), "the log says so: {}", peer.output());

    let status = peer::run(&host, "status", &[]);
    assert_ne!(status.status.code(), Some(0), "it does not run: {}", text(&status));
}

#[test]
fn detach_gives_the_shell_back_once_it_serves() {
    let lab = Lab::new();
    let host = lab.host("alpha");
    let launch = peer::run(&host, "launch", &["--detach"]);
    assert_eq!(launch.status.code(), Some(0), "{}", text(&launch));
    let api = crate::harness::api::Api::at(host.address());
    api.json("/api").expect("it serves when launch returns");

    let stop = peer::run(&host, "stop", &[]);
    assert_eq!(stop.status.code(), Some(0), "{}", text(&stop));
    wait_for("the end of the peer", EXIT_BOUND, || ensure(api.json("/api").is_err(), || "it still serves".to_owned()));
}

#[test]
fn a_taken_port_is_one_line_that_names_the_way_out() {
    let lab = Lab::new();
    let host = lab.host("alpha");
    let _first = Peer::launch(&host, &[]);
    let mut command = host.namespaces().command(BINARY);
    command.args(["launch", "--state-dir", "/run/second"]);
    let mut second = Peer::start(&host, command);
    let status = second.process().wait_exit(Duration::from_secs(10));
    assert_ne!(status.code(), Some(0));
    let output = second.output();
    let complaints: Vec<_> = output.lines().filter(|line| line.contains("4040")).collect();
    assert!(
        complaints.iter().any(|line| line.contains("--http-addr")),
        "the address and the flag to change it: {output}"
    );
}

#[test]
fn a_bad_command_line_is_exit_code_two() {
    let lab = Lab::new();
    let host = lab.host("alpha");
    let cases: [&[&str]; 4] =
        [&["--no-such-flag"], &["--http-addr", "nonsense"], &["--log-format", "xml"], &["bad peer name"]];
    for arguments in cases {
        let output = peer::run(&host, "launch", arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output));
        assert!(!output.stderr.is_empty(), "{arguments:?} is explained");
    }
}

#[test]
fn nobody_gets_a_smaller_map_and_the_reason() {
    let lab = Lab::new();
    let host = lab.host("alpha");
    let docker = Dockerd::start(&host);
    docker.run("db1", &[], &["sleep", "100000"]);
    let state_dir = host.namespaces().path("/run/nobody");
    fs::create_dir(&state_dir).expect("a host's own /run is writable");
    chown(&state_dir, Some(NOBODY), Some(NOBODY)).expect("root may");
    // The build directory may be closed to others.
    fs::copy(BINARY, host.namespaces().path("/run/scope-for-nobody")).expect("there is room");

    let mut command = host.namespaces().command("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "/run/scope-for-nobody"]);
    command.args(["launch", "--state-dir", "/run/nobody"]);
    let mut peer = Peer::start(&host, command);
    peer.wait_serving();

    peer.api().wait_view("hosts", |view| view.has(&["alpha"]));
    peer.api().wait_view("processes?unconnected=show", |view| view.has(&["dockerd"]));
    for name in ["docker", "process"] {
        let source = peer.api().wait_source(name, &["degraded", "off"]);
        let reason = source["reason"].as_str().unwrap_or_default();
        assert!(!reason.is_empty(), "{name} says why: {source}");
    }
}

#[test]
fn without_a_probe_it_serves_and_says_nothing_of_its_host() {
    let lab = Lab::new();
    let host = lab.host("alpha");
    let peer = Peer::launch(&host, &["--no-probe"]);
    for topology in ["hosts", "processes?unconnected=show", "containers?stopped=both"] {
        let view = peer.api().view(topology).expect("the view");
        assert!(view.nodes.is_empty(), "{topology}: {:?}", view.labels());
    }
}

#[test]
fn a_setting_is_a_flag_or_a_variable() {
    let lab = Lab::new();
    let host = lab.host("alpha");
    let mut command = peer::command(&host, "launch");
    command.env("SCOPE_HOSTNAME", "named-by-variable").args(["--log-format", "json"]);
    let mut peer = Peer::start(&host, command);
    peer.wait_serving();
    peer.api().wait_view("hosts", |view| view.has(&["named-by-variable"]));
    let is_json = |line: &str| serde_json::from_str::<serde_json::Value>(line).is_ok();
    assert!(peer.output().lines().any(is_json), "log lines are JSON: {}", peer.output());
}

#[test]
fn version_and_help_answer_on_standard_output() {
    let lab = Lab::new();
    let host = lab.host("alpha");
    for (subcommand, wanted) in [("version", env!("CARGO_PKG_VERSION")), ("help", "launch")] {
        let output = host.run(BINARY, &[subcommand]);
        assert!(output.contains(wanted), "{subcommand}: {output}");
    }
}

fn says_ended(peer: &Peer) -> bool {
    peer.output().lines().rev().take(5).any(|line| line.to_lowercase().contains("ended"))
}

fn text(output: &Output) -> String {
    format!("{}: {}{}", output.status, String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
