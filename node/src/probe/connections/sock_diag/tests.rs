#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

use std::collections::BTreeSet;

use super::message::parse_answers;
use super::request::{SOCK_DIAG_BY_FAMILY, TCPDIAG_GETSOCK};

use super::*;

const LISTENERS: &[u8] = include_bytes!("../../../../tests/fixtures/sock_diag/listeners.bin");
const CONNECTIONS: &[u8] = include_bytes!("../../../../tests/fixtures/sock_diag/connections.bin");
const FIGURES: &[u8] = include_bytes!("../../../../tests/fixtures/sock_diag/figures.bin");
const DATAGRAMS: &[u8] = include_bytes!("../../../../tests/fixtures/sock_diag/datagrams.bin");
const LOOK_UPS: &[u8] = include_bytes!("../../../../tests/fixtures/sock_diag/look_ups.bin");
const REFUSED: &[u8] = include_bytes!("../../../../tests/fixtures/sock_diag/refused.bin");
/// Sequence number of the recorded dumps.
const SEQUENCE: u32 = 1;

fn parsed(dump: &[u8]) -> Result<(Vec<Socket>, Progress), DumpError> {
    parsed_as(dump, Protocol::Tcp)
}

fn parsed_as(dump: &[u8], protocol: Protocol) -> Result<(Vec<Socket>, Progress), DumpError> {
    let mut sockets = Vec::new();
    parse(dump, SEQUENCE, protocol, &mut sockets).map(|progress| (sockets, progress))
}

/// `local remote state`, sorted, as the tables below have it.
fn lines(sockets: &[Socket]) -> Vec<String> {
    let line = |socket: &Socket| format!("{} {} {:?}", socket.local, socket.remote, socket.state);
    sockets.iter().map(line).collect::<BTreeSet<_>>().into_iter().collect()
}

#[test]
fn a_recorded_dump_of_listeners_is_read() {
    let (sockets, progress) = parsed(LISTENERS).unwrap();
    assert_eq!(progress, Progress { done: true, incomplete: false });
    let want = [
        "0.0.0.0:8080 0.0.0.0:0 Listen { v6_only: false }",
        "127.0.0.1:6379 0.0.0.0:0 Listen { v6_only: false }",
        "[::]:9090 [::]:0 Listen { v6_only: false }",
        "[::]:9091 [::]:0 Listen { v6_only: true }",
        "[fd00:32::7]:5432 [::]:0 Listen { v6_only: true }", // its address implies it
    ];
    assert_eq!(lines(&sockets), want);
    assert!(sockets.iter().all(|socket| socket.inode != 0 && socket.uid == 0));
}

#[test]
fn a_recorded_dump_of_connections_is_read() {
    let (sockets, progress) = parsed(CONNECTIONS).unwrap();
    assert_eq!(progress, Progress { done: true, incomplete: false });
    let want = [
        "10.32.0.7:40001 10.32.0.7:8080 Established",
        "10.32.0.7:40003 10.32.0.7:9090 Established",
        "10.32.0.7:8080 10.32.0.7:40001 Established",
        "10.32.0.7:9090 10.32.0.7:40003 Established", // v4-mapped
        "127.0.0.1:40002 127.0.0.1:6379 Established",
        "127.0.0.1:40006 127.0.0.1:8080 FinWait2",
        "127.0.0.1:40008 127.0.0.1:8080 TimeWait",
        "127.0.0.1:40009 127.0.0.1:8080 Established",
        "127.0.0.1:40010 127.0.0.1:8080 Established",
        "127.0.0.1:6379 127.0.0.1:40002 Established",
        "127.0.0.1:8080 127.0.0.1:40006 CloseWait",
        "127.0.0.1:8080 127.0.0.1:40009 Established", // not accepted yet
        "127.0.0.1:8080 127.0.0.1:40010 Established",
        "[::1]:40004 [::1]:9090 Established",
        "[::1]:40007 [::1]:9091 TimeWait",
        "[::1]:9090 [::1]:40004 Established",
        "[fd00:32::7]:40005 [fd00:32::7]:5432 Established",
        "[fd00:32::7]:5432 [fd00:32::7]:40005 Established",
    ];
    assert_eq!(lines(&sockets), want);
    let unheld: Vec<_> = sockets.iter().filter(|socket| socket.inode == 0).copied().collect();
    let want = [
        "127.0.0.1:40008 127.0.0.1:8080 TimeWait",
        "127.0.0.1:8080 127.0.0.1:40009 Established",
        "[::1]:40007 [::1]:9091 TimeWait",
    ];
    assert_eq!(lines(&unheld), want);
}

#[test]
fn figures_are_those_of_the_connection() {
    let (sockets, _) = parsed(FIGURES).unwrap();
    let (without, _) = parsed(CONNECTIONS).unwrap();
    assert_eq!(lines(&sockets), lines(&without));
    let figures = |local: u16, remote: u16| {
        let is_it = |socket: &&Socket| (socket.local.port(), socket.remote.port()) == (local, remote);
        sockets.iter().find(is_it).expect("recorded").figures
    };
    let cases = [
        // local and remote port; bytes sent and received, if told
        (40010, 8080, Some((1001, 5000))), // a SYN too
        (8080, 40010, Some((5000, 1000))),
        (40006, 8080, Some((2, 0))), // and a FIN
        (8080, 40006, Some((0, 1))),
        (40007, 9091, None), // nothing is left of it but its addresses
    ];
    for (local, remote, want) in cases {
        let got = figures(local, remote);
        assert_eq!(got.map(|it| (it.sent, it.received)), want, "{local} {remote}");
        assert!(got.is_none_or(|it| it.rtt_micros > 0 && it.retransmits == 0), "{got:?}");
    }
    assert!(without.iter().all(|socket| socket.figures.is_none()));
}

#[test]
fn a_kernel_that_tells_less_of_a_connection_tells_no_figures() {
    const INFO: u16 = 2;
    let socket = &FIGURES[..16 + SOCKET_BYTES];
    // Bytes of struct tcp_info, as Linux had it: 2.6, 4.0, 4.1, 6.18.
    for (length, want) in [(104, None), (120, None), (136, Some(0x0101_0101)), (280, Some(0x0101_0101))] {
        let mut message = socket.to_vec();
        message.extend([4 + length, INFO].map(u16::to_ne_bytes).as_flattened());
        message.resize(message.len() + usize::from(length), 1);
        let total = u32::try_from(message.len()).unwrap();
        message[..4].copy_from_slice(&total.to_ne_bytes());
        message[17] = 1; // established
        let (sockets, _) = parsed(&message).unwrap();
        assert_eq!(sockets[0].figures.map(|figures| figures.rtt_micros), want, "{length} bytes");
    }
}

#[test]
fn a_recorded_dump_of_datagram_sockets_is_read() {
    let (sockets, progress) = parsed_as(DATAGRAMS, Protocol::Udp).unwrap();
    assert_eq!(progress, Progress { done: true, incomplete: false });
    let want = ["127.0.0.1:40011 127.0.0.53:53 Established", "127.0.0.53:53 0.0.0.0:0 Bound { v6_only: false }"];
    assert_eq!(lines(&sockets), want);
    assert!(sockets.iter().all(|socket| socket.protocol == Protocol::Udp && socket.inode != 0));
}

#[test]
fn recorded_answers_to_look_ups_are_read() {
    let mut answers = Vec::new();
    parse_answers(LOOK_UPS, |number, found| answers.push((number, found.map(|it| (it.local, it.remote, it.figures)))))
        .unwrap();
    let [(7, Some((local, remote, Some(figures)))), (8, None), (9, Some((listener, nobody, _)))] = answers[..] else {
        panic!("{answers:?}");
    };
    assert_eq!((local.port(), remote.port(), figures.sent), (40010, 8080, 1001));
    assert_eq!((listener.port(), nobody.port()), (8080, 0));
    for end in 0..LOOK_UPS.len() {
        let mut part = 0;
        let _ = parse_answers(&LOOK_UPS[..end], |_, _| part += 1);
        assert!(part < 3, "cut at {end}");
    }
}

#[test]
fn figures_are_refreshed_of_what_is_still_the_same_connection() {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    let mut sockets = Vec::new();
    let mut streams = Vec::new();
    let mut reader = Reader::default();
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let listener = TcpListener::bind(address).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        streams.push((client, listener.accept().unwrap().0));
    }
    reader.dump(Wanted::Connections { figures: true, remains: true }, NO_LIMIT, &mut sockets).unwrap();
    // Others may have left a `TIME_WAIT` with the same local address.
    let clients: Vec<_> =
        streams.iter().map(|(client, _)| (client.local_addr().unwrap(), client.peer_addr().unwrap())).collect();
    sockets.retain(|socket| clients.contains(&(socket.local, socket.remote)));
    for (client, server) in &mut streams {
        server.write_all(&[0; 3000]).unwrap();
        client.read_exact(&mut [0; 3000]).unwrap();
    }
    let mut gone = sockets[0];
    gone.remote.set_port(1);
    let mut another = sockets[0];
    another.inode += 1;
    sockets.extend([gone, another]);
    assert_eq!(reader.refresh(&mut sockets), Ok(2));
    let received: Vec<_> = sockets.iter().map(|socket| socket.figures.unwrap().received).collect();
    assert_eq!(received, [3000, 3000, 0, 0]);
}

#[test]
fn a_socket_is_small() {
    assert!(size_of::<Socket>() <= 112, "{}", size_of::<Socket>());
}

#[test]
fn an_error_of_the_kernel_is_told() {
    assert_eq!(parsed(REFUSED), Err(DumpError::Refused(Errno::NOENT)));
}

/// A netlink message with a payload of this machine's 32-bit numbers.
fn message(kind: u16, flags: u16, sequence: u32, payload: &[i32]) -> Vec<u8> {
    let length = 16 + 4 * u32::try_from(payload.len()).unwrap();
    let kind_and_flags = u32::from_ne_bytes([kind.to_ne_bytes(), flags.to_ne_bytes()].concat().try_into().unwrap());
    let header = [length, kind_and_flags, sequence, 0].map(u32::to_ne_bytes);
    header.into_iter().chain(payload.iter().map(|number| number.to_ne_bytes())).flatten().collect()
}

#[test]
fn messages_that_are_no_sockets_are_understood() {
    use netlink_packet_core::{NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP, NLMSG_OVERRUN};
    let more = Progress::default();
    let done = Progress { done: true, incomplete: false };
    let malformed = |at, length| Err(DumpError::Malformed { at, length });
    let cases = [
        (vec![], Ok(more)),
        (message(NLMSG_DONE, 0, SEQUENCE, &[0]), Ok(done)),
        (message(NLMSG_DONE, 0, SEQUENCE, &[]), Ok(done)),
        (message(NLMSG_DONE, 0, SEQUENCE, &[-1]), Err(DumpError::Refused(Errno::PERM))),
        (message(NLMSG_DONE, 0, SEQUENCE, &[1]), malformed(0, 20)),
        (message(NLMSG_DONE, 0, SEQUENCE, &[i32::MIN]), malformed(0, 20)),
        (message(NLMSG_DONE, NLM_F_DUMP_INTR, SEQUENCE, &[0]), Ok(Progress { done: true, incomplete: true })),
        (message(NLMSG_DONE, 0, SEQUENCE + 1, &[0]), Ok(more)), // the end of another dump
        (message(NLMSG_ERROR, 0, SEQUENCE, &[0]), Ok(done)),
        (message(NLMSG_NOOP, 0, SEQUENCE, &[]), Ok(more)),
        (message(NLMSG_OVERRUN, 0, SEQUENCE, &[]), Ok(Progress { done: false, incomplete: true })),
        (message(99, 0, SEQUENCE, &[]), malformed(0, 16)),
        (message(TCPDIAG_GETSOCK, 0, SEQUENCE, &[0; 17]), malformed(0, 84)), // one word short
        (message(SOCK_DIAG_BY_FAMILY, 0, SEQUENCE, &[0; 17]), malformed(0, 84)),
        ([message(NLMSG_NOOP, 0, SEQUENCE, &[]), vec![16, 0]].concat(), malformed(16, 18)),
        ([message(NLMSG_DONE, 0, SEQUENCE, &[]), vec![16, 0]].concat(), Ok(done)), // nothing counts after the end
    ];
    for (datagram, want) in cases {
        assert_eq!(parsed(&datagram).map(|(_, progress)| progress), want, "{datagram:?}");
    }
}

#[test]
fn a_dump_cut_off_anywhere_is_an_error_or_a_part() {
    for dump in [LISTENERS, CONNECTIONS, FIGURES, REFUSED] {
        let whole = parsed(dump).map_or(Vec::new(), |(sockets, _)| sockets);
        for end in 0..dump.len() {
            let mut part = Vec::new();
            let progress = parse(&dump[..end], SEQUENCE, Protocol::Tcp, &mut part);
            assert!(whole.starts_with(&part), "cut at {end}");
            assert_ne!(progress.map(|progress| progress.done), Ok(true), "cut at {end}");
        }
    }
}

#[test]
fn no_byte_changed_makes_it_panic() {
    for dump in [LISTENERS, CONNECTIONS, FIGURES, REFUSED] {
        let mut dump = dump.to_vec();
        for at in 0..dump.len() {
            for mask in [0x01, 0x80, 0xff] {
                dump[at] ^= mask;
                let mut sockets = Vec::new();
                let _ = parse(&dump, SEQUENCE, Protocol::Tcp, &mut sockets);
                assert!(sockets.len() <= dump.len() / SOCKET_BYTES, "byte {at} ^ {mask:#x}");
                dump[at] ^= mask;
            }
        }
    }
}

#[test]
fn a_dump_stops_at_its_limit() {
    let listeners: Vec<_> = (0..3).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let mut reader = Reader::default();
    for (limit, want) in [(0, Extent::Truncated), (2, Extent::Truncated), (NO_LIMIT, Extent::Whole)] {
        let mut sockets = Vec::new();
        assert_eq!(reader.dump(Wanted::Listeners, limit, &mut sockets), Ok(want), "limit {limit}");
        assert!(if want == Extent::Whole { sockets.len() >= listeners.len() } else { sockets.len() == limit });
    }
}

/// More sockets than any test host has.
const NO_LIMIT: usize = 1_000_000;
