//! Connections that ended, from inside the kernel: a BPF program counts them, so that none is too short to be seen, with
//! the process that opened or closed them and its ancestors, so that none is gone before it can be named.
//!
//! ```text
//! inet_sock_set_state ─tracer.bpf.c─▶ ended connections, by relation ─drain─▶ Ended     (each round)
//!                                  └▶ "something new in this netns" ─watch─▶ a nudge    (at once)
//! ```
//!
//! What is *open* it does not tell, nor what was open before it was loaded: that is for the socket tables. Only TCP. Another
//! BPF program tells which process holds which socket, cheaper than `/proc` does.

#[cfg(bpf_program)]
mod decode;
#[cfg_attr(not(bpf_program), path = "ebpf/without.rs")]
mod tracer;
mod watch;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use topology::fact::Direction;
use topology::{Netns, ProcessId};

pub use tracer::{News, Tracer};
pub use watch::{Watcher, watch};

/// Most holders of sockets that are read at once: 24 bytes each.
pub const HOLDERS_MAX: usize = 500_000;

/// Connections of one relation that ended, together. There can be several of one relation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Where they were. Possibly of another host, if several share this kernel and no process was seen.
    pub netns: Netns,
    /// Who opened them; of incoming ones, who closed them: the last to do so, if a child was forked meanwhile. `None` if that
    /// was the kernel, after a reset or a timeout.
    pub process: Option<Arc<Task>>,
    /// Which side opened them.
    pub direction: Direction,
    /// Whether `direction` and `port` are only likely: the connection is older than the tracer, so the lower of its ports is
    /// taken for that of the service.
    pub is_guess: bool,
    /// Local address.
    pub local: IpAddr,
    /// Remote address.
    pub remote: IpAddr,
    /// Port of the service: the remote one of outgoing connections, the local one of incoming ones.
    pub port: u16,
    /// How many.
    pub count: u64,
    /// Bytes the other side acknowledged, as `tcp_info` counts them: each of SYN and FIN can count as one.
    pub sent: u64,
    /// Bytes received, counted alike.
    pub received: u64,
    /// Segments sent again.
    pub retransmits: u64,
    /// Smoothed round trip time of the last one.
    pub rtt_micros: Option<u32>,
}

/// A process, as it was when the kernel saw it connect or close.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Pid and start time.
    pub id: ProcessId,
    /// Parent, its parent and so on, three at most; less up to the first of the pid namespace.
    pub ancestors: Vec<ProcessId>,
    /// Name of the program, cut to 15 bytes. Empty if the kernel has forgotten it.
    pub name: String,
}

/// How the tracer does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Connections and owners it missed since it was loaded.
    pub losses: u64,
    /// Changes of state it looked at since it was loaded.
    pub events: u64,
    /// What it cost in the kernel since the last call, by what its runs took when they were last measured: now and then.
    /// `None` if they were not yet, or cannot be: that takes `CAP_SYS_ADMIN`.
    pub cpu_time: Option<Duration>,
}

/// Why there is no tracer.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The program is not in this binary.
    #[error("built without eBPF: {0}")]
    NotBuilt(&'static str),
    /// The kernel does not tell where its structs have their fields.
    #[error("no BTF at /sys/kernel/btf/vmlinux ({0}): it takes a kernel built with CONFIG_DEBUG_INFO_BTF")]
    NoBtf(String),
    /// Which processes are of this host is not known.
    #[error("cannot tell this host's pid namespace: {0}")]
    PidNamespace(io::Error),
    /// The kernel does not let us.
    #[error("may not load BPF programs: run as root, or with CAP_BPF and CAP_PERFMON")]
    Denied,
    /// The kernel does not take it.
    #[error("the kernel refused the BPF program (Linux 5.11 or newer is needed): {0}")]
    Refused(String),
}

/// Why nothing could be drained. Not to be expected; a tracer loaded anew may do better.
#[derive(Debug, thiserror::Error)]
#[error("cannot read from the BPF program: {0}")]
pub struct ReadError(String);

#[cfg(all(test, feature = "ebpf"))]
mod tests {
    use std::path::Path;

    use super::*;

    fn can_be_sent<T: Send>() {}

    #[test]
    fn a_build_that_is_to_have_the_program_has_it() {
        can_be_sent::<(Tracer, News)>();
        match Tracer::load(Path::new("/proc")) {
            Err(LoadError::NotBuilt(why)) => panic!("{why}; apt-get install clang"),
            Err(LoadError::Denied) => panic!("the tests load BPF programs: run them as root"),
            loaded => drop(loaded.expect("loaded")),
        }
    }
}
