#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

use std::collections::BTreeMap;
use std::os::unix::net::UnixDatagram;

use super::*;
use crate::probe::connections::conntrack::{Change, parse};

const EVENTS: &[u8] = include_bytes!("../../../../../tests/fixtures/conntrack/events.bin");

/// The kernel filters what any socket gets: the recorded events go through a pair of ours. By client port, which pass.
fn passed(filter: Option<Filter>) -> BTreeMap<u16, Vec<String>> {
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    if let Some(filter) = filter {
        attach(&ours, filter).unwrap();
    }
    let mut passed: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    let mut events = EVENTS;
    while let Some(length) = events.first_chunk() {
        let (event, rest) = events.split_at(u32::from_ne_bytes(*length) as usize);
        events = rest;
        theirs.send(event).unwrap();
        let mut buffer = [0; 1024];
        let Ok(length) = ours.recv(&mut buffer) else { continue };
        assert_eq!(&buffer[..length], event, "the whole of it");
        let mut changes = Vec::new();
        parse(event, None, &mut changes).unwrap();
        let (port, what) = match changes.first() {
            Some(Change::Seen(entry)) if entry.closed => (entry.original.source.port(), "closed"),
            Some(Change::Seen(entry)) if entry.assured => (entry.original.source.port(), "established"),
            Some(Change::Seen(entry)) if entry.replied => (entry.original.source.port(), "answered"),
            Some(Change::Seen(entry)) => (entry.original.source.port(), "new"),
            Some(Change::Gone(entry)) => (entry.original.source.port(), "gone"),
            None => (0, "ICMP"),
        };
        passed.entry(port).or_default().push(what.to_owned());
    }
    passed
}

#[test]
fn of_recorded_events_those_pass_that_tell_something() {
    let every = "new answered established gone";
    let cases = [
        // client port: all events; those that pass
        (0, "ICMP ICMP ICMP", ""),
        (40001, every, "new gone"), // published port
        (40002, every, "new gone"), // masquerade
        (40003, every, "new gone"), // hairpin
        (40004, every, "new gone"), // published port, v6
        (40005, every, ""),
        (40006, "new answered gone", "new answered gone"), // UDP from here
        (40007, "new answered gone", "new answered gone"),
        (40008, "new answered gone", "new answered gone"),
        (40009, "new gone", "new gone"),
        (40010, every, ""),
        // Established, then closed in three steps.
        (40011, "new answered established established established closed gone", "new gone"),
    ];
    for (filter, column) in [(None, 0), (Some(Filter { has_ipvs: false }), 1)] {
        let passed = passed(filter);
        for (port, all, some) in cases {
            let got = passed.get(&port).map_or(String::new(), |events| events.join(" "));
            assert_eq!(got, [all, some][column], "{filter:?} {port}");
        }
    }
}

#[test]
fn where_ipvs_translates_the_start_and_end_of_all_tcp_passes() {
    let passed = passed(Some(Filter { has_ipvs: true }));
    for port in [40001, 40005, 40010, 40011] {
        assert_eq!(passed[&port].join(" "), "new gone", "{port}");
    }
    assert!(!passed.contains_key(&0), "no ICMP");
}

#[test]
fn what_is_no_event_passes() {
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    attach(&ours, Filter { has_ipvs: false }).unwrap();
    for datagram in [vec![0; 20], vec![0xff; 200]] {
        theirs.send(&datagram).unwrap();
        let mut buffer = [0; 1024];
        assert_eq!(ours.recv(&mut buffer).unwrap(), datagram.len());
    }
}
