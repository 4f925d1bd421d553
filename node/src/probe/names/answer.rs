//! DNS messages as they are on the wire: a question, or an answer with the addresses its name leads to.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::proto::op::{Header, MessageType, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_resolver::proto::serialize::binary::{BinDecodable, BinDecoder};

use super::datagram::Datagram;
use super::question::Question;

/// Records read of one answer. The largest sets of addresses in use have some dozens.
const RECORDS_MAX: usize = 128;

/// Longest name, in bytes, without the dot of the root (RFC 1035).
const NAME_BYTES_MAX: usize = 253;

const DNS_PORT: u16 = 53;

/// What passes.
pub(super) enum Message<'a> {
    /// Somebody asks for addresses.
    Question(Question),
    /// Somebody is told them.
    Answer(Question, Records<'a>),
}

/// The records of an answer, not read yet.
pub(super) struct Records<'a> {
    decoder: BinDecoder<'a>,
    count: usize,
    name: Name,
}

/// What somebody was told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The name asked for, in lower case.
    pub(super) name: Arc<str>,
    /// Addresses it leads to, each with how long that holds.
    pub(super) addresses: Vec<(IpAddr, Duration)>,
}

impl<'a> Message<'a> {
    /// The message in `packet`, which begins with its IP header. `None` if there is none: no datagram to or from a DNS server,
    /// another question than one for addresses, or nonsense.
    pub(super) fn in_packet(packet: &'a [u8]) -> Option<Self> {
        let Datagram { from, to, payload } = Datagram::in_packet(packet)?;
        let mut decoder = BinDecoder::new(payload);
        let header = Header::read(&mut decoder).ok()?;
        let is_answer = header.metadata.message_type == MessageType::Response;
        let (client, server) = if is_answer { (to, from) } else { (from, to) };
        let is_good =
            server.port() == DNS_PORT && header.metadata.op_code == OpCode::Query && header.counts.queries == 1;
        if !is_good {
            return None;
        }
        let Query { name, query_type: kind, query_class, .. } = Query::read(&mut decoder).ok()?;
        let asks_for_addresses = matches!(kind, RecordType::A | RecordType::AAAA | RecordType::ANY);
        if !asks_for_addresses || query_class != DNSClass::IN {
            return None;
        }
        let question = Question { client, server, id: header.metadata.id, name: text(&name)?, kind };
        if !is_answer {
            return Some(Self::Question(question));
        }
        // That there is no such name is an answer too: what comes after it is not.
        let is_told = header.metadata.response_code == ResponseCode::NoError;
        let count = if is_told { usize::from(header.counts.answers).min(RECORDS_MAX) } else { 0 };
        Some(Self::Answer(question, Records { decoder, count, name }))
    }
}

impl Records<'_> {
    /// Reads them: no further than it must, and of a message that is cut those before the cut. `None` if there is no address
    /// of the name asked for.
    pub(super) fn answer(mut self, question: Question) -> Option<Answer> {
        let records: Vec<Record> = (0..self.count).map_while(|_| Record::read(&mut self.decoder).ok()).collect();
        let addresses = addresses(&self.name, &records);
        (!addresses.is_empty()).then_some(Answer { name: question.name, addresses })
    }
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

    use super::super::datagram::packets::plain;
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

    /// The answer in a packet, whoever asked.
    fn in_packet(packet: &[u8]) -> Option<Answer> {
        match super::Message::in_packet(packet)? {
            super::Message::Answer(question, records) => records.answer(question),
            super::Message::Question(_) => None,
        }
    }

    /// The answer in a DNS message.
    fn in_message(message: &[u8]) -> Option<Answer> {
        in_packet(&plain(DNS_PORT, 4000, message))
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

    #[test]
    fn an_answer_comes_from_where_its_question_went() {
        let question =
            |message: &Message, from, to| match super::Message::in_packet(&plain(from, to, &message.to_vec().unwrap()))
            {
                Some(super::Message::Question(question)) => Some((question, "asked")),
                Some(super::Message::Answer(question, _)) => Some((question, "answered")),
                None => None,
            };
        let answer = message("Www.Test", RecordType::AAAA, vec![]);
        let mut query = answer.clone();
        query.metadata.message_type = MessageType::Query;
        let mut nothing = answer.clone();
        nothing.metadata.response_code = ResponseCode::NXDomain;
        let of = |client: &str, server: &str| Question {
            client: client.parse().unwrap(),
            server: server.parse().unwrap(),
            id: 7,
            name: "www.test".into(),
            kind: RecordType::AAAA,
        };
        let cases = [
            (&query, 4000, 53, Some((of("192.0.2.53:4000", "192.0.2.7:53"), "asked"))),
            (&answer, 53, 4000, Some((of("192.0.2.7:4000", "192.0.2.53:53"), "answered"))),
            (&nothing, 53, 4000, Some((of("192.0.2.7:4000", "192.0.2.53:53"), "answered"))),
            (&query, 53, 53, Some((of("192.0.2.53:53", "192.0.2.7:53"), "asked"))),
            (&query, 53, 4000, None),
            (&query, 4000, 5353, None),
            (&answer, 4000, 53, None),
            (&answer, 5353, 4000, None),
        ];
        for (message, from, to, want) in cases {
            assert_eq!(question(message, from, to), want, "from {from} to {to}: {message}");
        }
    }

    #[test]
    fn of_an_answer_that_is_cut_the_records_before_the_cut_count() {
        let records = vec![a("a.test", [192, 0, 2, 1], 5), a("a.test", [192, 0, 2, 2], 5)];
        let whole = message("a.test", RecordType::A, records).to_vec().unwrap();
        for (missing, want) in [(0, 2), (2, 1), (20, 0)] {
            let got = in_message(&whole[..whole.len() - missing]).map_or(0, |answer| answer.addresses.len());
            assert_eq!(got, want, "without the last {missing} bytes");
        }
    }

    #[test]
    fn nothing_in_a_packet_is_a_panic() {
        let packet = plain(DNS_PORT, 4000, &good());
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
        in_message(&chain);
    }
}
