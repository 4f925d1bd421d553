//! What a cgroup uses: CPU time and memory, by the files of either version.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags, open};

use super::Paths;
use super::mounts::{Hierarchy, Mounts};

/// Longest file that is read. `memory.stat` of version 2, the longest, takes about 2 KiB.
const FILE_BYTES_MAX: usize = 16 * 1024;

/// A read that gives less than this gave all there is: the kernel makes these files whole, and a page holds most.
const PART_BYTES_MIN: usize = 3 * 1024;

/// Directories of one container's cgroups, by what is read from them and in which version's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dirs {
    cpu: Option<Versioned>,
    memory: Option<Versioned>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Versioned {
    V1(PathBuf),
    V2(PathBuf),
}

impl Dirs {
    /// Finds them. A controller the container has in a version 1 hierarchy is not in version 2.
    #[must_use]
    pub fn resolve(mounts: &Mounts, paths: &Paths) -> Self {
        let find = |v1: &Option<String>, hierarchy| match v1 {
            Some(path) => mounts.directory(hierarchy, path).map(Versioned::V1),
            None => {
                let path = paths.unified.as_ref()?;
                mounts.directory(Hierarchy::Unified, path).map(Versioned::V2)
            }
        };
        Self { cpu: find(&paths.cpuacct, Hierarchy::Cpuacct), memory: find(&paths.memory, Hierarchy::Memory) }
    }
}

/// Reads usage files into one buffer it keeps.
#[derive(Debug, Default)]
pub struct Reader {
    path: PathBuf,
    buffer: Vec<u8>,
}

impl Reader {
    /// CPU time used so far; `None` if it cannot be read.
    pub fn cpu(&mut self, dirs: &Dirs) -> Option<Duration> {
        match dirs.cpu.as_ref()? {
            Versioned::V1(dir) => parse_number(self.read(dir, "cpuacct.usage")?).map(Duration::from_nanos),
            Versioned::V2(dir) => field(self.read(dir, "cpu.stat")?, "usage_usec").map(Duration::from_micros),
        }
    }

    /// Memory in use less inactive file pages, which the kernel takes back first: the working set, in bytes. `None` if it
    /// cannot be read.
    pub fn memory(&mut self, dirs: &Dirs) -> Option<u64> {
        let (dir, current, inactive) = match dirs.memory.as_ref()? {
            Versioned::V1(dir) => (dir, "memory.usage_in_bytes", "total_inactive_file"),
            Versioned::V2(dir) => (dir, "memory.current", "inactive_file"),
        };
        let current = parse_number(self.read(dir, current)?)?;
        let inactive = self.read(dir, "memory.stat").and_then(|text| field(text, inactive)).unwrap_or(0);
        Some(current.saturating_sub(inactive))
    }

    /// Limit of memory, in bytes; `None` if there is none or it cannot be read. Version 1 writes none as a number larger
    /// than any machine's memory.
    pub fn memory_max(&mut self, dirs: &Dirs) -> Option<u64> {
        let (dir, file) = match dirs.memory.as_ref()? {
            Versioned::V1(dir) => (dir, "memory.limit_in_bytes"),
            Versioned::V2(dir) => (dir, "memory.max"),
        };
        parse_number(self.read(dir, file)?)
    }

    fn read(&mut self, dir: &Path, file: &str) -> Option<&str> {
        self.path.clear();
        self.path.push(dir);
        self.path.push(file);
        let file = open(&self.path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
        self.buffer.resize(FILE_BYTES_MAX, 0);
        let mut filled = 0;
        loop {
            let read = rustix::io::read(&file, &mut self.buffer[filled..]).ok()?;
            filled += read;
            if read == 0 || filled == FILE_BYTES_MAX || filled < PART_BYTES_MIN {
                return std::str::from_utf8(&self.buffer[..filled]).ok();
            }
        }
    }
}

/// A file of one number. `max` is none.
fn parse_number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// A number of a file of `name number` lines.
fn field(text: &str, name: &str) -> Option<u64> {
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.filter(|(key, _)| *key == name).find_map(|(_, value)| parse_number(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().expect("below the root")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        dir
    }

    fn mounts(root: &Path) -> Mounts {
        let root = root.display();
        Mounts::parse(&format!(
            "1 0 0:1 / {root}/acct rw - cgroup c rw,cpuacct\n2 0 0:2 / {root}/mem rw - cgroup c rw,memory\n\
             3 0 0:3 / {root}/two rw - cgroup2 c rw\n"
        ))
    }

    fn paths(unified: Option<&str>, v1: Option<&str>) -> Paths {
        let v1 = v1.map(str::to_owned);
        Paths { unified: unified.map(str::to_owned), cpuacct: v1.clone(), memory: v1 }
    }

    #[test]
    fn usage_is_read_in_the_words_of_the_version_the_container_is_in() {
        let tree = tree(&[
            ("acct/d/a/cpuacct.usage", "1500000000\n"),
            ("mem/d/a/memory.usage_in_bytes", "5000000\n"),
            ("mem/d/a/memory.stat", "cache 9\ninactive_file 1\ntotal_inactive_file 1000000\n"),
            ("mem/d/a/memory.limit_in_bytes", "9223372036854771712\n"),
            ("two/d/a/cpu.stat", "usage_usec 1\n"),
            ("two/d/b/cpu.stat", "user_usec 7\nusage_usec 2500000\n"),
            ("two/d/b/memory.current", "300\n"),
            ("two/d/b/memory.stat", "anon 1\ninactive_file 400\n"),
            ("two/d/b/memory.max", "max\n"),
            ("two/d/c/cpu.stat", "usage_usec none\n"),
            ("two/d/c/memory.current", "70\n"),
            ("two/d/c/memory.max", "100\n"),
        ]);
        let unlimited = Some(i64::MAX as u64 / 4096 * 4096);
        let cases = [
            // what, paths, CPU time in ms, working set, limit
            ("v1 in a hybrid", paths(Some("/d/a"), Some("/d/a")), Some(1500), Some(4_000_000), unlimited),
            ("v2", paths(Some("/d/b"), None), Some(2500), Some(0), None),
            ("odd numbers and no stat", paths(Some("/d/c"), None), None, Some(70), Some(100)),
            ("gone", paths(Some("/d/x"), Some("/d/x")), None, None, None),
            ("nowhere", paths(None, None), None, None, None),
        ];
        let mut reader = Reader::default();
        for (what, paths, cpu_ms, memory, max) in cases {
            let dirs = Dirs::resolve(&mounts(tree.path()), &paths);
            assert_eq!(reader.cpu(&dirs), cpu_ms.map(Duration::from_millis), "cpu, {what}");
            assert_eq!((reader.memory(&dirs), reader.memory_max(&dirs)), (memory, max), "memory, {what}");
        }
    }
}
