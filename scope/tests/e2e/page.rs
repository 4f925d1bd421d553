//! The page of a real peer in a real browser.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::chain;
use crate::harness::command::output;
use crate::harness::dockerd::Dockerd;
use crate::harness::lab::lab;
use crate::harness::logs;
use crate::harness::mesh::{MEET_BOUND, Mesh};
use crate::harness::peer::Peer;
use crate::harness::wait::{ensure, wait_for};

/// How long a browser may take to start and to draw on a busy machine.
const BROWSER_BOUND: Duration = Duration::from_secs(90);

#[test]
fn the_page_shows_the_chain_in_a_browser() {
    let lab = lab!();
    let host = lab.host("alpha");
    let docker = Dockerd::start(&host);
    chain::start(&docker);
    let peer = Peer::launch(&host, &[]);
    peer.api().wait_view("containers", |view| view.has_exactly(&chain::NAMES, &chain::EDGES));

    let edges = chain::EDGES.map(|(from, to)| format!("{from}>{to}")).join(",");
    let picture = picture("containers.png");
    let mut browser = browser(&peer);
    browser.args(["--nodes", &chain::NAMES.join(","), "--edges", &edges, "--open", "web", "--screenshot"]);
    look(browser.arg(&picture));
    assert!(picture.is_file(), "a picture of it");
}

#[test]
fn the_page_shows_the_peers_and_a_killed_one_as_suspect() {
    let lab = lab!();
    let mut mesh = Mesh::launch(&lab, &["alpha", "beta"], &["--no-docker"]);
    mesh.wait_met(MEET_BOUND);
    let (live, suspect) = (picture("peers-live.png"), picture("peers-suspect.png"));
    let mut browser = browser(&mesh.peers[0]);
    browser.args([
        "--topology",
        "hosts",
        "--peers",
        "alpha=live,beta=live",
        "--peers-later",
        "alpha=live,beta=suspect",
    ]);
    browser.arg("--screenshot").arg(&live).arg("--screenshot-later").arg(&suspect);
    thread::scope(|scope| {
        let page = scope.spawn(|| look(&mut browser));
        wait_for("a page that shows both", BROWSER_BOUND, || {
            ensure(live.is_file() || page.is_finished(), || "no picture yet".to_owned())
        });
        mesh.peers[1].process().signal(Signal::KILL);
    });
    assert!(suspect.is_file(), "a picture of it");
}

/// A browser that is to look at the page of a peer.
fn browser(peer: &Peer) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ui/web/e2e/live.mjs");
    let mut node = Command::new("node");
    node.arg(script).args(["--url", &peer.api().url(), "--timeout", &BROWSER_BOUND.as_secs().to_string()]);
    node
}

#[track_caller]
fn look(browser: &mut Command) {
    let output = output(browser);
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the page: {said}");
}

/// Where a picture of this run goes; one of an earlier run is removed.
fn picture(name: &str) -> PathBuf {
    let path = logs::directory().join(name);
    // None is there at the first run.
    let _ = fs::remove_file(&path);
    path
}
