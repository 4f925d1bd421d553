//! How soon a browser sees a container start, and what it costs that it looks.

use std::thread;
use std::time::{Duration, Instant};

use crate::harness::engine::Engine;
use crate::harness::image::IMAGE;
use crate::harness::lab::Lab;
use crate::harness::peer::Peer;
use crate::harness::wait::ensure;
use crate::harness::watch::Watch;
use crate::load::LOADS;
use crate::table::percent;
use crate::usage::Usage;

/// With a browser looking: diffs go out every second.
const WATCHED: Duration = Duration::from_secs(60);

/// A start that takes this long to be seen is a failure, not a figure.
const START_BOUND: Duration = Duration::from_secs(10);

/// On the quiet host.
pub(crate) fn measure(starts: u64) {
    let lab = Lab::named("probe-cost.starts");
    let host = lab.host("alpha");
    let world = LOADS[0].put_on(&host);
    let mut peer = Peer::launch(&host, &[]);
    world.wait_seen(&peer.api());
    let pid = peer.process().pid().expect("it serves");
    let mut watch = Watch::open(&peer.api(), "containers", "t=1s");
    let watched = cpu_over(pid, || look(&mut watch, WATCHED));
    let figures = (0..starts).map(|number| start_seen(world.docker.engine(), &mut watch, number));
    let (mut from_call, mut from_return): (Vec<_>, Vec<_>) = figures.unzip();

    println!("{}, one browser looking at the containers: CPU {}", LOADS[0].title, percent(watched * 100.0));
    let samples = [("from the start call's return", &mut from_return), ("from the start call", &mut from_call)];
    for (what, sample) in samples {
        println!(
            "{starts} container starts to WebSocket, {what}: p50 {}, p99 {}",
            milliseconds(sample, 0.5),
            milliseconds(sample, 0.99)
        );
    }
}

/// Share of one core that the process used while `work` ran.
fn cpu_over(pid: u32, work: impl FnOnce()) -> f64 {
    let (before, start) = (Usage::of(pid), Instant::now());
    work();
    let used = Usage::of(pid).cpu.saturating_sub(before.cpu);
    used.as_secs_f64() / start.elapsed().as_secs_f64()
}

/// Takes in what comes for so long, as a browser does.
fn look(watch: &mut Watch, duration: Duration) {
    let end = Instant::now() + duration;
    while watch.next_diff(end.saturating_duration_since(Instant::now())).is_some() {
        watch.take_changes();
    }
}

/// Seconds from Docker's start call, and from its return, to the diff that adds the container. The
/// second can be negative: Docker tells of the start before it answers.
fn start_seen(engine: &Engine, watch: &mut Watch, number: u64) -> (f64, f64) {
    let id = engine.create(&format!("start{number}"), IMAGE, &["sleep", "100000"], "bridge");
    let node = format!("{id};<container>");
    let (call, returned, seen) = thread::scope(|scope| {
        let call = Instant::now();
        let starter = scope.spawn(|| {
            engine.start(&id);
            Instant::now()
        });
        let seen = watch.wait_until("the container", START_BOUND, |view| {
            ensure(view.nodes.contains_key(&node), || "not there".to_owned())
        });
        (call, starter.join().expect("docker starts containers"), seen)
    });
    engine.remove(&id);
    watch.wait_until("its end", START_BOUND, |view| {
        ensure(!view.nodes.contains_key(&node), || "still there".to_owned())
    });
    let from_call = seen.duration_since(call).as_secs_f64();
    (from_call, from_call - returned.duration_since(call).as_secs_f64())
}

/// The sample's quantile, by the nearest rank.
fn milliseconds(sample: &mut [f64], quantile: f64) -> String {
    sample.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a rank within a short sample"
    )]
    let rank = (sample.len() as f64 * quantile).ceil() as usize;
    sample.get(rank.saturating_sub(1)).map_or_else(|| "none".to_owned(), |seconds| format!("{:.1} ms", seconds * 1e3))
}
