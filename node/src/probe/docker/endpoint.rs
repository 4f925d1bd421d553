//! Where the daemon is: what an operator may write, what is tried when they wrote nothing, and what to tell them when
//! nobody answers there.

use std::error::Error as _;
use std::fmt;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, Docker};

/// Docker's own default, on every distribution.
const DOCKER_SOCKET: &str = "/var/run/docker.sock";
/// Where `podman.socket` of systemd puts its Docker-compatible API.
const PODMAN_SOCKET: &str = "/run/podman/podman.sock";
/// Port of an unencrypted daemon, where the address names none.
const TCP_PORT: u16 = 2375;
/// Longest accepted address, in bytes. A Unix socket's path ends at 108 (unix(7)).
const HOST_BYTES_MAX: usize = 512;

/// A daemon's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Path of a Unix socket.
    Unix(String),
    /// `host:port`, unencrypted.
    Tcp(String),
}

impl Endpoint {
    /// Whether the daemon there is on this host for sure, so that its pids are ours.
    pub(super) fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp(address) => {
                let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
                let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
                ip.map_or_else(|_| host.eq_ignore_ascii_case("localhost"), |ip| ip.is_loopback())
            }
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => f.write_str(path),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

/// An address we cannot use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Docker host {0:?}: use unix:///PATH or tcp://HOST:PORT")]
pub struct BadHost(String);

impl std::str::FromStr for Endpoint {
    type Err = BadHost;

    fn from_str(text: &str) -> Result<Self, BadHost> {
        parse(text).ok_or_else(|| BadHost(text.chars().take(HOST_BYTES_MAX).collect()))
    }
}

fn parse(text: &str) -> Option<Endpoint> {
    if text.len() > HOST_BYTES_MAX || text.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return None;
    }
    if let Some(path) = text.strip_prefix("unix://") {
        return path.starts_with('/').then(|| Endpoint::Unix(path.to_owned()));
    }
    let address = text.strip_prefix("tcp://").or_else(|| text.strip_prefix("http://"))?.trim_end_matches('/');
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (address, TCP_PORT),
    };
    let is_v6 = host.starts_with('[') && host.ends_with(']');
    let is_name = !host.is_empty() && !host.contains(['/', '@', '?', '#', ':', '[', ']']);
    (is_v6 || is_name).then(|| Endpoint::Tcp(format!("{host}:{port}")))
}

/// Addresses to try, in order: what the operator named; else `$DOCKER_HOST`; else Docker's socket, then podman's.
///
/// # Errors
/// [`BadHost`] if the named address has another form than ours.
pub(super) fn candidates(named: Option<&str>, environment: Option<&str>) -> Result<Vec<Endpoint>, BadHost> {
    match named.or(environment.filter(|host| !host.is_empty())) {
        Some(host) => Ok(vec![host.parse()?]),
        None => Ok([DOCKER_SOCKET, PODMAN_SOCKET].map(|path| Endpoint::Unix(path.to_owned())).into()),
    }
}

/// A daemon that answered.
#[derive(Clone, Debug)]
pub(super) struct Daemon {
    pub(super) client: Docker,
    pub(super) endpoint: Endpoint,
    /// `docker` or `podman`.
    pub(super) runtime: &'static str,
}

/// The first of the addresses where a daemon answers.
///
/// # Errors
/// What to tell a person, about the first address.
pub(super) async fn connect(endpoints: &[Endpoint], timeout: Duration) -> Result<Daemon, String> {
    let mut first = None;
    for endpoint in endpoints {
        match greet(endpoint, timeout).await {
            Ok(daemon) => return Ok(daemon),
            Err(failure) => {
                first.get_or_insert_with(|| failure.reason(endpoint));
            }
        }
    }
    Err(first.unwrap_or_else(|| "no address of a Docker daemon is known".to_owned()))
}

async fn greet(endpoint: &Endpoint, timeout: Duration) -> Result<Daemon, Failure> {
    // The client's own timeout counts whole seconds and stops at the headers: ours are around each request.
    const CLIENT_TIMEOUT_SECONDS: u64 = 120;
    let client = match endpoint {
        Endpoint::Unix(path) => Docker::connect_with_unix(path, CLIENT_TIMEOUT_SECONDS, API_DEFAULT_VERSION),
        Endpoint::Tcp(address) => Docker::connect_with_http(address, CLIENT_TIMEOUT_SECONDS, API_DEFAULT_VERSION),
    };
    let client = client.map_err(|error| Failure::of(&error))?;
    let version = tokio::time::timeout(timeout, client.version()).await.map_err(|_| Failure::Silent(timeout))?;
    let components = version.map_err(|error| Failure::of(&error))?.components.unwrap_or_default();
    let is_podman = components.iter().any(|component| component.name.contains("Podman"));
    Ok(Daemon { client, endpoint: endpoint.clone(), runtime: if is_podman { "podman" } else { "docker" } })
}

/// Why a daemon does not serve us.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// No such socket.
    Absent,
    /// A socket nobody listens at.
    Refused,
    /// A socket we may not use.
    Forbidden,
    /// No answer in time.
    Silent(Duration),
    /// The connection or its stream of events ended.
    Closed,
    /// Anything else.
    Other(String),
}

impl Failure {
    pub(super) fn of(error: &bollard::errors::Error) -> Self {
        use bollard::errors::Error;
        match error {
            Error::SocketNotFoundError(_) => return Self::Absent,
            Error::DockerResponseServerError { status_code: 403, .. } => return Self::Forbidden,
            _ => {}
        }
        match io_kind(error) {
            Some(ErrorKind::NotFound) => Self::Absent,
            Some(ErrorKind::ConnectionRefused) => Self::Refused,
            Some(ErrorKind::PermissionDenied) => Self::Forbidden,
            _ => Self::Other(super::convert::cut(&error.to_string(), 200).to_owned()),
        }
    }

    /// What to tell a person: what is wrong, where, and the way out.
    pub(super) fn reason(&self, endpoint: &Endpoint) -> String {
        match self {
            Self::Absent => {
                format!(
                    "no Docker daemon at {endpoint}: start one, name another with --docker-host, or use --no-docker"
                )
            }
            Self::Refused => {
                format!("nothing listens at {endpoint}: start the Docker daemon or name another with --docker-host")
            }
            Self::Forbidden => {
                format!("no permission to use {endpoint}: run as root or add this user to the group docker")
            }
            Self::Silent(timeout) => {
                let seconds = timeout.as_secs_f32();
                format!("the Docker daemon at {endpoint} did not answer within {seconds} s: is it stuck?")
            }
            Self::Closed => format!("lost the Docker daemon at {endpoint}: is it running?"),
            Self::Other(error) => format!("the Docker daemon at {endpoint} failed: {error}"),
        }
    }
}

/// The kind of IO error at the root of the client's: below its HTTP library's when it could not connect.
fn io_kind(error: &bollard::errors::Error) -> Option<ErrorKind> {
    if let bollard::errors::Error::IOError { err } = error {
        return Some(err.kind());
    }
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.filter_map(|cause| cause.downcast_ref::<std::io::Error>()).map(std::io::Error::kind).last()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_socket_or_the_loopback_is_this_host_for_sure() {
        let cases = [
            ("unix:///run/docker.sock", true),
            ("tcp://127.0.0.1:2375", true),
            ("tcp://127.8.0.1", true),
            ("http://[::1]:2375", true),
            ("tcp://localhost", true),
            ("tcp://LocalHost:1", true),
            ("tcp://other:2375", false),
            ("tcp://localhost.example:2375", false),
            ("tcp://192.0.2.7:2375", false),
            ("tcp://[2001:db8::1]:2375", false),
        ];
        for (host, want) in cases {
            assert_eq!(host.parse::<Endpoint>().expect("an address").is_local(), want, "{host}");
        }
    }

    #[test]
    fn a_host_is_a_socket_or_a_tcp_address() {
        let unix = |path: &str| Some(Endpoint::Unix(path.to_owned()));
        let tcp = |address: &str| Some(Endpoint::Tcp(address.to_owned()));
        let cases = [
            ("unix:///run/docker.sock", unix("/run/docker.sock")),
            ("tcp://10.0.0.1:2376", tcp("10.0.0.1:2376")),
            ("http://daemon:80/", tcp("daemon:80")),
            ("tcp://daemon", tcp("daemon:2375")),
            ("tcp://[::1]:2375", tcp("[::1]:2375")),
            ("tcp://[::1]", tcp("[::1]:2375")),
            ("tcp://::1", None),
            ("tcp://", None),
            ("tcp://daemon:port", None),
            ("tcp://user@daemon:1", None),
            ("unix://relative", None),
            ("ssh://daemon", None),
            ("https://daemon:2376", None),
            ("npipe:////./pipe/docker_engine", None),
            ("fd://", None),
            ("/var/run/docker.sock", None),
            ("unix:///a b", None),
            ("", None),
        ];
        for (text, want) in cases {
            assert_eq!(text.parse().ok(), want, "{text:?}");
        }
    }

    #[test]
    fn what_the_operator_named_goes_before_the_environment_and_that_before_the_sockets() {
        let texts = |named, environment| -> Vec<String> {
            candidates(named, environment).expect("good").iter().map(ToString::to_string).collect()
        };
        assert_eq!(texts(Some("unix:///a"), Some("unix:///b")), ["/a"]);
        assert_eq!(texts(None, Some("tcp://b:1")), ["tcp://b:1"]);
        assert_eq!(texts(None, Some("")), [DOCKER_SOCKET, PODMAN_SOCKET]);
        assert_eq!(texts(None, None), [DOCKER_SOCKET, PODMAN_SOCKET]);
        let refused = candidates(None, Some("ssh://b")).expect_err("no ssh");
        assert_eq!(refused.to_string(), r#"Docker host "ssh://b": use unix:///PATH or tcp://HOST:PORT"#);
    }

    #[test]
    fn an_io_error_is_found_below_the_clients_own() {
        use bollard::errors::Error;
        let io = |kind: ErrorKind| Error::IOError { err: kind.into() };
        let refusal = |status_code| Error::DockerResponseServerError { status_code, message: "no".to_owned() };
        let other = "Docker responded with status code 500: no";
        let cases = [
            (io(ErrorKind::PermissionDenied), Failure::Forbidden),
            (io(ErrorKind::ConnectionRefused), Failure::Refused),
            (io(ErrorKind::NotFound), Failure::Absent),
            (Error::SocketNotFoundError("/x".to_owned()), Failure::Absent),
            (refusal(403), Failure::Forbidden),
            (refusal(500), Failure::Other(other.to_owned())),
        ];
        for (error, want) in cases {
            assert_eq!(Failure::of(&error), want, "{error}");
        }
    }

    #[test]
    fn a_reason_names_the_socket_and_the_way_out() {
        let endpoint = Endpoint::Unix("/run/d.sock".to_owned());
        let cases = [
            (Failure::Absent, "--no-docker"),
            (Failure::Refused, "start the Docker daemon"),
            (Failure::Forbidden, "group docker"),
            (Failure::Silent(Duration::from_millis(2500)), "2.5 s"),
            (Failure::Closed, "is it running?"),
            (Failure::Other("code 500".to_owned()), "code 500"),
        ];
        for (failure, want) in cases {
            let reason = failure.reason(&endpoint);
            assert!(reason.contains(want) && reason.contains("/run/d.sock"), "{reason}");
        }
    }
}
