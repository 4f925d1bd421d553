//! Whether a peer grows: hours of what hosts do all day, within minutes.
//!
//! 65 containers with 2,000 open connections; every few seconds another container starts, connects once a second, and is
//! removed a little later; and there are short connections all the time.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::cost::machine_load;
use crate::harness::dockerd::Dockerd;
use crate::harness::engine::Engine;
use crate::harness::image::{IMAGE, TRAFFIC};
use crate::harness::lab::Lab;
use crate::harness::peer::Peer;
use crate::harness::sockets::Awaited;
use crate::load;
use crate::table::{megabytes, percent};
use crate::usage::Usage;

/// Between two looks at the memory.
const LOOK: Duration = Duration::from_secs(10);

/// Between two containers that start.
const CHURN: Duration = Duration::from_secs(3);

/// Containers that come and go, at a time.
const PASSING: usize = 5;

/// Short connections a second.
const RATE: &str = "200";

/// Prints the memory every ten seconds, and in the end how it grew.
pub(crate) fn run(length: Duration) {
    let lab = Lab::named("probe-cost.soak");
    let host = lab.host("alpha");
    let world = load::talking(&host, 2_000);
    let target = start_short(&world.docker);
    let mut peer = Peer::launch(&host, &[]);
    world.wait_seen(&peer.api());
    let pid = peer.process().pid().expect("it serves");
    let is_over = AtomicBool::new(false);
    let mut looks = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| churn(world.docker.engine(), &target, &is_over));
        let (start, mut before) = (Instant::now(), Usage::of(pid));
        while start.elapsed() < length {
            thread::sleep(LOOK);
            let usage = Usage::of(pid);
            let cpu = usage.cpu.saturating_sub(before.cpu).as_secs_f64() / LOOK.as_secs_f64() * 100.0;
            println!(
                "{:>5.0} s: {}, CPU {}, machine's load {}",
                start.elapsed().as_secs_f64(),
                megabytes(usage.resident_bytes),
                percent(cpu),
                machine_load()
            );
            looks.push((start.elapsed().as_secs_f64(), usage.resident_bytes as f64));
            before = usage;
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let half = &looks[looks.len() / 2..];
    println!("at most {}", megabytes(Usage::of(pid).peak_bytes));
    println!("growth by linear fit: {:+.2} MB an hour", slope(&looks) * 3600.0 / 1e6);
    println!("growth in its second half: {:+.2} MB an hour", slope(half) * 3600.0 / 1e6);
}

/// A client that connects all the time; gives the address of its server.
fn start_short(docker: &Dockerd) -> String {
    load::start(docker, "busy-server", &[TRAFFIC, "serve", "80"]);
    docker.wait_socket("busy-server", Awaited::Listener(80));
    let target = format!("{}:80", docker.address("busy-server", "bridge", "IPAddress"));
    load::start(docker, "busy-client", &[TRAFFIC, "connect", &target, RATE, "1", "1000000"]);
    target
}

fn churn(engine: &Engine, target: &str, is_over: &AtomicBool) {
    let mut passing = VecDeque::new();
    for number in 0.. {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let id = engine.create(&format!("passing{number}"), IMAGE, &[TRAFFIC, "every", target, "1"], "bridge");
        engine.start(&id);
        passing.push_back(id);
        if passing.len() > PASSING {
            engine.remove(&passing.pop_front().expect("more than none"));
        }
        thread::sleep(CHURN);
    }
}

/// Least squares: y by x.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let covariance: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let variance: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    if variance > 0.0 { covariance / variance } else { 0.0 }
}
