#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn tuple(protocol: Protocol, source: &str, destination: &str) -> Tuple {
    Tuple { protocol, source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

fn entry(original: Tuple, reply: Tuple) -> Entry {
    Entry { original, reply, zone: 0, replied: true, assured: true, closed: false, bytes: None }
}

/// A client behind a published port.
fn published(protocol: Protocol) -> Entry {
    entry(tuple(protocol, "10.40.0.2:40001", "10.40.0.1:8080"), tuple(protocol, "10.41.0.2:80", "10.40.0.2:40001"))
}

/// Nothing is translated.
fn plain(protocol: Protocol, port: u16) -> Entry {
    let mut there = tuple(protocol, "10.40.0.2:0", "10.41.0.2:53");
    there.source.set_port(port);
    entry(there, there.mirrored())
}

fn table(changes: &[Change], now: Instant) -> Table {
    let mut table = Table::default();
    for change in changes {
        table.apply(*change, now);
    }
    table
}

#[test]
fn both_ends_learn_who_the_other_is() {
    let cases = [
        // original, reply, as the client's and as the server's socket see it
        (("10.40.0.2:40001", "10.40.0.1:8080"), ("10.41.0.2:80", "10.40.0.2:40001")), // DNAT
        (("10.40.0.2:40002", "10.41.0.2:81"), ("10.41.0.2:81", "10.41.0.1:40002")),   // masquerade
        (("10.40.0.2:40003", "10.40.0.1:8090"), ("10.40.0.2:90", "10.40.0.1:61003")), // hairpin
        (("[fd40::2]:40004", "[fd40::1]:8080"), ("[fd41::2]:80", "[fd40::2]:40004")),
        (("10.40.0.2:40005", "10.41.0.9:80"), ("127.0.0.1:15001", "10.40.0.2:40005")), // REDIRECT
    ];
    for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
        for ((client, named), (server, appears)) in cases {
            let it = entry(tuple(protocol, client, named), tuple(protocol, server, appears));
            let table = table(&[Change::Seen(it)], Instant::now());
            let [client, named, server, appears] = [client, named, server, appears].map(|text| text.parse().unwrap());
            let there = Translation { source: appears, destination: server };
            let back = Translation { source: client, destination: named };
            assert_eq!(table.outgoing(protocol, client, named), Some(there), "{it:?}");
            assert_eq!(table.incoming(protocol, server, appears), Some(back), "{it:?}");
            assert_eq!(table.incoming(protocol, client, named), None, "{it:?}");
            assert_eq!(table.outgoing(protocol, server, appears), None, "{it:?}");
        }
    }
}

#[test]
fn what_is_not_translated_has_no_translation() {
    let it = plain(Protocol::Udp, 40008);
    let table = table(&[Change::Seen(it)], Instant::now());
    assert_eq!(table.len(), 1);
    assert_eq!(table.outgoing(Protocol::Udp, it.original.source, it.original.destination), None);
    assert_eq!(table.incoming(Protocol::Udp, it.reply.source, it.reply.destination), None);
}

#[test]
fn a_translation_lingers_and_then_goes() {
    let now = Instant::now();
    let it = published(Protocol::Tcp);
    let mut table = table(&[Change::Seen(it), Change::Gone(it)], now);
    let outgoing = |table: &Table| table.outgoing(Protocol::Tcp, it.original.source, it.original.destination);
    let other = Change::Seen(plain(Protocol::Udp, 1)); // something that makes it look at the time
    for (later, want) in [(0, true), (29, true), (30, false)] {
        table.apply(other, now + Duration::from_secs(later));
        assert_eq!(outgoing(&table).is_some(), want, "{later} s later");
        assert_eq!(table.len(), 1, "it is there no longer");
    }
}

#[test]
fn what_is_there_comes_before_what_lingers() {
    let now = Instant::now();
    let old = published(Protocol::Tcp);
    let mut new = old;
    new.reply.source = "10.41.0.3:80".parse().unwrap(); // the service has moved
    let outgoing = |table: &Table| table.outgoing(Protocol::Tcp, old.original.source, old.original.destination);
    let cases = [
        vec![Change::Seen(old), Change::Gone(old), Change::Seen(new)],
        vec![Change::Seen(old), Change::Seen(new)], // the end of the old one was lost
        vec![Change::Seen(old), Change::Seen(new), Change::Gone(old)], // or comes late
    ];
    for changes in cases {
        let table = table(&changes, now);
        assert_eq!(outgoing(&table).unwrap().destination, new.reply.source, "{changes:?}");
        assert_eq!(table.len(), 1, "{changes:?}");
        assert!(table.incoming(Protocol::Tcp, old.reply.source, old.reply.destination).is_some(), "the old lingers");
    }
}

#[test]
fn equal_addresses_in_two_zones_are_two_entries() {
    let now = Instant::now();
    let translated = published(Protocol::Udp);
    let passing = Entry { zone: 5, reply: translated.original.mirrored(), ..translated };
    for changes in [[translated, passing], [passing, translated]] {
        let mut table = table(&changes.map(Change::Seen), now);
        assert_eq!(table.len(), 2);
        table.apply(Change::Gone(passing), now);
        assert_eq!(table.entries().collect::<Vec<_>>(), [&translated]);
        let tuple = translated.original;
        assert!(table.outgoing(tuple.protocol, tuple.source, tuple.destination).is_some());
    }
}

#[test]
fn tcp_that_is_not_translated_is_left_to_others() {
    let cases = [
        (plain(Protocol::Tcp, 2), false),
        (plain(Protocol::Udp, 2), true),
        (plain(Protocol::Sctp, 2), true),
        (published(Protocol::Tcp), true),
        (Entry { replied: false, assured: false, ..published(Protocol::Tcp) }, true),
    ];
    for (it, want) in cases {
        let now = Instant::now();
        let mut table = table(&[Change::Seen(it)], now);
        assert_eq!(table.len(), usize::from(want), "{it:?}");
        table.apply(Change::Gone(it), now);
        assert!(table.is_empty(), "{it:?}");
    }
}

#[test]
fn bytes_that_an_event_does_not_tell_are_kept() {
    let counted = Entry { bytes: Some([1, 2]), ..plain(Protocol::Udp, 1) };
    let mut table = Table::default();
    table.resync(&[counted], Extent::Whole, Instant::now());
    table.apply(Change::Seen(Entry { bytes: None, ..counted }), Instant::now());
    assert_eq!(table.entries().next(), Some(&counted));
}

#[test]
fn a_dump_tells_of_what_came_and_went_unless_it_was_cut() {
    let now = Instant::now();
    let [stays, goes, comes] = [1, 2, 3].map(|port| plain(Protocol::Udp, port));
    for (extent, want) in [(Extent::Whole, vec![&stays, &comes]), (Extent::Truncated, vec![&stays, &goes, &comes])] {
        let mut table = table(&[Change::Seen(stays), Change::Seen(goes)], now);
        table.resync(&[stays, comes, comes], extent, now);
        assert_eq!(table.entries().collect::<Vec<_>>(), want);
    }
}

/// The connection of the `n`th client to a published port.
fn nth(protocol: Protocol, n: usize) -> Entry {
    let mut it = published(protocol);
    it.original.source = SocketAddr::from(([10, 9, 0, (n >> 16) as u8], n as u16));
    it.reply.destination = it.original.source;
    it
}

#[test]
fn the_least_missed_is_forgotten_first() {
    let now = Instant::now();
    let tcp = |n| nth(Protocol::Tcp, n);
    let [udp, later_udp, gone] = [(Protocol::Udp, 1), (Protocol::Udp, 2), (Protocol::Tcp, 3)].map(|(p, n)| nth(p, n));
    let [open, closed] = [false, true].map(|closed| Entry { closed, ..tcp(4) });
    let mut table = table(&[Change::Seen(tcp(0))], now);
    for change in [Change::Seen(udp), Change::Seen(open), Change::Seen(gone), Change::Gone(gone)] {
        table.apply(change, now);
    }
    for n in 5..ENTRIES_MAX {
        table.apply(Change::Seen(tcp(n)), now);
    }
    table.apply(Change::Seen(later_udp), now);
    table.apply(Change::Seen(closed), now);
    let is_known = |table: &Table, it: &Entry| {
        table.outgoing(it.original.protocol, it.original.source, it.original.destination).is_some()
    };
    // In the order in which they go; how many that were there are forgotten then.
    let in_turn = [(gone, 0), (closed, 1), (udp, 2), (later_udp, 3), (tcp(0), 4), (tcp(5), 5)];
    for (turn, (_, forgotten)) in in_turn.iter().enumerate() {
        table.apply(Change::Seen(tcp(ENTRIES_MAX + turn)), now);
        let known = in_turn.map(|(it, _)| is_known(&table, &it));
        assert_eq!(known, std::array::from_fn(|other| other > turn), "turn {turn}");
        assert_eq!((table.forgotten(), is_known(&table, &tcp(6))), (*forgotten, true), "turn {turn}");
    }
    assert_eq!(table.len(), ENTRIES_MAX);
}

#[test]
fn no_more_is_held_whatever_lingers() {
    let now = Instant::now();
    let mut table = Table::default();
    for n in 0..ENTRIES_MAX + 100 {
        let it = nth(Protocol::Tcp, n);
        table.apply(Change::Seen(it), now);
        table.apply(Change::Gone(it), now);
    }
    assert!(table.is_empty());
    assert_eq!((table.flows.held(), table.forgotten()), (ENTRIES_MAX, 0));
}

fn any_change() -> impl Strategy<Value = Change> {
    (any_entry(), any::<bool>()).prop_map(|(it, gone)| if gone { Change::Gone(it) } else { Change::Seen(it) })
}

/// Few addresses, so that they meet.
fn any_entry() -> impl Strategy<Value = Entry> {
    let protocol = prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp)];
    (protocol, 0..4_u16, 0..3_u8, 0..2_u16, any::<[bool; 3]>()).prop_map(|(protocol, port, server, zone, flags)| {
        let mut it = plain(protocol, port);
        if server > 0 {
            it.reply.source = SocketAddr::from(([10, 42, 0, server], 80));
        }
        let [replied, assured, closed] = flags;
        Entry { zone, replied, assured, closed, ..it }
    })
}

fn lines(entries: impl Iterator<Item = Entry>) -> BTreeSet<String> {
    entries.map(|entry| format!("{entry:?}")).collect()
}

proptest! {
    #[test]
    fn whatever_was_heard_a_dump_sets_it_right(
        changes in prop::collection::vec(any_change(), 0..60),
        dump in prop::collection::vec(any_entry(), 0..12),
    ) {
        let now = Instant::now();
        let mut dump = dump;
        let mut keys = BTreeSet::new();
        dump.retain(|it| it.is_of_interest() && keys.insert((it.original, it.zone)));
        let mut heard = table(&changes, now);
        heard.resync(&dump, Extent::Whole, now);
        prop_assert_eq!(lines(heard.entries().copied()), lines(dump.iter().copied()));
        for it in dump.iter().filter(|it| it.is_translated()) {
            let Tuple { protocol, source, destination } = it.original;
            let found = heard.outgoing(protocol, source, destination);
            let ends = |other: &&Entry| other.original == it.original && other.is_translated();
            prop_assert!(dump.iter().filter(ends).any(|other| Some(other.reply.source) == found.map(|to| to.destination)));
        }
        let much_later = now + LINGER;
        heard.resync(&[], Extent::Whole, much_later);
        heard.resync(&[], Extent::Whole, much_later + LINGER);
        prop_assert!(heard.is_empty());
        for it in &dump {
            let Tuple { protocol, source, destination } = it.original;
            prop_assert_eq!(heard.outgoing(protocol, source, destination), None);
        }
    }
}
