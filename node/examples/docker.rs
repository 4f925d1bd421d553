//! Runs the docker probe alone and prints what it says: `cargo run -p node --example docker [unix:///PATH]`.
//! For each container that starts it prints how long after its start the facts say so.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use node::probe::docker::{Config, Wiring, spawn};
use node::probe::{InitPids, Update};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use topology::fact::{Container, Fact};
use topology::{ContainerId, Timestamp};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let config = Config::new(std::env::args().nth(1).as_deref())?;
    let (updates, mut received) = mpsc::channel(64);
    let (init_pids, _init_pids) = watch::channel(InitPids::default());
    // Containers named after the address get their figures from the daemon.
    let streamed = std::env::args().skip(2).map(|id| ContainerId::new(&id)).collect::<Result<_, _>>()?;
    let (_unreadable, unreadable) = watch::channel(Arc::new(streamed));
    let stop = CancellationToken::new();
    let thread =
        spawn(config, Wiring { updates, init_pids, nudge: std::sync::Arc::new(|| {}), unreadable }, stop.clone())?;
    let mut known = BTreeMap::new();
    loop {
        tokio::select! {
            Some(update) = received.recv() => print(update, &mut known),
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                break;
            }
        }
    }
    stop.cancel();
    thread.join().map_err(|_| "the probe panicked")?;
    Ok(())
}

fn print(update: Update, known: &mut BTreeMap<ContainerId, Container>) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let Update::Facts(_, facts) = update else {
        println!("{now} {update:?}");
        return;
    };
    println!("{now} {} facts", facts.len());
    let containers = facts.into_values().filter_map(|fact| match fact {
        Fact::Container(container) => Some((container.id.clone(), container)),
        _ => None,
    });
    let containers: BTreeMap<ContainerId, Container> = containers.collect();
    for (id, container) in &containers {
        let before = known.get(id);
        if before == Some(container) {
            continue;
        }
        let latency = container.started_at.filter(|at| before.is_none_or(|before| before.started_at != Some(*at)));
        let latency = latency.map(|Timestamp(at)| format!("{} ms after its start", now.saturating_sub(u128::from(at))));
        println!("  {} {} {:?} {}", id.short(), container.name, container.state, latency.unwrap_or_default());
    }
    for id in known.keys().filter(|id| !containers.contains_key(*id)) {
        println!("  {} gone", id.short());
    }
    *known = containers;
}
