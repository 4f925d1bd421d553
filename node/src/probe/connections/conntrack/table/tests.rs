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

fn table(interest: Interest, changes: &[Change], now: Instant) -> Table {
    let mut table = Table::new(interest);
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
            let table = table(Interest::NatAndUdp, &[Change::Seen(it)], Instant::now());
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
    let table = table(Interest::All, &[Change::Seen(it)], Instant::now());
    assert_eq!(table.len(), 1);
    assert_eq!(table.outgoing(Protocol::Udp, it.original.source, it.original.destination), None);
    assert_eq!(table.incoming(Protocol::Udp, it.reply.source, it.reply.destination), None);
}

#[test]
fn a_translation_lingers_and_then_goes() {
    let now = Instant::now();
    let it = published(Protocol::Tcp);
    let mut table = table(Interest::NatAndUdp, &[Change::Seen(it), Change::Gone(it)], now);
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
        let table = table(Interest::NatAndUdp, &changes, now);
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
        let mut table = table(Interest::NatAndUdp, &changes.map(Change::Seen), now);
        assert_eq!(table.len(), 2);
        table.apply(Change::Gone(passing), now);
        assert_eq!(table.entries().collect::<Vec<_>>(), [&translated]);
        let tuple = translated.original;
        assert!(table.outgoing(tuple.protocol, tuple.source, tuple.destination).is_some());
    }
}

/// What is told of a history, as `port what`, in one go at its end.
fn told(interest: Interest, changes: &[Change]) -> Vec<String> {
    let mut table = table(interest, changes, Instant::now());
    let line = |sighting: &Sighting| {
        let what = match (sighting.is_over, sighting.entry.replied) {
            (true, _) => "over",
            (false, true) => "open",
            (false, false) => "unanswered",
        };
        format!("{} {what}", sighting.entry.original.source.port())
    };
    let lines = table.take_seen().iter().map(line).collect();
    assert_eq!(table.take_seen(), [], "told once");
    lines
}

#[test]
fn flows_are_told_as_they_start_and_end() {
    use Change::{Gone, Seen};
    use Interest::{All, NatAndUdp};
    let udp = plain(Protocol::Udp, 1);
    let unanswered = Entry { replied: false, ..udp };
    let tcp = plain(Protocol::Tcp, 2);
    let attempt = Entry { assured: false, ..tcp };
    let closed = Entry { closed: true, ..tcp };
    let refused = Entry { assured: false, ..closed };
    let nat = published(Protocol::Tcp);
    let nat_closed = Entry { closed: true, ..nat };
    let cases: &[(&[Change], &[&str], &[&str])] = &[
        // history, what is told of NAT and UDP, and of all
        (&[Seen(unanswered)], &["1 unanswered"], &["1 unanswered"]),
        (&[Seen(unanswered), Seen(udp), Seen(udp)], &["1 open"], &["1 open"]),
        (&[Seen(unanswered), Gone(udp)], &["1 over"], &["1 over"]),
        (&[Seen(udp), Gone(udp), Seen(udp)], &["1 over", "1 open"], &["1 over", "1 open"]), // again
        (&[Gone(udp)], &["1 over"], &["1 over"]),                                           // the start was lost
        (&[Seen(attempt)], &[], &[]),
        (&[Seen(attempt), Gone(attempt)], &[], &[]),
        (&[Seen(attempt), Seen(tcp)], &[], &["2 open"]),
        (&[Seen(attempt), Seen(refused), Gone(refused)], &[], &[]),
        (&[Seen(tcp), Seen(closed)], &[], &["2 over"]),
        (&[Seen(tcp), Seen(closed), Seen(closed), Gone(closed)], &[], &["2 over"]), // closed, then reset
        (&[Seen(tcp), Gone(tcp)], &[], &["2 over"]),
        (&[Seen(closed), Gone(closed)], &[], &[]), // told before, or long ago
        (&[Gone(tcp)], &[], &["2 over"]),
        (&[Seen(nat)], &[], &["40001 open"]),
        (&[Seen(Entry { assured: false, ..nat }), Seen(nat)], &[], &["40001 open"]),
        (&[Seen(nat), Seen(nat_closed), Gone(nat_closed)], &[], &["40001 over"]),
        (&[Seen(nat_closed), Gone(nat_closed)], &[], &[]),
    ];
    for (changes, nat_and_udp, all) in cases {
        assert_eq!(told(NatAndUdp, changes), *nat_and_udp, "{changes:?}");
        assert_eq!(told(All, changes), *all, "{changes:?}");
    }
}

#[test]
fn a_flow_is_told_again_when_it_is_answered_and_when_it_ends() {
    let now = Instant::now();
    let second = Duration::from_secs(1);
    let udp = Entry { bytes: None, ..plain(Protocol::Udp, 1) };
    let unanswered = Entry { replied: false, ..udp };
    let counted = Entry { bytes: Some([36, 34]), ..udp };
    let mut table = Table::new(Interest::NatAndUdp);
    let cases = [
        (Change::Seen(unanswered), Some((unanswered, false))),
        (Change::Seen(unanswered), None),
        (Change::Seen(udp), Some((udp, false))),
        (Change::Seen(udp), None),
        (Change::Gone(counted), Some((counted, true))),
    ];
    for (step, (change, want)) in (0..).zip(cases) {
        let at = now + second * step;
        table.apply(change, at);
        let want = want.map(|(entry, is_over)| Sighting { entry, first: now, last: at, is_over });
        assert_eq!(table.take_seen(), want.into_iter().collect::<Vec<_>>(), "step {step}");
    }
}

#[test]
fn bytes_that_an_event_does_not_tell_are_kept() {
    let counted = Entry { bytes: Some([1, 2]), ..plain(Protocol::Udp, 1) };
    let mut table = Table::new(Interest::NatAndUdp);
    table.resync(&[counted], Extent::Whole, Instant::now());
    table.apply(Change::Seen(Entry { bytes: None, ..counted }), Instant::now());
    assert_eq!(table.entries().next(), Some(&counted));
}

#[test]
fn a_dump_tells_of_what_came_and_went_unless_it_was_cut() {
    let now = Instant::now();
    let [stays, goes, comes] = [1, 2, 3].map(|port| plain(Protocol::Udp, port));
    for (extent, ended) in [(Extent::Whole, true), (Extent::Truncated, false)] {
        let mut table = table(Interest::NatAndUdp, &[Change::Seen(stays), Change::Seen(goes)], now);
        table.take_seen();
        table.resync(&[stays, comes, comes], extent, now);
        let seen = table.take_seen();
        let over: Vec<_> = seen.iter().filter(|flow| flow.is_over).map(|flow| flow.entry).collect();
        let open: Vec<_> = seen.iter().filter(|flow| !flow.is_over).map(|flow| flow.entry).collect();
        assert_eq!(open, [comes]);
        assert_eq!(over, if ended { vec![goes] } else { vec![] });
        assert_eq!(table.len(), if ended { 2 } else { 3 });
    }
}

#[test]
fn another_interest_leaves_only_what_is_of_it() {
    let [nat, udp, tcp] = [published(Protocol::Tcp), plain(Protocol::Udp, 1), plain(Protocol::Tcp, 2)];
    let mut table = table(Interest::All, &[nat, udp, tcp].map(Change::Seen), Instant::now());
    table.set_interest(Interest::NatAndUdp);
    assert_eq!(table.entries().collect::<Vec<_>>(), [&nat, &udp]);
    assert_eq!(table.take_seen().len(), 1, "the UDP flow");
    table.set_interest(Interest::All);
    table.resync(&[nat, udp, tcp], Extent::Whole, Instant::now());
    assert_eq!(table.take_seen().len(), 2, "what is of interest again");
}

#[test]
fn the_oldest_is_forgotten_and_what_lingers_before_it() {
    let now = Instant::now();
    let nth = |n: usize| {
        let mut it = published(Protocol::Udp);
        it.original.source = SocketAddr::from(([10, 9, 0, (n >> 16) as u8], n as u16));
        it.reply.destination = it.original.source;
        it
    };
    let mut table = Table::new(Interest::NatAndUdp);
    table.apply(Change::Seen(nth(0)), now);
    table.apply(Change::Gone(nth(0)), now);
    for n in 1..ENTRIES_MAX + 2 {
        table.apply(Change::Seen(nth(n)), now);
    }
    assert_eq!((table.len(), table.left_out().forgotten), (ENTRIES_MAX, 1), "one lingered, one more was too many");
    assert_eq!(table.entries().next(), Some(&nth(2)));
    let of = |n| {
        let tuple = nth(n).original;
        table.outgoing(tuple.protocol, tuple.source, tuple.destination).is_some()
    };
    assert_eq!([0, 1, 2, ENTRIES_MAX + 1].map(of), [false, false, true, true]);
}

#[test]
fn nothing_grows_when_nobody_takes_it() {
    let now = Instant::now();
    let mut table = Table::new(Interest::NatAndUdp);
    let rounds = NEWS_MAX + ENDED_MAX;
    for round in 0..rounds {
        let it = plain(Protocol::Udp, round as u16);
        table.apply(Change::Seen(it), now);
        table.apply(Change::Gone(it), now);
    }
    assert!(table.news.len() <= NEWS_MAX);
    assert_eq!(table.left_out().untold, (rounds - ENDED_MAX) as u64);
    assert_eq!(table.take_seen().len(), ENDED_MAX);
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
        is_all in any::<bool>(),
    ) {
        let interest = if is_all { Interest::All } else { Interest::NatAndUdp };
        let now = Instant::now();
        let mut dump = dump;
        let mut keys = BTreeSet::new();
        dump.retain(|it| interest.holds(it) && keys.insert((it.original, it.zone)));
        let mut heard = table(interest, &changes, now);
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
