//! Two hundred containers on one host.

use std::thread;
use std::time::Duration;

use crate::harness::dockerd::Dockerd;
use crate::harness::engine::Engine;
use crate::harness::image::IMAGE;
use crate::harness::lab::lab;
use crate::harness::peer::Peer;
use crate::harness::wait::ensure;
use crate::harness::watch::Watch;

const CONTAINERS: usize = 200;

/// Requests to Docker at a time: more only queue up in it.
const WORKERS: usize = 4;

/// From the last start or removal to its diff.
const BOUND: Duration = Duration::from_secs(30);

#[test]
fn two_hundred_containers_come_and_go_on_the_map() {
    let lab = lab!();
    let host = lab.host("alpha");
    let docker = Dockerd::start(&host);
    let peer = Peer::launch(&host, &[]);
    peer.api().wait_source("docker", &["ok"]);
    let mut watch = Watch::open(&peer.api(), "containers", "t=1s");

    let ids = in_parallel(docker.engine(), &(0..CONTAINERS).collect::<Vec<_>>(), |engine, number| {
        let id = engine.create(&format!("c{number}"), IMAGE, &["sleep", "100000"], "none");
        engine.start(&id);
        id
    });
    watch.wait_until("all containers on the map", BOUND, |view| {
        let on_map = ids.iter().filter(|id| view.nodes.contains_key(&node_id(id))).count();
        ensure(on_map == CONTAINERS, || format!("{on_map} of them"))
    });
    let view = peer.api().view("containers").expect("the view");
    assert_eq!(view.labels().len(), CONTAINERS, "the API says the same");

    // One after another: Docker 20.10 was seen to stop answering about four containers that it was told to kill at once.
    ids.iter().for_each(|id| docker.engine().remove(id));
    watch.wait_until("an empty map", BOUND, |view| {
        ensure(view.labels().is_empty(), || format!("{} left", view.labels().len()))
    });
    let all = peer.api().view("containers?stopped=both").expect("the view");
    assert!(all.labels().is_empty(), "nor as stopped ones: {:?}", all.labels());
}

/// `work` on every item, [`WORKERS`] at a time; the results, in the items' order.
fn in_parallel<I: Sync, O: Send>(engine: &Engine, items: &[I], work: impl Fn(&Engine, &I) -> O + Sync) -> Vec<O> {
    let chunk = items.len().div_ceil(WORKERS);
    thread::scope(|scope| {
        let work = &work;
        let workers: Vec<_> = items
            .chunks(chunk)
            .map(|items| scope.spawn(move || items.iter().map(|item| work(engine, item)).collect::<Vec<_>>()))
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("docker did its part")).collect()
    })
}

fn node_id(container: &str) -> String {
    format!("{container};<container>")
}
