//! A network that loses everything between two groups of hosts, without a word to either.

use std::process::{Command, Stdio};

use super::command::output;
use super::host::Host;

/// Frames are dropped on the bridge until this is dropped.
pub(crate) struct Cut(());

impl Cut {
    /// Cuts `one` side from the `other`. The test reaches both. There is one cut at a time.
    #[track_caller]
    pub(crate) fn between(one: &[Host], other: &[Host]) -> Self {
        let (one, other) = (ports(one), ports(other));
        nft("add table bridge cut");
        nft("add chain bridge cut forward { type filter hook forward priority 0; }");
        nft(&format!("add rule bridge cut forward iifname {one} oifname {other} drop"));
        nft(&format!("add rule bridge cut forward iifname {other} oifname {one} drop"));
        Self(())
    }

    /// Mends the network.
    pub(crate) fn heal(self) {}
}

impl Drop for Cut {
    fn drop(&mut self) {
        // No panic: one may be on its way already. The lab's namespace takes the rules along in any case.
        let _ = Command::new("nft").args(["delete", "table", "bridge", "cut"]).stdin(Stdio::null()).status();
    }
}

/// The hosts' ports of the bridge, as a set of names.
fn ports(hosts: &[Host]) -> String {
    format!("{{ {} }}", hosts.iter().map(Host::port).collect::<Vec<_>>().join(", "))
}

#[track_caller]
fn nft(command: &str) {
    let output = output(Command::new("nft").arg(command));
    assert!(output.status.success(), "nft {command}: {}", String::from_utf8_lossy(&output.stderr));
}
