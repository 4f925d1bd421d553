//! The one image of the tests, made from the machine's static busybox and our own `traffic`: no registry is asked.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::command::output;
use super::host::Namespaces;
use super::peer::BINARY;

/// Its name, as containers and the map show it.
pub(crate) const IMAGE: &str = "demo/busybox:1";

/// The applets the containers call: a process then has its own name, not `busybox`.
const APPLETS: [&str; 5] = ["cat", "nc", "sh", "sleep", "true"];

/// See `scope/tests/e2e/traffic/main.rs`.
pub(crate) const TRAFFIC: &str = "traffic";

/// Puts [`IMAGE`] into the daemon of a host.
#[track_caller]
pub(crate) fn import(namespaces: &Namespaces) {
    let root = tempfile::tempdir().expect("the temporary directory is writable");
    fill(root.path());
    let mut archive = Command::new("tar")
        .args(["--directory", &root.path().to_string_lossy(), "--create", "."])
        .stdout(Stdio::piped())
        .spawn()
        .expect("every Debian has tar");
    let stream = archive.stdout.take().expect("a pipe was asked for");
    let output = output(namespaces.command("docker").args(["import", "-", IMAGE]).stdin(stream));
    assert!(output.status.success(), "docker import: {}", String::from_utf8_lossy(&output.stderr));
    assert!(archive.wait().is_ok_and(|status| status.success()), "tar failed");
}

/// Links to the applets in the host's `directory`, for processes outside containers.
pub(crate) fn link_applets(directory: &Path) {
    fs::create_dir_all(directory).expect("a host's own /run is writable");
    for applet in APPLETS {
        symlink(busybox(), directory.join(applet)).expect("the directory is new");
    }
    symlink(traffic(), directory.join(TRAFFIC)).expect("the directory is new");
}

fn fill(root: &Path) {
    let bin = root.join("bin");
    for directory in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
        fs::create_dir(root.join(directory)).expect("a new directory is writable");
    }
    fs::copy(busybox(), bin.join("busybox")).expect("busybox was found");
    fs::copy(traffic(), bin.join(TRAFFIC)).expect("a new directory is writable");
    for applet in APPLETS {
        symlink("busybox", bin.join(applet)).expect("a new directory is writable");
    }
}

fn busybox() -> PathBuf {
    ["/usr/bin/busybox", "/bin/busybox"]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.is_file())
        .expect("busybox was found")
}

/// Built beside the program under test.
fn traffic() -> PathBuf {
    let program = Path::new(BINARY).with_file_name("examples").join(TRAFFIC);
    assert!(program.is_file(), "{} is missing: `make e2e` builds it", program.display());
    program
}
