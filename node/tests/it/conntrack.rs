//! Conntrack of this kernel, in network namespaces of our own.

mod follower;
mod world;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use node::probe::connections::conntrack::{
    ENTRIES_MAX, Entry, Filter, Interest, Listener, Options, Reader, Table, Translation, in_use,
};
use node::probe::connections::sock_diag::Extent;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use topology::fact::Protocol;
use world::{Connection, Question, World, addr};

const PROC: &str = "/proc";

/// Longest wait for an event.
const PATIENCE: Duration = Duration::from_secs(10);

/// Everything at once; kept open.
struct Traffic {
    _tcp: Vec<Connection>,
    _udp: Vec<Question>,
}

fn traffic(world: &World) -> Traffic {
    Traffic {
        _tcp: vec![
            world.connect(&world.server, 40001, "10.40.0.1:8080", "10.41.0.2:80"),
            world.connect(&world.server, 40002, "10.41.0.2:81", "10.41.0.2:81"),
            world.connect(&world.client, 40003, "10.40.0.1:8090", "10.40.0.2:90"),
            world.connect(&world.server, 40004, "[fd40::1]:8080", "[fd41::2]:80"),
            world.connect(&world.server, 40005, "[fd41::2]:82", "[fd41::2]:82"),
        ],
        _udp: vec![
            world.ask(40006, "10.40.0.1:5300", "10.41.0.2:53"),
            world.ask(40007, "10.41.0.2:54", "10.41.0.2:54"),
            world.ask(40008, "[fd41::2]:55", "[fd41::2]:55"),
            world.ask(40009, "[fd40::1]:5300", "[fd41::2]:53"),
        ],
    }
}

/// `protocol original | reply`, replied and assured or not, without order.
fn lines<'a>(entries: impl Iterator<Item = &'a Entry>) -> BTreeSet<String> {
    let line = |entry: &Entry| {
        let (there, back) = (entry.original, entry.reply);
        let (replied, assured) = (entry.replied, entry.assured);
        let addresses = format!("{} > {} | {} > {}", there.source, there.destination, back.source, back.destination);
        format!("{} {addresses} {replied} {assured}", there.protocol.as_str())
    };
    entries.map(line).collect()
}

/// What the traffic is to conntrack.
fn expected(interest: Interest) -> BTreeSet<String> {
    let mut lines = vec![
        "tcp 10.40.0.2:40001 > 10.40.0.1:8080 | 10.41.0.2:80 > 10.40.0.2:40001 true true",
        "tcp 10.40.0.2:40002 > 10.41.0.2:81 | 10.41.0.2:81 > 10.41.0.1:40002 true true",
        "tcp 10.40.0.2:40003 > 10.40.0.1:8090 | 10.40.0.2:90 > 10.40.0.1:40003 true true",
        "tcp [fd40::2]:40004 > [fd40::1]:8080 | [fd41::2]:80 > [fd40::2]:40004 true true",
        "udp 10.40.0.2:40006 > 10.40.0.1:5300 | 10.41.0.2:53 > 10.40.0.2:40006 true false",
        "udp 10.40.0.2:40007 > 10.41.0.2:54 | 10.41.0.2:54 > 10.41.0.1:40007 true false",
        "udp [fd40::2]:40008 > [fd41::2]:55 | [fd41::2]:55 > [fd40::2]:40008 true false",
        "udp [fd40::2]:40009 > [fd40::1]:5300 | [fd41::2]:53 > [fd40::2]:40009 true false",
    ];
    if interest == Interest::All {
        lines.push("tcp [fd40::2]:40005 > [fd41::2]:82 | [fd41::2]:82 > [fd40::2]:40005 true true");
    }
    lines.into_iter().map(str::to_owned).collect()
}

fn dump(world: &World, interest: Interest) -> Vec<Entry> {
    world.gateway.run(move || {
        let mut entries = Vec::new();
        let extent = Reader::default().dump(interest, ENTRIES_MAX, &mut entries);
        assert_eq!(extent, Ok(Extent::Whole));
        entries
    })
}

fn dumped(world: &World, interest: Interest) -> Table {
    let mut table = Table::new(interest);
    table.resync(&dump(world, interest), Extent::Whole, Instant::now());
    table
}

fn options(interest: Interest) -> Options {
    Options::new(Filter { interest, has_ipvs: false })
}

fn listen(world: &World, options: Options) -> Listener {
    world.gateway.run(move || Listener::open(options).expect("root may listen"))
}

/// Reads events into the table until `is_enough`.
fn follow(listener: &mut Listener, table: &mut Table, mut is_enough: impl FnMut(&Table) -> bool) {
    let start = Instant::now();
    let mut changes = Vec::new();
    loop {
        let received = listener.receive(&mut changes).expect("a kernel that we know");
        assert!(!received.lost);
        for change in changes.drain(..) {
            table.apply(change, Instant::now());
        }
        if is_enough(table) {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{:?}", lines(table.entries()));
        let timeout = Timespec::try_from(PATIENCE).expect("a valid time");
        let _ = poll(&mut [PollFd::new(&*listener, PollFlags::IN)], Some(&timeout));
    }
}

/// Deletes every entry.
fn flush(world: &World) {
    world.gateway.run(|| {
        let netlink = netlink_sys::Socket::new(netlink_sys::protocols::NETLINK_NETFILTER).expect("a socket");
        let (delete_entry, request_and_acknowledge) = (0x102_u16, 5_u16);
        let words = [20_u32.to_ne_bytes(), [0; 4], 1_u32.to_ne_bytes(), [0; 4], [0; 4]];
        let mut message = words.concat();
        message[4..6].copy_from_slice(&delete_entry.to_ne_bytes());
        message[6..8].copy_from_slice(&request_and_acknowledge.to_ne_bytes());
        netlink.send_to(&message, &netlink_sys::SocketAddr::new(0, 0), 0).expect("the kernel reads it");
        let (answer, _) = netlink.recv_from_full().expect("an answer");
        assert_eq!(answer[16..20], [0; 4], "the kernel's answer to the deletion");
    });
}

#[test]
fn a_dump_knows_all_translations_and_flows() {
    let world = World::new();
    let _kept = traffic(&world);
    for interest in [Interest::NatAndUdp, Interest::All] {
        assert_eq!(lines(dump(&world, interest).iter()), expected(interest));
    }
    let (server, client) = [&world.server, &world.client].map(|place| place.run(|| in_use(Path::new(PROC)))).into();
    assert!(world.gateway.run(|| in_use(Path::new(PROC))));
    assert_eq!((server, client), (false, false), "each namespace has its own count");
}

#[test]
fn a_dump_stops_at_its_limit() {
    let world = World::new();
    let _kept = traffic(&world);
    for (limit, want) in [(0, Extent::Truncated), (7, Extent::Truncated), (8, Extent::Whole), (9, Extent::Whole)] {
        let (extent, length) = world.gateway.run(move || {
            let mut entries = Vec::new();
            (Reader::default().dump(Interest::NatAndUdp, limit, &mut entries), entries.len())
        });
        assert_eq!((extent, length), (Ok(want), limit.min(8)), "limit {limit}");
    }
}

#[test]
fn events_and_dump_give_the_same_table() {
    let world = World::new();
    let interests = [Interest::NatAndUdp, Interest::All];
    let mut listeners = interests.map(|interest| listen(&world, options(interest)));
    let _kept = traffic(&world);
    for (interest, listener) in interests.into_iter().zip(&mut listeners) {
        let dumped = dumped(&world, interest);
        let mut table = Table::new(interest);
        // TCP that is translated is heard of when it is new: that it was answered is of no interest there.
        follow(listener, &mut table, |table| table.len() == dumped.len());
        if interest == Interest::All {
            assert_eq!(lines(table.entries()), lines(dumped.entries()));
        }
        for (protocol, client, named, server, appears) in [
            (Protocol::Tcp, "10.40.0.2:40001", "10.40.0.1:8080", "10.41.0.2:80", "10.40.0.2:40001"),
            (Protocol::Tcp, "10.40.0.2:40002", "10.41.0.2:81", "10.41.0.2:81", "10.41.0.1:40002"),
            (Protocol::Tcp, "10.40.0.2:40003", "10.40.0.1:8090", "10.40.0.2:90", "10.40.0.1:40003"),
            (Protocol::Tcp, "[fd40::2]:40004", "[fd40::1]:8080", "[fd41::2]:80", "[fd40::2]:40004"),
            (Protocol::Udp, "10.40.0.2:40006", "10.40.0.1:5300", "10.41.0.2:53", "10.40.0.2:40006"),
            (Protocol::Udp, "10.40.0.2:40007", "10.41.0.2:54", "10.41.0.2:54", "10.41.0.1:40007"),
            (Protocol::Udp, "[fd40::2]:40009", "[fd40::1]:5300", "[fd41::2]:53", "[fd40::2]:40009"),
        ] {
            let [client, named, server, appears] = [client, named, server, appears].map(addr);
            for table in [&table, &dumped] {
                let there = Translation { source: appears, destination: server };
                let back = Translation { source: client, destination: named };
                assert_eq!(table.outgoing(protocol, client, named), Some(there));
                assert_eq!(table.incoming(protocol, server, appears), Some(back));
            }
        }
    }
}

#[test]
fn what_is_destroyed_is_gone() {
    let world = World::new();
    let mut listener = listen(&world, options(Interest::All));
    let _kept = traffic(&world);
    let mut table = Table::new(Interest::All);
    follow(&mut listener, &mut table, |table| table.len() == 9);
    table.take_seen();
    flush(&world);
    follow(&mut listener, &mut table, Table::is_empty);
    assert_eq!(table.take_seen().iter().filter(|flow| flow.is_over).count(), 9);
}

#[test]
fn a_closed_connection_is_told_of_and_its_translation_stays() {
    let world = World::new();
    let mut listener = listen(&world, options(Interest::All));
    let mut table = Table::new(Interest::All);
    world.connect(&world.server, 40001, "10.40.0.1:8080", "10.41.0.2:80").close();
    world.connect(&world.server, 40002, "[fd41::2]:81", "[fd41::2]:81").close();
    let mut over = BTreeSet::new();
    let mut seen = Vec::new();
    follow(&mut listener, &mut table, |table| {
        over.extend(table.entries().filter(|entry| entry.closed).map(|entry| entry.original.source.port()));
        over.len() == 1 && table.len() == 1
    });
    seen.extend(table.take_seen());
    let mut ports: Vec<u16> =
        seen.iter().filter(|flow| flow.is_over).map(|flow| flow.entry.original.source.port()).collect();
    ports.sort_unstable();
    assert_eq!(ports, [40001, 40002]);
    assert!(table.outgoing(Protocol::Tcp, addr("10.40.0.2:40001"), addr("10.40.0.1:8080")).is_some());
}

#[test]
fn a_queue_that_overflows_is_told_and_set_right_by_a_dump() {
    const FLOWS: u16 = 200; // of which the smallest queue holds a few
    let world = World::new();
    let mut listener = listen(&world, Options { buffer_bytes: 4096, ..options(Interest::NatAndUdp) });
    let Question { there, mut here } = world.ask(20000, "10.41.0.2:53", "10.41.0.2:53");
    let mut kept = vec![there];
    for port in 20001..20000 + FLOWS {
        let there = world.client.run(move || std::net::UdpSocket::bind(("10.40.0.2", port)).expect("the port is free"));
        let question = Question { there, here };
        question.exchange(addr("10.41.0.2:53"));
        here = question.here;
        kept.push(question.there);
    }
    let mut changes = Vec::new();
    let received = listener.receive(&mut changes).expect("a loss is no error");
    assert!(received.lost && !received.more);
    assert!(changes.len() < usize::from(FLOWS));
    let mut table = Table::new(Interest::NatAndUdp);
    for change in changes.drain(..) {
        table.apply(change, Instant::now());
    }
    let want = dump(&world, Interest::NatAndUdp);
    assert_eq!(want.len(), usize::from(FLOWS));
    table.resync(&want, Extent::Whole, Instant::now());
    assert_eq!(lines(table.entries()), lines(want.iter()));
    let _more = world.ask(40007, "10.41.0.2:54", "10.41.0.2:54");
    let received = listener.receive(&mut changes).expect("it goes on");
    assert!(!received.lost && received.datagrams > 0, "events come again");
}

#[test]
fn what_was_there_before_we_listened_goes_with_a_dump() {
    let world = World::new();
    let _kept = world.ask(40008, "[fd41::2]:55", "[fd41::2]:55");
    let mut listener = listen(&world, options(Interest::NatAndUdp));
    let mut table = dumped(&world, Interest::NatAndUdp);
    assert_eq!(table.len(), 1);
    flush(&world);
    // Whether an event tells of it depends on the kernel's settings, and on who else listens.
    let mut changes = Vec::new();
    listener.receive(&mut changes).expect("a kernel that we know");
    for change in changes {
        table.apply(change, Instant::now());
    }
    table.resync(&dump(&world, Interest::NatAndUdp), Extent::Whole, Instant::now());
    assert!(table.is_empty());
}
