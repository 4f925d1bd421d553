//! Conntrack messages (`linux/netfilter/nfnetlink_conntrack.h`), of dumps and of events.

use std::net::{IpAddr, SocketAddr};

use netlink_packet_core::NetlinkBuffer;
use rustix::io::Errno;
use topology::fact::Protocol;

use super::{Change, Entry, Error, Tuple};

/// What a datagram says of the dump it is part of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// It was the last one.
    pub done: bool,
    /// Something is missing: the table changed (`NLM_F_DUMP_INTR`) or messages were lost (`NLMSG_OVERRUN`).
    pub incomplete: bool,
}

/// `IPCTNL_MSG_CT_NEW` of `NFNL_SUBSYS_CTNETLINK`: an entry, in a dump and in events.
pub(super) const ENTRY_SEEN: u16 = 0x100;
/// `IPCTNL_MSG_CT_GET`: asks for a dump.
pub(super) const ENTRY_GET: u16 = 0x101;
/// `IPCTNL_MSG_CT_DELETE`: an entry that is gone.
pub(super) const ENTRY_GONE: u16 = 0x102;
/// Size of `struct nfgenmsg`, between the netlink header and the attributes.
pub(super) const FAMILY_HEADER_BYTES: usize = 4;
/// Netlink messages start at multiples of it (`NLMSG_ALIGNTO`).
const ALIGNMENT: usize = 4;
/// The last negated errno there can be (`MAX_ERRNO`, `linux/err.h`).
const ERRNO_MIN: i32 = -4095;

/// `enum ctattr_type` and those nested in it.
pub(super) mod attribute {
    pub(in super::super) const TUPLE_ORIGINAL: u16 = 1;
    pub(super) const TUPLE_REPLY: u16 = 2;
    pub(in super::super) const STATUS: u16 = 3;
    pub(super) const PROTOCOL_INFO: u16 = 4;
    pub(super) const COUNTERS_ORIGINAL: u16 = 9;
    pub(super) const COUNTERS_REPLY: u16 = 10;
    pub(super) const ZONE: u16 = 18;
    pub(super) const TUPLE_IP: u16 = 1;
    pub(in super::super) const TUPLE_PROTOCOL: u16 = 2;
    pub(super) const TUPLE_ZONE: u16 = 3;
    pub(super) const IP_V4_SOURCE: u16 = 1;
    pub(super) const IP_V4_DESTINATION: u16 = 2;
    pub(super) const IP_V6_SOURCE: u16 = 3;
    pub(super) const IP_V6_DESTINATION: u16 = 4;
    pub(in super::super) const PROTOCOL_NUMBER: u16 = 1;
    pub(super) const PROTOCOL_SOURCE_PORT: u16 = 2;
    pub(super) const PROTOCOL_DESTINATION_PORT: u16 = 3;
    pub(super) const INFO_TCP: u16 = 1;
    pub(super) const TCP_STATE: u16 = 1;
    pub(super) const COUNTERS_BYTES: u16 = 2;
}

/// `enum ip_conntrack_status`.
pub(super) mod status {
    pub(super) const SEEN_REPLY: u32 = 1 << 1;
    pub(super) const ASSURED: u32 = 1 << 2;
    pub(in super::super) const SOURCE_NAT: u32 = 1 << 4;
    pub(in super::super) const DESTINATION_NAT: u32 = 1 << 5;
}

/// `enum tcp_conntrack`.
mod tcp_state {
    pub(super) const TIME_WAIT: u8 = 7;
    pub(super) const CLOSE: u8 = 8;
}

/// IP protocol numbers.
pub(super) mod protocol {
    pub(in super::super) const TCP: u8 = 6;
    pub(in super::super) const UDP: u8 = 17;
    pub(in super::super) const SCTP: u8 = 132;
}

/// Reads one datagram and appends what it says to `changes`: of the dump numbered `sequence`, or, if that is `None`, of
/// events. Other protocols than TCP, UDP and SCTP have no ports and are skipped.
///
/// # Errors
/// [`Error::Refused`] if the kernel answers with an error, [`Error::Malformed`] if a message does not fit the
/// datagram or the protocol. What was read up to there stays in `changes`.
pub fn parse(datagram: &[u8], sequence: Option<u32>, changes: &mut Vec<Change>) -> Result<Progress, Error> {
    let mut progress = Progress::default();
    let mut at = 0;
    while at < datagram.len() && !progress.done {
        let malformed = Error::Malformed { at, length: datagram.len() };
        let Ok(message) = NetlinkBuffer::new_checked(&datagram[at..]) else { return Err(malformed) };
        at += (message.length() as usize).next_multiple_of(ALIGNMENT);
        if sequence.is_some_and(|sequence| message.sequence_number() != sequence) {
            continue;
        }
        progress.incomplete |= message.flags() & netlink_packet_core::NLM_F_DUMP_INTR != 0;
        match message.message_type() {
            ENTRY_SEEN => changes.extend(entry(message.payload()).ok_or(malformed)?.map(Change::Seen)),
            ENTRY_GONE => changes.extend(entry(message.payload()).ok_or(malformed)?.map(Change::Gone)),
            netlink_packet_core::NLMSG_OVERRUN => progress.incomplete = true,
            // An error of code 0 is an acknowledgement: we ask for none, and after it nothing would follow either.
            netlink_packet_core::NLMSG_DONE | netlink_packet_core::NLMSG_ERROR => {
                match refusal(message.payload()).ok_or(malformed)? {
                    Some(errno) => return Err(Error::refused(errno)),
                    None => progress.done = true,
                }
            }
            _ => {} // a newer kernel may have more to say
        }
    }
    Ok(progress)
}

/// An end or error message starts with a negated errno, or 0. `None` if it does not.
fn refusal(payload: &[u8]) -> Option<Option<Errno>> {
    match payload.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes)) {
        0 => Some(None),
        code @ ERRNO_MIN..0 => Some(Some(Errno::from_raw_os_error(-code))),
        _ => None,
    }
}

/// The entry of a message; `Some(None)` if it is of another protocol, `None` if it is malformed.
fn entry(payload: &[u8]) -> Option<Option<Entry>> {
    let (mut original, mut reply) = (None, None);
    let (mut status, mut zone, mut closed) = (0, None, false);
    let mut bytes = [None; 2];
    for attribute in attributes(payload.get(FAMILY_HEADER_BYTES..)?) {
        let (kind, value) = attribute?;
        match kind {
            attribute::TUPLE_ORIGINAL => original = Some(direction(value)?),
            attribute::TUPLE_REPLY => reply = Some(direction(value)?),
            attribute::STATUS => status = u32::from_be_bytes(exactly(value)?),
            attribute::PROTOCOL_INFO => closed = is_closed(value)?,
            attribute::COUNTERS_ORIGINAL => bytes[0] = bytes_counted(value)?,
            attribute::COUNTERS_REPLY => bytes[1] = bytes_counted(value)?,
            attribute::ZONE => zone = Some(u16::from_be_bytes(exactly(value)?)),
            _ => {}
        }
    }
    let (original, reply) = (original?, reply?);
    let (Some(there), Some(back)) = (original.tuple, reply.tuple) else { return Some(None) };
    Some(Some(Entry {
        original: there,
        reply: back,
        // A zone may be that of one direction only; the original's is what keeps two entries of equal addresses apart.
        zone: zone.or(original.zone).unwrap_or(0),
        replied: status & status::SEEN_REPLY != 0,
        assured: status & status::ASSURED != 0,
        closed,
        bytes: bytes[0].zip(bytes[1]).map(|(there, back)| [there, back]),
    }))
}

/// One direction of an entry.
struct Direction {
    /// `None` if the protocol is none of ours.
    tuple: Option<Tuple>,
    zone: Option<u16>,
}

fn direction(value: &[u8]) -> Option<Direction> {
    let (mut addresses, mut ports, mut zone) = (None, None, None);
    for attribute in attributes(value) {
        match attribute? {
            (attribute::TUPLE_IP, value) => addresses = Some(addresses_of(value)?),
            (attribute::TUPLE_PROTOCOL, value) => ports = Some(ports_of(value)?),
            (attribute::TUPLE_ZONE, value) => zone = Some(u16::from_be_bytes(exactly(value)?)),
            _ => {}
        }
    }
    let (source, destination) = addresses?;
    let tuple = ports?.map(|(protocol, ports)| Tuple {
        protocol,
        source: SocketAddr::new(source, ports[0]),
        destination: SocketAddr::new(destination, ports[1]),
    });
    Some(Direction { tuple, zone })
}

fn addresses_of(value: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let (mut source, mut destination) = (None, None);
    for attribute in attributes(value) {
        match attribute? {
            (attribute::IP_V4_SOURCE, value) => source = Some(IpAddr::from(exactly::<4>(value)?)),
            (attribute::IP_V4_DESTINATION, value) => destination = Some(IpAddr::from(exactly::<4>(value)?)),
            (attribute::IP_V6_SOURCE, value) => source = Some(IpAddr::from(exactly::<16>(value)?)),
            (attribute::IP_V6_DESTINATION, value) => destination = Some(IpAddr::from(exactly::<16>(value)?)),
            _ => {}
        }
    }
    source.zip(destination)
}

/// Source and destination port; `Some(None)` if the protocol is none of ours.
fn ports_of(value: &[u8]) -> Option<Option<(Protocol, [u16; 2])>> {
    let (mut number, mut source, mut destination) = (None, None, None);
    for attribute in attributes(value) {
        match attribute? {
            (attribute::PROTOCOL_NUMBER, value) => number = Some(u8::from_ne_bytes(exactly(value)?)),
            (attribute::PROTOCOL_SOURCE_PORT, value) => source = Some(u16::from_be_bytes(exactly(value)?)),
            (attribute::PROTOCOL_DESTINATION_PORT, value) => destination = Some(u16::from_be_bytes(exactly(value)?)),
            _ => {}
        }
    }
    let protocol = match number? {
        protocol::TCP => Protocol::Tcp,
        protocol::UDP => Protocol::Udp,
        protocol::SCTP => Protocol::Sctp,
        _ => return Some(None),
    };
    Some(Some((protocol, [source?, destination?])))
}

/// Whether what conntrack follows of a protocol says that the connection has ended. Only TCP's does.
fn is_closed(value: &[u8]) -> Option<bool> {
    for attribute in attributes(value) {
        let (attribute::INFO_TCP, of_tcp) = attribute? else { continue };
        for attribute in attributes(of_tcp) {
            let (attribute::TCP_STATE, state) = attribute? else { continue };
            return Some(matches!(exactly(state)?, [tcp_state::TIME_WAIT | tcp_state::CLOSE]));
        }
    }
    Some(false)
}

/// The bytes that a set of counters tells; `Some(None)` if it tells none.
fn bytes_counted(value: &[u8]) -> Option<Option<u64>> {
    for attribute in attributes(value) {
        let (attribute::COUNTERS_BYTES, bytes) = attribute? else { continue };
        return Some(Some(u64::from_be_bytes(exactly(bytes)?)));
    }
    Some(None)
}

fn exactly<const N: usize>(value: &[u8]) -> Option<[u8; N]> {
    value.try_into().ok()
}

/// The attributes of a message, or those nested in one, as kind and value. `None` stands for what does not fit, and ends
/// it. An own loop rather than `NlasIterator`: that one boxes a message about each, and this runs for every event.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = Option<(u16, &[u8])>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let attribute = split(bytes);
        bytes = attribute.map_or(&[], |(.., rest)| rest);
        Some(attribute.map(|(kind, value, _)| (kind, value)))
    })
}

/// The first attribute, `struct nlattr`: kind, value, and the bytes after it.
fn split(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let &[length_0, length_1, kind_0, kind_1, ref body @ ..] = bytes else { return None };
    let length = usize::from(u16::from_ne_bytes([length_0, length_1])).checked_sub(ATTRIBUTE_HEADER_BYTES)?;
    let kind = u16::from_ne_bytes([kind_0, kind_1]) & netlink_packet_core::NLA_TYPE_MASK;
    let rest = body.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default(); // the last may be without padding
    Some((kind, body.get(..length)?, rest))
}

/// Size of `struct nlattr`.
const ATTRIBUTE_HEADER_BYTES: usize = 4;

#[cfg(test)]
mod tests;
