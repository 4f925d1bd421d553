//! What a peer costs its host, and how soon it sees a container: `scripts/probe-cost.sh` runs it.
//!
//! The host is a small one: the four containers of the chain and about 110 processes, all quiet. CPU is
//! what the kernel counted for the peer's process, user and system, in percent of one core.

#[expect(dead_code, reason = "the measurement needs a part of the harness")]
#[path = "../e2e/harness/mod.rs"]
mod harness;

mod usage;

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use harness::chain;
use harness::dockerd::Dockerd;
use harness::engine::Engine;
use harness::host::Host;
use harness::image::IMAGE;
use harness::lab::lab;
use harness::peer::Peer;
use harness::process::Process;
use harness::wait::{ensure, wait_for};
use harness::watch::Watch;
use usage::Usage;

/// Processes on the host, the daemon's and the containers' among them.
const PROCESSES: usize = 110;

/// Before the count begins: the first full look at everything is over by then.
const WARM_UP: Duration = Duration::from_secs(10);

/// With a browser looking, a shorter count is enough: diffs go out every second.
const WATCHED_MAX: Duration = Duration::from_secs(60);

/// A start that takes this long to be seen is a failure, not a figure.
const START_BOUND: Duration = Duration::from_secs(10);

fn main() {
    let duration = Duration::from_secs(setting("DURATION", 300));
    let starts = setting("STARTS", 100);
    let lab = lab!();
    let host = lab.host("alpha");
    let docker = Dockerd::start(&host);
    chain::start(&docker);
    let mut peer = Peer::launch(&host, &[]);
    let _crowd = crowd(&host);
    let api = peer.api();
    api.wait_view("containers", |view| view.has_exactly(&chain::NAMES, &chain::EDGES));
    let pid = peer.process().pid().expect("it serves");

    thread::sleep(WARM_UP);
    let quiet = cpu_over(pid, || thread::sleep(duration));
    let memory = Usage::of(pid);
    let mut watch = Watch::open(&api, "containers", "t=1s");
    let watched = cpu_over(pid, || look(&mut watch, duration.min(WATCHED_MAX)));
    let figures = (0..starts).map(|number| start_seen(docker.engine(), &mut watch, number));
    let (mut from_call, mut from_return): (Vec<_>, Vec<_>) = figures.unzip();
    let after = Usage::of(pid);

    let containers = chain::NAMES.len();
    println!("host with {} processes, {containers} containers", processes(&host));
    row("what", "measured", "bar");
    row(&format!("CPU over {} s, nobody looking", duration.as_secs()), &percent(quiet), "0.7 %");
    row("CPU, one browser looking at the containers", &percent(watched), "");
    row("RSS after the first", &megabytes(memory.resident_bytes), "40 MB");
    row("RSS at its highest (VmHWM), after all", &megabytes(after.peak_bytes), "");
    let starts = format!("{starts} container starts to WebSocket");
    for (what, sample, bar) in
        [("from the start call's return", &mut from_return, "50 ms"), ("from the start call", &mut from_call, "")]
    {
        row(&format!("{starts}, {what}, p50"), &milliseconds(sample, 0.5), "");
        row(&format!("{starts}, {what}, p99"), &milliseconds(sample, 0.99), bar);
    }
}

/// An unsigned number from the environment.
fn setting(name: &str, default: u64) -> u64 {
    let Ok(value) = std::env::var(name) else {
        return default;
    };
    value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value}"))
}

/// Idle processes that fill the host up to [`PROCESSES`].
fn crowd(host: &Host) -> Process {
    let missing = PROCESSES.saturating_sub(processes(host) + 1);
    let script = format!("for i in $(seq {missing}); do sleep 100000 & done; wait");
    let shell = Process::applet(host, &["sh", "-c", &script]);
    wait_for("the host to fill up", START_BOUND, || {
        let running = processes(host);
        ensure(running >= PROCESSES, || format!("{running} processes"))
    });
    shell
}

fn processes(host: &Host) -> usize {
    let entries = fs::read_dir(host.namespaces().path("/proc")).expect("the host runs");
    let is_pid = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
    entries.flatten().filter(|entry| entry.file_name().to_str().is_some_and(is_pid)).count()
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

fn row(what: &str, measured: &str, bar: &str) {
    println!("| {what:<70} | {measured:>9} | {bar:>6} |");
}

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

fn megabytes(bytes: u64) -> String {
    // Precise enough for a figure of two digits.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let megabytes = bytes as f64 / 1e6;
    format!("{megabytes:.1} MB")
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
