//! What the tracker makes of events, as a script of rounds: each says what was seen, then which flows there must be.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use topology::Timestamp;

mod late;
mod model;

use super::ended::{PENDING_MAX, PENDINGS_MAX};
use super::followed::FADES_AFTER;
use super::ledger::LINGER;
use super::translation::{Likely, Untranslated};
use super::*;
use crate::probe::ProcessRow;

const HOST: Netns = Netns(1);
const WEB: Netns = Netns(2);

/// A host and what happens on it.
struct World {
    tracker: Tracker,
    start: Instant,
    seconds: f64,
    table: ProcessTable,
    table_version: u64,
    namespaces: Vec<(Netns, &'static str)>,
    unreadable: Vec<Netns>,
    /// When the figures of the sockets were read, if not in the round, in seconds after the start.
    read_at: Option<f64>,
    /// When the sockets were looked at, likewise; else it was in the last round that mentioned them.
    looked_at: Option<f64>,
    looks: BTreeMap<Netns, Instant>,
    ends_by: EndsBy,
    nat: Nat,
}

/// Sockets of a namespace, read from lines such as `7 10.0.0.2:4000 > 10.0.0.3:80` (an outgoing connection of pid 7),
/// `9 10.0.0.3:80 < 10.0.0.2:4000 1000 2000` (an incoming one with bytes sent and received, or `?` where those are not told), `- … ` (nobody's), `~ …` (left
/// over) and `9 *:80` (a listener).
fn snapshot(netns: Netns, text: &str, table: &ProcessTable) -> Snapshot {
    let mut snapshot = Snapshot { source: Evidence::SOCK_DIAG, ..Snapshot::default() };
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (line, protocol) = match line.strip_prefix("udp ") {
            Some(line) => (line, Protocol::Udp),
            None => (line, Protocol::Tcp),
        };
        let words: Vec<&str> = line.split_whitespace().collect();
        let owner = words[0].parse::<u32>().ok().map(|pid| table.rows[&pid].id);
        if words.len() == 2 {
            let bound: SocketAddr = words[1].replace('*', "0.0.0.0").parse().expect("an address");
            if protocol == Protocol::Udp {
                snapshot.unconnected.push((bound, owner));
            }
            let key = topology::fact::ListenerKey { netns, protocol, address: bound.ip(), port: bound.port() };
            snapshot.listeners.push(Listener { key, v6_only: false, owners: owner.into_iter().collect() });
            continue;
        }
        let number = |at: usize| words.get(at).map_or(0, |word| word.parse().expect("a number"));
        snapshot.sockets.push(Socket {
            protocol,
            direction: if words[2] == ">" { Direction::Outgoing } else { Direction::Incoming },
            local: words[1].parse().expect("an address"),
            remote: words[3].parse().expect("an address"),
            owner,
            lingers: words[0] == "~",
            figures: (words.get(4) != Some(&"?")).then(|| Figures {
                sent: number(4),
                received: number(5),
                ..Figures::default()
            }),
        });
    }
    snapshot
}

/// Translations by the address named, whichever client's.
#[derive(Default)]
struct Nat {
    outgoing: Vec<(SocketAddr, Translation)>,
    incoming: Vec<(SocketAddr, Translation)>,
    likely_incoming: Option<Likely>,
    generation: u64,
}

impl Translations for Nat {
    fn outgoing(&self, _: Protocol, _: SocketAddr, remote: SocketAddr) -> Option<Translation> {
        self.outgoing.iter().find(|(named, _)| *named == remote).map(|(_, translation)| *translation)
    }

    fn incoming(&self, _: Protocol, _: SocketAddr, remote: SocketAddr) -> Option<Translation> {
        self.incoming.iter().find(|(visitor, _)| *visitor == remote).map(|(_, translation)| *translation)
    }

    fn likely_outgoing(&self, protocol: Protocol, local: IpAddr, remote: SocketAddr) -> Likely {
        let ways: Vec<_> =
            self.outgoing.iter().filter(|(named, _)| *named == remote).map(|(_, way)| (*way, 1)).collect();
        match ways.as_slice() {
            [] | [_] => {
                self.outgoing(protocol, SocketAddr::new(local, 0), remote).map_or(Likely::Untranslated, Likely::As)
            }
            _ => Likely::Several(ways),
        }
    }

    fn likely_incoming(&self, _: Protocol, _: SocketAddr, _: IpAddr) -> Likely {
        self.likely_incoming.clone().unwrap_or(Likely::Untranslated)
    }

    fn generation(&self) -> u64 {
        self.generation
    }
}

fn id(pid: u32) -> ProcessId {
    ProcessId { pid, start: u64::from(pid) * 10 }
}

impl World {
    fn new(ends_by: EndsBy) -> Self {
        let mut world = Self {
            tracker: Tracker::default(),
            start: Instant::now(),
            seconds: 0.0,
            table: ProcessTable::default(),
            table_version: 0,
            namespaces: vec![(HOST, "10.0.0.1"), (WEB, "172.17.0.2")],
            unreadable: Vec::new(),
            read_at: None,
            looked_at: None,
            looks: BTreeMap::new(),
            ends_by,
            nat: Nat::default(),
        };
        // `sh` of the container and its `curl`, both on the host and in the container.
        for (pid, parent, netns) in [(1, 0, HOST), (50, 1, HOST), (7, 50, WEB), (8, 7, WEB), (9, 1, HOST)] {
            world.start(pid, parent, netns);
        }
        world
    }

    fn start(&mut self, pid: u32, parent: u32, netns: Netns) {
        let row = ProcessRow { id: id(pid), name: "x".into(), parent, netns: Some(netns), container: None };
        self.table.rows.insert(pid, row);
        self.table_version += 1;
    }

    fn end(&mut self, pid: u32) {
        self.table.rows.remove(&pid);
        self.table_version += 1;
    }

    /// A round `seconds` after the start. Namespaces that are not mentioned are as they were.
    fn round(&mut self, seconds: f64, seen: &[(Netns, &str)], ended: Vec<Ended>) {
        self.full_round(seconds, seen, ended, Vec::new(), None);
    }

    fn full_round(
        &mut self,
        seconds: f64,
        seen: &[(Netns, &str)],
        ended: Vec<Ended>,
        destroyed: Vec<Destroyed>,
        unsocketed: Option<Vec<Tracked>>,
    ) {
        self.seconds = seconds;
        let at = |seconds| self.start + Duration::from_secs_f64(seconds);
        let (read_at, looked_at) = (self.read_at.map(at), self.looked_at.map(at));
        let look = |netns, text: &str| Snapshot { read_at, ..snapshot(netns, text, &self.table) };
        let clock = self.now().clock;
        for (netns, _) in &self.namespaces {
            let known = self.looks.get(netns).copied();
            let is_seen = seen.iter().any(|(of, _)| of == netns);
            let last = known.filter(|_| !is_seen).unwrap_or(clock);
            self.looks.insert(*netns, looked_at.unwrap_or(last));
        }
        let namespaces = self.namespaces.iter().map(|(netns, address)| NamespaceNow {
            netns: *netns,
            networks: Some(
                [Network { interface: "eth0".into(), address: address.parse().expect("an address"), prefix: 24 }]
                    .into(),
            ),
            looked_at: self.looks[netns],
            snapshot: seen.iter().find(|(of, _)| of == netns).map(|(_, text)| look(*netns, text)),
        });
        let namespaces = namespaces.filter(|it| !self.unreadable.contains(&it.netns)).collect();
        let alive = self.namespaces.iter().map(|(netns, _)| *netns).collect();
        let now = self.now();
        self.tracker.take(Round {
            now,
            host: Some(HOST),
            processes: &self.table,
            processes_version: self.table_version,
            alive: &alive,
            namespaces,
            ends_by: self.ends_by,
            ends_elsewhere_by: self.ends_by,
            ended,
            destroyed,
            unsocketed,
            translations: &self.nat,
        });
    }

    fn now(&self) -> Moment {
        let clock = self.start + Duration::from_secs_f64(self.seconds);
        Moment { clock, at: Timestamp(1_000_000 + (self.seconds * 1000.0) as u64) }
    }

    /// One line a flow: key, then open/opened, then bytes per second, then what is special.
    fn flows(&mut self) -> String {
        let now = self.now();
        let told = self.tracker.ledger.gauges_if_changed(now);
        let gauges = told.or_else(|| self.tracker.ledger.told_for_tests()).unwrap_or_default();
        let mut flows: Vec<_> = self.tracker.ledger.flows().cloned().collect();
        flows.sort_by_key(|flow| flow.key);
        let mut text = String::new();
        for flow in flows {
            let figures = gauges.figures(flow.serial).expect("every flow has a row");
            let key = Key::Flow(flow.key).to_string();
            let key = key.trim_start_matches("flow/").replace("outgoing/tcp", "to").replace("incoming/tcp", "from");
            write!(text, "{key} {}/{}", figures.open, figures.opened).expect("a string takes all");
            if figures.sent + figures.received > 0 {
                write!(text, " {}+{}B/s", figures.sent, figures.received).expect("a string takes all");
            }
            flow.via.iter().for_each(|via| write!(text, " via {via}").expect("a string takes all"));
            flow.masquerade.iter().for_each(|it| write!(text, " as {it}").expect("a string takes all"));
            text.push_str(if flow.open { "\n" } else { " fading\n" });
        }
        text
    }

    #[track_caller]
    fn expect(&mut self, want: &str) {
        let want: Vec<&str> = want.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let got = self.flows();
        let got: Vec<&str> = got.lines().collect();
        assert_eq!(got, want, "after {} s", self.seconds);
    }
}

fn ended(netns: Netns, pids: &[u32], text: &str, count: u64) -> Ended {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [local, remote]: [SocketAddr; 2] = [words[0], words[2]].map(|word| word.parse().expect("an address"));
    let direction = if words[1] == ">" { Direction::Outgoing } else { Direction::Incoming };
    let task = pids
        .split_first()
        .map(|(pid, ancestors)| Task { id: id(*pid), ancestors: ancestors.iter().map(|pid| id(*pid)).collect() });
    Ended {
        netns,
        task,
        protocol: Protocol::Tcp,
        direction,
        local: local.ip(),
        remote: remote.ip(),
        port: if direction == Direction::Outgoing { remote.port() } else { local.port() },
        sums: Sums { count, sent: 100 * count, received: 1000 * count, retransmits: 0 },
        rtt_micros: 50,
    }
}

const OPEN: &str = "7 172.17.0.2:4000 > 10.9.9.9:80 1000 5000";
const LEFT: &str = "~ 172.17.0.2:4000 > 10.9.9.9:80";

#[test]
fn what_ended_is_counted_once_whoever_tells() {
    // Open, then closed with its remains in TIME_WAIT, then gone; one more that nobody saw open.
    let another = "~ 172.17.0.2:4001 > 10.9.9.9:80";
    let want = "7.70/to/10.9.9.9/80 0/2";
    let mut absence = World::new(EndsBy::Absence);
    absence.round(0.0, &[(WEB, OPEN)], Vec::new());
    absence.expect("7.70/to/10.9.9.9/80 1/1");
    absence.round(1.0, &[(WEB, LEFT)], Vec::new());
    absence.expect("7.70/to/10.9.9.9/80 0/1");
    absence.round(2.0, &[(WEB, &format!("{LEFT}\n{another}"))], Vec::new());
    absence.round(3.0, &[(WEB, another)], Vec::new());
    absence.expect(want);

    let mut kernel = World::new(EndsBy::Kernel);
    kernel.round(0.0, &[(WEB, OPEN)], Vec::new());
    // The kernel tells of the end before the next look at the sockets does.
    kernel.round(0.5, &[], vec![ended(WEB, &[7], "172.17.0.2:0 > 10.9.9.9:80", 1)]);
    kernel.expect("7.70/to/10.9.9.9/80 1/1");
    kernel.round(1.0, &[(WEB, LEFT)], Vec::new());
    kernel.expect("7.70/to/10.9.9.9/80 0/1");
    kernel.round(2.0, &[(WEB, &format!("{LEFT}\n{another}"))], vec![ended(WEB, &[7], "172.17.0.2:0 > 10.9.9.9:80", 1)]);
    kernel.expect(want);

    let destroyed = |text: &str| {
        let it = ended(WEB, &[], text, 1);
        let local = text.split_whitespace().next().expect("an address").parse().expect("an address");
        let remote = SocketAddr::new(it.remote, it.port);
        Destroyed { netns: WEB, direction: it.direction, local, remote, figures: Figures::default() }
    };
    // A look in between shows one whose process is not found any more.
    let mut brief = World::new(EndsBy::Kernel);
    let nobodys = OPEN.replacen('7', "-", 1);
    brief.round(0.0, &[(WEB, &nobodys)], Vec::new());
    brief.expect("net.2/to/10.9.9.9/80 1/1");
    brief.round(1.0, &[(WEB, "")], vec![ended(WEB, &[7], "172.17.0.2:0 > 10.9.9.9:80", 2)]);
    brief.expect(want);
    brief.round(2.0, &[(WEB, &nobodys)], Vec::new());
    brief.expect("7.70/to/10.9.9.9/80 1/3");

    let mut notified = World::new(EndsBy::Notification);
    notified.round(0.0, &[(WEB, OPEN)], Vec::new());
    // The snapshot was taken before the end, and still shows it.
    notified.full_round(1.0, &[(WEB, OPEN)], vec![], vec![destroyed("172.17.0.2:4000 > 10.9.9.9:80")], None);
    notified.expect("7.70/to/10.9.9.9/80 0/1");
    notified.full_round(2.0, &[(WEB, LEFT)], vec![], vec![destroyed("172.17.0.2:4001 > 10.9.9.9:80")], None);
    notified.round(3.0, &[(WEB, "")], Vec::new());
    notified.expect(want);
}

#[test]
fn a_connections_bytes_are_counted_once_in_whichever_order_its_end_is_told() {
    let gone = || Ended {
        sums: Sums { count: 1, sent: 1_000_000, received: 5000, retransmits: 0 },
        ..ended(WEB, &[7], "172.17.0.2:0 > 10.9.9.9:80", 1)
    };
    let open = "7 172.17.0.2:4000 > 10.9.9.9:80 1000000 5000";
    let orders: [&[(&str, bool)]; 4] = [
        &[("unread", true), ("", false)], // told while the sockets were not looked at
        &[("", true), ("", false)],       // in one round
        &[("", false), ("", true)],       // gone first
        &[("", false), ("", false)],      // nobody ever tells
    ];
    for order in orders {
        let mut world = World::new(EndsBy::Kernel);
        world.round(0.0, &[(WEB, open)], Vec::new());
        for (at, (sockets, is_told)) in (1..).zip(order) {
            let seen = [(WEB, *sockets)];
            let seen = if *sockets == "unread" { &[][..] } else { &seen[..] };
            world.round(f64::from(at), seen, is_told.then(gone).into_iter().collect());
            world.expect(if seen.is_empty() { "7.70/to/10.9.9.9/80 1/1" } else { "7.70/to/10.9.9.9/80 0/1" });
        }
        for beat in 1..4 {
            world.round(5.0 * f64::from(beat), &[], Vec::new());
            assert!(!world.flows().contains("B/s"), "no byte was new after {order:?}: {}", world.flows());
        }
        // What comes after counts in full.
        world.round(16.0, &[(WEB, "7 172.17.0.2:4001 > 10.9.9.9:80 10000 0")], Vec::new());
        world.round(20.0, &[], Vec::new());
        assert!(world.flows().contains("1/2 1"), "{}", world.flows());
    }
}

#[test]
fn a_connection_that_gets_another_owner_or_address_carries_nothing_over() {
    let mut world = World::new(EndsBy::Kernel);
    world.round(0.0, &[(WEB, "- 172.17.0.2:4000 > 10.9.9.9:80 90000000 0")], Vec::new());
    world.round(1.0, &[(WEB, "7 172.17.0.2:4000 > 10.9.9.9:80 90000000 0")], Vec::new());
    world.round(5.0, &[], Vec::new());
    world.round(10.0, &[], Vec::new());
    world.expect("7.70/to/10.9.9.9/80 1/1");
}

#[test]
fn a_namespace_that_could_not_be_read_keeps_its_flows() {
    let mut world = World::new(EndsBy::Kernel);
    world.round(0.0, &[(WEB, &format!("7 *:80\n{OPEN}"))], Vec::new());
    world.tracker.facts_if_changed(Some(HOST));
    world.unreadable = vec![WEB];
    world.round(1.0, &[], Vec::new());
    world.expect("7.70/to/10.9.9.9/80 1/1");
    assert_eq!(world.tracker.facts_if_changed(Some(HOST)), None, "nothing differs");
}

#[test]
fn what_starts_containers_from_outside_stands_for_none_of_them() {
    let mut world = World::new(EndsBy::Kernel);
    world.start(40, 1, HOST);
    world.table.rows.get_mut(&40).expect("just started").name = "containerd-shim-runc-v2".into();
    // A command run in a container of the host's network: gone before it is seen.
    world.round(0.0, &[], vec![ended(HOST, &[99, 40, 1], "10.0.0.1:0 > 10.9.9.9:80", 1)]);
    world.table_version += 1;
    world.round(1.0, &[], Vec::new());
    world.expect("net.1/to/10.9.9.9/80 0/1");
    // One that was seen, in a container, is not stood for by what is in none.
    let mut seen = World::new(EndsBy::Absence);
    seen.start(41, 9, HOST);
    seen.table.rows.get_mut(&41).expect("just started").container = topology::ContainerId::new("c1").ok();
    seen.round(0.0, &[(HOST, "41 10.0.0.1:4000 > 10.9.9.9:80")], Vec::new());
    seen.end(41);
    seen.round(1.0, &[(HOST, "")], Vec::new());
    seen.expect("net.1/to/10.9.9.9/80 0/1");
}

#[test]
fn a_server_of_an_address_goes_before_one_of_every_address() {
    let mut world = World::new(EndsBy::Kernel);
    world.round(0.0, &[(WEB, "7 *:80\n8 172.17.0.2:80")], vec![ended(WEB, &[], "172.17.0.2:80 < 10.9.9.9:0", 1)]);
    world.expect("8.80/from/10.9.9.9/80 0/1");
}

#[test]
fn a_flow_fades_and_goes_and_keeps_its_number_meanwhile() {
    let mut world = World::new(EndsBy::Absence);
    world.round(0.0, &[(WEB, OPEN)], Vec::new());
    let serial = world.tracker.ledger.flows().next().map(|flow| flow.serial);
    let closed = 1.0;
    world.round(closed, &[(WEB, "")], Vec::new());
    let (fades, goes) = (FADES_AFTER.as_secs_f64(), LINGER.as_secs_f64());
    world.round(fades - 0.1, &[], Vec::new());
    world.expect("7.70/to/10.9.9.9/80 0/1");
    world.round(closed + fades, &[], Vec::new());
    world.expect("7.70/to/10.9.9.9/80 0/1 fading");
    world.round(goes - 1.0, &[(WEB, "7 172.17.0.2:4002 > 10.9.9.9:80")], Vec::new());
    world.expect("7.70/to/10.9.9.9/80 1/2");
    assert_eq!(world.tracker.ledger.flows().next().map(|flow| flow.serial), serial);
    world.round(goes, &[(WEB, "")], Vec::new());
    world.round(3.0 * goes, &[], Vec::new());
    world.expect("");
}

#[test]
fn a_flow_fades_by_when_its_connection_ended_and_not_by_when_somebody_looked() {
    let mut world = World::new(EndsBy::Kernel);
    world.round(0.0, &[(WEB, OPEN)], Vec::new());
    world.round(1.0, &[], vec![ended(WEB, &[7], "172.17.0.2:0 > 10.9.9.9:80", 1)]);
    world.round(4.0, &[], Vec::new());
    world.round(5.0, &[(WEB, "")], Vec::new());
    let fades = 1.0 + FADES_AFTER.as_secs_f64();
    world.round(fades - 0.1, &[], Vec::new());
    world.expect("7.70/to/10.9.9.9/80 0/1");
    world.round(fades, &[], Vec::new());
    world.expect("7.70/to/10.9.9.9/80 0/1 fading");
}

#[test]
fn what_is_shown_of_an_earlier_look_does_not_open_what_has_ended() {
    let mut world = World::new(EndsBy::Kernel);
    world.round(0.0, &[(WEB, OPEN)], Vec::new());
    world.round(1.0, &[], vec![ended(WEB, &[7], "172.17.0.2:0 > 10.9.9.9:80", 1)]);
    // Something else differs: the sockets are those of the look before.
    (world.looked_at, world.read_at) = (Some(0.0), Some(0.0));
    world.round(2.0, &[(WEB, &format!("{OPEN}\n8 *:80"))], Vec::new());
    // And once more, as their translation may be known by now.
    world.nat.generation += 1;
    world.round(3.0, &[(WEB, &format!("{OPEN}\n8 *:80"))], Vec::new());
    (world.looked_at, world.read_at) = (None, None);
    world.round(5.0, &[(WEB, "8 *:80")], Vec::new());
    // Nor is it counted twice, once by who told of its end and once for being gone.
    for beat in [5.0, 10.0, 1.0 + FADES_AFTER.as_secs_f64() - 0.1] {
        world.round(beat, &[], Vec::new());
        world.expect("7.70/to/10.9.9.9/80 0/1");
    }
    world.round(1.0 + FADES_AFTER.as_secs_f64(), &[], Vec::new());
    world.expect("7.70/to/10.9.9.9/80 0/1 fading");
}

#[test]
fn a_short_connection_beside_an_open_one_makes_nothing_fade() {
    let mut world = World::new(EndsBy::Kernel);
    world.round(0.0, &[(WEB, OPEN)], Vec::new());
    world.round(1.0, &[], vec![ended(WEB, &[7], "172.17.0.2:0 > 10.9.9.9:80", 1)]);
    world.round(5.0, &[(WEB, OPEN)], Vec::new());
    for at in [10.0, 15.0, 20.0] {
        world.round(at, &[(WEB, OPEN)], Vec::new());
        world.expect("7.70/to/10.9.9.9/80 1/2");
    }
}

#[test]
fn a_rate_is_over_the_time_between_two_readings_whoever_looked_in_between() {
    let mut world = World::new(EndsBy::Kernel);
    let carried = |bytes: u64| format!("7 172.17.0.2:4000 > 10.9.9.9:80 {bytes} 0");
    let short = || vec![ended(WEB, &[7], "172.17.0.2:0 > 10.9.9.9:80", 1)];
    world.round(0.0, &[(WEB, &carried(0))], Vec::new());
    world.round(4.0, &[(WEB, &carried(4000))], Vec::new());
    world.round(5.0, &[], Vec::new());
    world.expect("7.70/to/10.9.9.9/80 1/1 1000+0B/s");
    // A listener has come: the connections are as they were read before.
    world.read_at = Some(4.0);
    world.round(7.0, &[(WEB, &format!("{}\n8 *:80", carried(4000)))], Vec::new());
    world.read_at = None;
    world.round(9.0, &[(WEB, &carried(9000))], Vec::new());
    // What ended meanwhile may be the open one: the bytes it was read to have sent are not counted again.
    world.round(9.9, &[], short());
    world.round(10.0, &[], Vec::new());
    world.expect("7.70/to/10.9.9.9/80 1/1 1000+200B/s");
}

#[test]
fn rates_are_of_what_was_carried_since_the_last_beat() {
    let mut world = World::new(EndsBy::Kernel);
    world.round(0.0, &[(WEB, "7 172.17.0.2:4000 > 10.9.9.9:80 1000000 5000")], Vec::new());
    world.expect("7.70/to/10.9.9.9/80 1/1"); // what came before us is no traffic of now
    world.round(5.0, &[(WEB, "7 172.17.0.2:4000 > 10.9.9.9:80 1012345 5000")], Vec::new());
    world.expect("7.70/to/10.9.9.9/80 1/1 2400+0B/s"); // to two digits
    // One ends between two looks, one is new and all its bytes are of now.
    let seen = "7 172.17.0.2:4000 > 10.9.9.9:80 1012345 5000\n8 172.17.0.2:4001 > 10.9.9.9:81 500 0";
    world.round(10.0, &[(WEB, seen)], vec![ended(WEB, &[7], "172.17.0.2:0 > 10.9.9.9:80", 3)]);
    world.expect(
        "7.70/to/10.9.9.9/80 1/4 60+600B/s
         8.80/to/10.9.9.9/81 1/1 100+0B/s",
    );
    world.round(15.0, &[], Vec::new());
    world.round(20.0, &[], Vec::new());
    world.expect(
        "7.70/to/10.9.9.9/80 1/4
         8.80/to/10.9.9.9/81 1/1",
    );
}

#[test]
fn a_process_that_ended_is_stood_for_by_its_nearest_ancestor_of_the_namespace() {
    let connection = "172.17.0.2:0 > 10.9.9.9:80";
    let on_host = "10.0.0.1:0 > 10.9.9.9:80";
    let cases = [
        // who had it, whether its process is known by now, whose flow it is
        (WEB, connection, vec![8], true, "8.80/to/10.9.9.9/80 0/1"),
        (WEB, connection, vec![99, 8, 7], true, "8.80/to/10.9.9.9/80 0/1"),
        (WEB, connection, vec![99, 98, 7], true, "7.70/to/10.9.9.9/80 0/1"),
        (WEB, connection, vec![99, 50, 1], true, "net.2/to/10.9.9.9/80 0/1"), // a shim on the host is no party
        (HOST, on_host, vec![99, 9], true, "9.90/to/10.9.9.9/80 0/1"),
        (HOST, on_host, vec![99, 1], true, "net.1/to/10.9.9.9/80 0/1"), // init adopts, it does not ask
        (WEB, connection, vec![99, 8], false, ""),                      // perhaps it is too new for the table
    ];
    for (netns, connection, pids, is_scanned, want) in cases {
        let mut world = World::new(EndsBy::Kernel);
        world.round(0.0, &[], vec![ended(netns, &pids, connection, 1)]);
        if is_scanned {
            world.table_version += 1;
        }
        world.round(1.0, &[], Vec::new());
        world.expect(want);
    }
    // Nobody waits for ever; and a process that turns up in time is the one.
    let mut world = World::new(EndsBy::Kernel);
    world.round(0.0, &[], vec![ended(WEB, &[99, 8], connection, 1), ended(WEB, &[60, 8], connection, 1)]);
    assert!(world.tracker.waits_for_processes());
    world.start(60, 8, WEB);
    world.round(PENDING_MAX.as_secs_f64(), &[], Vec::new());
    assert!(!world.tracker.waits_for_processes());
    world.expect(
        "8.80/to/10.9.9.9/80 0/1
         60.600/to/10.9.9.9/80 0/1",
    );
}

#[test]
fn flows_of_a_process_that_ends_go_to_its_heir_with_what_they_added_up_to() {
    let mut world = World::new(EndsBy::Absence);
    world.round(0.0, &[(WEB, "7 172.17.0.2:4000 > 10.9.9.9:80\n8 172.17.0.2:4001 > 10.9.9.9:80")], Vec::new());
    world.end(8);
    world.round(1.0, &[(WEB, "7 172.17.0.2:4000 > 10.9.9.9:80")], Vec::new());
    world.expect("7.70/to/10.9.9.9/80 1/2");
    world.end(7);
    world.round(2.0, &[(WEB, "")], Vec::new());
    world.expect("net.2/to/10.9.9.9/80 0/2");
    world.namespaces.pop();
    world.round(3.0, &[], Vec::new());
    world.expect("");
}

#[test]
fn what_is_nobodys_is_whose_relation_it_is_or_who_listens_there() {
    let listener = "9 *:80";
    let left = |text: &str| format!("~ {text}");
    let cases = [
        // sockets at first, what is left over later, whose flows there are
        (OPEN.to_owned(), left("172.17.0.2:4001 > 10.9.9.9:80"), "7.70/to/10.9.9.9/80 0/2"),
        (String::new(), left("172.17.0.2:4001 > 10.9.9.9:80"), "net.2/to/10.9.9.9/80 0/1"),
        ("7 *:80".to_owned(), format!("7 *:80\n{}", left("172.17.0.2:80 < 10.9.9.9:999")), "7.70/from/10.9.9.9/80 0/1"),
        (
            "7 *:81".to_owned(),
            format!("7 *:81\n{}", left("172.17.0.2:80 < 10.9.9.9:999")),
            "net.2/from/10.9.9.9/80 0/1",
        ),
    ];
    for (first, then, want) in cases {
        let mut world = World::new(EndsBy::Absence);
        world.round(0.0, &[(WEB, &first), (HOST, listener)], Vec::new());
        world.round(1.0, &[(WEB, &then)], Vec::new());
        world.expect(want);
    }
    // Of the kernel's reports too, where the end of a connection was not in its process's hands.
    let mut world = World::new(EndsBy::Kernel);
    world.round(0.0, &[(HOST, listener)], vec![ended(HOST, &[], "10.0.0.1:80 < 10.9.9.9:0", 2)]);
    world.expect("9.90/from/10.9.9.9/80 0/2");
}

#[test]
fn what_ended_in_a_namespace_that_is_not_known_waits_for_it_and_no_longer() {
    let new = Netns(3);
    let late = || ended(new, &[], "172.17.0.3:0 > 10.9.9.9:80", 1);
    let mut world = World::new(EndsBy::Kernel);
    world.round(0.0, &[], vec![late()]);
    world.namespaces.push((new, "172.17.0.3"));
    world.round(1.0, &[], Vec::new());
    world.expect("net.3/to/10.9.9.9/80 0/1");

    let mut stranger = World::new(EndsBy::Kernel);
    stranger.round(0.0, &[], vec![late()]);
    stranger.round(PENDING_MAX.as_secs_f64(), &[], Vec::new());
    stranger.namespaces.push((new, "172.17.0.3"));
    stranger.round(3.0, &[], Vec::new());
    stranger.expect("");
}

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

#[test]
fn a_translated_connection_leads_to_where_it_really_goes_and_comes_from() {
    let mut world = World::new(EndsBy::Absence);
    let real = Translation { source: at("10.0.0.1:4000"), destination: at("172.17.0.3:8000") };
    world.nat.outgoing.push((at("10.9.9.9:80"), real));
    let real = Translation { source: at("172.17.0.9:555"), destination: at("10.0.0.1:8080") };
    world.nat.incoming.push((at("172.17.0.1:555"), real));
    world.round(0.0, &[(WEB, &format!("{OPEN}\n8 172.17.0.2:80 < 172.17.0.1:555"))], Vec::new());
    world.expect(
        "7.70/to/172.17.0.3/8000 1/1 via 10.9.9.9:80 as 10.0.0.1
         8.80/from/172.17.0.9/80 1/1 via 10.0.0.1:8080",
    );
    // One that is forgotten is what it was; and a new connection is looked up again for a while.
    world.nat = Nat { generation: 1, ..Nat::default() };
    world.round(1.0, &[(WEB, &format!("{OPEN}\n8 172.17.0.2:80 < 172.17.0.1:555"))], Vec::new());
    world.expect(
        "7.70/to/172.17.0.3/8000 1/1 via 10.9.9.9:80 as 10.0.0.1
         8.80/from/172.17.0.9/80 1/1 via 10.0.0.1:8080",
    );
    let mut new = World::new(EndsBy::Absence);
    new.round(0.0, &[(WEB, OPEN)], Vec::new());
    assert_eq!(*new.tracker.young(), [WEB].into());
    let real = Translation { source: at("172.17.0.2:4000"), destination: at("172.17.0.3:8000") };
    new.nat.outgoing.push((at("10.9.9.9:80"), real));
    new.round(1.0, &[(WEB, OPEN)], Vec::new());
    new.expect("7.70/to/172.17.0.3/8000 1/1 via 10.9.9.9:80");
    assert!(new.tracker.young().is_empty());
    // A translation that becomes known later moves the connection, and leaves no flow behind.
    let mut late = World::new(EndsBy::Absence);
    late.round(0.0, &[(WEB, OPEN)], Vec::new());
    late.expect("7.70/to/10.9.9.9/80 1/1");
    let real = Translation { source: at("172.17.0.2:4000"), destination: at("172.17.0.3:8000") };
    late.nat.outgoing.push((at("10.9.9.9:80"), real));
    late.nat.generation += 1;
    late.round(1.0, &[(WEB, OPEN)], Vec::new());
    late.expect("7.70/to/172.17.0.3/8000 1/1 via 10.9.9.9:80");
}

#[test]
fn of_ended_connections_whose_client_could_be_several_there_is_no_flow() {
    let visit = || vec![ended(WEB, &[8], "172.17.0.2:80 < 172.17.0.1:0", 1)];
    let real = Translation { source: at("172.17.0.9:0"), destination: at("10.0.0.1:8080") };
    let other_client = Translation { source: at("172.17.0.8:0"), ..real };
    let other_name = Translation { destination: at("10.0.0.2:8080"), ..real };
    let cases = [
        (None, "8.80/from/172.17.0.1/80 0/1"),
        (Some(Likely::As(real)), "8.80/from/172.17.0.9/80 0/1 via 10.0.0.1:8080"),
        (Some(Likely::Several(vec![(real, 1), (other_client, 1)])), ""),
        (Some(Likely::Several(vec![(real, 1), (other_name, 1)])), "8.80/from/172.17.0.9/80 0/1 via 10.0.0.1:8080"),
        (Some(Likely::NotYet), ""),
    ];
    for (likely, want) in cases {
        let mut world = World::new(EndsBy::Kernel);
        world.nat.likely_incoming.clone_from(&likely);
        world.round(0.0, &[], visit());
        world.expect(want);
        world.round(PENDING_MAX.as_secs_f64(), &[], Vec::new());
        let late = if likely == Some(Likely::NotYet) { "8.80/from/172.17.0.1/80 0/1" } else { want };
        world.expect(late);
    }
}

#[test]
fn ended_connections_to_a_balanced_address_are_shared_out_among_its_servers() {
    let mut world = World::new(EndsBy::Kernel);
    for server in ["172.17.0.3:8000", "172.17.0.4:8000"] {
        world
            .nat
            .outgoing
            .push((at("10.96.0.1:80"), Translation { source: at("172.17.0.2:0"), destination: at(server) }));
    }
    let visits = |count| vec![ended(WEB, &[7], "172.17.0.2:0 > 10.96.0.1:80", count)];
    world.round(0.0, &[], visits(7));
    world.round(1.0, &[], visits(1));
    world.round(2.0, &[], visits(2));
    world.expect(
        "7.70/to/172.17.0.3/8000 0/5 via 10.96.0.1:80
         7.70/to/172.17.0.4/8000 0/5 via 10.96.0.1:80",
    );
}

#[test]
fn connections_of_a_process_that_is_gone_are_not_those_of_another() {
    let mut world = World::new(EndsBy::Kernel);
    world.round(0.0, &[(WEB, OPEN)], Vec::new());
    let gone = ended(WEB, &[77], "172.17.0.2:0 > 10.9.9.9:80", 20);
    world.round(1.0, &[], vec![gone]);
    world.round(1.0 + PENDING_MAX.as_secs_f64(), &[(WEB, OPEN)], Vec::new());
    world.expect(
        "7.70/to/10.9.9.9/80 1/1
         net.2/to/10.9.9.9/80 0/20",
    );
}

#[test]
fn flows_without_connected_sockets_are_conntracks() {
    let tracked = |client: &str, server: &str, has_reply| Tracked {
        protocol: Protocol::Udp,
        client: at(client),
        named: at(server),
        server: at(server),
        visitor: at(client),
        has_reply,
    };
    let dns = tracked("172.17.0.2:5000", "10.0.0.1:53", true);
    let sockets: &[(Netns, &str)] = &[(WEB, "udp 7 *:5000"), (HOST, "udp 9 *:53")];
    let mut world = World::new(EndsBy::Kernel);
    world.full_round(0.0, sockets, vec![], vec![], Some(vec![dns]));
    world.expect(
        "7.70/outgoing/udp/10.0.0.1/53 1/1
         9.90/incoming/udp/172.17.0.2/53 1/1",
    );
    world.full_round(1.0, &[], vec![], vec![], Some(vec![dns, tracked("172.17.0.2:5001", "10.0.0.1:53", true)]));
    world.expect(
        "7.70/outgoing/udp/10.0.0.1/53 1/1
         9.90/incoming/udp/172.17.0.2/53 2/2
         net.2/outgoing/udp/10.0.0.1/53 1/1",
    );
    world.full_round(2.0, &[], vec![], vec![], Some(Vec::new()));
    assert!(world.flows().lines().all(|line| line.contains(" 0/")), "{}", world.flows());

    // Tried at an address where nobody answers: nothing. Sent to somebody here who never answers: a flow.
    let mut unanswered = World::new(EndsBy::Kernel);
    let tries =
        vec![tracked("172.17.0.2:5000", "10.9.9.9:9", false), tracked("172.17.0.2:5000", "10.0.0.1:514", false)];
    unanswered.full_round(0.0, &[(WEB, "udp 7 *:5000"), (HOST, "udp 9 *:514")], vec![], vec![], Some(tries));
    unanswered.expect(
        "7.70/outgoing/udp/10.0.0.1/514 1/1
         9.90/incoming/udp/172.17.0.2/514 1/1",
    );

    // A connected socket tells of itself.
    let mut connected = World::new(EndsBy::Kernel);
    let sockets: &[(Netns, &str)] = &[(WEB, "udp 7 172.17.0.2:5000 > 10.0.0.1:53"), (HOST, "udp 9 *:53")];
    connected.full_round(0.0, sockets, vec![], vec![], Some(vec![dns]));
    connected.expect(
        "7.70/outgoing/udp/10.0.0.1/53 1/1
         9.90/incoming/udp/172.17.0.2/53 1/1",
    );
}

#[test]
fn a_connection_that_gets_another_owner_leaves_no_flow_behind() {
    let mut world = World::new(EndsBy::Absence);
    world.round(0.0, &[(WEB, "- 172.17.0.2:80 < 10.9.9.9:999")], Vec::new());
    world.expect("net.2/from/10.9.9.9/80 1/1");
    world.round(1.0, &[(WEB, "7 172.17.0.2:80 < 10.9.9.9:999")], Vec::new());
    world.expect("7.70/from/10.9.9.9/80 1/1");
    world.round(2.0, &[(WEB, "- 172.17.0.2:80 < 10.9.9.9:999")], Vec::new());
    world.expect("7.70/from/10.9.9.9/80 1/1"); // whoever held it is still whose it was
}

#[test]
fn facts_and_gauges_are_told_when_they_differ() {
    let mut world = World::new(EndsBy::Absence);
    world.round(0.0, &[(WEB, &format!("7 *:80\n{OPEN}"))], Vec::new());
    let facts = world.tracker.facts_if_changed(Some(HOST)).expect("they are new");
    let kinds: Vec<_> = facts.keys().map(ToString::to_string).collect();
    assert_eq!(kinds, ["listener/2/tcp/0.0.0.0/80", "flow/7.70/outgoing/tcp/10.9.9.9/80", "netns/2"]);
    let now = world.now();
    assert!(world.tracker.gauges_if_changed(now).is_some());
    world.round(1.0, &[(WEB, &format!("7 *:80\n{OPEN}"))], Vec::new());
    let now = world.now();
    assert_eq!(world.tracker.facts_if_changed(Some(HOST)), None);
    assert_eq!(world.tracker.gauges_if_changed(now), None);
    assert_eq!(world.tracker.remotes(), [at("10.9.9.9:80").ip()].into());
}

#[test]
fn nobody_is_asked_for_names_of_what_is_of_this_host() {
    let mut world = World::new(EndsBy::Absence);
    let of_host = "9 10.0.0.1:4000 > 172.17.0.2:80\n9 10.0.0.1:4001 > 10.0.0.99:80";
    world.round(0.0, &[(HOST, of_host), (WEB, "7 172.17.0.2:80 < 10.0.0.1:4000")], Vec::new());
    world.expect(
        "7.70/from/10.0.0.1/80 1/1
         9.90/to/10.0.0.99/80 1/1
         9.90/to/172.17.0.2/80 1/1",
    );
    let neighbour: BTreeSet<IpAddr> = [at("10.0.0.99:80").ip()].into();
    assert_eq!(world.tracker.remotes(), neighbour);
    // The container ends before the flows that led there.
    world.namespaces.retain(|(netns, _)| *netns != WEB);
    world.round(1.0, &[(HOST, of_host)], Vec::new());
    assert_eq!(world.tracker.remotes(), neighbour);
}

#[test]
fn there_is_room_for_a_bounded_number_of_flows_and_of_pending_ends() {
    let mut world = World::new(EndsBy::Kernel);
    let many = |number: u32, pids: &[u32]| {
        let of = |number: u32| Ended {
            remote: IpAddr::from(number.to_be_bytes()),
            ..ended(WEB, pids, "172.17.0.2:0 > 9.9.9.9:80", 1)
        };
        (0..number).map(of).collect::<Vec<_>>()
    };
    let flows = u32::try_from(FLOWS_MAX).expect("fits");
    world.round(0.0, &[], many(flows + 5, &[7]));
    assert_eq!((world.tracker.ledger.keys().count(), world.tracker.is_cut()), (FLOWS_MAX, true));
    let mut waiting = World::new(EndsBy::Kernel);
    let pendings = u32::try_from(PENDINGS_MAX).expect("fits");
    waiting.round(0.0, &[], many(pendings + 5, &[99, 7]));
    assert_eq!((waiting.tracker.pending.len(), waiting.tracker.ledger.keys().count()), (PENDINGS_MAX, 5));
    let none = Untranslated;
    assert_eq!(none.generation(), 0);
}
