//! What the BPF program writes into its maps, in native byte order: the structs of `tracer.bpf.c`.

use std::net::{IpAddr, Ipv6Addr};

use topology::fact::Direction;
use topology::{Netns, ProcessId};

/// `struct process`.
pub(super) type Process = [u8; 16];
/// `struct task`.
pub(super) type Task = [u8; 64];
/// `struct relation`.
pub(super) type Relation = [u8; 64];
/// `struct figures`.
pub(super) type Figures = [u8; 40];
/// `struct holder`.
pub(super) type Holder = [u8; 24];

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// How long a tick of the clock is by which process starts are told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticks {
    pub(super) per_second: u64,
}

impl Ticks {
    /// The process as /proc tells of it; `None` for none.
    pub(super) fn process(self, bytes: &Process) -> Option<ProcessId> {
        let pid = u32::from_ne_bytes(at(bytes, 8));
        let tick_nanos = (NANOS_PER_SECOND / self.per_second.max(1)).max(1);
        (pid != 0).then(|| ProcessId { pid, start: u64::from_ne_bytes(at(bytes, 0)) / tick_nanos })
    }

    /// Ancestors and name of a process.
    pub(super) fn task(self, bytes: &Task) -> (Vec<ProcessId>, String) {
        let ancestors = (0..3).map_while(|index| self.process(&at(bytes, index * 16))).collect();
        let name: [u8; 16] = at(bytes, 48);
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        (ancestors, String::from_utf8_lossy(name).into_owned())
    }
}

/// Inode and process; `None` for a process we do not see.
pub(super) fn holder(bytes: &Holder, ticks: Ticks) -> Option<(u64, ProcessId)> {
    Some((u64::from_ne_bytes(at(bytes, 0)), ticks.process(&at(bytes, 8))?))
}

/// Whose connections they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) netns: Netns,
    pub(super) process: Process,
    pub(super) direction: Direction,
    pub(super) is_guess: bool,
    pub(super) local: IpAddr,
    pub(super) remote: IpAddr,
    pub(super) port: u16,
}

/// Reads a key of the ended connections.
pub(super) fn ends(bytes: &Relation) -> Ends {
    let local_port = u16::from_be_bytes(at(bytes, 52));
    let remote_port = u16::from_be_bytes(at(bytes, 54));
    let direction = match u64::from_ne_bytes(at(bytes, 56)) {
        1 => Some(Direction::Incoming),
        2 => Some(Direction::Outgoing),
        _ => None,
    };
    // Clients have theirs from the upper half, unless they ask for another.
    let likely = if local_port < remote_port { Direction::Incoming } else { Direction::Outgoing };
    let is_guess = direction.is_none();
    let direction = direction.unwrap_or(likely);
    let port = match direction {
        Direction::Incoming => local_port,
        Direction::Outgoing => remote_port,
    };
    Ends {
        netns: Netns(u32::from_ne_bytes(at(bytes, 48)).into()),
        process: at(bytes, 0),
        direction,
        is_guess,
        local: address(at(bytes, 16)),
        remote: address(at(bytes, 32)),
        port,
    }
}

/// What connections came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) count: u64,
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) retransmits: u64,
    pub(super) rtt_micros: Option<u32>,
}

/// Reads a value of the ended connections.
pub(super) fn sums(bytes: &Figures) -> Sums {
    let number = |index: usize| u64::from_ne_bytes(at(bytes, index * 8));
    Sums {
        count: number(0),
        sent: number(1),
        received: number(2),
        retransmits: number(3),
        rtt_micros: u32::try_from(number(4)).ok().filter(|rtt| *rtt != 0),
    }
}

/// v4 addresses are kept as v4-mapped ones.
fn address(bytes: [u8; 16]) -> IpAddr {
    Ipv6Addr::from(bytes).to_canonical()
}

fn at<const N: usize>(bytes: &[u8], start: usize) -> [u8; N] {
    *bytes[start..].first_chunk().expect("the fields of a struct are within it")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICKS: Ticks = Ticks { per_second: 100 };

    fn process(start_ns: u64, pid: u32) -> Process {
        let bytes = [&start_ns.to_ne_bytes()[..], &pid.to_ne_bytes(), &[0; 4]].concat();
        bytes.try_into().expect("16 bytes")
    }

    #[test]
    fn a_start_is_told_in_ticks_and_pid_0_is_nobody() {
        let cases = [
            // nanoseconds, pid, ticks a second, process
            (0, 1, 100, Some((1, 0))),
            (10_000_000, 7, 100, Some((7, 1))),
            (123_459_999_999, 7, 100, Some((7, 12_345))), // as the kernel does, towards zero
            (2_000_000_000, 7, 1000, Some((7, 2000))),
            (5, 7, 0, Some((7, 0))),
            (10_000_000, 0, 100, None),
        ];
        for (start_ns, pid, per_second, want) in cases {
            let got = Ticks { per_second }.process(&process(start_ns, pid));
            assert_eq!(got.map(|id| (id.pid, id.start)), want, "{start_ns} ns, pid {pid}");
        }
    }

    #[test]
    fn a_task_has_ancestors_up_to_the_first_that_is_none() {
        let name = |text: &[u8; 16]| *text;
        let none = process(0, 0);
        let cases = [
            (
                [process(30_000_000, 3), process(20_000_000, 2), process(10_000_000, 1)],
                name(b"curl\0\0\0\0\0\0\0\0\0\0\0\0"),
                3,
                "curl",
            ),
            ([process(30_000_000, 3), none, process(10_000_000, 1)], name(b"a-name-of-15-by\0"), 1, "a-name-of-15-by"),
            ([none, none, none], name(b"no-end-in-these!"), 0, "no-end-in-these!"),
            ([none, none, none], name(b"\xff\0rest of another"[..16].try_into().as_ref().expect("16")), 0, "\u{fffd}"),
            ([none, none, none], [0; 16], 0, ""),
        ];
        for (ancestors, name, count, want) in cases {
            let bytes: Task = [ancestors.concat(), name.to_vec()].concat().try_into().expect("64 bytes");
            let (got, text) = TICKS.task(&bytes);
            let want_ids: Vec<_> = (0..count).map(|index| 3 - index).collect();
            assert_eq!(got.iter().map(|id| id.pid).collect::<Vec<_>>(), want_ids, "{want:?}");
            assert!(got.iter().all(|id| id.start == u64::from(id.pid)));
            assert_eq!(text, want);
        }
    }

    #[test]
    fn a_holder_is_an_inode_and_a_process_if_we_see_one() {
        for (pid, want) in [(7, Some((99, ProcessId { pid: 7, start: 3 }))), (0, None)] {
            let bytes = [&99_u64.to_ne_bytes()[..], &process(30_000_000, pid)].concat();
            assert_eq!(holder(&bytes.try_into().expect("24 bytes"), TICKS), want);
        }
    }

    fn relation(local: &str, remote: &str, ports: (u16, u16), direction: u64) -> Relation {
        let address = |text: &str| match text.parse().expect("an address") {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        let bytes = [
            &process(10_000_000, 42)[..],
            &address(local),
            &address(remote),
            &4_026_531_840_u32.to_ne_bytes(),
            &ports.0.to_be_bytes(),
            &ports.1.to_be_bytes(),
            &direction.to_ne_bytes(),
        ];
        bytes.concat().try_into().expect("64 bytes")
    }

    #[test]
    fn a_relation_has_the_services_port_and_v4_where_it_is_v4() {
        use Direction::{Incoming, Outgoing};
        let cases = [
            // local, remote, ports, direction as written; direction, guess, port
            ("10.0.0.1", "10.0.0.2", (0, 443), 2, Outgoing, false, 443),
            ("10.0.0.1", "10.0.0.2", (80, 0), 1, Incoming, false, 80),
            ("fd00::1", "fd00::2", (0, 443), 2, Outgoing, false, 443),
            ("::1", "::1", (80, 0), 1, Incoming, false, 80),
            ("10.0.0.1", "10.0.0.2", (40_000, 443), 0, Outgoing, true, 443),
            ("10.0.0.1", "10.0.0.2", (443, 40_000), 0, Incoming, true, 443),
            ("10.0.0.1", "10.0.0.2", (443, 443), 0, Outgoing, true, 443),
            ("10.0.0.1", "10.0.0.2", (443, 40_000), 99, Incoming, true, 443),
        ];
        for (local, remote, ports, written, direction, is_guess, port) in cases {
            let got = ends(&relation(local, remote, ports, written));
            let want = Ends {
                netns: Netns(4_026_531_840),
                process: process(10_000_000, 42),
                direction,
                is_guess,
                local: local.parse().expect("an address"),
                remote: remote.parse().expect("an address"),
                port,
            };
            assert_eq!(got, want);
        }
    }

    #[test]
    fn figures_are_five_numbers_and_no_rtt_is_none() {
        let figures = |numbers: [u64; 5]| numbers.map(u64::to_ne_bytes).concat().try_into().expect("40 bytes");
        let sums_of = |rtt_micros| Sums { count: 1, sent: 2, received: 3, retransmits: u64::MAX, rtt_micros };
        let cases = [(0, None), (150, Some(150)), (u64::from(u32::MAX), Some(u32::MAX)), (u64::MAX, None)];
        for (rtt, want) in cases {
            assert_eq!(sums(&figures([1, 2, 3, u64::MAX, rtt])), sums_of(want));
        }
    }
}
