use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use node::probe::host::{Config, Probe};
use node::probe::pace::{Moment, Round};
use node::probe::{Name, Update};
use rustix::thread::{UnshareFlags, gettid, unshare_unsafe};
use topology::fact::{Fact, Host, SourceState};
use topology::gauges::{Gauges, HostGauges};
use topology::{Key, Netns, Timestamp};

use crate::tree::{Tree, debian};

fn probe(proc_root: &Path, name: Option<&str>) -> Probe {
    Probe::new(Config { proc_root: proc_root.to_owned(), name: name.map(str::to_owned), services: Vec::new() })
}

fn host(round: &Round) -> Option<Host> {
    round.updates.iter().find_map(|update| match update {
        Update::Facts(Name::Host, facts) => match facts.get(&Key::Host) {
            Some(Fact::Host(host)) => Some(host.clone()),
            _ => None,
        },
        _ => None,
    })
}

fn gauges(round: &Round) -> Option<HostGauges> {
    round.updates.iter().find_map(|update| match update {
        Update::Gauges(_, Gauges::Host(gauges)) => Some(gauges.clone()),
        _ => None,
    })
}

#[test]
fn a_recorded_host_is_told_once() {
    let mut probe = probe(&debian(), None);
    let now = Moment::now();
    let round = probe.round(now);
    let told = Host { networks: Vec::new(), scope_version: String::new(), ..host(&round).expect("a fact") };
    let want = Host {
        name: "larch".to_owned(),
        os: "Debian GNU/Linux 13 (trixie)".to_owned(),
        kernel: "6.12.48-amd64 #1 SMP PREEMPT_DYNAMIC Debian 6.12.48-1".to_owned(),
        booted_at: Timestamp(1_795_339_800_000),
        cpus: 2,
        memory_bytes: 8_192_000_000,
        netns: Some(Netns(4_026_531_840)),
        ..Host::default()
    };
    assert_eq!(told, want);
    assert_eq!(round.status.state, SourceState::Ok);
    let figures = gauges(&round).expect("gauges");
    assert_eq!((figures.cpu, figures.memory_kib, figures.load1), (0, 1_500_000, 52));
    assert_eq!(host(&probe.round(now)), None, "nothing has changed");
}

#[test]
fn the_operator_names_the_host() {
    let round = probe(&debian(), Some("front")).round(Moment::now());
    assert_eq!(host(&round).expect("a fact").name, "front");
}

#[test]
fn busy_time_is_measured_between_rounds() {
    let tree = Tree::of_debian();
    let mut probe = probe(tree.root(), None);
    let first = Moment::now();
    probe.round(first);
    // 400 ticks on two CPUs in 2 s, of them 100 not idle.
    tree.edit("stat", "cpu  10000 200 5000 80000", "cpu  10060 200 5040 80300");
    let second = Moment { clock: first.clock + Duration::from_secs(2), ..first };
    assert_eq!(gauges(&probe.round(second)).expect("gauges").cpu, 2500);
}

#[test]
fn a_tree_without_figures_is_a_reason_and_no_end() {
    let empty = tempfile::tempdir().expect("a directory");
    let round = probe(empty.path(), None).round(Moment::now());
    assert_eq!((round.status.state, gauges(&round)), (SourceState::Degraded, None));
    assert!(round.status.reason.contains("no figures"), "{}", round.status.reason);
    assert_eq!(host(&round).expect("a fact").cpus, 1);
}

/// A `/proc` whose first process is `init`, seen by this process.
fn proc_of(init: u32) -> tempfile::TempDir {
    let proc = tempfile::tempdir().expect("a directory");
    for (name, of) in [("1", init), ("self", std::process::id())] {
        symlink(format!("/proc/{of}"), proc.path().join(name)).expect("linked");
    }
    proc
}

#[test]
fn the_networks_are_those_of_the_hosts_namespace_not_of_ours() {
    let own = host(&probe(proc_of(std::process::id()).path(), None).round(Moment::now())).expect("a fact");
    let (ready, is_ready) = mpsc::channel();
    let (finish, is_finished) = mpsc::channel::<()>();
    let other = thread::spawn(move || {
        // SAFETY: `NEWNET` changes which network the thread sees, and nothing of its memory or descriptors.
        let unshared = unsafe { unshare_unsafe(UnshareFlags::NEWNET) };
        unshared.expect("this test makes a network namespace: run it as root");
        ready.send(gettid().as_raw_nonzero().get().cast_unsigned()).expect("heard");
        let _ = is_finished.recv(); // until the sender is dropped
    });
    let round = probe(proc_of(is_ready.recv().expect("a namespace")).path(), None).round(Moment::now());
    let its = host(&round).expect("a fact");
    assert_ne!(its.netns, own.netns);
    assert_eq!(its.networks, [], "a new namespace has none but its loopback; ours: {:?}", own.networks);
    assert!(!round.elsewhere.is_zero() && !round.status.reason.contains("networks"), "{round:?}");
    drop(finish);
    other.join().expect("ended");
}

#[test]
fn a_host_whose_namespace_is_closed_to_us_has_no_networks_and_a_reason() {
    let tree = Tree::of_debian();
    let link = tree.root().join("1/ns/net");
    std::fs::remove_file(&link).expect("was there");
    symlink("net:[1]", &link).expect("linked"); // leads nowhere
    let round = probe(tree.root(), None).round(Moment::now());
    assert_eq!(host(&round).expect("a fact").networks, [], "rather than ours");
    assert_eq!(round.status.state, SourceState::Degraded);
    assert!(round.status.reason.contains("no networks: cannot enter"), "{}", round.status.reason);
}

#[test]
fn this_machine_is_plausible() {
    let round = probe(&PathBuf::from("/proc"), None).round(Moment::now());
    let host = host(&round).expect("a fact");
    assert!(!host.name.is_empty() && !host.kernel.is_empty() && host.cpus >= 1, "{host:?}");
    assert!(host.memory_bytes > 64 << 20 && host.netns.is_some(), "{host:?}");
    assert!(host.booted_at > Timestamp(1_000_000_000_000) && host.booted_at < Moment::now().at, "{host:?}");
    let figures = gauges(&round).expect("gauges");
    assert!(figures.memory_kib > 0 && figures.memory_kib * 1024 < host.memory_bytes, "{figures:?}");
}
