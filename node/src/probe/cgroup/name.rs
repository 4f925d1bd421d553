//! Names of cgroups: each runtime has its own way to put a container's id into one.

use topology::ContainerId;

/// Digits of a container's id: a sha256 or as many random ones, in every runtime that is told apart here.
const ID_DIGITS: usize = 64;

/// A container found in a cgroup's path.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) id: ContainerId,
    pub(super) runtime: &'static str,
    /// Length of the path up to and including the component that names it.
    pub(super) end: usize,
}

/// Containers of the host's daemon: it is asked about them, and believed when it knows none of that id.
const DOCKER: &str = "docker";

/// What comes before the id, and whose it is. Monitors (`libpod-conmon-…`) have a prefix of their own that is not here.
const PREFIXES: [(&str, &str); 6] = [
    ("docker-", DOCKER),
    ("cri-containerd-", "containerd"),
    ("nerdctl-", "containerd"),
    ("crio-", "cri-o"),
    ("libpod-", "podman"),
    ("", ""),
];

/// The last component of a path that names a container.
pub(super) fn innermost(path: &str) -> Option<Found> {
    let mut end = path.len();
    loop {
        let (parent, component) = path[..end].rsplit_once('/')?;
        if let Some((id, runtime)) = container(component) {
            let runtime = if runtime.is_empty() { by_parent(parent) } else { runtime };
            let runtime = if runtime == DOCKER && is_of_another_daemon(parent) { "" } else { runtime };
            return Some(Found { id, runtime, end });
        }
        end = parent.len();
    }
}

/// The container a component names: `ID`, `RUNTIME-ID`, `RUNTIME-ID.scope` or `SLICE:RUNTIME:ID`.
fn container(component: &str) -> Option<(ContainerId, &'static str)> {
    let bare = component.strip_suffix(".scope").unwrap_or(component);
    let split = bare.len().checked_sub(ID_DIGITS)?;
    let (before, digits) = (bare.get(..split)?, bare.get(split..)?);
    if !digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    // systemd's driver on a cgroupfs host leaves its argument unexpanded, colons and all.
    let runtime = match before.rsplit_once(':') {
        Some(("", _)) => return None,
        Some((slice, "")) => prefix_of(&format!("{}-", slice.rsplit(':').next()?))?,
        Some(_) => return None,
        None => prefix_of(before)?,
    };
    Some((ContainerId::new(digits).ok()?, runtime))
}

fn prefix_of(before: &str) -> Option<&'static str> {
    PREFIXES.iter().find(|(prefix, _)| *prefix == before).map(|(_, runtime)| *runtime)
}

/// Whether it is not the host's daemon that put a container below `parent`: one in another container did, or a user's own.
fn is_of_another_daemon(parent: &str) -> bool {
    parent.split('/').any(|component| component == "user.slice" || container(component).is_some())
}

/// Whose a bare id is, by the cgroup it is in; empty if that does not say.
fn by_parent(parent: &str) -> &'static str {
    match parent.rsplit('/').next() {
        Some(DOCKER) => DOCKER,
        // containerd's default namespace: what nerdctl and ctr use unless told otherwise.
        Some("default") => "containerd",
        _ => "",
    }
}
