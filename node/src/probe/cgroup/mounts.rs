//! Where the cgroup hierarchies are mounted, by `/proc/self/mountinfo` (proc_pid_mountinfo(5)).

use std::path::{Path, PathBuf};

/// Mounts of one hierarchy that are kept. A machine has one; containers with bind mounts of parts of it have a few.
const MOUNTS_MAX: usize = 16;

/// The mounted hierarchies we read from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mounts {
    unified: Vec<Mount>,
    cpuacct: Vec<Mount>,
    memory: Vec<Mount>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    /// The cgroup that is mounted: `/`, or the part a container may see.
    root: String,
    /// Where.
    point: PathBuf,
}

/// One hierarchy of those a container's usage is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hierarchy {
    Unified,
    Cpuacct,
    Memory,
}

impl Mounts {
    /// Parses mountinfo. Lines that are malformed or of other file systems are passed over.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut mounts = Self::default();
        for line in text.lines() {
            mounts.add(line);
        }
        mounts
    }

    /// Takes one line: `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAG…] - TYPE SOURCE SUPER_OPTIONS`.
    fn add(&mut self, line: &str) -> Option<()> {
        let (of_mount, of_type) = line.split_once(" - ")?;
        let mut of_type = of_type.split(' ');
        let kind = of_type.next()?;
        if !kind.starts_with("cgroup") {
            return None;
        }
        let mut of_mount = of_mount.split(' ').skip(3);
        let mount = Mount { root: unescape(of_mount.next()?), point: unescape(of_mount.next()?).into() };
        let keep = |mounts: &mut Vec<Mount>| {
            if mounts.len() < MOUNTS_MAX {
                mounts.push(mount.clone());
            }
        };
        match kind {
            "cgroup2" => keep(&mut self.unified),
            "cgroup" => {
                for option in of_type.nth(1)?.split(',') {
                    match option {
                        "cpuacct" => keep(&mut self.cpuacct),
                        "memory" => keep(&mut self.memory),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        Some(())
    }

    /// The directory of a cgroup; `None` if no mount shows it.
    pub(super) fn directory(&self, hierarchy: Hierarchy, cgroup: &str) -> Option<PathBuf> {
        let mounts = match hierarchy {
            Hierarchy::Unified => &self.unified,
            Hierarchy::Cpuacct => &self.cpuacct,
            Hierarchy::Memory => &self.memory,
        };
        mounts.iter().find_map(|mount| mount.directory(cgroup))
    }
}

impl Mount {
    fn directory(&self, cgroup: &str) -> Option<PathBuf> {
        let below = if self.root == "/" { cgroup } else { cgroup.strip_prefix(self.root.as_str())? };
        // `/docker/a` does not show `/docker/ab`, and `..` (a cgroup outside our namespace) is in no mount of ours.
        if !(below.is_empty() || below.starts_with('/')) || below.split('/').any(|component| component == "..") {
            return None;
        }
        Some(self.point.join(Path::new(below.trim_start_matches('/'))))
    }
}

/// Undoes mountinfo's escapes: space, tab, newline and backslash are written as three octal digits.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        plain.push_str(before);
        let code = after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(u8::is_ascii);
        match code {
            Some(code) => {
                plain.push(char::from(code));
                rest = &after[3..];
            }
            None => {
                plain.push('\\');
                rest = after;
            }
        }
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn a_cgroups_directory_is_where_its_hierarchy_is_mounted() {
        let inside = "\
50 1 0:30 /docker/aa /sys/fs/cgroup/cpu ro master:1 - cgroup cgroup rw,cpuacct
51 1 0:38 / /sys/fs/cgroup\\040two rw - cgroup2 cgroup rw,nsdelegate
52 1 0:38 / /elsewhere rw - cgroup2 cgroup rw
";
        let cases = [
            // mountinfo, hierarchy, cgroup, directory
            (HYBRID, Hierarchy::Cpuacct, "/docker/aa", Some("/sys/fs/cgroup/cpu,cpuacct/docker/aa")),
            (HYBRID, Hierarchy::Memory, "/", Some("/sys/fs/cgroup/memory/")),
            (HYBRID, Hierarchy::Unified, "/docker/aa", Some("/sys/fs/cgroup/unified/docker/aa")),
            (HYBRID, Hierarchy::Unified, "/../aa", None),
            (inside, Hierarchy::Cpuacct, "/docker/aa/x", Some("/sys/fs/cgroup/cpu/x")),
            (inside, Hierarchy::Cpuacct, "/docker/aab", None),
            (inside, Hierarchy::Cpuacct, "/docker/bb", None),
            (inside, Hierarchy::Memory, "/docker/aa", None),
            (inside, Hierarchy::Unified, "/a", Some("/sys/fs/cgroup two/a")),
            ("", Hierarchy::Unified, "/a", None),
        ];
        for (mountinfo, hierarchy, cgroup, want) in cases {
            let got = Mounts::parse(mountinfo).directory(hierarchy, cgroup);
            assert_eq!(got.as_deref(), want.map(Path::new), "{cgroup} in {hierarchy:?}");
        }
    }

    #[test]
    fn malformed_lines_and_escapes_are_passed_over() {
        let cases = ["", " - ", "1 2 3 - cgroup2", "a - cgroup c", "1 2 3 / /p - cgroup c", "\\ \\9 \\777 - x"];
        for text in cases {
            assert_eq!(Mounts::parse(text), Mounts::default(), "{text:?}");
        }
        for (text, want) in [("a\\040b", "a b"), ("\\", "\\"), ("\\04", "\\04"), ("\\777", "\\777"), ("\\é", "\\é")] {
            assert_eq!(unescape(text), want);
        }
    }
}
