//! What a peer costs over a while.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::api::Api;
use crate::harness::peer::Peer;
use crate::load::World;
use crate::usage::Usage;

/// How often memory is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Looks between two at what the peer says of itself: it tells anew every ten seconds.
const LOOKS_A_REPORT: usize = 10;

/// Of one peer.
pub(crate) struct Cost {
    /// Of one core.
    pub(crate) cpu_percent: f64,
    /// Of one core, by source, as the peer tells.
    pub(crate) sources: BTreeMap<String, f64>,
    pub(crate) resident_bytes: u64,
    pub(crate) peak_bytes: u64,
    /// Connections that its sources say they missed, since they began.
    pub(crate) lost: u64,
    /// Short connections a second.
    pub(crate) opened: f64,
    /// Of the machine, in the end: what else ran.
    pub(crate) machine_load: String,
}

/// Watches for so long, from outside but for a question to the peer every ten seconds.
pub(crate) fn over(duration: Duration, peer: &mut Peer, world: &World) -> Cost {
    let api = peer.api();
    let pid = peer.process().pid().expect("it serves");
    let (before, opened_before, start) = (Usage::of(pid), world.opened(), Instant::now());
    let (mut resident, mut reports) = (Vec::new(), Vec::new());
    while start.elapsed() < duration {
        thread::sleep(LOOK);
        resident.push(Usage::of(pid).resident_bytes);
        if resident.len() % LOOKS_A_REPORT == 0 {
            reports.push(sources(&api));
        }
    }
    let (after, seconds) = (Usage::of(pid), start.elapsed().as_secs_f64());
    let lost = sources(&api).values().map(|source| source.lost).sum();
    Cost {
        cpu_percent: after.cpu.saturating_sub(before.cpu).as_secs_f64() / seconds * 100.0,
        sources: mean(&reports),
        resident_bytes: resident.iter().sum::<u64>() / resident.len().max(1) as u64,
        peak_bytes: after.peak_bytes,
        lost,
        opened: world.opened().saturating_sub(opened_before) as f64 / seconds,
        machine_load: machine_load(),
    }
}

struct Told {
    cpu_percent: f64,
    lost: u64,
}

/// What `/api/probes` says.
fn sources(api: &Api) -> BTreeMap<String, Told> {
    let probes = api.json("/api/probes").expect("it serves");
    // One host: one probe.
    let sources = probes[0]["sources"].as_array().into_iter().flatten();
    let told = |source: &Value| {
        let told = Told {
            cpu_percent: source["cpuPercent"].as_f64().unwrap_or_default(),
            lost: source["lost"].as_u64().unwrap_or_default(),
        };
        (source["name"].as_str().unwrap_or_default().to_owned(), told)
    };
    sources.map(told).collect()
}

fn mean(reports: &[BTreeMap<String, Told>]) -> BTreeMap<String, f64> {
    let mut sums: BTreeMap<String, f64> = BTreeMap::new();
    for (name, told) in reports.iter().flatten() {
        *sums.entry(name.clone()).or_default() += told.cpu_percent / reports.len() as f64;
    }
    sums
}

/// Of the last minute.
pub(crate) fn machine_load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}
