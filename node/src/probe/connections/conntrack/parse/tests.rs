#![allow(clippy::unwrap_used)] // a test that panics has failed, as it should

use super::*;

const EVENTS: &[u8] = include_bytes!("../../../../../tests/fixtures/conntrack/events.bin");
const DUMP: &[u8] = include_bytes!("../../../../../tests/fixtures/conntrack/dump.bin");
const REFUSED: &[u8] = include_bytes!("../../../../../tests/fixtures/conntrack/refused.bin");
/// Sequence number of the recorded dump.
const SEQUENCE: Option<u32> = Some(1);

fn parsed(datagrams: &[u8], sequence: Option<u32>) -> Result<(Vec<Change>, Progress), Error> {
    let mut changes = Vec::new();
    parse(datagrams, sequence, &mut changes).map(|progress| (changes, progress))
}

/// `protocol original | reply flags bytes`, with the flags replied, assured, closed.
fn line(entry: &Entry) -> String {
    let arrow = |tuple: &Tuple| format!("{} > {}", tuple.source, tuple.destination);
    let flag = |is_set, letter| if is_set { letter } else { '-' };
    let flags: String =
        [flag(entry.replied, 'r'), flag(entry.assured, 'a'), flag(entry.closed, 'c')].into_iter().collect();
    let bytes = entry.bytes.map_or(String::new(), |[there, back]| format!(" {there}/{back}"));
    let protocol = entry.original.protocol.as_str();
    format!("{protocol} {} | {} {flags}{bytes}", arrow(&entry.original), arrow(&entry.reply))
}

#[test]
fn a_recorded_dump_is_read() {
    let (changes, progress) = parsed(DUMP, SEQUENCE).unwrap();
    assert_eq!(progress, Progress { done: true, incomplete: false });
    let mut lines: Vec<String> = changes
        .iter()
        .map(|change| match change {
            Change::Seen(entry) => line(entry),
            Change::Gone(_) => panic!("{change:?}"),
        })
        .collect();
    lines.sort();
    let want = [
        "tcp 10.40.0.2:40001 > 10.40.0.1:8080 | 10.41.0.2:80 > 10.40.0.2:40001 ra- 219/170", // published port
        "tcp 10.40.0.2:40002 > 10.41.0.2:81 | 10.41.0.2:81 > 10.41.0.1:40002 ra- 219/170",   // masquerade
        "tcp 10.40.0.2:40003 > 10.40.0.1:8090 | 10.40.0.2:90 > 10.40.0.1:40003 ra- 219/170", // hairpin
        "tcp 10.40.0.2:40010 > 10.41.0.2:80 | 10.41.0.2:80 > 10.40.0.2:40010 ra-",           // not counted
        "tcp 10.40.0.2:40011 > 10.40.0.1:8080 | 10.41.0.2:80 > 10.40.0.2:40011 rac",
        "tcp [fd40::2]:40004 > [fd40::1]:8080 | [fd41::2]:80 > [fd40::2]:40004 ra- 371/230",
        "tcp [fd40::2]:40005 > [fd41::2]:80 | [fd41::2]:80 > [fd40::2]:40005 ra- 299/230",
        "udp 10.40.0.2:40006 > 10.40.0.1:5300 | 10.41.0.2:53 > 10.40.0.2:40006 r-- 36/34",
        "udp 10.40.0.2:40007 > 10.41.0.2:54 | 10.41.0.2:54 > 10.41.0.1:40007 r-- 36/34",
        "udp 10.40.0.2:40009 > 10.41.0.2:55 | 10.41.0.2:55 > 10.40.0.2:40009 --- 36/0", // nobody answers
        "udp [fd40::2]:40008 > [fd41::2]:53 | [fd41::2]:53 > [fd40::2]:40008 r-- 56/54",
    ];
    assert_eq!(lines, want); // and no ICMP
}

#[test]
fn recorded_events_tell_of_each_step_of_a_connection() {
    let (changes, progress) = parsed(EVENTS, None).unwrap();
    assert_eq!(progress, Progress::default());
    let of_port = |port| {
        let named = changes.iter().map(|change| match change {
            Change::Seen(entry) => ("seen", entry),
            Change::Gone(entry) => ("gone", entry),
        });
        let of_it = named.filter(|(_, entry)| entry.original.source.port() == port);
        of_it.map(|(what, entry)| format!("{what} {}", line(entry))).collect::<Vec<_>>()
    };
    let dnat = "tcp 10.40.0.2:40011 > 10.40.0.1:8080 | 10.41.0.2:80 > 10.40.0.2:40011";
    let steps = ["seen ---", "seen r--", "seen ra-", "seen ra-", "seen ra-", "seen rac", "gone rac"];
    let want: Vec<String> = steps.iter().map(|step| format!("{} {dnat} {}", &step[..4], &step[5..])).collect();
    assert_eq!(of_port(40011), want);
    let udp = "udp 10.40.0.2:40006 > 10.40.0.1:5300 | 10.41.0.2:53 > 10.40.0.2:40006";
    let want = [format!("seen {udp} ---"), format!("seen {udp} r--"), format!("gone {udp} r-- 36/34")];
    assert_eq!(of_port(40006), want);
    let unanswered = "udp 10.40.0.2:40009 > 10.41.0.2:55 | 10.41.0.2:55 > 10.40.0.2:40009";
    assert_eq!(of_port(40009), [format!("seen {unanswered} ---"), format!("gone {unanswered} --- 36/0")]);
    let gone = changes.iter().filter(|change| matches!(change, Change::Gone(_))).count();
    assert_eq!((changes.len(), gone), (42, 11));
}

#[test]
fn who_may_not_ask_is_told() {
    assert_eq!(parsed(REFUSED, SEQUENCE), Err(Error::Denied));
}

/// A netlink message.
fn message(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + payload.len()).unwrap();
    let header = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &flags.to_ne_bytes(), &sequence.to_ne_bytes()];
    [&header.concat()[..], &[0; 4], payload, &vec![0; payload.len().next_multiple_of(4) - payload.len()]].concat()
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap();
    let padding = vec![0; value.len().next_multiple_of(4) - value.len()];
    [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value, &padding].concat()
}

fn nested(kind: u16, attributes: &[Vec<u8>]) -> Vec<u8> {
    attribute(kind | 0x8000, &attributes.concat())
}

#[test]
fn messages_that_are_no_entries_are_understood() {
    use netlink_packet_core::{NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP, NLMSG_OVERRUN};
    let number = |number: i32| number.to_ne_bytes();
    let more = Progress::default();
    let done = Progress { done: true, incomplete: false };
    let malformed = |at, length| Err(Error::Malformed { at, length });
    let cases = [
        (vec![], Ok(more)),
        (message(NLMSG_DONE, 0, 1, &number(0)), Ok(done)),
        (message(NLMSG_DONE, 0, 1, &[]), Ok(done)),
        (message(NLMSG_DONE, 0, 1, &number(-1)), Err(Error::Denied)),
        (message(NLMSG_ERROR, 0, 1, &number(-22)), Err(Error::Refused(Errno::INVAL))),
        (message(NLMSG_DONE, 0, 1, &number(1)), malformed(0, 20)),
        (message(NLMSG_DONE, 0, 1, &number(i32::MIN)), malformed(0, 20)),
        (message(NLMSG_DONE, NLM_F_DUMP_INTR, 1, &number(0)), Ok(Progress { done: true, incomplete: true })),
        (message(NLMSG_DONE, 0, 2, &number(0)), Ok(more)), // the end of another dump
        (message(NLMSG_ERROR, 0, 1, &number(0)), Ok(done)),
        (message(NLMSG_NOOP, 0, 1, &[]), Ok(more)),
        (message(NLMSG_OVERRUN, 0, 1, &[]), Ok(Progress { done: false, incomplete: true })),
        (message(0x103, 0, 1, &[]), Ok(more)),                  // statistics
        (message(ENTRY_SEEN, 0, 1, &[0; 3]), malformed(0, 20)), // no header
        (message(ENTRY_SEEN, 0, 1, &[0; 4]), malformed(0, 20)), // no addresses
        ([message(NLMSG_NOOP, 0, 1, &[]), vec![16, 0]].concat(), malformed(16, 18)),
        ([message(NLMSG_DONE, 0, 1, &[]), vec![16, 0]].concat(), Ok(done)), // nothing counts after the end
    ];
    for (datagram, want) in cases {
        assert_eq!(parsed(&datagram, SEQUENCE).map(|(_, progress)| progress), want, "{datagram:?}");
    }
}

#[test]
fn what_an_entry_may_lack_and_what_not() {
    let ip = |last: u8| nested(1, &[attribute(1, &[10, 0, 0, 1]), attribute(2, &[10, 0, 0, last])]);
    let ports = |protocol: u8| {
        nested(2, &[attribute(1, &[protocol]), attribute(2, &9_u16.to_be_bytes()), attribute(3, &80_u16.to_be_bytes())])
    };
    let tuple = |kind, protocol| nested(kind, &[ip(2), ports(protocol)]);
    let sctp = [tuple(1, 132), tuple(2, 132)].concat();
    let zone = |zone: u16| attribute(18, &zone.to_be_bytes());
    let zoned = nested(1, &[ip(2), ports(6), attribute(3, &7_u16.to_be_bytes())]);
    let tcp = [tuple(1, 6), tuple(2, 6)].concat();
    let closing = |state: u8| nested(4, &[nested(1, &[attribute(1, &[state])])]);
    let malformed = "malformed".to_owned();
    let cases = [
        (sctp.clone(), "sctp 10.0.0.1:9 > 10.0.0.2:80 | 10.0.0.1:9 > 10.0.0.2:80 --- zone 0".to_owned()),
        ([zone(5), sctp].concat(), "sctp 10.0.0.1:9 > 10.0.0.2:80 | 10.0.0.1:9 > 10.0.0.2:80 --- zone 5".to_owned()),
        (
            [zoned, tuple(2, 6)].concat(),
            "tcp 10.0.0.1:9 > 10.0.0.2:80 | 10.0.0.1:9 > 10.0.0.2:80 --- zone 7".to_owned(),
        ),
        (
            [tcp.clone(), closing(8)].concat(),
            "tcp 10.0.0.1:9 > 10.0.0.2:80 | 10.0.0.1:9 > 10.0.0.2:80 --c zone 0".to_owned(),
        ),
        (
            [tcp.clone(), closing(6)].concat(),
            "tcp 10.0.0.1:9 > 10.0.0.2:80 | 10.0.0.1:9 > 10.0.0.2:80 --- zone 0".to_owned(),
        ),
        ([tuple(1, 47), tuple(2, 47)].concat(), "skipped".to_owned()), // GRE
        ([tuple(1, 6), tuple(2, 47)].concat(), "skipped".to_owned()),
        (tuple(1, 6), malformed.clone()),                                    // no reply
        ([nested(1, &[ports(6)]), tuple(2, 6)].concat(), malformed.clone()), // no addresses
        ([nested(1, &[ip(2)]), tuple(2, 6)].concat(), malformed.clone()),    // no ports
        ([nested(1, &[ip(2), nested(2, &[attribute(1, &[6])])]), tuple(2, 6)].concat(), malformed.clone()),
        ([tcp.clone(), attribute(3, &[0; 3])].concat(), malformed.clone()), // a status of three bytes
        ([tcp.clone(), vec![3, 0, 0, 0]].concat(), malformed.clone()),      // shorter than its header
        ([tcp, vec![8, 0, 3, 0]].concat(), malformed.clone()),              // longer than there is
    ];
    for (attributes, want) in cases {
        let payload = [vec![2, 0, 0, 0], attributes].concat();
        let got = match parsed(&message(ENTRY_SEEN, 0, 0, &payload), None) {
            Ok((changes, _)) => changes.first().map_or("skipped".to_owned(), |change| match change {
                Change::Seen(entry) => format!("{} zone {}", line(entry), entry.zone),
                Change::Gone(_) => "gone".to_owned(),
            }),
            Err(_) => malformed.clone(),
        };
        assert_eq!(got, want, "{payload:?}");
    }
}

#[test]
fn datagrams_cut_off_anywhere_are_an_error_or_a_part() {
    let events = messages(EVENTS).into_iter().map(|event| (event, None));
    for (datagrams, sequence) in events.chain([(DUMP, SEQUENCE), (REFUSED, SEQUENCE)]) {
        let whole = parsed(datagrams, sequence).map_or(Vec::new(), |(changes, _)| changes);
        for end in 0..datagrams.len() {
            let mut part = Vec::new();
            let progress = parse(&datagrams[..end], sequence, &mut part);
            assert!(whole.starts_with(&part), "cut at {end}");
            assert_ne!(progress.map(|progress| progress.done), Ok(true), "cut at {end}");
        }
    }
}

#[test]
fn no_byte_changed_makes_it_panic() {
    for (datagrams, sequence) in [(EVENTS, None), (DUMP, SEQUENCE), (REFUSED, SEQUENCE)] {
        for message in messages(datagrams) {
            let mut message = message.to_vec();
            for at in 0..message.len() {
                for mask in [0x01, 0x80, 0xff] {
                    message[at] ^= mask;
                    let mut changes = Vec::new();
                    let _ = parse(&message, sequence, &mut changes);
                    assert!(changes.len() <= 1, "byte {at} ^ {mask:#x}");
                    message[at] ^= mask;
                }
            }
        }
    }
}

/// One by one.
fn messages(mut datagrams: &[u8]) -> Vec<&[u8]> {
    let mut messages = Vec::new();
    while let Some(length) = datagrams.first_chunk() {
        let (message, rest) = datagrams.split_at(u32::from_ne_bytes(*length) as usize);
        messages.push(message);
        datagrams = rest;
    }
    messages
}
