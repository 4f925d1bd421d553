//! The command line. Every flag can be given as an environment variable too, except `--detach`.

use std::io::{ErrorKind, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::builder::FalseyValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

use node::discovery::dns::{self, MeshName};
use node::discovery::{self, MESH_PORT, PeerAddress, TsigKey};
use node::secret::Secret;

use tracing::warn;

use crate::run_file::RunFile;

/// Port of the UI and its API: Weave Scope's.
pub(crate) const HTTP_PORT: u16 = 4040;

/// The live map of your containers, processes and hosts.
#[derive(Debug, Parser)]
#[command(name = "scope", version, about, arg_required_else_help = true)]
#[command(after_help = "\
Examples:
  sudo scope launch                       map this host, at http://localhost:4040/
  sudo scope launch --detach              the same in the background; `scope stop` ends it
  sudo scope launch db1 10.0.0.7          map this host and those where these run scope
  sudo scope launch --http-addr 127.0.0.1:8080
  scope status                            what the peer on this host sees, and what it lacks")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a peer: probe this host and serve the map
    Launch(Box<Launch>),
    /// End the peer that runs on this host
    Stop(Running),
    /// Show how the peer that runs on this host does
    Status(Status),
    /// Make the secret that closes a mesh to strangers
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Print the version
    Version,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    /// Print a new one: give it to every peer, by --secret-file or $SCOPE_SECRET
    New,
}

#[derive(Debug, Args)]
pub(crate) struct Launch {
    /// Other hosts that run scope: names or addresses, with or without a port [default port: 4030]
    ///
    /// One is enough, whichever it is: peers tell each other who else there is. Names are looked up for as long as this
    /// runs, and lead to every address behind them; one that does not answer yet may do so later.
    #[arg(value_name = "PEER", env = "SCOPE_PEERS", value_delimiter = ',')]
    pub(crate) peers: Vec<PeerAddress>,

    /// Address and port of the UI and its API
    ///
    /// Whoever reaches it sees the map. `127.0.0.1:4040` keeps it to this machine.
    #[arg(long, value_name = "ADDR:PORT", env = "SCOPE_HTTP_ADDR", default_value_t = SocketAddr::from((Ipv4Addr::UNSPECIFIED, HTTP_PORT)), value_parser = http_addr)]
    pub(crate) http_addr: SocketAddr,

    #[command(flatten)]
    pub(crate) mesh: Mesh,

    #[command(flatten)]
    pub(crate) running: Running,

    /// Host name to show [default: this machine's]
    #[arg(long, value_name = "NAME", env = "SCOPE_HOSTNAME", value_parser = host_name)]
    pub(crate) hostname: Option<String>,

    /// Docker daemon: unix:///PATH, tcp://HOST:PORT [default: $DOCKER_HOST, else Docker's or podman's socket]
    #[arg(long, value_name = "URL", env = "SCOPE_DOCKER_HOST")]
    pub(crate) docker_host: Option<String>,

    /// The host's /proc, where it is mounted elsewhere
    #[arg(long, value_name = "DIR", env = "SCOPE_PROC_ROOT", default_value = "/proc")]
    pub(crate) proc_root: PathBuf,

    /// Do not ask a Docker daemon: containers are known by their cgroups alone
    #[arg(long, env = "SCOPE_NO_DOCKER", value_parser = FalseyValueParser::new())]
    pub(crate) no_docker: bool,

    /// Do not load a program into the kernel: short connections are told of less surely, and by whom not at all
    #[arg(long, env = "SCOPE_NO_EBPF", value_parser = FalseyValueParser::new())]
    pub(crate) no_ebpf: bool,

    /// Do not follow connection tracking: what address translation does is not known, nor most of UDP
    #[arg(long, env = "SCOPE_NO_CONNTRACK", value_parser = FalseyValueParser::new())]
    pub(crate) no_conntrack: bool,

    /// Neither listen to DNS answers nor look up the names of remote addresses
    #[arg(long, env = "SCOPE_NO_NAMES", value_parser = FalseyValueParser::new())]
    pub(crate) no_names: bool,

    /// Services outside the cluster that are to be nodes of their own, in TOML: see docs/edges.md
    #[arg(long, value_name = "FILE", env = "SCOPE_SERVICES")]
    pub(crate) services: Option<PathBuf>,

    /// Do not probe this host: serve the map alone
    #[arg(long, env = "SCOPE_NO_PROBE", value_parser = FalseyValueParser::new())]
    pub(crate) no_probe: bool,

    /// How log lines are written, to standard error; $SCOPE_LOG says which (`debug`, `node=debug`)
    #[arg(long, value_name = "FORMAT", env = "SCOPE_LOG_FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,

    /// Go to the background once the map is served; the log is scope.log in the state directory
    // No variable: the peer this starts would inherit it, and start another one.
    #[arg(long)]
    pub(crate) detach: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) running: Running,

    /// Print what the API says, as one JSON document: `about`, `peers` and `probes`
    #[arg(long)]
    pub(crate) json: bool,
}

/// How a peer meets others.
#[derive(Debug, Args)]
#[command(next_help_heading = "Mesh")]
pub(crate) struct Mesh {
    /// Address and port on which other peers are met; may be given several times
    #[arg(long, value_name = "ADDR:PORT", env = "SCOPE_MESH_ADDR", value_delimiter = ',', default_values_t = [
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, MESH_PORT)),
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, MESH_PORT)),
    ], value_parser = mesh_addr)]
    pub(crate) mesh_addr: Vec<SocketAddr>,

    /// Secret of the mesh, as `scope secret new` makes it: who has another one, or none, cannot join
    ///
    /// The page is not covered by it, see --http-addr. On the command line every user of this host can read it: better by --secret-file or $SCOPE_SECRET.
    // Not parsed here: the command line's parser would print what it refuses.
    #[arg(long, value_name = "SECRET", env = "SCOPE_SECRET", hide_env_values = true, conflicts_with = "secret_file")]
    secret: Option<String>,

    /// File that holds the secret of the mesh
    #[arg(long, value_name = "FILE", env = "SCOPE_SECRET_FILE")]
    secret_file: Option<PathBuf>,

    /// Name in DNS under which peers find each other
    #[arg(long, value_name = "NAME", env = "SCOPE_DNS_NAME", default_value_t)]
    dns_name: MeshName,

    /// DNS server to ask and to register at [default: the system's; to register, the zone's primary]
    #[arg(long, value_name = "ADDR[:PORT]", env = "SCOPE_DNS_SERVER", value_parser = dns_server)]
    dns_server: Option<SocketAddr>,

    /// Key with which to register this peer in DNS (RFC 2136), in a file as `tsig-keygen` writes it
    #[arg(long, value_name = "FILE", env = "SCOPE_DNS_UPDATE_KEY_FILE")]
    dns_update_key_file: Option<PathBuf>,

    /// Neither look for peers in DNS nor register there
    #[arg(long, env = "SCOPE_NO_DNS", value_parser = FalseyValueParser::new())]
    no_dns: bool,
}

/// Longest file that holds a secret, in bytes.
const SECRET_FILE_BYTES_MAX: u64 = 4096;

impl Mesh {
    /// The secret, if the mesh has one.
    ///
    /// # Errors
    /// If the file cannot be read or does not hold one.
    pub(crate) fn secret(&self) -> Result<Option<Secret>> {
        let Some(path) = &self.secret_file else {
            return self.secret.as_deref().map(str::parse).transpose().context("--secret or $SCOPE_SECRET");
        };
        let text = read_small(path).with_context(|| format!("--secret-file {}", path.display()))?;
        let secret = text.parse().with_context(|| format!("--secret-file {}", path.display()))?;
        Ok(Some(secret))
    }

    /// Where to look for others, besides `peers`. `id` is what weaveDNS is to know this peer by.
    ///
    /// # Errors
    /// If the key file cannot be read or does not hold a key.
    pub(crate) fn discovery(&self, peers: Vec<PeerAddress>, id: String) -> Result<discovery::Config> {
        if self.no_dns {
            return Ok(discovery::Config { peers, dns: None });
        }
        let update_key = match &self.dns_update_key_file {
            Some(path) => Some(TsigKey::read(path).context("--dns-update-key-file")?),
            None => None,
        };
        let config = dns::Config {
            name: self.dns_name.clone(),
            server: self.dns_server,
            update_key,
            port: self.mesh_addr.first().map_or(MESH_PORT, SocketAddr::port),
            ..dns::Config::new(id)
        };
        Ok(discovery::Config { peers, dns: Some(config) })
    }
}

fn read_small(path: &std::path::Path) -> Result<String> {
    let file = std::fs::File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    if mode & 0o077 != 0 {
        warn!(file = %path.display(), mode = format!("{:04o}", mode & 0o7777), "others can read the secret: chmod 600 it");
    }
    let mut text = String::new();
    file.take(SECRET_FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Running {
    /// Where the peer keeps its key, epoch and log [default: /var/lib/scope, or ~/.local/state/scope if not root]
    #[arg(long, value_name = "DIR", env = "SCOPE_STATE_DIR")]
    state_dir: Option<PathBuf>,
}

impl Running {
    /// The state directory: the one given, else the user's.
    ///
    /// # Errors
    /// If none is given and the user has no home to keep one in.
    pub(crate) fn state_dir(&self) -> Result<PathBuf> {
        let given = self.state_dir.clone().or_else(default_state_dir);
        given.context("this user has no home directory: say with --state-dir where to keep key and epoch")
    }

    /// A command about the same peer, as people would type it.
    pub(crate) fn command(&self, name: &str) -> String {
        match &self.state_dir {
            Some(state_dir) => format!("scope {name} --state-dir {}", state_dir.display()),
            None => format!("scope {name}"),
        }
    }

    /// The peer that runs.
    ///
    /// # Errors
    /// If there is none, or it is not for this user to know.
    pub(crate) fn find(&self) -> Result<RunFile> {
        let state_dir = self.state_dir()?;
        let is_root = rustix::process::geteuid().is_root();
        match RunFile::read(&state_dir) {
            Ok(Some(run)) => Ok(run),
            Ok(None) if !is_root && self.state_dir.is_none() => {
                bail!("no scope of yours runs; one that root started answers to `sudo scope`")
            }
            Ok(None) => bail!(
                "no scope runs with the state directory {}; `scope launch` starts one, --state-dir names another's",
                state_dir.display()
            ),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                bail!("{} is not yours to read: use `sudo scope`", state_dir.display())
            }
            Err(error) => Err(error).with_context(|| format!("cannot read the run file in {}", state_dir.display())),
        }
    }
}

fn default_state_dir() -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Some(PathBuf::from("/var/lib/scope"));
    }
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    state.or_else(home).map(|state| state.join("scope"))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people
    Text,
    /// One JSON object a line
    Json,
}

/// An address with a port; `localhost:PORT` and `:PORT` (every address) are understood too.
fn http_addr(text: &str) -> std::result::Result<SocketAddr, String> {
    let numeric = match text.rsplit_once(':') {
        Some(("localhost", port)) => format!("127.0.0.1:{port}"),
        Some(("", port)) => format!("0.0.0.0:{port}"),
        _ => text.to_owned(),
    };
    numeric
        .parse()
        .map_err(|_| "give an address and a port, as in `127.0.0.1:4040`, `[::1]:4040` or `:4040`".to_owned())
}

/// An address with a port; without one it is the mesh's.
fn mesh_addr(text: &str) -> std::result::Result<SocketAddr, String> {
    address(text, MESH_PORT)
        .ok_or_else(|| "give an address, as in `10.0.0.2`, `10.0.0.2:4030` or `[::]:4030`".to_owned())
}

/// An address with a port; without one it is DNS's.
fn dns_server(text: &str) -> std::result::Result<SocketAddr, String> {
    address(text, 53).ok_or_else(|| "give an address, as in `10.0.0.53` or `10.0.0.53:5353`".to_owned())
}

fn address(text: &str, port: u16) -> Option<SocketAddr> {
    let alone = || text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    text.parse().ok().or_else(|| Some(SocketAddr::new(alone()?, port)))
}

/// Longest host name, in bytes (RFC 1035 §2.3.4).
const HOST_NAME_BYTES_MAX: usize = 253;

fn host_name(text: &str) -> std::result::Result<String, String> {
    let fits = (1..=HOST_NAME_BYTES_MAX).contains(&text.len());
    if fits && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)) {
        Ok(text.to_owned())
    } else {
        Err(format!("1 to {HOST_NAME_BYTES_MAX} letters, digits, `-`, `.` and `_`"))
    }
}

#[cfg(test)]
mod tests {
    use clap::{ArgAction, CommandFactory};

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_of_launch_is_an_environment_variable_too() {
        let command = Cli::command();
        let launch = command.find_subcommand("launch").expect("a subcommand");
        for argument in launch.get_arguments().filter(|it| !matches!(it.get_id().as_str(), "help" | "detach" | "peers"))
        {
            let long = argument.get_long().expect("a long flag");
            let variable = argument.get_env().and_then(|name| name.to_str());
            assert_eq!(variable, Some(&*format!("SCOPE_{}", long.to_uppercase().replace('-', "_"))));
        }
    }

    #[test]
    fn a_secret_that_is_refused_is_not_shown() {
        for text in ["scope1-mistyped", "hunter2hunter2hunter2"] {
            let cli = Cli::try_parse_from(["scope", "launch", "--secret", text]).expect("any text");
            let Command::Launch(launch) = cli.command else { panic!("a launch") };
            let error = launch.mesh.secret().expect_err("no secret");
            assert!(!format!("{error:#}").contains(text), "{error:#}");
        }
    }

    #[test]
    fn addresses_come_with_and_without_ports() {
        let cases = [
            ("10.0.0.2", Some("10.0.0.2:4030")),
            ("10.0.0.2:5030", Some("10.0.0.2:5030")),
            ("::1", Some("[::1]:4030")),
            ("[::]", Some("[::]:4030")),
            ("[::]:5030", Some("[::]:5030")),
            ("db1", None),
            ("", None),
        ];
        for (text, want) in cases {
            assert_eq!(mesh_addr(text).ok().map(|address| address.to_string()).as_deref(), want, "{text:?}");
        }
    }

    #[test]
    fn a_switch_is_on_for_any_variable_that_does_not_say_no() {
        let cases = [("1", true), ("true", true), ("yes", true), ("", false), ("0", false), ("false", false)];
        for switch in ["no-docker", "no-probe"] {
            // A variable's value takes the way of a flag's; the flag takes none, so that is put aside.
            let command = Cli::command().mut_subcommand("launch", |launch| {
                launch
                    .mut_arg(switch.replace('-', "_"), |argument| argument.action(ArgAction::Set).require_equals(true))
            });
            for (value, want) in cases {
                let arguments = ["scope".to_owned(), "launch".to_owned(), format!("--{switch}={value}")];
                let matches = command.clone().try_get_matches_from(arguments).expect("a switch takes any value");
                let launch = matches.subcommand_matches("launch").expect("a launch");
                assert_eq!(launch.get_one(&switch.replace('-', "_")), Some(&want), "{switch} of {value:?}");
            }
        }
    }

    #[test]
    fn an_address_to_serve_on_has_a_port() {
        let cases = [
            ("127.0.0.1:80", Some("127.0.0.1:80")),
            ("[::1]:80", Some("[::1]:80")),
            ("localhost:80", Some("127.0.0.1:80")),
            (":80", Some("0.0.0.0:80")),
            ("80", None),
            ("localhost", None),
            ("example.org:80", None),
        ];
        for (text, want) in cases {
            assert_eq!(http_addr(text).ok().map(|address| address.to_string()).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn a_launch_without_flags_has_the_defaults() {
        let cli = Cli::parse_from(["scope", "launch", "one", "[2001:db8::1]:4031"]);
        let Command::Launch(launch) = cli.command else { panic!("launch") };
        let peers: Vec<String> = launch.peers.iter().map(ToString::to_string).collect();
        assert_eq!(
            (launch.http_addr.to_string(), peers.join(" ")),
            ("0.0.0.0:4040".into(), "one:4030 [2001:db8::1]:4031".into())
        );
    }
}
