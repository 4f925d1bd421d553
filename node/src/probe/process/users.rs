//! Names of the host's users, by passwd(5).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Users kept: those of a file with more have a number only.
const USERS_MAX: usize = 10_000;

/// Longest passwd file that is read.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Users of the host, read again when their file changes.
#[derive(Debug)]
pub(super) struct Users {
    /// Where it may be, best first.
    paths: [PathBuf; 2],
    modified: Option<SystemTime>,
    names: BTreeMap<u32, String>,
}

impl Users {
    /// Users of the host with this `/proc`. Its first process sees the host's own files, also where we run in a container.
    pub(super) fn of(proc_root: &Path) -> Self {
        let paths = [proc_root.join("1/root/etc/passwd"), PathBuf::from("/etc/passwd")];
        Self { paths, modified: None, names: BTreeMap::new() }
    }

    /// Reads the file if it is another than last time. Returns whether it was.
    pub(super) fn refresh(&mut self) -> bool {
        let found = self.paths.iter().find_map(|path| Some((path, fs::metadata(path).ok()?)));
        let Some((path, metadata)) = found else { return false };
        let modified = metadata.modified().ok();
        if modified == self.modified || metadata.len() > FILE_BYTES_MAX {
            return false;
        }
        let Ok(bytes) = fs::read(path) else { return false };
        self.modified = modified;
        self.names = parse(&String::from_utf8_lossy(&bytes));
        true
    }

    /// The user's name; its number if the host knows none.
    pub(super) fn name(&self, uid: u32) -> String {
        self.names.get(&uid).cloned().unwrap_or_else(|| uid.to_string())
    }
}

/// Users by number; of two with one number, the first, as getpwuid(3) has it.
fn parse(text: &str) -> BTreeMap<u32, String> {
    let mut names = BTreeMap::new();
    for line in text.lines().take(USERS_MAX) {
        let mut fields = line.split(':');
        let (name, uid) = (fields.next(), fields.nth(1).and_then(|uid| uid.parse().ok()));
        if let (Some(name), Some(uid)) = (name.filter(|name| is_name(name)), uid) {
            names.entry(uid).or_insert_with(|| name.to_owned());
        }
    }
    names
}

/// Whether a name is one useradd(8) would take, or near to it.
fn is_name(name: &str) -> bool {
    (1..=256).contains(&name.len()) && !name.starts_with(['+', '-', '#']) && !name.contains(|c: char| c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_named_by_the_first_line_with_their_number() {
        let names =
            parse("root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:\n\n# x:x:1:\n+nis:x:2:\nbad\nbad:x:y:\na:x:7\n");
        let names: Vec<_> = names.iter().map(|(uid, name)| (*uid, name.as_str())).collect();
        assert_eq!(names, [(0, "root"), (7, "a")]);
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let proc = tempfile::tempdir().expect("a directory");
        let etc = proc.path().join("1/root/etc");
        fs::create_dir_all(&etc).expect("made");
        fs::write(etc.join("passwd"), "ann:x:1000:\n").expect("written");
        let mut users = Users::of(proc.path());
        assert!(users.refresh() && !users.refresh());
        assert_eq!((users.name(1000), users.name(1001)), ("ann".to_owned(), "1001".to_owned()));
        fs::write(etc.join("passwd"), "ann:x:1000:\nbob:x:1001:\n").expect("written");
        let later = SystemTime::now() + std::time::Duration::from_secs(5);
        let file = fs::File::options().append(true).open(etc.join("passwd")).expect("opened");
        file.set_modified(later).expect("set");
        assert!(users.refresh());
        assert_eq!(users.name(1001), "bob");
    }
}
