#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

use std::collections::BTreeSet;

use super::*;

const LISTENERS: &[u8] = include_bytes!("../../../../tests/fixtures/sock_diag/listeners.bin");
const CONNECTIONS: &[u8] = include_bytes!("../../../../tests/fixtures/sock_diag/connections.bin");
const REFUSED: &[u8] = include_bytes!("../../../../tests/fixtures/sock_diag/refused.bin");
/// Sequence number of the recorded dumps.
const SEQUENCE: u32 = 1;

fn parsed(dump: &[u8]) -> Result<(Vec<Socket>, Progress), DumpError> {
    let mut sockets = Vec::new();
    parse(dump, SEQUENCE, &mut sockets).map(|progress| (sockets, progress))
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
        "127.0.0.1:40006 127.0.0.1:8080 FinWait1",
        "127.0.0.1:40008 127.0.0.1:8080 TimeWait",
        "127.0.0.1:40009 127.0.0.1:8080 Established",
        "127.0.0.1:6379 127.0.0.1:40002 Established",
        "127.0.0.1:8080 127.0.0.1:40006 CloseWait",
        "127.0.0.1:8080 127.0.0.1:40009 Established", // not accepted yet
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
        ([message(NLMSG_NOOP, 0, SEQUENCE, &[]), vec![16, 0]].concat(), malformed(16, 18)),
        ([message(NLMSG_DONE, 0, SEQUENCE, &[]), vec![16, 0]].concat(), Ok(done)), // nothing counts after the end
    ];
    for (datagram, want) in cases {
        assert_eq!(parsed(&datagram).map(|(_, progress)| progress), want, "{datagram:?}");
    }
}

#[test]
fn a_dump_cut_off_anywhere_is_an_error_or_a_part() {
    for dump in [LISTENERS, CONNECTIONS, REFUSED] {
        let whole = parsed(dump).map_or(Vec::new(), |(sockets, _)| sockets);
        for end in 0..dump.len() {
            let mut part = Vec::new();
            let progress = parse(&dump[..end], SEQUENCE, &mut part);
            assert!(whole.starts_with(&part), "cut at {end}");
            assert_ne!(progress.map(|progress| progress.done), Ok(true), "cut at {end}");
        }
    }
}

#[test]
fn no_byte_changed_makes_it_panic() {
    for dump in [LISTENERS, CONNECTIONS, REFUSED] {
        let mut dump = dump.to_vec();
        for at in 0..dump.len() {
            for mask in [0x01, 0x80, 0xff] {
                dump[at] ^= mask;
                let mut sockets = Vec::new();
                let _ = parse(&dump, SEQUENCE, &mut sockets);
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
