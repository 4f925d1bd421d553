//! A DNS server: BIND on a host of its own, with the zone `weave.local` that one key may change.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::command::output;
use super::host::Host;
use super::lab::Lab;
use super::logs::Log;
use super::process::Process;
use super::wait::wait_for;

/// How long it may take to serve on a busy machine.
const BOUND: Duration = Duration::from_secs(30);

/// Its files, on its host.
const DIR: &str = "/run/dns";

/// Where [`Named::give_key`] puts the key.
pub(crate) const KEY_FILE: &str = "/run/scope-dns.key";

const KEY: &str = r#"key "scope-key" { algorithm hmac-sha256; secret "dGhlIGtleSBvZiB0aGUgdGVzdHM="; };"#;

const ZONE: &str = "\
$TTL 30
@    SOA  ns1 admin 1 60 60 600 1
@    NS   ns1
";

/// Ends when dropped.
pub(crate) struct Named {
    process: Process,
    _log: Log,
    host: Host,
}

impl Named {
    /// One that answers.
    #[track_caller]
    pub(crate) fn start(lab: &Lab) -> Self {
        let host = lab.host("dns");
        let path = |file: &str| host.namespaces().path(&format!("{DIR}/{file}"));
        fs::create_dir(path("")).expect("a host's own /run is writable");
        fs::write(path("weave.local.zone"), format!("{ZONE}ns1  A    {}\n", host.address())).expect("there is room");
        fs::write(path("named.conf"), configuration()).expect("there is room");
        // AppArmor confines the installed program to directories of its own; a copy is free of that.
        fs::copy(program(), path("named")).expect("there is room");
        let log = Log::create("named");
        let mut command = host.namespaces().command(&format!("{DIR}/named"));
        command.args(["-g", "-4", "-n", "1", "-c", &format!("{DIR}/named.conf")]);
        command.stdout(log.writer()).stderr(log.writer());
        let mut named = Self { process: Process::spawn(command), _log: log, host };
        wait_for("a DNS server that answers", BOUND, || {
            if let Some(status) = named.process.status() {
                panic!("named ended: {status}");
            }
            named.records("weave.local", "SOA")
        });
        named
    }

    pub(crate) fn address(&self) -> Ipv4Addr {
        self.host.address()
    }

    /// Lets a host change the zone.
    pub(crate) fn give_key(&self, host: &Host) {
        fs::write(host.namespaces().path(KEY_FILE), KEY).expect("a host's own /run is writable");
    }

    /// What it answers, a record's data each, as `dig +short` prints it.
    pub(crate) fn records(&self, name: &str, kind: &str) -> Result<BTreeSet<String>, String> {
        let server = format!("@{}", self.address());
        let output = output(Command::new("dig").args([&server, "+short", "+tries=1", "+time=5", name, kind]));
        let text = String::from_utf8_lossy(&output.stdout);
        if output.status.success() {
            Ok(text.lines().map(ToOwned::to_owned).collect())
        } else {
            Err(format!("dig {name} {kind}: {text}"))
        }
    }
}

fn configuration() -> String {
    format!(
        r#"
options {{
    directory "{DIR}";
    pid-file none;
    session-keyfile "{DIR}/session.key";
    listen-on {{ any; }};
    recursion no;
    dnssec-validation no;
    notify no;
}};
controls {{ }};
{KEY}
zone "weave.local" {{
    type primary;
    file "weave.local.zone";
    update-policy {{ grant scope-key zonesub ANY; }};
}};
"#
    )
}

/// Daemons are not in everybody's path.
fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut directories = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    let program = directories.find_map(|directory| Some(directory.join("named")).filter(|program| program.is_file()));
    program.expect("named was found")
}
