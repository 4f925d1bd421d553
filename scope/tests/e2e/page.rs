//! The page of a real peer in a real browser.

use std::path::Path;
use std::process::Command;

use crate::harness::chain;
use crate::harness::command::output;
use crate::harness::dockerd::Dockerd;
use crate::harness::lab::lab;
use crate::harness::logs;
use crate::harness::peer::Peer;

#[test]
fn the_page_shows_the_chain_in_a_browser() {
    let lab = lab!();
    let host = lab.host("alpha");
    let docker = Dockerd::start(&host);
    chain::start(&docker);
    let peer = Peer::launch(&host, &[]);
    peer.api().wait_view("containers", |view| view.has_exactly(&chain::NAMES, &chain::EDGES));

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ui/web/e2e/live.mjs");
    let edges = chain::EDGES.map(|(from, to)| format!("{from}>{to}")).join(",");
    let picture = logs::directory().join("containers.png");
    let mut node = Command::new("node");
    node.arg(script)
        .args(["--url", &peer.api().url(), "--nodes", &chain::NAMES.join(","), "--edges", &edges])
        .args(["--open", "web", "--screenshot"])
        .arg(&picture);
    let output = output(&mut node);
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the page: {said}");
    assert!(picture.is_file(), "a picture of it");
}
