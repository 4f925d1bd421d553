//! How `scope` starts, ends and complains.

use std::collections::VecDeque;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::chown;
use std::process::Output;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::dockerd::Dockerd;
use crate::harness::lab::lab;
use crate::harness::peer::{self, BINARY, Peer};
use crate::harness::wait::{ensure, wait_for};

/// Within this a peer that was told to end has ended.
const EXIT_BOUND: Duration = Duration::from_secs(2);

/// More than the kernel holds of what a peer has written and nobody has read: 4 MiB (`tcp_wmem`), and the little that the
/// reader's side takes.
const ANSWER_BYTES: usize = 32 << 20;

/// A connection that neither goes on nor ends.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(20);

/// So often in a row the number of answers is the same before none is on its way.
const STALLED_LOOKS: usize = 40;

/// Debian's `nobody`.
const NOBODY: u32 = 65534;

#[test]
fn a_signal_ends_it_cleanly_within_two_seconds() {
    let lab = lab!();
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
fn a_signal_ends_it_in_time_while_a_client_does_not_read_its_answer() {
    let lab = lab!();
    let host = lab.host("alpha");
    let mut peer = Peer::launch(&host, &[]);
    let (_, page) = peer.api().get("/").expect("the page");
    let script = page.split('"').find(|part| part.ends_with(".js")).expect("the page has a script");
    let path = format!("/{}", script.trim_start_matches("./"));
    let script_bytes = peer.api().get(&path).expect("the script").1.len();
    // Asked for in one go, so often that the kernel cannot hold all that is answered.
    let times = ANSWER_BYTES / script_bytes + 1;
    let request = format!("GET {path} HTTP/1.1\r\nHost: alpha\r\n\r\n");
    let mut client = TcpStream::connect((host.address(), 4040)).expect("it serves");
    client.set_read_timeout(Some(CLIENT_TIMEOUT)).expect("a timeout above zero");
    client.write_all(request.repeat(times).as_bytes()).expect("the requests are short");
    let mut first = [0; 12];
    client.read_exact(&mut first).expect("an answer has begun");
    assert_eq!(&first, b"HTTP/1.1 200");
    // The kernel finds a little more room now and then, a few hundred milliseconds apart.
    let mut looks = VecDeque::from([0; STALLED_LOOKS]);
    wait_for("an answer that does not get on", CLIENT_TIMEOUT, || {
        looks.pop_front();
        looks.push_back(answers(&peer)?);
        ensure(looks.iter().all(|look| *look == looks[0]), || format!("{looks:?} answers"))
    });

    peer.process().signal(Signal::TERM);
    let status = peer.process().wait_exit(EXIT_BOUND);
    assert_eq!(status.code(), Some(0), "{}", peer.output());
    assert!(says_ended(&peer), "the log says so: {}", peer.output());
    assert!(peer.output().contains("connections cut"), "an answer was open: {}", peer.output());
}

#[test]
fn stop_ends_it_as_cleanly_while_a_browser_watches() {
    let lab = lab!();
    let host = lab.host("alpha");
    let mut peer = Peer::launch(&host, &[]);
    let _watch = crate::harness::watch::Watch::open(&peer.api(), "hosts", "t=1s");
    let status = peer::run(&host, "status", &[]);
    assert_eq!(status.status.code(), Some(0), "it runs: {}", text(&status));

    let asked = Instant::now();
    let stop = peer::run(&host, "stop", &[]);
    assert_eq!(stop.status.code(), Some(0), "{}", text(&stop));
    assert!(asked.elapsed() < EXIT_BOUND, "stop took {:?}", asked.elapsed());
    let status = peer.process().wait_exit(EXIT_BOUND.saturating_sub(asked.elapsed()));
    assert_eq!(status.code(), Some(0), "{}", peer.output());
    assert!(says_ended(&peer), "the log says so: {}", peer.output());

    let status = peer::run(&host, "status", &[]);
    assert_ne!(status.status.code(), Some(0), "it does not run: {}", text(&status));
}

#[test]
fn detach_gives_the_shell_back_once_it_serves() {
    let lab = lab!();
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
    let lab = lab!();
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
    let lab = lab!();
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
    let lab = lab!();
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
    let lab = lab!();
    let host = lab.host("alpha");
    let peer = Peer::launch(&host, &["--no-probe"]);
    // A peer launched after it has said all by now that this one would have.
    let other = lab.host("beta");
    let probing = Peer::launch(&other, &[]);
    probing.api().wait_view("processes?unconnected=show", |view| view.has(&["scope"]));
    probing.api().wait_source("process", &["ok"]);
    assert_eq!(peer.api().json("/api/probes"), Ok(serde_json::json!([])));
    for topology in ["hosts", "processes?unconnected=show", "containers?stopped=both"] {
        let view = peer.api().view(topology).expect("the view");
        assert!(view.nodes.is_empty(), "{topology}: {:?}", view.labels());
    }
}

#[test]
fn a_setting_is_a_flag_or_a_variable() {
    let lab = lab!();
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
    let lab = lab!();
    let host = lab.host("alpha");
    for (subcommand, wanted) in [("version", env!("CARGO_PKG_VERSION")), ("help", "launch")] {
        let output = host.run(BINARY, &[subcommand]);
        assert!(output.contains(wanted), "{subcommand}: {output}");
    }
}

/// Files of the page that were asked for and answered so far.
fn answers(peer: &Peer) -> Result<u64, String> {
    let (_, metrics) = peer.api().get("/metrics")?;
    let name = r#"scope_request_duration_seconds_count{method="GET",route="/{*path}",status_code="200",ws="false"} "#;
    let count = metrics.lines().find_map(|line| line.strip_prefix(name)).ok_or("no such count")?;
    count.parse().map_err(|error| format!("{count}: {error}"))
}

fn says_ended(peer: &Peer) -> bool {
    peer.output().lines().rev().take(5).any(|line| line.to_lowercase().contains("ended"))
}

fn text(output: &Output) -> String {
    format!("{}: {}{}", output.status, String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
