//! Control groups (cgroups(7)): which container a process is in, by the names of its cgroups, and what the container uses,
//! by their files. Version 1, version 2 and hybrids of both, decided for each controller on its own.

mod mounts;
mod name;
mod usage;

use std::collections::BTreeSet;
use std::sync::Arc;

use topology::ContainerId;

pub use mounts::Mounts;
pub use usage::{Dirs, Reader};

/// Running containers whose usage no cgroup file tells: some other source has to.
pub type Unmeasured = Arc<BTreeSet<ContainerId>>;

/// The container a process is in, as `/proc/PID/cgroup` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The innermost container.
    pub id: ContainerId,
    /// `docker`, `containerd`, `podman`, `cri-o`; empty if the names do not say, or if they say that it is another Docker
    /// daemon's than the host's.
    pub runtime: &'static str,
    /// Where the container's own cgroups are.
    pub paths: Paths,
}

/// Paths of a container's own cgroups in their hierarchies, as seen from our cgroup namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paths {
    /// In the version 2 hierarchy.
    pub unified: Option<String>,
    /// Of the version 1 controller `cpuacct`.
    pub cpuacct: Option<String>,
    /// Of the version 1 controller `memory`.
    pub memory: Option<String>,
}

/// Parses `/proc/PID/cgroup`: lines of `hierarchy:controllers:path`. `None` if no line names a container.
#[must_use]
pub fn parse(text: &str) -> Option<Membership> {
    let mut found: Option<Membership> = None;
    for line in text.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(hierarchy), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let Some(container) = name::innermost(path) else { continue };
        let known = found.get_or_insert_with(|| Membership {
            id: container.id.clone(),
            runtime: container.runtime,
            paths: Paths::default(),
        });
        if known.id != container.id {
            continue;
        }
        let own = &path[..container.end];
        if hierarchy == "0" && controllers.is_empty() {
            known.paths.unified = Some(own.to_owned());
        }
        for controller in controllers.split(',') {
            match controller {
                "cpuacct" => known.paths.cpuacct = Some(own.to_owned()),
                "memory" => known.paths.memory = Some(own.to_owned()),
                _ => {}
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: char) -> String {
        digit.to_string().repeat(64)
    }

    #[test]
    fn a_process_is_in_the_innermost_container_its_cgroups_name() {
        let (a, b) = (id('a'), id('b'));
        let cases = [
            ("docker, v2, systemd", format!("0::/system.slice/docker-{a}.scope\n"), Some(("docker", &a))),
            ("docker, v2, cgroupfs", format!("0::/docker/{a}\n"), Some(("docker", &a))),
            ("docker, other parent", format!("0::/custom/{a}"), Some(("", &a))),
            ("docker, rootless", format!("0::/user.slice/user-1.slice/docker-{a}.scope"), Some(("", &a))),
            ("docker in docker", format!("0::/docker/{a}/docker/{b}"), Some(("", &b))),
            ("docker in docker, systemd", format!("0::/docker/{a}/system.slice/docker-{b}.scope"), Some(("", &b))),
            ("docker in a pod", format!("0::/kubepods/burstable/pod8a2f/{a}/docker/{b}"), Some(("", &b))),
            ("docker, the parent its own", format!("0::/some-host-1/docker/{a}"), Some(("docker", &a))),
            (
                "Kubernetes in docker",
                format!("0::/docker/{a}/kubelet.slice/cri-containerd-{b}.scope"),
                Some(("containerd", &b)),
            ),
            ("systemd in docker", format!("0::/docker/{a}/system.slice/nginx.service"), Some(("docker", &a))),
            (
                "containerd for Kubernetes, systemd",
                format!("0::/kubepods.slice/kubepods-pod1_2.slice/cri-containerd-{a}.scope"),
                Some(("containerd", &a)),
            ),
            (
                "containerd for Kubernetes, systemd's names on cgroupfs",
                format!("0::/system.slice/containerd.service/kubepods-burstable-pod1.slice:cri-containerd:{a}"),
                Some(("containerd", &a)),
            ),
            ("Kubernetes, cgroupfs", format!("0::/kubepods/burstable/pod8a2f/{a}"), Some(("", &a))),
            ("cri-o", format!("0::/kubepods.slice/crio-{a}.scope/container"), Some(("cri-o", &a))),
            ("cri-o's monitor", format!("0::/kubepods.slice/crio-conmon-{a}.scope"), None),
            ("podman", format!("0::/machine.slice/libpod-{a}.scope/container"), Some(("podman", &a))),
            ("podman, cgroupfs", format!("0::/libpod_parent/libpod-{a}"), Some(("podman", &a))),
            ("podman's monitor", format!("0::/machine.slice/libpod-conmon-{a}.scope"), None),
            ("nerdctl", format!("0::/system.slice/nerdctl-{a}.scope"), Some(("containerd", &a))),
            ("nerdctl, cgroupfs", format!("0::/default/{a}"), Some(("containerd", &a))),
            ("seen from a cgroup namespace", format!("0::/../{a}"), Some(("", &a))),
            ("no container", "0::/system.slice/docker.service\n".to_owned(), None),
            ("root", "0::/\n".to_owned(), None),
            ("upper case is no id", format!("0::/docker/{}", id('A')), None),
            ("63 digits", format!("0::/docker/{}", &a[..63]), None),
            ("no cgroup file", "garbage\n0:\n::\n\u{0}".to_owned(), None),
            ("empty", String::new(), None),
        ];
        for (what, text, want) in cases {
            let got = parse(&text);
            let got = got.as_ref().map(|found| (found.runtime, found.id.as_str()));
            assert_eq!(got, want.map(|(runtime, id)| (runtime, id.as_str())), "{what}");
        }
    }

    #[test]
    fn the_paths_are_those_of_the_container_itself() {
        let a = id('a');
        let v1 = format!(
            "12:name=systemd:/docker/{a}/init.scope\n5:memory:/docker/{a}/init.scope\n3:cpu,cpuacct:/docker/{a}\n0::/\n"
        );
        let own = format!("/docker/{a}");
        let want = Paths { unified: None, cpuacct: Some(own.clone()), memory: Some(own.clone()) };
        assert_eq!(parse(&v1).map(|found| found.paths), Some(want), "v1");
        let hybrid = format!("4:memory:/docker/{a}\n1:name=systemd:/docker/{a}\n0::/docker/{a}/x\n");
        let want = Paths { unified: Some(own.clone()), cpuacct: None, memory: Some(own) };
        assert_eq!(parse(&hybrid).map(|found| found.paths), Some(want), "hybrid");
    }
}
