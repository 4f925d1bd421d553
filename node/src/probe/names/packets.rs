//! DNS questions and answers off the wire: a packet socket that sees all interfaces of its network namespace, with a filter
//! in the kernel that lets nothing else through (packet(7), socket(7)). Its only unsafe calls are here.
//!
//! What all other packets cost is a run of that filter, and for those that leave the host a copy of their header.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::Duration;

use nix::libc;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv, sockopt};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::probe::connections::netns;

/// Bytes taken of one packet. Answers over UDP are kept to 1,232, or 4,096 by the most generous; of longer ones the records
/// that fit are read.
pub(super) const CAPTURE_MAX: usize = 4096 + 128;

/// Room for what waits to be read, in bytes: half a second of five hundred questions a second and their answers.
const BUFFER_BYTES: usize = 1024 * 1024;

/// Why answers are not seen.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    /// We may not.
    #[error("may not read DNS answers off the network: run as root, or with CAP_NET_RAW")]
    Denied,
    /// We may not enter the host's network.
    #[error("cannot read the host's DNS answers: {0}")]
    Host(#[from] netns::Problem),
    /// The kernel will not.
    #[error("cannot read DNS answers off the network: {0}")]
    Failed(io::Error),
}

/// An open packet socket, which does not block.
#[derive(Debug)]
pub(super) struct Packets(OwnedFd);

impl Packets {
    /// Opens one in the network namespace of process `door`, with the CPU time another thread spent on it. Where we may not
    /// see which that is, in our own.
    pub(super) fn open(proc_root: &Path, door: u32) -> Result<(Self, Duration), OpenError> {
        let own = std::fs::metadata("/proc/thread-self/ns/net");
        let own = own.map(|link| topology::Netns(std::os::unix::fs::MetadataExt::ino(&link)));
        let (opened, cpu_time) = match (netns::of(proc_root, door), own) {
            (Ok(host), Ok(own)) if host != own => netns::inside(proc_root, host, door, Self::open_here)?,
            _ => (Self::open_here(), Duration::ZERO),
        };
        let packets = opened.map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::PERM | Errno::ACCESS) => OpenError::Denied,
            _ => OpenError::Failed(error),
        })?;
        Ok((packets, cpu_time))
    }

    fn open_here() -> io::Result<Self> {
        let kind = libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: takes numbers alone. Of protocol 0, the socket gets no packet before its filter is set.
        let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made it, and nobody else has it.
        let packets = Self(unsafe { OwnedFd::from_raw_fd(fd) });
        packets.set_filter(&filter())?;
        // Beyond the limit for everyone it takes CAP_NET_ADMIN; a smaller one will do.
        if sockopt::set_socket_recv_buffer_size_force(&packets, BUFFER_BYTES).is_err() {
            let _ = sockopt::set_socket_recv_buffer_size(&packets, BUFFER_BYTES);
        }
        packets.bind()?;
        Ok(packets)
    }

    fn set_filter(&self, filter: &[libc::sock_filter]) -> io::Result<()> {
        let program = libc::sock_fprog {
            len: u16::try_from(filter.len()).expect("a filter has some dozen steps"),
            filter: filter.as_ptr().cast_mut(),
        };
        let length = size_of::<libc::sock_fprog>() as libc::socklen_t;
        // SAFETY: `program` and the steps it points to live through the call, which copies and does not change them.
        let result = unsafe {
            let program = (&raw const program).cast();
            libc::setsockopt(self.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, program, length)
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Starts it, on all interfaces: index 0.
    fn bind(&self) -> io::Result<()> {
        // SAFETY: all zeroes is a value of this struct of numbers.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as libc::sa_family_t;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: `address` lives through the call and has the length that is said.
        let result = unsafe { libc::bind(self.as_raw_fd(), (&raw const address).cast(), length) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Lets the runtime this runs in watch for packets.
    pub(super) fn watched(self) -> io::Result<AsyncFd<Self>> {
        // SAFETY: it owns its one descriptor as long as it lives, and gives no way to change it for another.
        unsafe { AsyncFd::register_with_interest(self, Interest::READABLE) }.map_err(io::Error::from)
    }

    /// The next packet, from its IP header on, in `buffer`. `None` if there is none now.
    pub(super) fn next<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Option<&'a [u8]>> {
        match recv(self, &mut *buffer, RecvFlags::empty()) {
            Ok((read, _)) => Ok(buffer.get(..read)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Whether there was no room for a packet since this was asked last.
    pub(super) fn has_dropped(&self) -> bool {
        let mut stats = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let mut length = size_of::<libc::tpacket_stats>() as libc::socklen_t;
        // SAFETY: both pointers are to values that live through the call, and `length` is that of `stats`.
        let result = unsafe {
            let stats = (&raw mut stats).cast();
            libc::getsockopt(self.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_STATISTICS, stats, &raw mut length)
        };
        result == 0 && stats.tp_drops > 0
    }
}

impl AsFd for Packets {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Packets {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Classic BPF: lets through what comes over UDP from port 53 and says it is an answer, and what goes to port 53 and is a
/// question, by v4 or v6. Packets begin with their IP header. What leaves by the loopback, interface 1, is left out: it is
/// seen again as it arrives.
#[rustfmt::skip] // a program
fn filter() -> [libc::sock_filter; 28] {
    const PACKET_OUTGOING: u32 = 4;
    const LOOPBACK: u32 = 1;
    const UDP: u32 = 17;
    const DNS_PORT: u32 = 53;
    const IS_ANSWER: u32 = 0x80;
    const FRAGMENT_OFFSET: u32 = 0x1fff;
    let ancillary = |what: libc::c_int| (libc::SKF_AD_OFF + what).cast_unsigned();
    let step = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let byte = |at| step(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, at);
    let half = |at| step(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, 0, 0, at);
    let word = |at| step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, at);
    let byte_after = |at| step(libc::BPF_LD | libc::BPF_B | libc::BPF_IND, 0, 0, at);
    let half_after = |at| step(libc::BPF_LD | libc::BPF_H | libc::BPF_IND, 0, 0, at);
    // Four times the lower half of the byte at `at`: the length of a v4 header.
    let header_length = |at| step(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, 0, 0, at);
    let equal = |k, then, or| step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, then, or, k);
    let any_bit = |k, then, or| step(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, then, or, k);
    let take = |bytes| step(libc::BPF_RET | libc::BPF_K, 0, 0, bytes);
    // Jumps are over so many steps, "then" before "else". Where one leads elsewhere than on, it says to which step.
    [
        word(ancillary(libc::SKF_AD_PKTTYPE)),              //  0
        equal(PACKET_OUTGOING, 0, 2),                       //  1: else 4
        word(ancillary(libc::SKF_AD_IFINDEX)),              //  2
        equal(LOOPBACK, 23, 0),                             //  3: then 27
        word(ancillary(libc::SKF_AD_PROTOCOL)),             //  4
        equal(libc::ETH_P_IP as u32, 1, 0),                 //  5: then 7
        equal(libc::ETH_P_IPV6 as u32, 11, 20),             //  6: then 18, else 27
        byte(9),                                            //  7: v4, protocol
        equal(UDP, 0, 18),                                  //  8: else 27
        half(6),                                            //  9
        any_bit(FRAGMENT_OFFSET, 16, 0),                    // 10: then 27
        header_length(0),                                   // 11
        byte_after(8 + 2),                                  // 12: behind the UDP header and the id
        any_bit(IS_ANSWER, 0, 2),                           // 13: else 16
        half_after(0),                                      // 14: source port
        equal(DNS_PORT, 10, 11),                            // 15: then 26, else 27
        half_after(2),                                      // 16: destination port
        equal(DNS_PORT, 8, 9),                              // 17: then 26, else 27
        byte(6),                                            // 18: v6, next header
        equal(UDP, 0, 7),                                   // 19: else 27
        byte(40 + 8 + 2),                                   // 20
        any_bit(IS_ANSWER, 0, 2),                           // 21: else 24
        half(40),                                           // 22: source port
        equal(DNS_PORT, 2, 3),                              // 23: then 26, else 27
        half(40 + 2),                                       // 24: destination port
        equal(DNS_PORT, 0, 1),                              // 25: else 27
        take(CAPTURE_MAX as u32),                           // 26
        take(0),                                            // 27
    ]
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags, set_capabilities, unshare_unsafe};

    use super::*;

    /// `ip link set lo up`, rtnetlink(7): a new namespace has its loopback down.
    fn loopback_up() {
        const RTM_NEWLINK: u32 = 16;
        const IFF_UP: u32 = 1;
        const REQUEST_AND_ACK: u32 = 5 << 16;
        let words = [32, RTM_NEWLINK | REQUEST_AND_ACK, 1, 0, 0, 1, IFF_UP, IFF_UP];
        let message: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
        let netlink = netlink_sys::Socket::new(netlink_sys::protocols::NETLINK_ROUTE).unwrap();
        netlink.send_to(&message, &netlink_sys::SocketAddr::new(0, 0), 0).unwrap();
        let (answer, _) = netlink.recv_from_full().unwrap();
        assert_eq!(answer[16..20], [0; 4], "the kernel's answer to lo up");
    }

    /// Runs `work` in a network namespace of its own.
    fn in_new_netns(work: impl FnOnce() + Send + 'static) {
        let thread = std::thread::spawn(|| {
            // SAFETY: `NEWNET` changes which network the thread sees, and nothing of its memory or descriptors.
            let unshared = unsafe { unshare_unsafe(UnshareFlags::NEWNET) };
            unshared.expect("these tests make network namespaces: run them as root");
            loopback_up();
            work();
        });
        thread.join().unwrap();
    }

    #[test]
    fn nothing_but_questions_and_answers_passes_the_filter_and_each_once() {
        in_new_netns(|| {
            let packets = Packets::open_here().unwrap();
            let message = |flags: u8, mark: u8| [0, 0, flags, 0, 0, 0, 0, 0, 0, 0, 0, 0, mark];
            // Packets are seen whether anybody takes them or not.
            let cases = [
                // from, to, flags of DNS
                ("127.0.0.9:53", "127.0.0.1:4000", 0x80),
                ("127.0.0.9:54", "127.0.0.1:4000", 0x80),
                ("127.0.0.9:53", "127.0.0.1:4000", 0),
                ("[::1]:53", "[::1]:4000", 0x80),
                ("[::1]:54", "[::1]:4000", 0x80),
                ("[::1]:53", "[::1]:4000", 0x01),
                ("127.0.0.9:53", "127.0.0.1:4000", 0x85),
                ("127.0.0.9:4000", "127.0.0.1:53", 0x01),
                ("127.0.0.9:4000", "127.0.0.1:53", 0x80),
                ("127.0.0.9:4000", "127.0.0.1:54", 0x01),
                ("127.0.0.9:53", "127.0.0.1:53", 0x01),
                ("127.0.0.9:53", "127.0.0.1:53", 0x80),
                ("[::1]:4000", "[::1]:53", 0x01),
                ("[::1]:4000", "[::1]:53", 0x80),
                ("[::1]:4000", "[::1]:54", 0x01),
            ];
            for (mark, (from, to, flags)) in (0..).zip(cases) {
                UdpSocket::bind(from).unwrap().send_to(&message(flags, mark), to).unwrap();
            }
            let mut buffer = [0; CAPTURE_MAX];
            // The loopback delivers before `send_to` returns, to the packet socket as much as to the other. Where nobody is,
            // the packet comes back within an ICMP message, which is not UDP.
            let marks = std::iter::from_fn(|| packets.next(&mut buffer).unwrap().map(|packet| *packet.last().unwrap()));
            assert_eq!(marks.collect::<Vec<_>>(), [0, 3, 6, 7, 10, 11, 12]);
        });
    }

    #[test]
    fn what_there_is_no_room_for_is_known() {
        in_new_netns(|| {
            let packets = Packets::open_here().unwrap();
            assert!(!packets.has_dropped());
            let from = UdpSocket::bind("127.0.0.9:53").unwrap();
            let mut answer = [0; 1000];
            answer[2] = 0x80;
            for _ in 0..4096 {
                from.send_to(&answer, ("127.0.0.1", 9)).unwrap();
            }
            assert!(packets.has_dropped());
            assert!(!packets.has_dropped(), "that was told");
        });
    }

    #[test]
    fn without_the_capability_it_says_what_to_do() {
        let opened = std::thread::spawn(|| {
            let none = CapabilitySet::empty();
            set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none }).unwrap();
            Packets::open(Path::new("/proc"), std::process::id()).map(drop)
        });
        let error = opened.join().unwrap().unwrap_err();
        let want = "may not read DNS answers off the network: run as root, or with CAP_NET_RAW";
        assert_eq!(error.to_string(), want);
    }
}
