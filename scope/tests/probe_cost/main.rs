//! What a peer costs its host: `scripts/probe-cost.sh` runs it, with the names of [`LOADS`], `starts` or `soak`.
//!
//! Each load has a host of its own, made of namespaces, with its own Docker daemon and real containers. The peer is the
//! release build as users start it. CPU is what the kernel counted for the peer's process, user and system, in percent of
//! one core; what its BPF program takes within other processes is not in there, and has a column of its own. Nothing here
//! fails for being slow: it is told.

#[expect(dead_code, unused_imports, unused_macros, reason = "the measurement needs a part of the harness")]
#[path = "../e2e/harness/mod.rs"]
mod harness;

mod cost;
mod load;
mod soak;
mod starts;
mod table;
mod usage;

use std::time::Duration;

use harness::lab::Lab;
use harness::peer::Peer;
use load::{LOADS, Load};

/// With the defaults, the first full look at everything is long over by then, and what was saved up is spent.
const WARM_UP_SECS: u64 = 30;

fn main() {
    // cargo hands on what follows `--`; the test runner's own flags are none of ours.
    let named: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |name: &str| named.is_empty() || named.iter().any(|argument| argument == name);
    if let Some(unknown) = named.iter().find(|name| !is_known(name)) {
        let loads: Vec<_> = LOADS.iter().map(|load| load.name).collect();
        panic!("no load {unknown}: there are {}, starts and soak", loads.join(", "));
    }
    table::head();
    for load in LOADS.iter().filter(|load| wanted(load.name)) {
        // Each has a thread of its own, because a thread stays in the network that it made.
        on_a_thread(|| measure(load));
    }
    if wanted("starts") {
        on_a_thread(|| starts::measure(setting("STARTS", 100)));
    }
    // Not unless it is named: it takes as long as one lets it.
    if named.iter().any(|name| name == "soak") {
        on_a_thread(|| soak::run(Duration::from_secs(60 * setting("MINUTES", 30))));
    }
}

fn is_known(name: &str) -> bool {
    ["starts", "soak"].contains(&name) || LOADS.iter().any(|load| load.name == name)
}

fn on_a_thread(work: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        if scope.spawn(work).join().is_err() {
            std::process::exit(1);
        }
    });
}

/// Puts the load on a host, then measures one peer after the other.
fn measure(load: &Load) {
    let duration = Duration::from_secs(setting("DURATION", 60));
    let warm_up = Duration::from_secs(setting("WARM_UP", WARM_UP_SECS));
    let lab = Lab::named(&format!("probe-cost.{}", load.name));
    let host = lab.host("alpha");
    let world = load.put_on(&host);
    for flags in load.modes {
        let mut peer = Peer::launch(&host, flags);
        world.wait_seen(&peer.api());
        std::thread::sleep(warm_up);
        let cost = cost::over(duration, &mut peer, &world);
        table::row(load, flags, &cost);
    }
}

/// An unsigned number from the environment.
fn setting(name: &str, default: u64) -> u64 {
    let Ok(value) = std::env::var(name) else {
        return default;
    };
    value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value}"))
}
