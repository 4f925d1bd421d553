#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::mpsc;

use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags, gettid, set_capabilities, unshare_unsafe};
use topology::fact::Direction;

use super::known::{REDUMP_BEATS, UDP_REDUMP_BEATS, is_settled};
use super::*;
use crate::probe::connections::classify::{Classifier, Connection};
use crate::probe::connections::inodes::Owners;
use crate::probe::connections::sock_diag;
use counters::Counters;

const PROC: &str = "/proc";
/// Long enough for a busy machine: what is waited for takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// A process as the kernel has it now.
pub(in crate::probe::connections) fn process(pid: u32) -> ProcessId {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    ProcessId { pid, start: fields.split_whitespace().nth(19).unwrap().parse().unwrap() }
}

pub(in crate::probe::connections) fn ourselves() -> Namespaces {
    let id = process(std::process::id());
    BTreeMap::from([(of(Path::new(PROC), id.pid).unwrap(), vec![id])])
}

/// A listener and both ends of a connection to it.
struct Trio {
    listener: TcpListener,
    client: TcpStream,
    server: TcpStream,
}

fn trio(address: impl Into<std::net::IpAddr>) -> Trio {
    let listener = TcpListener::bind((address.into(), 0)).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let server = listener.accept().unwrap().0;
    Trio { listener, client, server }
}

fn find(scan: &Scan, stream: &TcpStream) -> Option<Connection> {
    let connections = Classifier::default().classify(&scan.listeners, &scan.connections, &scan.ephemeral);
    let ends = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
    connections.into_iter().find(|connection| (connection.local, connection.remote) == ends)
}

fn inode_of(scan: &Scan, local: SocketAddr) -> u64 {
    scan.listeners.iter().find(|socket| socket.local == local).expect("our listener").inode
}

#[test]
fn our_own_sockets_are_found_with_direction_and_owner() {
    let trios = [trio(Ipv4Addr::LOCALHOST), trio(Ipv6Addr::LOCALHOST)];
    let (mut scanner, mut owners) = (Scanner::new(Path::new(PROC)), Owners::new(Path::new(PROC)));
    let namespaces = ourselves();
    let scans = scanner.scan(&namespaces, Instant::now());
    assert_eq!(scans.problems, []);
    let walked = owners.update(&scans.namespaces, &namespaces);
    assert_eq!((walked.processes, walked.denied), (1, 0));
    let scan = &scans.namespaces[0];
    assert_eq!((Some(&scan.netns), scan.source), (namespaces.keys().next(), Source::SockDiag));
    let us = process(std::process::id());
    for trio in &trios {
        let (outgoing, incoming) = (find(scan, &trio.client).unwrap(), find(scan, &trio.server).unwrap());
        assert_eq!((outgoing.direction, incoming.direction), (Direction::Outgoing, Direction::Incoming));
        let listening = inode_of(scan, trio.listener.local_addr().unwrap());
        for inode in [outgoing.inode, incoming.inode, listening] {
            assert_eq!(owners.of(inode), [us], "{:?}", trio.listener);
        }
    }
}

/// Runs `there` in a network namespace that is up and has no sockets, and tells `here` the thread that is in it.
pub(in crate::probe::connections) fn with_new_netns<T: Send>(
    there: impl FnOnce() -> T + Send,
    here: impl FnOnce(u32, T),
) {
    let (ready, is_ready) = mpsc::channel();
    let (finish, is_finished) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // SAFETY: `NEWNET` changes which network the thread sees, and nothing of its memory or descriptors.
            let unshared = unsafe { unshare_unsafe(UnshareFlags::NEWNET) };
            unshared.expect("these tests make network namespaces: run them as root");
            loopback_up();
            ready.send((gettid().as_raw_nonzero().get().cast_unsigned(), there())).unwrap();
            let _ = is_finished.recv(); // until the sender is dropped
        });
        let (thread, result) = is_ready.recv().expect("the other thread made its namespace");
        here(thread, result);
        drop(finish);
    });
}

/// `ip link set lo up`, rtnetlink(7): a new namespace has its loopback down.
fn loopback_up() {
    const RTM_NEWLINK: u32 = 16;
    const IFF_UP: u32 = 1;
    const REQUEST_AND_ACK: u32 = 5 << 16;
    const LOOPBACK_INDEX: u32 = 1;
    let words = [32, RTM_NEWLINK | REQUEST_AND_ACK, 1, 0, 0, LOOPBACK_INDEX, IFF_UP, IFF_UP];
    let message: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
    let netlink = netlink_sys::Socket::new(netlink_sys::protocols::NETLINK_ROUTE).unwrap();
    netlink.send_to(&message, &netlink_sys::SocketAddr::new(0, 0), 0).unwrap();
    let (answer, _) = netlink.recv_from_full().unwrap();
    assert_eq!(answer[16..20], [0; 4], "the kernel's answer to lo up");
}

/// Two addresses on an interface of the namespace this thread is in.
fn addresses_up() {
    for command in [
        "link add eth0 type veth peer name eth1",
        "address add 172.20.0.5/16 dev eth0",
        "address add fd00:20::5/64 dev eth0 nodad",
        "link set eth0 up",
    ] {
        assert!(Command::new("ip").args(command.split(' ')).status().unwrap().success(), "{command}");
    }
}

#[test]
fn another_namespaces_sockets_are_found_and_we_stay_where_we_are() {
    let before = of(Path::new(PROC), std::process::id()).unwrap();
    with_new_netns(
        || {
            std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "20000 29999").unwrap();
            [trio(Ipv4Addr::LOCALHOST), trio(Ipv6Addr::LOCALHOST)]
        },
        |thread, trios| {
            let netns = of(Path::new(PROC), thread).unwrap();
            assert_ne!(netns, before);
            let mut namespaces = ourselves();
            namespaces.insert(netns, vec![process(thread)]);
            let (mut scanner, mut owners) = (Scanner::new(Path::new(PROC)), Owners::new(Path::new(PROC)));
            let scans = scanner.scan(&namespaces, Instant::now());
            assert_eq!(scans.problems, []);
            assert_eq!(scans.namespaces.iter().map(|scan| scan.netns).collect::<Vec<_>>(), [before, netns]);
            owners.update(&scans.namespaces, &namespaces);
            let scan = &scans.namespaces[1];
            assert_eq!(scan.ephemeral, 20000..=29999);
            assert_eq!((scan.listeners.len(), scan.connections.len()), (2, 4));
            for trio in &trios {
                let (outgoing, incoming) = (find(scan, &trio.client).unwrap(), find(scan, &trio.server).unwrap());
                assert_eq!((outgoing.direction, incoming.direction), (Direction::Outgoing, Direction::Incoming));
                assert_eq!(owners.of(outgoing.inode), [process(thread)]);
                assert!(find(&scans.namespaces[0], &trio.client).is_none(), "it is not in ours");
            }
        },
    );
    assert_eq!(of(Path::new(PROC), std::process::id()).unwrap(), before);
}

#[test]
fn a_look_inside_sees_that_namespace_and_tells_its_cost() {
    with_new_netns(
        || (),
        |thread, ()| {
            let here = || std::fs::metadata("/proc/thread-self/ns/net").map(|link| Netns(link.ino())).unwrap();
            let netns = of(Path::new(PROC), thread).unwrap();
            let (seen, cpu_time) = inside(Path::new(PROC), netns, thread, here).unwrap();
            assert_eq!(seen, netns);
            assert!(!cpu_time.is_zero());
            assert_ne!(here(), netns);
            let elsewhere = inside(Path::new(PROC), netns, std::process::id(), here);
            assert_eq!(elsewhere, Err(Problem::Enter(Errno::SRCH)), "we are not in it");
        },
    );
}

#[test]
fn a_scan_tells_what_its_thread_cost() {
    let scans = Scanner::new(Path::new(PROC)).scan(&ourselves(), Instant::now());
    assert!(!scans.cpu_time.is_zero());
}

#[test]
fn a_quiet_namespace_is_not_dumped_again_and_a_change_is_seen_at_once() {
    with_new_netns(
        || trio(Ipv4Addr::LOCALHOST),
        |thread, mut trio| {
            let netns = of(Path::new(PROC), thread).unwrap();
            let namespaces = Namespaces::from([(netns, vec![process(thread)])]);
            let (mut scanner, start) = (Scanner::new(Path::new(PROC)), Instant::now());
            let mut connections = |beat: u64| {
                let beats = u32::try_from(beat).expect("a few");
                let scans = scanner.scan(&namespaces, start + beats * FIGURES_BEAT);
                let scan = scans.namespaces.into_iter().find(|scan| scan.netns == netns).expect("scanned");
                (scan.connections, scanner.known[&netns].connections.dumped)
            };
            connections(0);
            let settled = connections(0).0; // by the second dump at the latest
            assert_eq!(settled.len(), 2);
            let first = connections(0).1;
            for beat in 1..REDUMP_BEATS {
                assert_eq!(connections(beat), (Arc::clone(&settled), first), "nothing changed");
            }
            assert_eq!(connections(first + REDUMP_BEATS), (settled, first + REDUMP_BEATS), "a repair");
            drop(trio.client);
            assert_eq!(trio.server.read(&mut [0]).unwrap(), 0, "the end of the connection has arrived");
            let changed = connections(first + REDUMP_BEATS).0;
            assert!(changed.iter().any(|socket| socket.state == State::CloseWait), "{changed:?}");
        },
    );
}

#[test]
fn where_nothing_is_told_of_a_namespace_it_is_visited_at_its_beat_only() {
    with_new_netns(
        || {
            addresses_up();
            trio(Ipv4Addr::LOCALHOST)
        },
        |thread, mut trio| {
            let netns = of(Path::new(PROC), thread).unwrap();
            let namespaces = Namespaces::from([(netns, vec![process(thread)])]);
            let (mut scanner, start) = (Scanner::new(Path::new(PROC)), Instant::now());
            let mut scan = |second: u64, news: &[Netns]| {
                scanner.attend(Attention::Only(news.iter().copied().collect()));
                let scans = scanner.scan(&namespaces, start + Duration::from_secs(second));
                let there = scans.namespaces.into_iter().find(|scan| scan.netns == netns).expect("scanned");
                (scans.visited - 1, there) // our own is visited in every scan
            };
            let (visited, first) = scan(0, &[]);
            assert_eq!(visited, 1, "not known yet");
            let visited: usize = (1..=10).map(|second| scan(second, &[]).0).sum();
            assert_eq!(visited, 2, "a beat is five seconds");
            let (visited, quiet) = scan(10, &[]);
            assert_eq!((visited, quiet.freshness), (0, Freshness::Unchanged));
            assert_eq!(first.listeners, quiet.listeners);
            drop(trio.client);
            assert_eq!(trio.server.read(&mut [0]).unwrap(), 0, "the end of the connection has arrived");
            let (visited, news) = scan(10, &[netns]);
            assert_eq!((visited, news.freshness), (1, Freshness::Sockets));
        },
    );
}

#[test]
fn what_was_closed_is_told_of_only_if_it_is_wanted() {
    with_new_netns(
        || trio(Ipv4Addr::LOCALHOST),
        |thread, mut trio| {
            let netns = of(Path::new(PROC), thread).unwrap();
            let namespaces = Namespaces::from([(netns, vec![process(thread)])]);
            let mut scanner = Scanner::new(Path::new(PROC));
            let mut states = |remains| {
                scanner.want_remains(remains);
                let scans = scanner.scan(&namespaces, Instant::now());
                let scan = scans.namespaces.iter().find(|scan| scan.netns == netns).expect("scanned");
                let mut states: Vec<_> = scan.connections.iter().map(|socket| format!("{:?}", socket.state)).collect();
                // Whether the other end's acknowledgement is here yet is its affair.
                states.iter_mut().for_each(|state| *state = state.replace("FinWait1", "FinWait2"));
                states.sort();
                (states.join(" "), scans.dumped)
            };
            drop(trio.client);
            assert_eq!(trio.server.read(&mut [0]).unwrap(), 0, "the end of the connection has arrived");
            assert_eq!(states(true).0, "CloseWait FinWait2");
            // A program that another test starts has our sockets too, until it is executed: the closed one is open as long.
            let deadline = Instant::now() + PATIENCE;
            while states(false).0 != "CloseWait" {
                assert!(Instant::now() < deadline, "{}", states(false).0);
            }
            drop(trio.server);
            let deadline = Instant::now() + PATIENCE;
            let (mut left, mut dumped) = states(false);
            while !left.is_empty() {
                assert!(Instant::now() < deadline, "{left}");
                (left, dumped) = states(false);
            }
            assert!(dumped <= 1, "our own namespace at most: the counters say that nothing is open");
            assert_eq!(states(true).0, "TimeWait");
        },
    );
}

#[test]
fn a_connection_is_open_until_both_ends_are_closed_if_somebody_reads_from_it() {
    with_new_netns(
        || trio(Ipv4Addr::LOCALHOST),
        |thread, trio| {
            let netns = of(Path::new(PROC), thread).unwrap();
            let namespaces = Namespaces::from([(netns, vec![process(thread)])]);
            let mut scanner = Scanner::new(Path::new(PROC));
            scanner.want_remains(false);
            let mut open = || {
                let scans = scanner.scan(&namespaces, Instant::now());
                let scan = scans.namespaces.iter().find(|scan| scan.netns == netns).expect("scanned");
                scan.connections.iter().filter(|socket| socket.is_open()).count()
            };
            trio.client.shutdown(Shutdown::Write).unwrap();
            assert_eq!((&trio.server).read(&mut [0]).unwrap(), 0, "the end of what the client sends has arrived");
            assert_eq!(open(), 2, "the server may still send");
        },
    );
}

#[test]
fn a_namespace_of_nothing_but_listeners_is_not_dumped() {
    with_new_netns(
        || TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap(),
        |thread, _listener| {
            let netns = of(Path::new(PROC), thread).unwrap();
            let scans =
                Scanner::new(Path::new(PROC)).scan(&Namespaces::from([(netns, vec![process(thread)])]), Instant::now());
            let scan = scans.namespaces.iter().find(|scan| scan.netns == netns).expect("scanned");
            assert_eq!((scan.listeners.len(), scan.connections.len()), (1, 0));
            assert!(scans.dumped <= 1, "our own namespace at most");
        },
    );
}

#[test]
fn who_may_not_enter_still_sees_the_sockets_through_proc() {
    with_new_netns(
        || trio(Ipv4Addr::LOCALHOST),
        |thread, trio| {
            let netns = of(Path::new(PROC), thread).unwrap();
            let namespaces = Namespaces::from([(netns, vec![process(thread)])]);
            let mut scanner = Scanner::new(Path::new(PROC));
            let scan_without_privileges = || {
                set_capabilities(None, CapabilitySets { effective: none(), permitted: none(), inheritable: none() })
                    .unwrap();
                scanner.scan_on_this_thread(&namespaces, Instant::now())
            };
            let scans = std::thread::scope(|scope| scope.spawn(scan_without_privileges).join().unwrap());
            assert_eq!(scans.problems, [(Problem::EnterDenied, 1)]);
            assert_eq!(
                scans.namespaces.iter().map(|scan| scan.source).collect::<Vec<_>>(),
                [Source::SockDiag, Source::ProcNet]
            );
            let scan = &scans.namespaces[1];
            assert_eq!((scan.netns, scan.listeners.len(), scan.connections.len()), (netns, 1, 2));
            assert_eq!(find(scan, &trio.client).unwrap().direction, Direction::Outgoing);
        },
    );
}

fn none() -> CapabilitySet {
    CapabilitySet::empty()
}

#[test]
fn a_way_in_that_is_gone_or_leads_elsewhere_is_no_problem() {
    let own = of(Path::new(PROC), std::process::id()).unwrap();
    let us = process(std::process::id());
    let gone = ProcessId { pid: u32::MAX, start: 1 };
    let cases = [vec![], vec![gone], vec![us], vec![gone, us]]; // we are not in the namespace we are listed under
    for processes in cases {
        let scans =
            Scanner::new(Path::new(PROC)).scan(&Namespaces::from([(Netns(1), processes.clone())]), Instant::now());
        assert_eq!(scans.problems, [], "{processes:?}");
        assert_eq!(scans.namespaces.iter().map(|scan| scan.netns).collect::<Vec<_>>(), [own], "{processes:?}");
    }
}

#[test]
fn proc_and_sock_diag_tell_of_the_same_sockets() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sock_diag");
    let proc = tempfile::tempdir().unwrap();
    let net = proc.path().join("7/net");
    std::fs::create_dir_all(&net).unwrap();
    for name in ["tcp", "tcp6", "udp"] {
        std::fs::copy(fixtures.join(format!("{name}.txt")), net.join(name)).unwrap();
    }
    let mut from_netlink = Vec::new();
    for name in ["listeners.bin", "connections.bin"] {
        sock_diag::parse(&std::fs::read(fixtures.join(name)).unwrap(), 1, Protocol::Tcp, &mut from_netlink).unwrap();
    }
    let datagrams = std::fs::read(fixtures.join("datagrams.bin")).unwrap();
    sock_diag::parse(&datagrams, 1, Protocol::Udp, &mut from_netlink).unwrap();
    for socket in &mut from_netlink {
        if let State::Listen { v6_only } = &mut socket.state {
            *v6_only = false; // the one thing that /proc does not tell
        }
    }
    let mut scans = Scans::default();
    Scanner::new(proc.path()).scan_by_proc(Netns(1), Some(7), EPHEMERAL_DEFAULT, &mut scans);
    let scan = &scans.namespaces[0];
    let mut from_proc = [&scan.listeners[..], &scan.connections, &scan.datagrams].concat();
    for sockets in [&mut from_netlink, &mut from_proc] {
        sockets.sort_by_key(|socket| (socket.local, socket.remote));
    }
    assert_eq!(from_proc, from_netlink);
    assert_eq!((scan.listeners.len(), scan.source), (5, Source::ProcNet));
    assert_eq!(
        proc_net::read(&net, Protocol::Tcp, 3).map(|(extent, sockets)| (extent, sockets.len())),
        Ok((Extent::Truncated, 3))
    );
    std::fs::remove_file(net.join("tcp6")).unwrap(); // a kernel without IPv6
    assert_eq!(
        proc_net::read(&net, Protocol::Tcp, 100).map(|(extent, sockets)| (extent, sockets.len())),
        Ok((Extent::Whole, 14))
    );
    assert_eq!(proc_net::read(&proc.path().join("8/net"), Protocol::Tcp, 100), Err(Errno::NOENT));
}

#[test]
fn a_port_range_is_two_ports_in_order() {
    let cases = [
        ("32768\t60999\n", Some(32768..=60999)),
        ("1024 1024", Some(1024..=1024)),
        ("60999 32768", None),
        ("0 65536", None),
        ("32768", None),
        ("", None),
    ];
    for (text, want) in cases {
        assert_eq!(port_range(text), want, "{text:?}");
    }
}

#[test]
fn connections_are_settled_when_the_counters_agree_or_held_still() {
    let scan = |connections: &str| {
        let nowhere = "127.0.0.1:1".parse().unwrap();
        let socket = |inode, state| Socket {
            local: nowhere,
            remote: nowhere,
            protocol: Protocol::Tcp,
            state,
            inode,
            uid: 0,
            figures: None,
        };
        let connections = connections.chars().map(|letter| match letter {
            'E' => socket(1, State::Established),
            'C' => socket(1, State::CloseWait),
            'a' => socket(0, State::Established), // to be accepted
            'T' => socket(0, State::TimeWait),
            _ => socket(0, State::FinWait2), // orphaned
        });
        (vec![socket(1, State::Listen { v6_only: false })], connections.collect::<Vec<_>>())
    };
    // Connections; established, in use, in TIME_WAIT as counted; whether they were so at the last dump; settled?
    let cases = [
        ("", (0, 1, 0), false, true),
        ("EECT", (3, 4, 1), false, true),
        ("EF", (1, 2, 1), false, true),
        ("EE", (3, 4, 0), false, false), // one was counted and not yet there
        ("EE", (3, 4, 0), true, true),
        ("E", (1, 3, 0), false, false), // something else is in use, SYN_SENT perhaps
        ("Ea", (2, 3, 0), true, false),
    ];
    for (connections, (established, in_use, time_wait), counters_held, want) in cases {
        let counters = Some(Counters { active_opens: 9, passive_opens: 9, established, in_use, time_wait });
        let (listeners, sockets) = scan(connections);
        assert_eq!(is_settled(counters, counters_held, &listeners, &sockets), want, "{connections} {in_use}");
        assert!(!is_settled(None, counters_held, &listeners, &sockets), "without counters nothing is known");
    }
}

#[test]
fn figures_of_a_quiet_namespace_follow_the_beat() {
    with_new_netns(
        || trio(Ipv4Addr::LOCALHOST),
        |thread, mut trio| {
            let netns = of(Path::new(PROC), thread).unwrap();
            let namespaces = Namespaces::from([(netns, vec![process(thread)])]);
            let (mut scanner, start) = (Scanner::new(Path::new(PROC)), Instant::now());
            let mut scan = |second: u64| {
                let scans = scanner.scan(&namespaces, start + Duration::from_secs(second));
                scans.namespaces.into_iter().find(|scan| scan.netns == netns).expect("scanned")
            };
            assert_eq!(scan(0).freshness, Freshness::Sockets);
            scan(0); // settled
            trio.server.write_all(&[0; 4000]).unwrap();
            trio.client.read_exact(&mut [0; 4000]).unwrap();
            let seen: Vec<_> = (1..=5).map(|second| (second, scan(second))).collect();
            let changed: Vec<_> = seen.iter().filter(|(_, scan)| scan.freshness != Freshness::Unchanged).collect();
            let [(_, changed)] = changed[..] else { panic!("{changed:?}") };
            assert_eq!(changed.freshness, Freshness::Figures);
            let client = find_socket(changed, &trio.client);
            assert_eq!(client.figures.map(|figures| figures.received), Some(4000));
        },
    );
}

fn find_socket(scan: &Scan, stream: &TcpStream) -> Socket {
    let ends = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
    *scan.connections.iter().find(|socket| (socket.local, socket.remote) == ends).expect("a socket of the scan")
}

#[test]
fn udp_sockets_are_found_and_looked_for_again_though_their_number_is_the_same() {
    let pair = |address: &str| {
        let server = UdpSocket::bind(address).unwrap();
        let client = UdpSocket::bind(address).unwrap();
        client.connect(server.local_addr().unwrap()).unwrap();
        (server, client)
    };
    with_new_netns(
        || [pair("127.0.0.1:0"), pair("[::1]:0")],
        |thread, pairs| {
            let netns = of(Path::new(PROC), thread).unwrap();
            let namespaces = Namespaces::from([(netns, vec![process(thread)])]);
            let (mut scanner, start) = (Scanner::new(Path::new(PROC)), Instant::now());
            let mut scan = |beat: u64| {
                let beats = u32::try_from(beat).expect("a few");
                let scans = scanner.scan(&namespaces, start + beats * FIGURES_BEAT);
                scans.namespaces.into_iter().find(|scan| scan.netns == netns).expect("scanned")
            };
            let first = scan(0);
            assert_eq!((first.datagrams.len(), first.freshness), (4, Freshness::Sockets));
            for (server, client) in &pairs {
                let find = |socket: &UdpSocket| {
                    let local = socket.local_addr().unwrap();
                    *first.datagrams.iter().find(|known| known.local == local).expect("a socket of the scan")
                };
                assert_eq!(find(client).remote, server.local_addr().unwrap());
                assert_eq!(find(client).state, State::Established);
                assert!(matches!(find(server).state, State::Bound { .. }));
            }
            // Its number of sockets stays the same, and what they are does not.
            let address = pairs[0].0.local_addr().unwrap();
            pairs[0].1.connect(pairs[0].1.local_addr().unwrap()).unwrap();
            let is_seen = |scan: &Scan| scan.datagrams.iter().filter(|known| known.remote == address).count() == 0;
            assert!(!is_seen(&scan(UDP_REDUMP_BEATS - 1)));
            assert!(is_seen(&scan(UDP_REDUMP_BEATS)));
        },
    );
}

#[test]
fn a_namespace_has_its_own_addresses() {
    with_new_netns(
        || (),
        |thread, ()| {
            let netns = of(Path::new(PROC), thread).unwrap();
            let namespaces = Namespaces::from([(netns, vec![process(thread)])]);
            let (mut scanner, start) = (Scanner::new(Path::new(PROC)), Instant::now());
            let mut networks = |second| {
                let scans = scanner.scan(&namespaces, start + Duration::from_secs(second));
                scans.namespaces.into_iter().find(|scan| scan.netns == netns).expect("scanned").networks
            };
            assert!(networks(0).is_empty(), "but loopback");
            inside(Path::new(PROC), netns, thread, || {
                addresses_up();
            })
            .unwrap();
            let known = networks(1);
            let line = |network: &Network| format!("{} {}/{}", network.interface, network.address, network.prefix);
            assert_eq!(known.iter().map(line).collect::<Vec<_>>(), ["eth0 172.20.0.5/16", "eth0 fd00:20::5/64"]);
            assert!(Arc::ptr_eq(&known, &networks(40)), "read again, and the same");
        },
    );
}
