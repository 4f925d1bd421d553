//! What a scan of `/proc` costs on this machine: `cargo run --release -p node --example scan [PROC_ROOT] [ROUNDS]`.
//! Prints CPU time a scan, for early scans (listing and stats), and for beats (details, open files, cgroups, gauges too).

use std::path::PathBuf;
use std::time::Duration;

use node::probe::InitPids;
use node::probe::host;
use node::probe::pace::Moment;
use node::probe::process::{Config, Scan};
use rustix::time::{ClockId, clock_gettime};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let proc_root = PathBuf::from(arguments.next().unwrap_or_else(|| "/proc".to_owned()));
    let rounds: u32 = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(300);

    let inits = InitPids::default();
    let mut now = Moment::now();
    let mut scan = Scan::new(Config::new(proc_root.clone()));
    let (first, scanned) = timed(|| scan.round(now, &inits));
    let (processes, containers) = scanned.gauges.unwrap_or_default();
    println!(
        "{} processes, {} containers measured; {:?}",
        processes.pids.len(),
        containers.containers.len(),
        scanned.status
    );
    println!("first scan   {first:>8} µs");

    let early = (0..rounds).map(|_| timed(|| scan.round(now, &inits)).0).collect();
    report("early scan", early);
    let mut facts = 0;
    let beats = (0..rounds)
        .map(|_| {
            now.clock += Duration::from_secs(2);
            let (cost, scanned) = timed(|| scan.round(now, &inits));
            facts += u32::from(scanned.facts.is_some());
            cost
        })
        .collect();
    report("beat", beats);
    println!("{facts} of {rounds} beats had new facts");

    let mut probe = host::Probe::new(host::Config { proc_root, name: None, services: Vec::new() });
    report("host", (0..rounds).map(|_| timed(|| probe.round(now)).0).collect());
}

/// CPU time of a call, in µs.
fn timed<T>(call: impl FnOnce() -> T) -> (u64, T) {
    let before = clock_gettime(ClockId::ThreadCPUTime);
    let result = call();
    let after = clock_gettime(ClockId::ThreadCPUTime);
    let nanos = (after.tv_sec - before.tv_sec) * 1_000_000_000 + after.tv_nsec - before.tv_nsec;
    (u64::try_from(nanos).unwrap_or(0) / 1000, result)
}

fn report(what: &str, mut costs: Vec<u64>) {
    costs.sort_unstable();
    let mean = costs.iter().sum::<u64>() / u64::try_from(costs.len().max(1)).unwrap_or(1);
    let at = |share: usize| costs.get(costs.len() * share / 100).copied().unwrap_or(0);
    println!("{what:<12} {mean:>8} µs mean, {} µs median, {} µs p99", at(50), at(99));
}
