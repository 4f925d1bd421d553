//! What is in DNS about a peer, as a function of its address alone. So whoever knows the address of a
//! dead peer knows what to remove.
//!
//! ```text
//! scope.weave.local                A    10.0.0.5           found without a port: the default one
//! 10-0-0-5.scope.weave.local       A    10.0.0.5
//! _scope._tcp.scope.weave.local    SRV  0 0 4030 10-0-0-5.scope.weave.local
//! ```
//! SRV records (RFC 2782) say the port. Each has a target of its own: one that all peers shared
//! would have one peer's exit take the record of all.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use hickory_client::proto::op::update_message::UpdateMessage;
use hickory_client::proto::op::{Message, MessageType, OpCode, Query};
use hickory_client::proto::rr::rdata::SRV;
use hickory_client::proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::dns::MeshName;

/// TTL of what we register, in seconds. A peer that left is out of every cache half a minute after its
/// records went, and a peer that looks twice a minute costs a server nothing.
const TTL_SECS: u32 = 30;

/// Label of the service's SRV records.
const SERVICE: &str = "_scope._tcp";

/// Where the SRV records of a mesh are.
pub(super) fn service_name(mesh: &MeshName) -> Name {
    below(SERVICE, mesh)
}

/// Whether others can reach a peer by this address: it means something outside of this host and link.
pub(super) fn is_registrable(address: &SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    let is_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(is_local || ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || address.port() == 0)
}

/// The records that lead to a peer at `address`.
pub(super) fn leading_to(address: SocketAddr, mesh: &MeshName) -> Vec<Record> {
    let ip = address.ip().to_canonical();
    let host = below(&label(ip), mesh);
    let service = SRV::new(0, 0, address.port(), host.clone());
    vec![
        Record::from_rdata(mesh.as_name().clone(), TTL_SECS, RData::from(ip)),
        Record::from_rdata(host, TTL_SECS, RData::from(ip)),
        Record::from_rdata(service_name(mesh), TTL_SECS, RData::SRV(service)),
    ]
}

/// Of the records that lead to `address` those that lead to none of `kept`: peers on one address, at
/// two ports, share all but the SRV record.
pub(super) fn leading_only_to(address: SocketAddr, kept: &BTreeSet<SocketAddr>, mesh: &MeshName) -> Vec<Record> {
    let ip = address.ip().to_canonical();
    let mut same_ip = kept.iter().filter(|kept| kept.ip().to_canonical() == ip).peekable();
    let is_shared = same_ip.peek().is_some();
    if same_ip.any(|kept| kept.port() == address.port()) {
        return Vec::new();
    }
    let mut records = leading_to(address, mesh);
    records.retain(|record| !is_shared || record.record_type() == RecordType::SRV);
    records
}

/// Of the records that lead to one address, that at the name made of the address.
pub(super) fn at_its_own_name(records: &[Record]) -> Option<&Record> {
    let is_target = |name: &Name| {
        records.iter().any(|record| matches!(&record.data, RData::SRV(service) if service.target == *name))
    };
    records.iter().find(|record| is_target(&record.name))
}

/// An RFC 2136 update of `zone`: `added` are there afterwards, `removed` are not, whatever was before.
/// All or nothing.
pub(super) fn update(zone: &Name, added: Vec<Record>, removed: Vec<Record>) -> Message {
    let mut message = Message::new(rand::random(), MessageType::Query, OpCode::Update);
    message.add_zone(Query::query(zone.clone(), RecordType::SOA));
    message.add_updates(added);
    message.add_updates(removed.into_iter().map(|mut record| {
        // "Delete an RR from an RRset", RFC 2136 §2.5.4.
        record.dns_class = DNSClass::NONE;
        record.ttl = 0;
        record
    }));
    message
}

/// An address as one label of letters, digits and inner dashes. A v6 address is written out: `::` would
/// make a label that begins with a dash.
fn label(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(v4) => v4.to_string().replace('.', "-"),
        IpAddr::V6(v6) => v6.segments().map(|segment| format!("{segment:04x}")).join("-"),
    }
}

fn below(labels: &str, mesh: &MeshName) -> Name {
    Name::from_ascii(labels)
        .and_then(|name| name.append_domain(mesh.as_name()))
        .expect("a mesh's name leaves room for our labels")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_reached_by_three_records() {
        let cases = [
            (
                "10.0.0.5:4030",
                [
                    "scope.weave.local. 30 IN A 10.0.0.5",
                    "10-0-0-5.scope.weave.local. 30 IN A 10.0.0.5",
                    "_scope._tcp.scope.weave.local. 30 IN SRV 0 0 4030 10-0-0-5.scope.weave.local.",
                ],
            ),
            (
                "[2001:db8::5]:9",
                [
                    "scope.weave.local. 30 IN AAAA 2001:db8::5",
                    "2001-0db8-0000-0000-0000-0000-0000-0005.scope.weave.local. 30 IN AAAA 2001:db8::5",
                    "_scope._tcp.scope.weave.local. 30 IN SRV 0 0 9 \
                     2001-0db8-0000-0000-0000-0000-0000-0005.scope.weave.local.",
                ],
            ),
            (
                "[::ffff:10.0.0.5]:4030",
                [
                    "scope.weave.local. 30 IN A 10.0.0.5",
                    "10-0-0-5.scope.weave.local. 30 IN A 10.0.0.5",
                    "_scope._tcp.scope.weave.local. 30 IN SRV 0 0 4030 10-0-0-5.scope.weave.local.",
                ],
            ),
        ];
        for (address, want) in cases {
            assert_eq!(texts(&leading_to(at(address), &MeshName::default())), want, "{address}");
        }
    }

    #[test]
    fn a_peer_takes_only_its_own_records_with_it() {
        let own = Some("10-0-0-5.scope.weave.local.");
        let cases: [(&str, &[&str], usize, Option<&str>); 5] = [
            // who goes, who stays, how many records are removed, at which name of its own
            ("10.0.0.5:4030", &[], 3, own),
            ("10.0.0.5:4030", &["10.0.0.6:4030"], 3, own),
            ("10.0.0.5:4030", &["10.0.0.5:4031"], 1, None),
            ("10.0.0.5:4030", &["10.0.0.5:4030", "10.0.0.5:4031"], 0, None),
            ("10.0.0.5:4030", &["10.0.0.5:4031", "[::ffff:10.0.0.5]:4030"], 0, None),
        ];
        for (address, kept, want, want_own) in cases {
            let kept = kept.iter().map(|kept| at(kept)).collect();
            let removed = leading_only_to(at(address), &kept, &MeshName::default());
            assert_eq!(removed.len(), want, "{address} goes, {kept:?} stay: {removed:?}");
            assert_eq!(at_its_own_name(&removed).map(|record| record.name.to_ascii()).as_deref(), want_own);
        }
    }

    #[test]
    fn an_address_that_others_cannot_reach_is_not_registered() {
        let cases = [
            ("10.0.0.5:4030", true),
            ("[2001:db8::5]:4030", true),
            ("[fd00::5]:4030", true),
            ("127.0.0.1:4030", false),
            ("[::1]:4030", false),
            ("[::ffff:127.0.0.1]:4030", false),
            ("0.0.0.0:4030", false),
            ("[::]:4030", false),
            ("169.254.1.1:4030", false),
            ("[fe80::1]:4030", false),
            ("224.0.0.1:4030", false),
            ("10.0.0.5:0", false),
        ];
        for (address, want) in cases {
            assert_eq!(is_registrable(&at(address)), want, "{address}");
        }
    }

    #[test]
    fn the_longest_name_of_a_mesh_leaves_room() {
        let label = "a".repeat(63);
        let mesh: MeshName = format!("{label}.{label}.{label}.{}", "a".repeat(20)).parse().unwrap();
        assert_eq!(leading_to(at("[2001:db8::5]:4030"), &mesh).len(), 3);
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn texts(records: &[Record]) -> Vec<String> {
        records.iter().map(ToString::to_string).collect()
    }
}
