#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::listener::parse;
use super::*;
use crate::probe::connections::netns::tests::{ourselves, process, with_new_netns};
use crate::probe::connections::netns::{Namespaces, of};

const DESTROYED: &[u8] = include_bytes!("../../../../../tests/fixtures/sock_diag/destroyed.bin");
const NSID: &[u8] = include_bytes!("../../../../../tests/fixtures/sock_diag/nsid.bin");
const PROC: &str = "/proc";

#[test]
fn recorded_ends_are_read_and_attempts_and_listeners_left_out() {
    let ended = parse(DESTROYED, Some(3));
    let line = |end: &Ended| format!("{} {} {} {}", end.local, end.remote, end.figures.sent, end.figures.received);
    let want = [
        // SYN and FIN count one each
        "127.0.0.1:40010 127.0.0.1:8080 1002 5001",
        "127.0.0.1:8080 127.0.0.1:40010 5001 1001",
        "[::1]:40014 [::1]:9090 2 1",
        "[::1]:9090 [::1]:40014 1 1",
    ];
    assert_eq!(ended.iter().map(line).collect::<Vec<_>>(), want);
    assert!(ended.iter().all(|end| end.nsid == Some(3) && end.figures.rtt_micros > 0));
}

#[test]
fn ends_cut_off_or_changed_anywhere_are_fewer_ends() {
    let whole = parse(DESTROYED, None);
    for end in 0..DESTROYED.len() {
        assert!(whole.starts_with(&parse(&DESTROYED[..end], None)), "cut at {end}");
    }
    let mut changed = DESTROYED.to_vec();
    for at in 0..changed.len() {
        changed[at] ^= 0xff;
        assert!(parse(&changed, None).len() <= 7, "byte {at}");
        changed[at] ^= 0xff;
    }
}

#[test]
fn an_id_is_read_from_the_kernels_answer() {
    let (before, after) = NSID.split_at(NSID.len() / 2);
    let refused = &include_bytes!("../../../../../tests/fixtures/sock_diag/refused.bin")[..];
    for (answer, want) in [(before, None), (after, Some(7)), (refused, None), (&[], None)] {
        assert_eq!(nsid::parse(answer), want, "{answer:?}");
        for end in 0..answer.len() {
            assert_eq!(nsid::parse(&answer[..end]), None, "cut at {end}");
        }
    }
}

/// Opens a connection, sends `payload` to the client, and closes it: the client first. Its addresses.
fn short_connection(address: IpAddr, payload: &[u8]) -> (SocketAddr, SocketAddr) {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    std::io::Write::write_all(&mut server, payload).unwrap();
    client.read_exact(&mut vec![0; payload.len()]).unwrap();
    let ends = (client.local_addr().unwrap(), client.peer_addr().unwrap());
    drop(client);
    server.read_to_end(&mut Vec::new()).unwrap();
    ends
}

/// The longest these tests wait for what comes within milliseconds.
const LONG: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

#[test]
fn a_short_connection_of_any_namespace_is_heard_of() {
    with_new_netns(
        || (),
        |thread, ()| {
            let there = of(Path::new(PROC), thread).unwrap();
            let mut namespaces = ourselves();
            let own = *namespaces.keys().next().unwrap();
            namespaces.insert(there, vec![process(thread)]);
            let mut names = nsid::Names::default();
            names.update(Path::new(PROC), &namespaces);
            let mut listener = Listener::open().unwrap();
            assert_eq!(listener.health(), Health::Everywhere);
            let inside = |address: IpAddr| {
                let connect = || short_connection(address, b"hello");
                crate::probe::connections::netns::inside(Path::new(PROC), there, thread, connect).unwrap().0
            };
            let addresses = [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()];
            let here = addresses.map(|address| (own, short_connection(address, b"hello")));
            let there = addresses.map(|address| (there, inside(address)));
            let mut missing: Vec<_> = here.into_iter().chain(there).collect();
            while !missing.is_empty() {
                let mut descriptors = [PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN)];
                assert_eq!(poll(&mut descriptors, Some(&LONG)), Ok(1), "not heard of: {missing:?}");
                let mut ended = Vec::new();
                assert_eq!(listener.hear(1000, &mut ended), Ok(0));
                for end in ended {
                    // Our namespace has other connections too, and this end has no name yet where it is another test's.
                    let Some(netns) = end.nsid.map_or(Some(own), |id| names.get(id)) else { continue };
                    let is_it = |known: &(Netns, _)| *known == (netns, (end.local, end.remote));
                    if let Some(at) = missing.iter().position(is_it) {
                        missing.swap_remove(at);
                        // The other end's FIN may come when only a TIME_WAIT is left.
                        assert!(end.figures.sent == 2 && [5, 6].contains(&end.figures.received), "{end:?}");
                    }
                }
            }
        },
    );
}

#[test]
fn a_feed_gives_what_its_thread_heard_and_ends_with_it() {
    let namespaces: Namespaces = ourselves();
    let mut feed = spawn(Path::new(PROC));
    let ends = short_connection(Ipv4Addr::LOCALHOST.into(), b"hello");
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    loop {
        let batch = feed.drain(&namespaces);
        assert_eq!(batch.health, Health::Everywhere);
        if batch.destroyed.iter().any(|end| (end.local, end.remote) == ends) {
            return; // and the thread is joined
        }
        assert!(std::time::Instant::now() < deadline, "not heard of");
        std::thread::yield_now();
    }
}
