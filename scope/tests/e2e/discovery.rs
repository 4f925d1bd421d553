//! Peers that nobody named find each other in DNS, and what is left there of those that go.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::host::Host;
use crate::harness::lab::{lab, v6};
use crate::harness::logs::measured;
use crate::harness::mesh::{MEET_BOUND, Mesh};
use crate::harness::named::{KEY_FILE, Named};
use crate::harness::peer::{self, Peer};
use crate::harness::wait::{ensure, wait_for};

const NAME: &str = "scope.weave.local";

/// A dead peer is gone after 30 s of silence, and the survivors wait a little not to do all the same.
const PRUNE_BOUND: Duration = Duration::from_secs(60);

#[test]
fn peers_find_each_other_in_dns_which_lists_the_live_ones_only() {
    let lab = lab!();
    let dns = Named::start(&lab);
    let hosts = ["alpha", "beta", "gamma"].map(|name| lab.host(name));
    hosts.iter().for_each(|host| dns.give_key(host));
    let server = dns.address().to_string();
    let arguments = ["--no-docker", "--dns-server", &server, "--dns-update-key-file", KEY_FILE];
    let start = Instant::now();
    let mut peers: Vec<_> = hosts.iter().map(|host| Peer::spawn(host, &arguments)).collect();
    peers.iter_mut().for_each(Peer::wait_serving);
    let mut mesh = Mesh { peers, hosts: hosts.into() };
    mesh.wait_met(MEET_BOUND);
    measured("three peers met in DNS", start.elapsed());
    wait_for("the records of all three", MEET_BOUND, || lists(&dns, &mesh.hosts));

    let killed = Instant::now();
    mesh.peers[1].process().signal(Signal::KILL);
    let stop = peer::run(&mesh.hosts[2], "stop", &[]);
    assert!(stop.status.success(), "{}", String::from_utf8_lossy(&stop.stderr));
    assert_eq!(lists(&dns, &mesh.hosts[..2]), Ok(()), "who is stopped takes its records along");

    wait_for("the end of a dead peer's records", PRUNE_BOUND, || lists(&dns, &mesh.hosts[..1]));
    measured("a dead peer's records are removed", killed.elapsed());
    let status = peer::run(&mesh.hosts[0], "status", &[]);
    let text = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(text.contains(NAME), "the name that is looked up is in `scope status`: {text}");
}

/// Whether DNS leads to exactly these hosts, by every kind of record.
fn lists(dns: &Named, hosts: &[Host]) -> Result<(), String> {
    let set = |of: &dyn Fn(&Host) -> Vec<String>| hosts.iter().flat_map(of).collect::<BTreeSet<String>>();
    let v4 = |host: &Host| host.address().to_string();
    let six = |host: &Host| v6(host.address().octets()[3].into());
    let target = |host: &Host| {
        // The label of an address: its parts with dashes, those of IPv6 in full.
        let six = six(host).segments().map(|part| format!("{part:04x}")).join("-");
        [v4(host).replace('.', "-"), six].map(|label| format!("0 0 4030 {label}.{NAME}.")).to_vec()
    };
    let wanted = [
        (NAME.to_owned(), "A", set(&|host| vec![v4(host)])),
        (NAME.to_owned(), "AAAA", set(&|host| vec![six(host).to_string()])),
        (format!("_scope._tcp.{NAME}"), "SRV", set(&target)),
    ];
    wanted.iter().try_for_each(|(name, kind, wanted)| {
        let records = dns.records(name, kind)?;
        ensure(records == *wanted, || format!("{name} {kind}: {records:?} instead of {wanted:?}"))
    })
}
