//! Hosts that meet, die and come back.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::api::Api;
use crate::harness::lab::lab;
use crate::harness::logs::{measured, note};
use crate::harness::mesh::{MEET_BOUND, Mesh, common_graph, lives};
use crate::harness::peer::{self, Peer};
use crate::harness::wait::{ensure, wait_for};
use crate::harness::watch::{Change, Watch};

/// From a launch to a host on every map. On a free machine it is two seconds.
const MEET_TARGET: Duration = Duration::from_secs(10);

/// From a host's death to its nodes marked stale. On a free machine it is five seconds.
const SUSPECT_TARGET: Duration = Duration::from_secs(10);

const NAMES: [&str; 3] = ["alpha", "beta", "gamma"];

const EXIT_BOUND: Duration = Duration::from_secs(10);

/// Peers that join in the same moment.
const CROWD: u8 = 20;

/// How often each of them tells its figures, every two seconds, while the others are watched.
const FIGURES: u64 = 4;

/// What one peer of the crowd may hold in memory, with debug information's weight.
const CROWD_RSS_KB_MAX: u64 = 256 * 1024;

#[test]
fn three_hosts_of_which_two_know_the_first_by_name_are_on_every_map() {
    let lab = lab!();
    let hosts = NAMES.map(|name| lab.host(name));
    hosts[1..].iter().for_each(|host| host.knows(&hosts));
    let alpha = Peer::launch(&hosts[0], &[]);
    let start = Instant::now();
    let others = [1, 2].map(|number| Peer::spawn(&hosts[number], &["alpha"]));
    let mesh = Mesh { peers: [alpha].into_iter().chain(others).collect(), hosts: hosts.into() };
    mesh.wait_met(MEET_TARGET);
    measured("three hosts on each map", start.elapsed());

    let apis = mesh.apis();
    let graph = wait_for("one and the same graph of hosts", MEET_BOUND, || {
        let graph = common_graph(&apis, "hosts")?;
        let edges: usize = graph.values().map(|(_, adjacency)| adjacency.len()).sum();
        // The mesh's own connections are on the map too.
        ensure(edges > 0, || format!("no edges yet: {graph:?}"))?;
        Ok(graph)
    });
    measured("the same graph on each", start.elapsed());
    assert_eq!(graph.values().filter(|(label, _)| NAMES.contains(&label.as_str())).count(), 3);
    for host in &mesh.hosts {
        wait_for("three peers in `scope status`", MEET_BOUND, || {
            let status = peer::run(host, "status", &[]);
            let text = String::from_utf8_lossy(&status.stdout).into_owned();
            ensure(status.status.success() && text.contains("3 peers live"), || text)
        });
    }
}

#[test]
fn a_killed_host_is_stale_on_the_others_and_back_as_itself_after_a_restart() {
    let lab = lab!();
    let mut mesh = Mesh::launch(&lab, &NAMES, &["--no-docker"]);
    mesh.wait_met(MEET_BOUND);
    let before = mesh.peers[0].api().wait_member("gamma");
    assert_eq!(before.epoch, 1);

    let killed = Instant::now();
    mesh.peers[2].process().signal(Signal::KILL);
    mesh.peers[2].process().wait_exit(EXIT_BOUND);
    let survivors = &mesh.apis()[..2];
    wait_for("gamma suspect on the others", SUSPECT_TARGET, || {
        survivors.iter().try_for_each(|api| {
            let shown = lives(&api.view("hosts")?);
            let suspect = shown.get("gamma").and_then(Option::as_deref) == Some("suspect");
            ensure(suspect && shown.len() == 3, || format!("{} shows {shown:?}", api.address()))
        })
    });
    measured("a killed host is suspect", killed.elapsed());
    for api in survivors {
        let shown = lives(&api.view("hosts").expect("the view"));
        assert!(shown["alpha"].is_none() && shown["beta"].is_none(), "the living are live: {shown:?}");
        let stale = api.view("processes?unconnected=show").expect("the view");
        let of_gamma = stale.nodes.iter().filter(|(id, _)| id.starts_with(&before.id));
        assert!(of_gamma.clone().count() > 0, "its processes stay");
        assert!(of_gamma.clone().all(|(_, node)| node["stale"]["since"].is_string()), "and say since when");
    }

    let mut watch = Watch::open(&survivors[0], "hosts", "t=1s");
    watch.take_changes();
    let restarted = Instant::now();
    let seed = mesh.peers[0].api().address().to_string();
    mesh.peers[2] = Peer::launch(&mesh.hosts[2], &["--no-docker", &seed]);
    mesh.wait_met(MEET_TARGET);
    measured("a restarted host is live on each map", restarted.elapsed());
    watch.wait_until("gamma live in the diffs", MEET_BOUND, |view| {
        let shown = lives(view);
        ensure(shown.values().all(Option::is_none), || format!("{shown:?}"))
    });
    let changes = watch.take_changes();
    // Who looks at the peers is a node too.
    let is_known = |label: &str| NAMES.contains(&label) || label == "Unknown hosts";
    let stays = |change: &Change| matches!(change, Change::Update(label) if is_known(label));
    assert!(changes.iter().all(stays), "each node stays where it is: {changes:?}");
    wait_for("the second run of the same peer", MEET_BOUND, || {
        mesh.apis().iter().try_for_each(|api| {
            let after = api.member("gamma")?;
            let same = after.id == before.id && after.epoch == 2 && after.life == "live";
            ensure(same && api.members()?.len() == 3, || format!("{before:?} has become {after:?}"))
        })
    });
    for api in survivors {
        let peers = api.json("/api/peers").expect("it serves");
        assert_eq!(peers["mesh"]["problems"], serde_json::json!([]), "nobody has to act");
    }
}

#[test]
fn twenty_peers_that_join_at_once_through_one_see_twenty_hosts() {
    let lab = lab!();
    let names: Vec<String> = (1..=CROWD).map(|number| format!("host{number:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let hosts: Vec<_> = names.iter().map(|name| lab.host(name)).collect();
    let start = Instant::now();
    let mut mesh = Mesh::on(hosts, &["--no-docker"]);
    measured("twenty peers serve", start.elapsed());
    let apis = mesh.apis();
    wait_for("twenty live peers on each", MEET_BOUND, || {
        apis.iter().try_for_each(|api| {
            let live = api.json("/api")?["peers"]["live"].as_u64();
            ensure(live == Some(CROWD.into()), || format!("{} knows {live:?}", api.address()))
        })
    });
    mesh.wait_met(MEET_BOUND);
    measured("twenty hosts on each map", start.elapsed());

    let alarms = false_alarms(&apis);
    note(&format!("false alarms: {alarms:?}"));
    assert_eq!(alarms, BTreeSet::new(), "nobody is silent");
    let complaints = mesh.peers.iter().filter(|peer| peer.output().contains("cannot join")).count();
    assert_eq!(complaints, 0, "nobody here has another secret");
    let usages: Vec<Usage> = mesh.peers.iter_mut().map(usage).collect();
    let cpu: f64 = usages.iter().map(|usage| usage.cpu.as_secs_f64()).sum();
    let rss_max = usages.iter().map(|usage| usage.rss_kb).max().unwrap_or_default();
    note(&format!("all twenty used {cpu:.1} s of CPU; the largest has {} MiB", rss_max / 1024));
    assert!(rss_max < CROWD_RSS_KB_MAX, "{rss_max} KB");
}

/// Who takes whom for silent, host by host, while each peer says [`FIGURES`] times how it does.
fn false_alarms(apis: &[Api]) -> BTreeSet<(String, String)> {
    let mut alarms = BTreeSet::new();
    let mut ends = BTreeMap::new();
    wait_for("news of each peer", MEET_BOUND, || {
        let mut waiting = 0;
        for api in apis {
            let members = api.members()?;
            let own = members.iter().find(|member| member.is_self).ok_or("not one of its own mesh")?;
            let end = *ends.entry(own.id.clone()).or_insert(own.version + FIGURES);
            waiting += usize::from(own.version < end);
            let silent = members.iter().filter(|member| member.life != "live");
            alarms.extend(silent.map(|member| (own.host.clone(), member.host.clone())));
        }
        ensure(waiting == 0, || format!("{waiting} have said nothing new"))
    });
    alarms
}

/// What a process has used.
struct Usage {
    cpu: Duration,
    rss_kb: u64,
}

fn usage(peer: &mut Peer) -> Usage {
    let pid = peer.process().pid().expect("it runs");
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).expect("it runs");
    let (stat, status) = (read("stat"), read("status"));
    // utime and stime, fields 14 and 15 of proc_pid_stat(5), in hundredths of a second.
    let (_, fields) = stat.rsplit_once(") ").expect("the name is in parentheses");
    let ticks: u64 = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has memory");
    let rss_kb = rss.trim().trim_end_matches(" kB").parse().expect("a number of kB");
    Usage { cpu: Duration::from_millis(ticks * 10), rss_kb }
}
