//! A BIND of the test's own: on the loopback, with the zone `weave.local` that one key may change.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use tempfile::TempDir;

pub(super) const KEY: &str = r#"key "scope-key" { algorithm hmac-sha256; secret "dGhlIGtleSBvZiB0aGUgdGVzdHM="; };"#;
pub(super) const KEY_WITH_WRONG_SECRET: &str =
    r#"key "scope-key" { algorithm hmac-sha256; secret "YW5vdGhlciBvbmU="; };"#;
pub(super) const KEY_NOBODY_KNOWS: &str =
    r#"key "other-key" { algorithm hmac-sha256; secret "dGhlIGtleSBvZiB0aGUgdGVzdHM="; };"#;
pub(super) const KEY_WITHOUT_RIGHTS: &str =
    r#"key "reader-key" { algorithm hmac-sha512; secret "Zm9yIHJlYWRpbmc="; };"#;

const ZONE: &str = "\
$TTL 30
@                   SOA   ns1 admin 1 60 60 600 1
@                   NS    ns1
ns1                 A     127.0.0.1
db1                 A     10.0.0.9
db1                 AAAA  2001:db8::9
alias               CNAME db1
other               A     10.0.0.20
other               A     10.0.0.9
_scope._tcp.other   SRV   0 0 4032 db1
_scope._tcp.other   SRV   0 0 4033 .
";

const MANY_ZONE: &str = "\
$TTL 30
@                   SOA   ns1 admin 1 60 60 600 1
@                   NS    ns1
ns1                 A     127.0.0.1
";

/// Addresses of `many.local`: more than fit into a UDP message.
pub(super) const MANY: usize = 400;

/// Ended with the test.
pub(super) struct Bind {
    process: Child,
    address: SocketAddr,
    _dir: TempDir,
}

impl Bind {
    /// Starts one, with `options` of `named.conf`, and waits until it answers.
    pub(super) fn start(options: &str) -> Bind {
        let mut said = String::new();
        for _ in 0..5 {
            match try_start(options) {
                Ok(bind) => return bind,
                // Another program may have taken the port.
                Err(log) => said = log,
            }
        }
        panic!("named does not start:\n{said}");
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it answers, as `dig` shows it, sorted. `ANY`: all types.
    pub(super) fn dig(&self, name: &str, kind: &str) -> Vec<String> {
        let server = format!("@{}", self.address.ip());
        let port = self.address.port().to_string();
        let output = Command::new(program("dig", "bind9-dnsutils"))
            .args([&server, "-p", &port, "+short", "+tries=1", name, kind])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "dig {name} {kind}: {text}");
        let mut lines: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
        lines.sort();
        lines
    }
}

impl Drop for Bind {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts one on a port that is free now. Returns its log if it ends instead.
fn try_start(options: &str) -> Result<Bind, String> {
    let address = free_address();
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let many: String = (0..MANY).map(|index| format!("@ A 10.1.{}.{}\n", index / 200, index % 200)).collect();
    fs::write(dir.path().join("weave.local.zone"), ZONE).unwrap();
    fs::write(dir.path().join("many.local.zone"), format!("{MANY_ZONE}{many}")).unwrap();
    let config = dir.path().join("named.conf");
    fs::write(&config, named_conf(dir.path(), address, options)).unwrap();
    // AppArmor confines the installed program to directories of its own; a copy is free of that.
    let named = dir.path().join("named");
    fs::copy(program("named", "bind9"), &named).unwrap();
    let mut process = Command::new(&named)
        .args(["-g", "-4", "-n", "1", "-c"])
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(process.stderr.take().unwrap());
    let mut said = String::new();
    while log.read_line(&mut said).unwrap() > 0 {
        let last = said.lines().last().unwrap_or_default();
        if last.ends_with(" running") {
            // A full pipe would stop it.
            thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
            return Ok(Bind { process, address, _dir: dir });
        }
    }
    process.wait().unwrap();
    Err(said)
}

fn named_conf(dir: &Path, address: SocketAddr, options: &str) -> String {
    let (dir, ip, port) = (dir.display(), address.ip(), address.port());
    format!(
        r#"
options {{
    directory "{dir}";
    pid-file none;
    session-keyfile "{dir}/session.key";
    listen-on port {port} {{ {ip}; }};
    recursion no;
    dnssec-validation no;
    notify no;
    {options}
}};
controls {{ }};
{KEY}
{KEY_WITHOUT_RIGHTS}
zone "weave.local" {{
    type primary;
    file "weave.local.zone";
    update-policy {{ grant scope-key zonesub ANY; }};
}};
zone "many.local" {{
    type primary;
    file "many.local.zone";
    max-records-per-type 0;
}};
"#
    )
}

/// A port that is free for both UDP and TCP.
fn free_address() -> SocketAddr {
    loop {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = tcp.local_addr().unwrap();
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

/// Where a program of a Debian package is; daemons are not in everybody's path.
fn program(name: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = dirs.find_map(|dir| Some(dir.join(name)).filter(|path| path.is_file()));
    found.unwrap_or_else(|| panic!("{name} is missing: install {package}: make setup"))
}
