//! The network the hosts of one test hang on: a namespace of its own with one bridge, and the test
//! thread inside it, so that it reaches every host by address and nothing else.

use std::fs::File;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::command::{output, read_line};
use super::host::Host;
use super::{logs, prerequisites};

/// The lab's own address, as the hosts see the test.
pub(crate) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// A new network with nobody on it. Moves the calling thread, and what it starts, into it. Logs get the name of the function
/// this stands in: of a test that runs on the main thread, the thread does not know it.
macro_rules! lab {
    () => {{
        fn here() {}
        $crate::harness::lab::Lab::of_test(&here)
    }};
}

pub(crate) use lab;

/// One test's network. Dropped after its hosts.
pub(crate) struct Lab {
    /// Holds the namespace until its standard input ends.
    anchor: Child,
    hosts: AtomicU8,
}

impl Lab {
    /// See [`lab`]; `here` is a function within the test.
    pub(crate) fn of_test<F>(here: &F) -> Self {
        let path = std::any::type_name_of_val(here);
        Self::named(path.split_once("::").and_then(|(_, path)| path.rsplit_once("::")).map_or(path, |(test, _)| test))
    }

    /// See [`lab`]; its logs are found under this name.
    pub(crate) fn named(name: &str) -> Self {
        prerequisites::check();
        logs::begin(name);
        let mut anchor = Command::new("unshare")
            .args(["--net", "--", "bash", "-c", "echo ready; read -r _ || true"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare was found");
        assert_eq!(read_line(&mut anchor), "ready", "the lab's namespace");
        let namespace = File::open(format!("/proc/{}/ns/net", anchor.id())).expect("the anchor lives");
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("root may enter a namespace");
        ip("link set lo up");
        // No timers: a port forwards at once, without listening first.
        ip("link add lab0 type bridge forward_delay 0 mcast_snooping 0");
        ip(&format!("address add {OUTSIDE}/16 dev lab0"));
        ip(&format!("address add {}/64 dev lab0 nodad", v6(1)));
        ip("link set lab0 up");
        Self { anchor, hosts: AtomicU8::new(0) }
    }

    /// One more host on the network: `eth0` with the next address.
    pub(crate) fn host(&self, name: &str) -> Host {
        let number = 2 + self.hosts.fetch_add(1, Ordering::Relaxed);
        let address = Ipv4Addr::new(10, 77, 0, number);
        let host = Host::boot(name, address);
        let port = host.port();
        ip(&format!("link add {port} type veth peer name eth0 netns {}", host.namespaces().init()));
        ip(&format!("link set {port} master lab0 up"));
        host.run("ip", &["address", "add", &format!("{address}/16"), "dev", "eth0"]);
        host.run("ip", &["address", "add", &format!("{}/64", v6(number.into())), "dev", "eth0", "nodad"]);
        host.run("ip", &["link", "set", "eth0", "up"]);
        host.run("ip", &["route", "add", "default", "via", &OUTSIDE.to_string()]);
        host
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        drop(self.anchor.stdin.take());
        // It cannot fail: the child is ours and was not waited for.
        let _ = self.anchor.wait();
    }
}

/// The second address of the host whose first one ends in `number`.
pub(crate) fn v6(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, number)
}

fn ip(arguments: &str) {
    let output = output(Command::new("ip").args(arguments.split(' ')));
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}
