//! The kernel's own tables of sockets: tests wait for what is on the map to be true first.

use std::fs;
use std::time::Duration;

use super::host::Namespaces;
use super::wait::{ensure, wait_for};

/// How long a container may take to listen or connect on a busy machine.
const BOUND: Duration = Duration::from_secs(60);

/// What a test waits for in a network namespace.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Awaited {
    /// A listener on this port.
    Listener(u16),
    /// A connection from there to this port of somebody.
    ConnectionTo(u16),
    /// A connection from somebody to this port there.
    ConnectionAt(u16),
    /// A socket that takes datagrams on this port, from anybody.
    Datagrams(u16),
}

/// Returns once the network namespace of a process (numbered as on the host) has such a socket.
#[track_caller]
pub(crate) fn wait(namespaces: &Namespaces, pid: u64, awaited: Awaited) {
    wait_for(&format!("process {pid} of {}: {awaited:?}", namespaces.name()), BOUND, || {
        let sockets = table(namespaces, pid);
        ensure(sockets.iter().any(|socket| socket.is(awaited)), || format!("{sockets:?}"))
    });
}

/// One line of `/proc/net/tcp` or `udp`.
#[derive(Debug)]
struct Socket {
    local_port: u16,
    remote_port: u16,
    state: String,
}

impl Socket {
    fn is(&self, awaited: Awaited) -> bool {
        let (state, found, wanted) = match awaited {
            Awaited::Listener(port) => ("0A", self.local_port, port),
            Awaited::ConnectionTo(port) => ("01", self.remote_port, port),
            Awaited::ConnectionAt(port) => ("01", self.local_port, port),
            Awaited::Datagrams(port) => ("07", self.local_port, port),
        };
        self.state == state && found == wanted
    }

    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split_whitespace().skip(1);
        let mut port = || u16::from_str_radix(fields.next()?.split_once(':')?.1, 16).ok();
        let (local_port, remote_port) = (port()?, port()?);
        Some(Self { local_port, remote_port, state: fields.next()?.to_owned() })
    }
}

/// Both protocols and address families; empty if the process is gone.
fn table(namespaces: &Namespaces, pid: u64) -> Vec<Socket> {
    let read = |file| fs::read_to_string(namespaces.path(&format!("/proc/{pid}/net/{file}")));
    let tables = ["tcp", "tcp6", "udp", "udp6"].map(|file| read(file).unwrap_or_default());
    tables.iter().flat_map(|table| table.lines()).filter_map(Socket::parse).collect()
}
