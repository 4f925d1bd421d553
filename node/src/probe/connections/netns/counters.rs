//! Per-namespace counters of sockets: a few microseconds to learn whether a dump of them would say anything new.
//!
//! A connection enters the table with an active or passive open, both of which only ever grow; it leaves the open states
//! with `CurrEstab` going down, and the table with one of the sockets in use or in `TIME_WAIT`. RFC 4022 has the first
//! three, and Linux keeps each of them per namespace. Of UDP there is only the number of sockets in use: it holds still
//! while one goes and another comes.

use std::path::Path;

use crate::probe::connections::sock_diag::Socket;

/// What the kernel counts of the TCP sockets of one namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counters {
    /// `connect` calls so far.
    pub(super) active_opens: u64,
    /// Accepted handshakes so far.
    pub(super) passive_opens: u64,
    /// Connections in states `ESTABLISHED` and `CLOSE_WAIT` now.
    pub(super) established: u64,
    /// Sockets in any state but `CLOSE` and `TIME_WAIT` now, of both families.
    pub(super) in_use: u64,
    /// Remains of connections, in `TIME_WAIT` or an orphaned `FIN_WAIT2`, now.
    pub(super) time_wait: u64,
}

impl Counters {
    /// What they would be if nothing were left of connections that were closed.
    pub(super) fn without_remains(self) -> Self {
        Self { time_wait: 0, ..self }
    }

    /// Whether these sockets are all that the counters counted.
    pub(super) fn agree(self, listeners: &[Socket], connections: &[Socket]) -> bool {
        let established = connections.iter().filter(|socket| socket.state.is_established()).count() as u64;
        let all = (listeners.len() + connections.len()) as u64;
        established == self.established && all == self.in_use.saturating_add(self.time_wait)
    }
}

/// What the namespace this thread is in counts: of TCP, and UDP sockets in use. `None` where `/proc` does not tell, so that
/// nothing is taken as unchanged.
pub(super) fn read(proc_root: &Path) -> (Option<Counters>, Option<u64>) {
    let net = proc_root.join("thread-self/net");
    // Without IPv6 there is no sockstat6, and nothing to count.
    let [snmp, sockstat, sockstat6] =
        ["snmp", "sockstat", "sockstat6"].map(|name| std::fs::read_to_string(net.join(name)).unwrap_or_default());
    (parse(&snmp, &sockstat, &sockstat6), datagrams(&sockstat, &sockstat6))
}

/// UDP sockets in use, of both families.
fn datagrams(sockstat: &str, sockstat6: &str) -> Option<u64> {
    Some(in_pairs(sockstat, "UDP:", "inuse")?.saturating_add(in_pairs(sockstat6, "UDP6:", "inuse").unwrap_or(0)))
}

/// The counters in the three files of `/proc/net`; `None` if one is missing.
fn parse(snmp: &str, sockstat: &str, sockstat6: &str) -> Option<Counters> {
    Some(Counters {
        active_opens: in_columns(snmp, "ActiveOpens")?,
        passive_opens: in_columns(snmp, "PassiveOpens")?,
        established: in_columns(snmp, "CurrEstab")?,
        in_use: in_pairs(sockstat, "TCP:", "inuse")?.saturating_add(in_pairs(sockstat6, "TCP6:", "inuse").unwrap_or(0)),
        time_wait: in_pairs(sockstat, "TCP:", "tw")?,
    })
}

/// A value of `/proc/net/snmp`: a line of names, then a line of values.
fn in_columns(snmp: &str, name: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (lines.next()?, lines.next()?);
    names.split(' ').zip(values.split(' ')).find_map(|(column, value)| (column == name).then(|| value.parse().ok())?)
}

/// A value of `/proc/net/sockstat`: names and values in turn.
fn in_pairs(sockstat: &str, line: &str, name: &str) -> Option<u64> {
    let pairs = sockstat.lines().find_map(|text| text.strip_prefix(line))?;
    pairs.split(' ').skip_while(|word| *word != name).nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SNMP: &str = "Ip: Forwarding DefaultTTL\nIp: 1 64\n\
        Tcp: RtoAlgorithm ActiveOpens PassiveOpens AttemptFails CurrEstab InSegs\nTcp: 1 5100 5002 0 71 46742\n\
        Udp: InDatagrams\nUdp: 3\n";
    const SOCKSTAT: &str = "sockets: used 12\nTCP: inuse 74 orphan 0 tw 9 alloc 80 mem 87\nUDP: inuse 2 mem 0\n";
    const SOCKSTAT6: &str = "TCP6: inuse 3\nUDP6: inuse 0\n";

    #[test]
    fn counters_come_from_three_files_and_one_may_be_missing() {
        let both = Counters { active_opens: 5100, passive_opens: 5002, established: 71, in_use: 77, time_wait: 9 };
        let cases = [
            ((SNMP, SOCKSTAT, SOCKSTAT6), Some(both)),
            ((SNMP, SOCKSTAT, ""), Some(Counters { in_use: 74, ..both })), // booted with ipv6.disable=1
            (("", SOCKSTAT, SOCKSTAT6), None),
            ((SNMP, "", SOCKSTAT6), None),
            (("Tcp: ActiveOpens\n", SOCKSTAT, SOCKSTAT6), None), // cut off
            (("Tcp: ActiveOpens\nTcp: many\n", SOCKSTAT, SOCKSTAT6), None),
            ((SNMP, "TCP: inuse", SOCKSTAT6), None),
        ];
        for ((snmp, sockstat, sockstat6), want) in cases {
            assert_eq!(parse(snmp, sockstat, sockstat6), want, "{snmp:?} {sockstat:?} {sockstat6:?}");
        }
    }

    #[test]
    fn udp_sockets_are_counted_over_both_families() {
        let cases = [
            ((SOCKSTAT, "UDP6: inuse 3\n"), Some(5)),
            ((SOCKSTAT, ""), Some(2)),
            (("", SOCKSTAT6), None),
            (("UDP: inuse\n", SOCKSTAT6), None),
        ];
        for ((sockstat, sockstat6), want) in cases {
            assert_eq!(datagrams(sockstat, sockstat6), want, "{sockstat:?} {sockstat6:?}");
        }
    }
}
