//! What happens to a container, as a browser sees it on its WebSocket.

use std::time::Duration;

use serde_json::Value;

use crate::harness::api::MAP_BOUND;
use crate::harness::dockerd::Dockerd;
use crate::harness::lab::lab;
use crate::harness::peer::Peer;
use crate::harness::wait::ensure;
use crate::harness::watch::{Change, Watch};

/// Docker tells of a change by an event: it must not take a poll's time.
const EVENT_BOUND: Duration = Duration::from_secs(5);

#[test]
fn a_containers_life_arrives_as_diffs_in_the_views_that_show_it() {
    let lab = lab!();
    let host = lab.host("alpha");
    let docker = Dockerd::start(&host);
    let peer = Peer::launch(&host, &[]);
    peer.api().wait_source("docker", &["ok"]);
    let open = |stopped: &str| Watch::open(&peer.api(), "containers", &format!("t=1s&stopped={stopped}"));
    // What a view shows of the container after each step: nothing, or a state.
    let mut watches = [("running", open("running")), ("stopped", open("stopped")), ("both", open("both"))];
    let steps: [(&[&str], [Option<&str>; 3]); 6] = [
        (&["start", "job"], [Some("running"), None, Some("running")]),
        (&["pause", "job"], [Some("paused"), None, Some("paused")]),
        (&["unpause", "job"], [Some("running"), None, Some("running")]),
        (&["stop", "--time", "0", "job"], [None, Some("exited"), Some("exited")]),
        (&["start", "job"], [Some("running"), None, Some("running")]),
        (&["rm", "--force", "job"], [None, None, None]),
    ];
    docker.docker(&["create", "--name", "job", crate::harness::image::IMAGE, "sleep", "100000"]);
    for (command, wanted) in steps {
        docker.docker(command);
        for ((stopped, watch), wanted) in watches.iter_mut().zip(wanted) {
            let what = format!("{stopped}: {wanted:?} after docker {}", command.join(" "));
            watch.wait_until(&what, EVENT_BOUND, |view| {
                let state = view.find("job").ok().map(state);
                ensure(matches(state.as_deref(), wanted), || format!("{state:?}"))
            });
        }
        // That something is absent was also true before the command; by now its effect is known to be on the map.
        for ((stopped, _), wanted) in watches.iter().zip(wanted) {
            let view = peer.api().view(&format!("containers?stopped={stopped}")).expect("the view");
            let state = view.find("job").ok().map(state);
            assert!(matches(state.as_deref(), wanted), "{stopped}: {state:?} after docker {}", command.join(" "));
        }
    }
}

#[test]
fn a_renamed_container_is_an_update_of_the_same_node() {
    let lab = lab!();
    let host = lab.host("alpha");
    let docker = Dockerd::start(&host);
    docker.run("before", &[], &["sleep", "100000"]);
    let peer = Peer::launch(&host, &[]);
    let mut watch = Watch::open(&peer.api(), "containers", "t=1s");
    watch.wait_until("the container", MAP_BOUND, |view| view.has(&["before"]));
    watch.take_changes();

    docker.docker(&["rename", "before", "after"]);
    watch.wait_until("the new name", EVENT_BOUND, |view| view.has(&["after"]));
    let changes = watch.take_changes();
    assert!(changes.contains(&Change::Update("after".to_owned())), "{changes:?}");
    let is_update = |change: &Change| matches!(change, Change::Update(_));
    assert!(changes.iter().all(is_update), "the node stays: {changes:?}");
}

#[test]
fn a_container_that_ends_at_once_is_among_the_stopped() {
    let lab = lab!();
    let host = lab.host("alpha");
    let docker = Dockerd::start(&host);
    let peer = Peer::launch(&host, &[]);
    peer.api().wait_source("docker", &["ok"]);
    docker.run("short", &[], &["true"]);
    // Before it starts it is among those that do not run, too.
    peer.api().wait_view("containers?stopped=stopped", |view| {
        let shown = state(view.find("short")?);
        if shown.contains("exited") { Ok(()) } else { Err(format!("short is {shown}")) }
    });
    let running = peer.api().view("containers?stopped=running").expect("the view");
    assert!(running.find("short").is_err(), "it does not run: {:?}", running.labels());
}

/// The state a container's summary shows, in lower case.
fn state(node: &Value) -> String {
    let rows = node["metadata"].as_array().into_iter().flatten();
    let value = rows.filter(|row| row["label"] == "State").find_map(|row| row["value"].as_str());
    value.unwrap_or_default().to_lowercase()
}

/// Whether a shown state is the wanted one, in Docker's word or in Weave Scope's (`Up 5 minutes (Paused)`).
fn matches(shown: Option<&str>, wanted: Option<&str>) -> bool {
    match (shown, wanted) {
        (None, None) => true,
        (Some(shown), Some("running")) => {
            (shown.contains("running") || shown.starts_with("up")) && !shown.contains("paused")
        }
        (Some(shown), Some(wanted)) => shown.contains(wanted),
        _ => false,
    }
}
