//! Recorded `/proc` trees.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// Where the recorded tree of a Debian host is.
pub(crate) fn debian() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/proc/debian")
}

/// A copy of a recorded tree that a test may change.
pub(crate) struct Tree(TempDir);

impl Tree {
    pub(crate) fn of_debian() -> Self {
        let copy = tempfile::tempdir().expect("a directory");
        copy_tree(&debian(), copy.path());
        Self(copy)
    }

    pub(crate) fn root(&self) -> &Path {
        self.0.path()
    }

    /// Replaces text in a file of it.
    pub(crate) fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.root().join(file);
        let text = fs::read_to_string(&path).expect("readable");
        assert!(text.contains(from), "{file} holds {from:?}");
        fs::write(&path, text.replacen(from, to, 1)).expect("writable");
    }

    pub(crate) fn write(&self, file: &str, bytes: &[u8]) {
        fs::write(self.root().join(file), bytes).expect("writable");
    }

    /// Copies a directory into it.
    pub(crate) fn copy_in(&self, from: &Path, to: &str) {
        copy_tree(from, &self.root().join(to));
    }

    pub(crate) fn remove(&self, directory: &str) {
        fs::remove_dir_all(self.root().join(directory)).expect("removable");
    }
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("listed") {
        let entry = entry.expect("an entry");
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().expect("a type");
        if kind.is_dir() {
            copy_tree(&path, &copy);
        } else if kind.is_symlink() {
            symlink(fs::read_link(&path).expect("a link"), &copy).expect("linked");
        } else {
            fs::copy(&path, &copy).expect("copied");
        }
    }
}
