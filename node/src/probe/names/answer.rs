//! A DNS answer as it was on the wire: the name that was asked for, and the addresses it leads to.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::proto::op::{Header, MessageType, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_resolver::proto::serialize::binary::{BinDecodable, BinDecoder};

/// Records read of one answer. The largest sets of addresses in use have some dozens.
const RECORDS_MAX: usize = 128;

/// Longest name, in bytes, without the dot of the root (RFC 1035).
const NAME_BYTES_MAX: usize = 253;

/// UDP (RFC 768), and its header's length.
const UDP: u8 = 17;
const UDP_HEADER: usize = 8;
const DNS_PORT: u16 = 53;
const IPV6_HEADER: usize = 40;

/// What somebody was told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The name asked for, in lower case.
    pub(super) name: Arc<str>,
    /// Addresses it leads to, each with how long that holds.
    pub(super) addresses: Vec<(IpAddr, Duration)>,
}

/// The answer in `packet`, which begins with its IP header. `None` if there is none: not UDP from a DNS server, a fragment
/// that is not the first, IPv6 with extension headers, no address, or nonsense.
pub(super) fn in_packet(packet: &[u8]) -> Option<Answer> {
    let datagram = match packet.first()? >> 4 {
        4 => {
            let header = usize::from(packet.first()? & 0x0f) * 4;
            let is_first = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]) & 0x1fff == 0;
            (header >= 20 && *packet.get(9)? == UDP && is_first).then(|| packet.get(header..)).flatten()?
        }
        6 => (*packet.get(6)? == UDP).then(|| packet.get(IPV6_HEADER..)).flatten()?,
        _ => return None,
    };
    let port = u16::from_be_bytes([*datagram.first()?, *datagram.get(1)?]);
    let length = usize::from(u16::from_be_bytes([*datagram.get(4)?, *datagram.get(5)?]));
    // Of a fragment, and of more than was captured, there is less than it says.
    let message = datagram.get(UDP_HEADER..length.min(datagram.len()))?;
    (port == DNS_PORT).then(|| in_message(message)).flatten()
}

/// The answer in a DNS message. Reads no further than it must: of a message that is cut, the records before the cut.
fn in_message(message: &[u8]) -> Option<Answer> {
    let mut decoder = BinDecoder::new(message);
    let header = Header::read(&mut decoder).ok()?;
    let is_answer = header.metadata.message_type == MessageType::Response
        && header.metadata.op_code == OpCode::Query
        && header.metadata.response_code == ResponseCode::NoError
        && header.counts.queries == 1;
    if !is_answer {
        return None;
    }
    let question = Query::read(&mut decoder).ok()?;
    let asks_for_addresses = matches!(question.query_type, RecordType::A | RecordType::AAAA | RecordType::ANY);
    if !asks_for_addresses || question.query_class != DNSClass::IN {
        return None;
    }
    let count = usize::from(header.counts.answers).min(RECORDS_MAX);
    let records: Vec<Record> = (0..count).map_while(|_| Record::read(&mut decoder).ok()).collect();
    let addresses = addresses(&question.name, &records);
    (!addresses.is_empty()).then_some(Answer { name: text(&question.name)?, addresses })
}

/// The addresses that `name` leads to by way of aliases, which come in their order (RFC 1034, section 4.3.2).
fn addresses(name: &Name, records: &[Record]) -> Vec<(IpAddr, Duration)> {
    let mut current = name;
    let mut addresses = Vec::new();
    for record in records.iter().filter(|record| record.dns_class == DNSClass::IN) {
        match &record.data {
            _ if record.name != *current => {}
            RData::CNAME(alias) => current = &alias.0,
            data => {
                let ip = data.ip_addr().map(|ip| ip.to_canonical()).filter(|ip| is_reachable(*ip));
                addresses.extend(ip.map(|ip| (ip, Duration::from_secs(record.ttl.into()))));
            }
        }
    }
    addresses
}

/// Whether another machine can be there. Blocklists answer with addresses at which none is.
fn is_reachable(ip: IpAddr) -> bool {
    !ip.is_unspecified() && !ip.is_loopback() && !ip.is_multicast()
}

/// A name as people read it; `None` for one of other signs than a host's name has: it is shown, and nobody meant it.
pub(super) fn text(name: &Name) -> Option<Arc<str>> {
    let text = name.to_ascii();
    let text = text.strip_suffix('.').unwrap_or(&text);
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_name = (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_fit);
    is_name.then(|| text.to_ascii_lowercase().into())
}

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::op::Message;
    use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, TXT};

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_labels(text.split('.').filter(|label| !label.is_empty()).map(str::as_bytes)).unwrap()
    }

    fn a(owner: &str, ip: [u8; 4], ttl: u32) -> Record {
        Record::from_rdata(name(owner), ttl, RData::A(A::from(std::net::Ipv4Addr::from(ip))))
    }

    fn cname(owner: &str, target: &str) -> Record {
        Record::from_rdata(name(owner), 60, RData::CNAME(CNAME(name(target))))
    }

    fn message(question: &str, kind: RecordType, answers: Vec<Record>) -> Message {
        let mut message = Message::response(7, OpCode::Query);
        message.add_query(Query::query(name(question), kind));
        message.add_answers(answers);
        message
    }

    /// What is read from a message, as text.
    fn read(message: &Message) -> Option<String> {
        in_message(&message.to_vec().unwrap()).map(|answer| {
            let addresses: Vec<_> =
                answer.addresses.iter().map(|(ip, ttl)| format!("{ip} {}", ttl.as_secs())).collect();
            format!("{}: {}", answer.name, addresses.join(", "))
        })
    }

    #[test]
    fn an_answer_leads_from_the_name_asked_for_to_addresses() {
        let aaaa = Record::from_rdata(
            name("a.test"),
            5,
            RData::AAAA(AAAA::from("2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap())),
        );
        let text = Record::from_rdata(name("a.test"), 5, RData::TXT(TXT::new(vec!["x".to_owned()])));
        let mut chaos = a("a.test", [192, 0, 2, 1], 5);
        chaos.dns_class = DNSClass::CH;
        let cases = [
            (message("a.test", RecordType::A, vec![a("a.test", [192, 0, 2, 1], 300)]), Some("a.test: 192.0.2.1 300")),
            (message("A.Test", RecordType::A, vec![a("a.tEST", [192, 0, 2, 1], 0)]), Some("a.test: 192.0.2.1 0")),
            (message("a.test", RecordType::AAAA, vec![aaaa]), Some("a.test: 2001:db8::1 5")),
            (
                message("a.test", RecordType::A, vec![a("a.test", [192, 0, 2, 1], 5), a("a.test", [192, 0, 2, 2], 6)]),
                Some("a.test: 192.0.2.1 5, 192.0.2.2 6"),
            ),
            (
                message(
                    "www.test",
                    RecordType::A,
                    vec![
                        cname("www.test", "cdn.test"),
                        cname("cdn.test", "edge.test"),
                        a("edge.test", [192, 0, 2, 9], 20),
                    ],
                ),
                Some("www.test: 192.0.2.9 20"),
            ),
            // What does not belong to the question counts for nothing.
            (message("a.test", RecordType::A, vec![a("b.test", [192, 0, 2, 1], 5)]), None),
            (message("a.test", RecordType::A, vec![cname("a.test", "b.test"), a("a.test", [192, 0, 2, 1], 5)]), None),
            (message("a.test", RecordType::A, vec![cname("a.test", "a.test")]), None),
            (message("a.test", RecordType::A, vec![chaos]), None),
            (message("a.test", RecordType::TXT, vec![text.clone(), a("a.test", [192, 0, 2, 1], 5)]), None),
            (message("a.test", RecordType::A, vec![text]), None),
            (
                message("a.test", RecordType::A, vec![a("a.test", [0, 0, 0, 0], 5), a("a.test", [127, 0, 0, 1], 5)]),
                None,
            ),
            (message("a b.test", RecordType::A, vec![a("a b.test", [192, 0, 2, 1], 5)]), None),
            (message(".", RecordType::A, vec![a(".", [192, 0, 2, 1], 5)]), None),
            (message("a.test", RecordType::A, vec![]), None),
        ];
        for (message, want) in cases {
            assert_eq!(read(&message).as_deref(), want, "{message}");
        }
    }

    #[test]
    fn only_good_answers_to_one_question_count() {
        let good = message("a.test", RecordType::A, vec![a("a.test", [192, 0, 2, 1], 5)]);
        let changed = |change: fn(&mut Message)| {
            let mut message = good.clone();
            change(&mut message);
            message
        };
        let cases = [
            ("good", good.clone(), true),
            ("a query", changed(|it| it.metadata.message_type = MessageType::Query), false),
            ("an update", changed(|it| it.metadata.op_code = OpCode::Update), false),
            ("no such name", changed(|it| it.metadata.response_code = ResponseCode::NXDomain), false),
            ("no question", changed(|it| it.queries.clear()), false),
            ("two questions", changed(|it| it.queries.extend(it.queries.clone())), false),
            ("cut short", changed(|it| it.metadata.truncation = true), true),
        ];
        for (what, message, want) in cases {
            assert_eq!(read(&message).is_some(), want, "{what}");
        }
    }

    #[test]
    fn no_more_records_are_read_than_the_bound() {
        let records = (0..=255).map(|last| a("a.test", [192, 0, 2, last], 5)).collect();
        let answer = in_message(&message("a.test", RecordType::A, records).to_vec().unwrap()).unwrap();
        assert_eq!(answer.addresses.len(), RECORDS_MAX);
    }

    fn good() -> Vec<u8> {
        message("www.test", RecordType::A, vec![cname("www.test", "b.test"), a("b.test", [192, 0, 2, 1], 5)])
            .to_vec()
            .unwrap()
    }

    fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(UDP_HEADER + payload.len()).unwrap();
        let mut datagram = port.to_be_bytes().to_vec();
        datagram.extend([0x80, 0]);
        datagram.extend(length.to_be_bytes());
        datagram.extend([0, 0]);
        datagram.extend(payload);
        datagram
    }

    fn ipv4(options: usize, protocol: u8, fragment: u16, datagram: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45 + u8::try_from(options / 4).unwrap(), 0, 0, 0, 0, 0];
        packet.extend(fragment.to_be_bytes());
        packet.extend([64, protocol, 0, 0, 192, 0, 2, 53, 192, 0, 2, 7]);
        packet.extend(std::iter::repeat_n(1, options));
        packet.extend(datagram);
        packet
    }

    fn ipv6(next: u8, datagram: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, 0, next, 64];
        packet.extend([0; 32]);
        packet.extend(datagram);
        packet
    }

    #[test]
    fn answers_are_found_in_packets_of_both_versions() {
        let answer = udp(53, &good());
        // Cut within the last record, as a fragment is.
        let cut = good().len() - 2;
        let cases = [
            ("v4", ipv4(0, UDP, 0, &answer), true),
            ("v4 with options", ipv4(8, UDP, 0, &answer), true),
            ("v4, more fragments follow", ipv4(0, UDP, 0x2000, &answer), true),
            ("v4, a later fragment", ipv4(0, UDP, 100, &answer), false),
            ("v4, TCP", ipv4(0, 6, 0, &answer), false),
            ("v4, another port", ipv4(0, UDP, 0, &udp(5353, &good())), false),
            ("v4, cut", ipv4(0, UDP, 0, &answer[..UDP_HEADER + cut]), false),
            ("v4, padded", ipv4(0, UDP, 0, &[&answer[..], &[0; 20]].concat()), true),
            ("v6", ipv6(UDP, &answer), true),
            ("v6 with an extension", ipv6(0, &answer), false),
            ("v5", [&[0x50], &ipv4(0, UDP, 0, &answer)[1..]].concat(), false),
        ];
        for (what, packet, want) in cases {
            assert_eq!(in_packet(&packet).is_some(), want, "{what}");
        }
        let found = in_packet(&ipv4(0, UDP, 0, &answer)).unwrap();
        let want = Answer { name: "www.test".into(), addresses: vec![([192, 0, 2, 1].into(), Duration::from_secs(5))] };
        assert_eq!(found, want);
    }

    #[test]
    fn nothing_in_a_packet_is_a_panic() {
        let packet = ipv4(0, UDP, 0, &udp(53, &good()));
        for end in 0..packet.len() {
            in_packet(&packet[..end]);
        }
        // Each byte with each value: lengths, counts, pointers that lead to themselves or beyond.
        for at in 0..packet.len() {
            for value in 0..=255 {
                let mut packet = packet.clone();
                packet[at] = value;
                in_packet(&packet);
            }
        }
        // As many pointers as there is room for, each to the one before.
        let mut chain = good()[..12].to_vec();
        chain.push(0);
        for _ in 0..2000 {
            let last = u16::try_from(chain.len() - if chain.len() == 13 { 1 } else { 2 }).unwrap();
            chain.extend((0xc000 | last).to_be_bytes());
        }
        in_packet(&ipv4(0, UDP, 0, &udp(53, &chain)));
    }
}
