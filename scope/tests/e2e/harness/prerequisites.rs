//! What the end-to-end tests need from the machine, checked before the first of them.

use std::path::Path;
use std::sync::OnceLock;

/// Programs by the name under which they are called.
const PROGRAMS: [&str; 15] = [
    "bash",
    "busybox",
    "chromium",
    "containerd",
    "dig",
    "docker",
    "dockerd",
    "faketime",
    "ip",
    "iptables",
    "named",
    "nft",
    "node",
    "nsenter",
    "unshare",
];

/// Panics with one line if this machine cannot run the tests. They never pass by not running.
pub(crate) fn check() {
    static PROBLEM: OnceLock<Option<String>> = OnceLock::new();
    if let Some(problem) = PROBLEM.get_or_init(find_problem) {
        panic!("{problem}");
    }
}

fn find_problem() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("the end-to-end tests make namespaces: run them as root with `make e2e`".into());
    }
    let missing: Vec<_> = PROGRAMS.into_iter().filter(|program| !in_path(program)).collect();
    if missing.is_empty() {
        return None;
    }
    Some(format!("missing: {}: run `make setup`", missing.join(", ")))
}

fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|directory| Path::new(&directory).join(program).is_file())
}
