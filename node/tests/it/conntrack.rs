//! Conntrack of this kernel, in network namespaces of our own.

mod follower;
mod world;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use node::probe::connections::conntrack::{ENTRIES_MAX, Entry, Filter, Listener, Options, Reader, Table, Translation};
use node::probe::connections::sock_diag::Extent;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use topology::fact::Protocol;
use world::{Connection, Question, World, addr};

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

/// What of the traffic is of interest.
fn expected() -> BTreeSet<String> {
    let lines = [
        "tcp 10.40.0.2:40001 > 10.40.0.1:8080 | 10.41.0.2:80 > 10.40.0.2:40001 true true",
        "tcp 10.40.0.2:40002 > 10.41.0.2:81 | 10.41.0.2:81 > 10.41.0.1:40002 true true",
        "tcp 10.40.0.2:40003 > 10.40.0.1:8090 | 10.40.0.2:90 > 10.40.0.1:40003 true true",
        "tcp [fd40::2]:40004 > [fd40::1]:8080 | [fd41::2]:80 > [fd40::2]:40004 true true",
        "udp 10.40.0.2:40006 > 10.40.0.1:5300 | 10.41.0.2:53 > 10.40.0.2:40006 true false",
        "udp 10.40.0.2:40007 > 10.41.0.2:54 | 10.41.0.2:54 > 10.41.0.1:40007 true false",
        "udp [fd40::2]:40008 > [fd41::2]:55 | [fd41::2]:55 > [fd40::2]:40008 true false",
        "udp [fd40::2]:40009 > [fd40::1]:5300 | [fd41::2]:53 > [fd40::2]:40009 true false",
    ];
    lines.into_iter().map(str::to_owned).collect()
}

fn dump(world: &World) -> Vec<Entry> {
    world.gateway.run(move || {
        let mut entries = Vec::new();
        let extent = Reader::default().dump(ENTRIES_MAX, &mut entries);
        assert_eq!(extent, Ok(Extent::Whole));
        entries
    })
}

fn dumped(world: &World) -> Table {
    let mut table = Table::default();
    table.resync(&dump(world), Extent::Whole, Instant::now());
    table
}

fn options() -> Options {
    Options::new(Filter { has_ipvs: false })
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
    assert_eq!(lines(dump(&world).iter()), expected());
}

#[test]
fn a_dump_stops_at_its_limit() {
    let world = World::new();
    let _kept = traffic(&world);
    for (limit, want) in [(0, Extent::Truncated), (7, Extent::Truncated), (8, Extent::Whole), (9, Extent::Whole)] {
        let (extent, length) = world.gateway.run(move || {
            let mut entries = Vec::new();
            (Reader::default().dump(limit, &mut entries), entries.len())
        });
        assert_eq!((extent, length), (Ok(want), limit.min(8)), "limit {limit}");
    }
}

#[test]
fn events_and_dump_give_the_same_translations() {
    let world = World::new();
    let mut listener = listen(&world, options());
    let _kept = traffic(&world);
    let dumped = dumped(&world);
    let mut table = Table::default();
    // TCP that is translated is heard of when it is new: that it was answered is of no interest there.
    follow(&mut listener, &mut table, |table| table.len() == dumped.len());
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

#[test]
fn what_is_destroyed_is_gone_but_its_translation_stays() {
    let world = World::new();
    let mut listener = listen(&world, options());
    let _kept = traffic(&world);
    world.connect(&world.server, 40010, "10.40.0.1:8080", "10.41.0.2:80").close();
    let mut table = Table::default();
    follow(&mut listener, &mut table, |table| table.len() == 9);
    flush(&world);
    follow(&mut listener, &mut table, Table::is_empty);
    for client in ["10.40.0.2:40001", "10.40.0.2:40010"] {
        assert!(table.outgoing(Protocol::Tcp, addr(client), addr("10.40.0.1:8080")).is_some(), "{client}");
    }
}

#[test]
fn a_queue_that_overflows_is_told_and_set_right_by_a_dump() {
    const FLOWS: u16 = 200; // of which the smallest queue holds a few
    let world = World::new();
    let mut listener = listen(&world, Options { buffer_bytes: 4096, ..options() });
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
    let mut table = Table::default();
    for change in changes.drain(..) {
        table.apply(change, Instant::now());
    }
    let want = dump(&world);
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
    let mut listener = listen(&world, options());
    let mut table = dumped(&world);
    assert_eq!(table.len(), 1);
    flush(&world);
    // Whether an event tells of it depends on the kernel's settings, and on who else listens.
    let mut changes = Vec::new();
    listener.receive(&mut changes).expect("a kernel that we know");
    for change in changes {
        table.apply(change, Instant::now());
    }
    table.resync(&dump(&world), Extent::Whole, Instant::now());
    assert!(table.is_empty());
}
