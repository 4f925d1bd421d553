//! Ids of network namespaces, rtnetlink(7) `RTM_GETNSID`: what one namespace calls another. The kernel gives one when the
//! two are first joined by a veth pair; a namespace without gets one from us, as `ip netns set NAME auto` would do it. It
//! keeps nothing alive, and is free for the next namespace when its own dies.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NLMSG_ERROR, NetlinkBuffer, NlasIterator};
use netlink_sys::protocols::NETLINK_ROUTE;
use topology::{Netns, ProcessId};

use crate::probe::connections::netns::Namespaces;

/// `linux/rtnetlink.h`, `linux/net_namespace.h`.
const RTM_NEWNSID: u16 = 88;
const RTM_GETNSID: u16 = 90;
const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;
/// "Has none" in an answer, "any" in a request (`NETNSA_NSID_NOT_ASSIGNED`).
const NO_ID: i32 = -1;
/// Sizes of `struct nlmsghdr`, of `struct rtgenmsg` with its padding, and of an attribute of four bytes.
const HEADER_BYTES: usize = 16;
const GENERIC_BYTES: usize = 4;
const ATTRIBUTE_BYTES: usize = 8;
/// Processes tried as the way to a namespace.
const DOORS_MAX: usize = 4;

/// Which namespace an id means, as of the last two updates.
#[derive(Debug, Default)]
pub(super) struct Names {
    now: HashMap<i32, Netns>,
    before: HashMap<i32, Netns>,
}

impl Names {
    /// Learns the ids of `namespaces` and forgets all others. Of those already known the kernel is not asked again: a
    /// namespace has its id for life.
    pub(super) fn update(&mut self, proc_root: &Path, namespaces: &Namespaces) {
        let known: HashMap<Netns, i32> = self.now.iter().map(|(id, netns)| (*netns, *id)).collect();
        let mut netlink = None;
        let mut ask = |netns: &Netns, processes: &Vec<ProcessId>| {
            let mut doors = processes.iter().take(DOORS_MAX);
            let file = doors.find_map(|process| open(proc_root, *netns, process.pid))?;
            if netlink.is_none() {
                netlink = netlink_sys::Socket::new(NETLINK_ROUTE).ok();
            }
            id_of(netlink.as_ref()?, &file).ok().flatten()
        };
        let named = namespaces.iter().filter_map(|(netns, processes)| {
            let id = known.get(netns).copied().or_else(|| ask(netns, processes))?;
            Some((id, *netns))
        });
        let mut now = HashMap::new();
        for (id, netns) in named {
            // One of the two is dead, and it is not the one that has just told its id.
            if known.get(&netns) != Some(&id) || !now.contains_key(&id) {
                now.insert(id, netns);
            }
        }
        self.before = std::mem::replace(&mut self.now, now);
    }

    /// The namespace that `id` meant between the last two updates; `None` if it may have been either of two.
    pub(super) fn get(&self, id: i32) -> Option<Netns> {
        let now = *self.now.get(&id)?;
        self.before.get(&id).is_none_or(|before| *before == now).then_some(now)
    }

    #[cfg(test)]
    pub(super) fn learn(&mut self, now: &[(i32, Netns)]) {
        self.before = std::mem::replace(&mut self.now, now.iter().copied().collect());
    }
}

/// The namespace itself, if process `pid` is in it.
fn open(proc_root: &Path, netns: Netns, pid: u32) -> Option<File> {
    let file = File::open(proc_root.join(format!("{pid}/ns/net"))).ok()?;
    (file.metadata().ok()?.ino() == netns.0).then_some(file)
}

/// The id of the namespace `file` in the one of `netlink`, given to it if it had none. `None` if it cannot have one, as we
/// may not give it.
fn id_of(netlink: &netlink_sys::Socket, file: &File) -> io::Result<Option<i32>> {
    let ask = request(RTM_GETNSID, NLM_F_REQUEST, &[(NETNSA_FD, file.as_raw_fd())]);
    let id = exchange(netlink, &ask)?;
    if id.is_some() {
        return Ok(id);
    }
    let attributes = [(NETNSA_FD, file.as_raw_fd()), (NETNSA_NSID, NO_ID)];
    // It acknowledges or refuses, and the answer to the next question tells which.
    exchange(netlink, &request(RTM_NEWNSID, NLM_F_REQUEST | NLM_F_ACK, &attributes))?;
    exchange(netlink, &ask)
}

fn exchange(netlink: &netlink_sys::Socket, request: &[u8]) -> io::Result<Option<i32>> {
    netlink.send_to(request, &netlink_sys::SocketAddr::new(0, 0), 0)?;
    let (answer, _) = netlink.recv_from_full()?;
    Ok(parse(&answer))
}

fn request(message_type: u16, flags: u16, attributes: &[(u16, i32)]) -> Vec<u8> {
    let length = HEADER_BYTES + GENERIC_BYTES + attributes.len() * ATTRIBUTE_BYTES;
    let mut bytes = Vec::with_capacity(length);
    bytes.extend(u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
    bytes.extend([message_type, flags].map(u16::to_ne_bytes).as_flattened());
    bytes.resize(HEADER_BYTES + GENERIC_BYTES, 0);
    for (kind, value) in attributes {
        bytes.extend([8, *kind].map(u16::to_ne_bytes).as_flattened());
        bytes.extend(value.to_ne_bytes());
    }
    bytes
}

/// The id an answer tells; `None` if it tells of none.
pub(super) fn parse(answer: &[u8]) -> Option<i32> {
    let message = NetlinkBuffer::new_checked(answer).ok()?;
    if message.message_type() == NLMSG_ERROR {
        return None;
    }
    let attributes = NlasIterator::new(message.payload().get(GENERIC_BYTES..)?);
    let value = |attribute: netlink_packet_core::NlaBuffer<&[u8]>| {
        let bytes = *attribute.value().first_chunk()?;
        (attribute.kind() == NETNSA_NSID).then_some(i32::from_ne_bytes(bytes))
    };
    attributes.map_while(Result::ok).find_map(value).filter(|id| *id != NO_ID)
}
