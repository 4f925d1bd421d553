//! The mesh in virtual time: what must hold does, and nothing got worse.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use gossip::sim::{self, Misdeed, Outcome, Scenario};

const SEED: u64 = 1;

/// What the figures were when somebody last looked at them and found them good.
const BASELINE: &str = include_str!("sim_baseline.txt");

/// Set to anything, it makes the test write the baseline anew.
const ACCEPT: &str = "SCOPE_SIM_ACCEPT";

#[test]
fn the_same_seed_is_the_same_run() {
    for scenario in [Scenario::Churn, Scenario::Flap, Scenario::Liars(Misdeed::Invent)] {
        let run = || sim::run(scenario, 10, 7);
        let (first, second) = (run(), run());
        assert!(first.events > 1000, "{scenario:?}");
        assert_eq!(first, second, "{scenario:?}");
        assert_ne!(first.events, sim::run(scenario, 10, 8).events, "{scenario:?}: another seed is another run");
    }
}

/// Of ten and of a hundred hosts; a thousand take `make simulate`.
#[test]
fn all_scenarios_keep_the_invariants_and_the_figures() {
    let runs: Vec<(Scenario, u32)> =
        [100, 10].into_iter().flat_map(|hosts| Scenario::ALL.map(|scenario| (scenario, hosts))).collect();
    let mut outcomes = at_once(&runs);
    outcomes.sort_by_key(|(run, _)| (runs[*run].1, *run));
    let mut figures = Vec::new();
    let mut broken = Vec::new();
    for (run, outcome) in outcomes {
        let (scenario, hosts) = runs[run];
        broken.extend(outcome.violations.into_iter().map(|what| format!("{hosts} hosts, {}: {what}", scenario.name())));
        figures.extend(outcome.figures);
    }
    assert!(broken.is_empty(), "with seed {SEED}:\n{}", broken.join("\n"));
    if std::env::var_os(ACCEPT).is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/sim_baseline.txt");
        return std::fs::write(path, sim::baseline(&figures)).unwrap();
    }
    let worse = sim::worse_than(BASELINE, &figures);
    assert!(
        worse.is_empty(),
        "{}\nworse than before:\n{}\nIf that is meant: {ACCEPT}=1 cargo test -p gossip --test it sim",
        sim::table(&figures),
        worse.join("\n"),
    );
}

/// The outcomes by the number of the run, made by as many threads as there are cores.
fn at_once(runs: &[(Scenario, u32)]) -> Vec<(usize, Outcome)> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let run = next.fetch_add(1, Ordering::Relaxed);
                    let Some(&(scenario, hosts)) = runs.get(run) else { return };
                    let outcome = sim::run(scenario, hosts, SEED);
                    outcomes.lock().unwrap().push((run, outcome));
                }
            });
        }
    });
    outcomes.into_inner().unwrap()
}
