//! A network that falls in two, and is one again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::harness::api::Api;
use crate::harness::cut::Cut;
use crate::harness::lab::lab;
use crate::harness::logs::measured;
use crate::harness::mesh::{MEET_BOUND, Member, Mesh, common_graph, lives};
use crate::harness::process::Process;
use crate::harness::wait::{ensure, wait_for};

const NAMES: [&str; 5] = ["alpha", "beta", "gamma", "delta", "epsilon"];

/// How many of them are on the first side.
const SPLIT: usize = 2;

/// From the cut to the other side stale. On a free machine it is five seconds.
const SUSPECT_TARGET: Duration = Duration::from_secs(10);

/// From the mended cable to the same graph everywhere. On a free machine it is two seconds.
const HEAL_TARGET: Duration = Duration::from_secs(10);

/// For how long the network is cut: by then all connections across it were given up. `SCOPE_E2E_CUT_SECONDS` makes it longer.
const CUT: Duration = Duration::from_secs(20);

const PROCESSES: &str = "processes?unconnected=show";

#[test]
fn each_side_of_a_partition_shows_the_other_as_stale_and_all_agree_once_it_heals() {
    let lab = lab!();
    let mesh = Mesh::launch(&lab, &NAMES, &["--no-docker"]);
    mesh.wait_met(MEET_BOUND);
    let apis = mesh.apis();
    let sides = [(&apis[..SPLIT], &NAMES[SPLIT..]), (&apis[SPLIT..], &NAMES[..SPLIT])];

    let (left, right) = mesh.hosts.split_at(SPLIT);
    let cut = Cut::between(left, right);
    let start = Instant::now();
    wait_for("each side stale on the other", SUSPECT_TARGET, || {
        sides.iter().try_for_each(|(here, others)| here.iter().try_for_each(|api| shows_stale(api, others)))
    });
    measured("each side is stale on the other", start.elapsed());
    // What happens on one side meanwhile is news to the other afterwards.
    let _news = [Process::applet(&left[0], &["sleep", "100000"]), Process::applet(&right[0], &["cat"])];
    for (here, others) in &sides {
        for api in *here {
            api.wait_view(PROCESSES, |view| view.has(&[if others.len() == SPLIT { "cat" } else { "sleep" }]));
            wait_for("a long silence", cut_time() + MEET_BOUND, || silence(api, others, cut_time()));
        }
    }

    cut.heal();
    let start = Instant::now();
    mesh.wait_met(HEAL_TARGET);
    measured("all hosts are live everywhere after the heal", start.elapsed());
    wait_for("all that was missed, everywhere", HEAL_TARGET, || {
        apis.iter().try_for_each(|api| api.view(PROCESSES)?.has(&["cat", "sleep"]))
    });
    measured("what was missed is everywhere after the heal", start.elapsed());
    wait_for("peers that lack nothing", HEAL_TARGET, || {
        apis.iter().try_for_each(|api| {
            let members = api.members()?;
            let is_well = |member: &Member| member.life == "live" && member.lag == 0;
            ensure(members.len() == NAMES.len() && members.iter().all(is_well), || format!("{members:?}"))
        })
    });
    measured("no peer lacks anything after the heal", start.elapsed());
    for topology in [PROCESSES, "hosts"] {
        wait_for("the same graph everywhere", HEAL_TARGET, || common_graph(&apis, topology));
    }
    measured("all have the same graphs after the heal", start.elapsed());
}

/// Whether exactly `others` are stale, and all hosts are on the map.
fn shows_stale(api: &Api, others: &[&str]) -> Result<(), String> {
    let shown = lives(&api.view("hosts")?);
    let wanted: BTreeMap<String, bool> = NAMES.iter().map(|name| (name.to_string(), others.contains(name))).collect();
    let stale: BTreeMap<String, bool> = shown.iter().map(|(name, life)| (name.clone(), life.is_some())).collect();
    ensure(stale == wanted, || format!("{} shows {shown:?}", api.address()))
}

/// Whether none of `others` was heard of for `time`.
fn silence(api: &Api, others: &[&str], time: Duration) -> Result<(), String> {
    others.iter().try_for_each(|host| {
        let member = api.member(host)?;
        ensure(member.last_heard >= time, || format!("{member:?}"))
    })
}

fn cut_time() -> Duration {
    let seconds = std::env::var("SCOPE_E2E_CUT_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    seconds.map_or(CUT, Duration::from_secs)
}
