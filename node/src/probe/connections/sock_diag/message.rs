//! The messages of sock_diag: what the kernel says of a socket, and of the dump it is part of.

use netlink_packet_core::{NetlinkBuffer, NlasIterator, Parseable};
use netlink_packet_sock_diag::constants::{INET_DIAG_INFO, INET_DIAG_SKV6ONLY};
use netlink_packet_sock_diag::inet::InetResponseHeader;
use rustix::io::Errno;
use topology::fact::Protocol;

use super::request::{SOCK_DIAG_BY_FAMILY, TCPDIAG_GETSOCK};
use super::{DumpError, Figures, SOCKET_BYTES, Socket, State, address};

/// The last negated errno there can be (`MAX_ERRNO`, `linux/err.h`).
const ERRNO_MIN: i32 = -4095;
/// Netlink messages start at multiples of it (`NLMSG_ALIGNTO`).
const ALIGNMENT: usize = 4;

/// What a datagram says of the dump it is part of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// It was the last one.
    pub done: bool,
    /// Something is missing: the table changed (`NLM_F_DUMP_INTR`) or messages were lost (`NLMSG_OVERRUN`).
    pub incomplete: bool,
}

/// Reads one datagram of the dump numbered `sequence`, of sockets of `protocol`, and appends them to `sockets`. Messages of
/// other dumps, and sockets in states that [`State`] leaves out, are skipped.
///
/// # Errors
/// [`DumpError::Refused`] if the kernel answers with an error, [`DumpError::Malformed`] if a message does not fit the
/// datagram or the protocol. Sockets read up to there stay in `sockets`.
pub fn parse(
    datagram: &[u8],
    sequence: u32,
    protocol: Protocol,
    sockets: &mut Vec<Socket>,
) -> Result<Progress, DumpError> {
    let mut progress = Progress::default();
    let mut messages = Messages::new(datagram);
    while let (false, Some(message)) = (progress.done, messages.next()) {
        let message = message?;
        if message.sequence_number() != sequence {
            continue;
        }
        progress.incomplete |= message.flags() & netlink_packet_core::NLM_F_DUMP_INTR != 0;
        match message.message_type() {
            netlink_packet_core::NLMSG_NOOP => {}
            netlink_packet_core::NLMSG_OVERRUN => progress.incomplete = true,
            // An error of code 0 is an acknowledgement: we ask for none, and after it nothing would follow either.
            netlink_packet_core::NLMSG_DONE | netlink_packet_core::NLMSG_ERROR => {
                match refusal(message.payload()).map_err(|BadMessage| messages.malformed())? {
                    Some(errno) => return Err(DumpError::Refused(errno)),
                    None => progress.done = true,
                }
            }
            TCPDIAG_GETSOCK | SOCK_DIAG_BY_FAMILY => {
                let read = socket(message.payload(), protocol).map_err(|BadMessage| messages.malformed())?;
                sockets.extend(read);
            }
            _ => return Err(messages.malformed()),
        }
    }
    Ok(progress)
}

/// Reads one datagram with answers to look-ups of single TCP connections. Calls `answer` for each, in the kernel's order:
/// with the number of the request, and the socket if there is one.
///
/// # Errors
/// [`DumpError::Malformed`] as of [`parse`]; what was read up to there has been told.
pub(super) fn parse_answers(datagram: &[u8], mut answer: impl FnMut(u32, Option<Socket>)) -> Result<(), DumpError> {
    let mut messages = Messages::new(datagram);
    while let Some(message) = messages.next() {
        let message = message?;
        let found = match message.message_type() {
            netlink_packet_core::NLMSG_ERROR => None,
            TCPDIAG_GETSOCK => socket(message.payload(), Protocol::Tcp).map_err(|BadMessage| messages.malformed())?,
            _ => return Err(messages.malformed()),
        };
        answer(message.sequence_number(), found);
    }
    Ok(())
}

/// The messages of a datagram, up to the first that does not fit it.
pub(super) struct Messages<'a> {
    datagram: &'a [u8],
    /// Where the last one began.
    at: usize,
    next: usize,
}

impl<'a> Messages<'a> {
    pub(super) fn new(datagram: &'a [u8]) -> Self {
        Self { datagram, at: 0, next: 0 }
    }

    /// That the last one is not what we know.
    pub(super) fn malformed(&self) -> DumpError {
        DumpError::Malformed { at: self.at, length: self.datagram.len() }
    }

    pub(super) fn next(&mut self) -> Option<Result<NetlinkBuffer<&'a [u8]>, DumpError>> {
        self.at = self.next;
        let rest = self.datagram.get(self.at..).filter(|rest| !rest.is_empty())?;
        let Ok(message) = NetlinkBuffer::new_checked(rest) else {
            self.next = self.datagram.len();
            return Some(Err(self.malformed()));
        };
        self.next += (message.length() as usize).next_multiple_of(ALIGNMENT);
        Some(Ok(message))
    }
}

/// A message whose payload is not what its type says.
#[derive(Debug)]
pub(super) struct BadMessage;

/// An end or error message starts with a negated errno, or 0; old kernels end a dump without.
fn refusal(payload: &[u8]) -> Result<Option<Errno>, BadMessage> {
    match payload.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes)) {
        0 => Ok(None),
        code @ ERRNO_MIN..0 => Ok(Some(Errno::from_raw_os_error(-code))),
        _ => Err(BadMessage),
    }
}

fn socket(payload: &[u8], protocol: Protocol) -> Result<Option<Socket>, BadMessage> {
    let header = InetResponseHeader::parse(payload).map_err(|_| BadMessage)?;
    let Some(mut state) = State::from_kernel(protocol, header.state) else { return Ok(None) };
    let attributes = Attributes::read(&payload[SOCKET_BYTES..])?;
    if let State::Listen { v6_only } | State::Bound { v6_only } = &mut state {
        *v6_only = attributes.v6_only;
    }
    let id = header.socket_id;
    Ok(Some(Socket {
        local: address(id.source_address, id.source_port),
        remote: address(id.destination_address, id.destination_port),
        protocol,
        state,
        inode: header.inode.into(),
        uid: header.uid,
        figures: attributes.figures,
    }))
}

/// What follows a socket's fixed part, as far as we ask for it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    v6_only: bool,
    pub(super) figures: Option<Figures>,
}

impl Attributes {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, BadMessage> {
        let mut read = Self::default();
        for attribute in NlasIterator::new(bytes) {
            let attribute = attribute.map_err(|_| BadMessage)?;
            match attribute.kind() {
                INET_DIAG_SKV6ONLY => read.v6_only = attribute.value().first().is_some_and(|flag| *flag != 0),
                INET_DIAG_INFO => read.figures = figures(attribute.value()),
                _ => {}
            }
        }
        Ok(read)
    }
}

/// Offsets in `struct tcp_info`, `linux/tcp.h`. It only ever grows at its end.
const RTT_AT: usize = 68;
const TOTAL_RETRANS_AT: usize = 100;
const BYTES_ACKED_AT: usize = 120;
const BYTES_RECEIVED_AT: usize = 128;

/// `None` if it ends before the bytes: a kernel before 4.1.
fn figures(info: &[u8]) -> Option<Figures> {
    let half = |at: usize| info.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
    let whole = |at: usize| info.get(at..)?.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes));
    Some(Figures {
        sent: whole(BYTES_ACKED_AT)?,
        received: whole(BYTES_RECEIVED_AT)?,
        rtt_micros: half(RTT_AT)?,
        retransmits: half(TOTAL_RETRANS_AT)?,
    })
}
