//! What the daemon says to facts. Pure; nothing in an answer is trusted to be there, to parse or to be short.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use bollard::models::{
    ContainerInspectResponse, ContainerState as DaemonState, ContainerStateStatusEnum as DaemonStatus,
    ContainerSummary, ContainerSummaryStateEnum as ListedState, EndpointSettings, ImageInspect,
};
use topology::fact::{Container, ContainerState, Image};
use topology::{ImageId, Timestamp};

use super::event::id_of;
use super::{ports, secret};
use crate::probe::mesh_secret::masked;

/// Longest name of a container, image, host or network, in bytes.
const NAME_BYTES_MAX: usize = 256;
/// Longest command line, in bytes.
const COMMAND_BYTES_MAX: usize = 4096;
/// Most labels, variables or tags of one thing.
const ROWS_MAX: usize = 256;
/// Most networks of one container.
const NETWORKS_MAX: usize = 64;
/// Longest name or value of a label or variable, in bytes.
const TEXT_BYTES_MAX: usize = 1024;
/// Most bytes of all labels, or of all variables, of one thing: two of these leave a fact well below
/// [`topology::codec::VALUE_BYTES_MAX`].
const TABLE_BYTES_MAX: usize = 64 * 1024;

/// The fact of an inspected container; `None` if the answer has no usable id.
pub(super) fn container(answer: &ContainerInspectResponse, runtime: &str) -> Option<Container> {
    let mut container = Container::new(id_of(answer.id.as_deref()?)?);
    container.name = name(answer.name.as_deref());
    container.image_id = image_id(answer.image.as_deref());
    container.command = command(answer.path.as_deref(), answer.args.as_deref().unwrap_or_default());
    container.created_at = answer.created.as_deref().and_then(time).unwrap_or_default();
    container.restart_count = answer.restart_count.and_then(|count| u64::try_from(count).ok()).unwrap_or_default();
    container.runtime = runtime.to_owned();
    let mode = answer.host_config.as_ref().and_then(|config| config.network_mode.as_deref());
    container.network_mode = network_mode(mode);
    if let Some(state) = &answer.state {
        container.state = state_of(state);
        container.started_at = state.started_at.as_deref().and_then(time);
        container.init_pid = state.pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0);
    }
    if let Some(config) = &answer.config {
        container.image = cut(config.image.as_deref().unwrap_or_default(), NAME_BYTES_MAX).to_owned();
        container.hostname = hostname(config.hostname.as_deref(), config.domainname.as_deref());
        container.labels = labels(config.labels.as_ref());
        container.env = env(config.env.as_deref().unwrap_or_default());
    }
    let settings = answer.network_settings.as_ref();
    container.networks = networks(settings.and_then(|settings| settings.networks.as_ref()));
    let exposed = answer.config.as_ref().and_then(|config| config.exposed_ports.as_deref()).unwrap_or_default();
    container.ports = ports::of_inspected(settings.and_then(|settings| settings.ports.as_ref()), exposed);
    Some(container)
}

/// The fact of a listed container: all but its environment, host name, restarts, start and first process. Shown until
/// the container is inspected, or for good where the daemon cannot do that.
pub(super) fn listed_container(summary: &ContainerSummary, runtime: &str) -> Option<Container> {
    let mut container = Container::new(id_of(summary.id.as_deref()?)?);
    // A legacy link adds names like `/client/alias`; the container's own has one slash.
    let names = summary.names.as_deref().unwrap_or_default();
    container.name = name(names.iter().find(|name| name.matches('/').count() <= 1).map(String::as_str));
    container.image = cut(summary.image.as_deref().unwrap_or_default(), NAME_BYTES_MAX).to_owned();
    container.image_id = image_id(summary.image_id.as_deref());
    container.command = masked(cut(summary.command.as_deref().unwrap_or_default(), COMMAND_BYTES_MAX).to_owned());
    let seconds = summary.created.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or_default();
    container.created_at = Timestamp(seconds.saturating_mul(1000));
    container.state = listed_state(summary.state, summary.status.as_deref().unwrap_or_default());
    container.labels = labels(summary.labels.as_ref());
    container.runtime = runtime.to_owned();
    container.network_mode =
        network_mode(summary.host_config.as_ref().and_then(|config| config.network_mode.as_deref()));
    container.networks = networks(summary.network_settings.as_ref().and_then(|settings| settings.networks.as_ref()));
    container.ports = ports::of_listed(summary.ports.as_deref().unwrap_or_default());
    Some(container)
}

/// The fact of an image; `None` if the answer has no usable id.
pub(super) fn image(answer: &ImageInspect) -> Option<Image> {
    let tags = answer.repo_tags.iter().flatten().filter(|tag| !tag.starts_with("<none>"));
    let mut tags: Vec<String> = tags.map(|tag| cut(tag, NAME_BYTES_MAX).to_owned()).collect();
    tags.sort_unstable();
    tags.dedup();
    tags.truncate(ROWS_MAX);
    Some(Image {
        id: image_id(answer.id.as_deref())?,
        tags,
        size_bytes: answer.size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default(),
        labels: labels(answer.config.as_ref().and_then(|config| config.labels.as_ref())),
    })
}

/// The longest beginning of `text` of at most `bytes_max` bytes that ends with a whole character.
pub(super) fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// An id without the name of its hash, if it may stand in a request's path.
fn image_id(text: Option<&str>) -> Option<ImageId> {
    let id = id_of(text?.trim_start_matches("sha256:"))?;
    ImageId::new(id.as_str()).ok()
}

fn name(text: Option<&str>) -> String {
    cut(text.unwrap_or_default().trim_start_matches('/'), NAME_BYTES_MAX).to_owned()
}

/// A time, unless it is the year 1 or 1970 that stand for "never".
fn time(text: &str) -> Option<Timestamp> {
    text.parse().ok().filter(|time| *time != Timestamp(0))
}

fn command(path: Option<&str>, args: &[String]) -> String {
    let mut line = cut(path.unwrap_or_default(), COMMAND_BYTES_MAX).to_owned();
    for arg in args {
        if line.len() >= COMMAND_BYTES_MAX {
            break;
        }
        line.push(' ');
        line.push_str(cut(arg, COMMAND_BYTES_MAX - line.len()));
    }
    masked(line)
}

fn hostname(host: Option<&str>, domain: Option<&str>) -> String {
    let host = cut(host.unwrap_or_default(), NAME_BYTES_MAX);
    match cut(domain.unwrap_or_default(), NAME_BYTES_MAX) {
        "" => host.to_owned(),
        domain => format!("{host}.{domain}"),
    }
}

/// The network mode, with the name Docker has for its default: older daemons say `default` for `bridge`.
fn network_mode(text: Option<&str>) -> String {
    match text {
        Some("default") => "bridge".to_owned(),
        other => cut(other.unwrap_or_default(), NAME_BYTES_MAX).to_owned(),
    }
}

fn state_of(state: &DaemonState) -> ContainerState {
    match state.status {
        Some(DaemonStatus::CREATED) => ContainerState::Created,
        // Stopping takes up to the container's grace time; until then its processes run.
        Some(DaemonStatus::RUNNING | DaemonStatus::STOPPING) => ContainerState::Running,
        Some(DaemonStatus::PAUSED) => ContainerState::Paused,
        Some(DaemonStatus::RESTARTING) => ContainerState::Restarting,
        Some(DaemonStatus::REMOVING) => ContainerState::Removing,
        Some(DaemonStatus::EXITED) => ContainerState::Exited(state.exit_code.unwrap_or_default()),
        Some(DaemonStatus::DEAD) => ContainerState::Dead,
        Some(DaemonStatus::EMPTY) | None if state.running == Some(true) => ContainerState::Running,
        Some(DaemonStatus::EMPTY) | None => ContainerState::Unknown,
    }
}

fn listed_state(state: Option<ListedState>, status: &str) -> ContainerState {
    match state {
        Some(ListedState::CREATED) => ContainerState::Created,
        Some(ListedState::RUNNING | ListedState::STOPPING) => ContainerState::Running,
        Some(ListedState::PAUSED) => ContainerState::Paused,
        Some(ListedState::RESTARTING) => ContainerState::Restarting,
        Some(ListedState::REMOVING) => ContainerState::Removing,
        Some(ListedState::EXITED) => ContainerState::Exited(exit_code(status).unwrap_or_default()),
        Some(ListedState::DEAD) => ContainerState::Dead,
        Some(ListedState::EMPTY) | None => ContainerState::Unknown,
    }
}

/// The code in `Exited (137) 2 hours ago`.
fn exit_code(status: &str) -> Option<i64> {
    status.split_once('(')?.1.split_once(')')?.0.parse().ok()
}

fn networks(networks: Option<&HashMap<String, EndpointSettings>>) -> BTreeMap<String, Vec<IpAddr>> {
    let mut rows: Vec<_> = networks.into_iter().flatten().collect();
    rows.sort_unstable_by_key(|(name, _)| *name);
    rows.truncate(NETWORKS_MAX);
    rows.into_iter().map(|(name, endpoint)| (cut(name, NAME_BYTES_MAX).to_owned(), addresses(endpoint))).collect()
}

/// The addresses of an endpoint, v4 first. An endpoint that is not up has none.
fn addresses(endpoint: &EndpointSettings) -> Vec<IpAddr> {
    let texts = [&endpoint.ip_address, &endpoint.global_ipv6_address];
    texts.into_iter().flatten().filter_map(|text| text.parse().ok()).collect()
}

fn labels(labels: Option<&HashMap<String, String>>) -> BTreeMap<String, String> {
    let mut rows: Vec<_> = labels.into_iter().flatten().collect();
    rows.sort_unstable();
    let rows = rows.into_iter().map(|(name, value)| (short(name), short(value)));
    within_budget(rows, |(name, value)| name.len() + value.len())
}

/// Variables by name, in the order they were set; of a name set twice the last value counts, as in `execve`'s callers.
fn env(variables: &[String]) -> BTreeMap<String, Option<String>> {
    let rows = variables.iter().map(|variable| {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        (short(name), (!secret::looks_secret(name, value)).then(|| short(value)))
    });
    within_budget(rows, |(name, value)| name.len() + value.as_ref().map_or(0, String::len))
}

/// A name or a value of a table, without secrets of a mesh.
fn short(text: &str) -> String {
    masked(cut(text, TEXT_BYTES_MAX).to_owned())
}

/// The first rows that fit in [`ROWS_MAX`] and [`TABLE_BYTES_MAX`].
fn within_budget<V>(
    rows: impl Iterator<Item = (String, V)>,
    bytes: impl Fn(&(String, V)) -> usize,
) -> BTreeMap<String, V> {
    let mut left = TABLE_BYTES_MAX;
    rows.take(ROWS_MAX)
        .map_while(|row| {
            left = left.checked_sub(bytes(&row))?;
            Some(row)
        })
        .collect()
}

/// An id, in tests.
#[cfg(test)]
pub(super) fn id(text: &str) -> topology::ContainerId {
    id_of(text).expect("a test's id")
}

#[cfg(test)]
mod tests {
    use bollard::models::ContainerConfig;
    use topology::codec;
    use topology::fact::{Fact, Port, Protocol};

    use super::*;

    macro_rules! fixture {
        ($name:literal) => {
            serde_json::from_str(include_str!(concat!("../../../tests/fixtures/docker/", $name)))
                .expect("a recorded answer")
        };
    }

    fn inspected(answer: &ContainerInspectResponse) -> Container {
        container(answer, "docker").expect("has an id")
    }

    #[test]
    fn a_recorded_container_is_read_whole() {
        let got = inspected(&fixture!("inspect-web.json"));
        let address = |text: &str| text.parse().expect("an address");
        let port = |container_port, protocol, published: &str| Port {
            container_port,
            protocol,
            published: Some(published.parse().expect("a socket address")),
        };
        let text = |text: &str| Some(text.to_owned());
        let want = Container {
            id: id("e249f782255181680d8c6bb5c6ffa736ced46866bbb46b4c18b8e86e636511e4"),
            name: "web".to_owned(),
            image: "example/toolbox:1.0".to_owned(),
            image_id: ImageId::new("2dcbbfe24415a15dd09bc64a7cb9fca789c33536e86f243b12fc3eebef75ee86").ok(),
            command: "httpd -f -p 80".to_owned(),
            created_at: got.created_at,
            started_at: "2026-11-22T09:35:16.350510373Z".parse().ok(),
            state: ContainerState::Running,
            restart_count: 0,
            hostname: "web.shop.example".to_owned(),
            network_mode: "shop".to_owned(),
            networks: [("shop".to_owned(), vec![address("172.30.0.2"), address("fd00:30::2")])].into(),
            ports: vec![
                port(53, Protocol::Udp, "0.0.0.0:5353"),
                port(53, Protocol::Udp, "[::]:5353"),
                port(80, Protocol::Tcp, "0.0.0.0:8080"),
                port(80, Protocol::Tcp, "[::]:8080"),
                port(443, Protocol::Tcp, "127.0.0.1:8443"),
            ],
            labels: [
                ("com.docker.compose.project", "shop"),
                ("com.docker.compose.service", "web"),
                ("maintainer", "a b"),
                ("org.opencontainers.image.title", "toolbox"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
            env: [
                ("API_TOKEN", None),
                ("DATABASE_URL", None),
                ("DB_PASSWORD", None),
                ("MODE", text("production")),
                ("PATH", text("/bin")),
            ]
            .map(|(name, value)| (name.to_owned(), value))
            .into(),
            runtime: "docker".to_owned(),
            init_pid: Some(225),
        };
        assert_eq!(got, want);
        assert_eq!(got.created_at.to_string()[..19], *"2026-11-22T09:35:15");
    }

    #[test]
    fn recorded_states_networks_and_start_times_are_told_apart() {
        let none: Option<u32> = None;
        let cases: [(ContainerInspectResponse, _, _, _, _, _); 6] = [
            (fixture!("inspect-never.json"), ContainerState::Created, false, none, "bridge", "bridge"),
            (fixture!("inspect-failed.json"), ContainerState::Exited(3), true, none, "bridge", "bridge"),
            (fixture!("inspect-frozen.json"), ContainerState::Paused, true, Some(494), "none", "none"),
            (fixture!("inspect-crashing.json"), ContainerState::Restarting, true, none, "bridge", "bridge"),
            (fixture!("inspect-onhost.json"), ContainerState::Running, true, Some(320), "host", "host"),
            (
                fixture!("inspect-sidecar.json"),
                ContainerState::Running,
                true,
                Some(359),
                "container:e249f782255181680d8c6bb5c6ffa736ced46866bbb46b4c18b8e86e636511e4",
                "",
            ),
        ];
        for (answer, state, started, pid, mode, network) in cases {
            let got = inspected(&answer);
            assert_eq!((got.state, got.started_at.is_some(), got.init_pid), (state, started, pid), "{}", got.name);
            assert_eq!((got.network_mode.as_str(), got.is_in_host_network()), (mode, mode == "host"), "{}", got.name);
            let names: Vec<&str> = got.networks.keys().map(String::as_str).collect();
            assert_eq!(names, Vec::from_iter((!network.is_empty()).then_some(network)), "{}", got.name);
        }
    }

    #[test]
    fn a_listed_container_agrees_with_the_inspected_one() {
        let list: Vec<ContainerSummary> = fixture!("list.json");
        let listed: Vec<Container> = list.iter().filter_map(|row| listed_container(row, "docker")).collect();
        assert_eq!(listed.len(), list.len());
        let answers: [ContainerInspectResponse; 5] = [
            fixture!("inspect-onhost.json"),
            fixture!("inspect-sidecar.json"),
            fixture!("inspect-never.json"),
            fixture!("inspect-failed.json"),
            fixture!("inspect-frozen.json"),
        ];
        for answer in answers {
            let want = inspected(&answer);
            let got = listed.iter().find(|row| row.id == want.id).expect("listed");
            assert_eq!((&got.name, &got.image, &got.image_id), (&want.name, &want.image, &want.image_id));
            assert_eq!((got.state, &got.networks, &got.labels), (want.state, &want.networks, &want.labels));
            assert_eq!((&got.network_mode, &got.runtime), (&want.network_mode, &want.runtime));
            assert_eq!(got.created_at.0 / 1000, want.created_at.0 / 1000, "{}", got.name);
        }
    }

    #[test]
    fn a_recorded_image_is_read_whole() {
        let got = image(&fixture!("image.json")).expect("has an id");
        assert_eq!(got.id.as_str(), "2dcbbfe24415a15dd09bc64a7cb9fca789c33536e86f243b12fc3eebef75ee86");
        assert_eq!(got.tags, ["example/toolbox:1.0", "toolbox:latest"]);
        assert!(got.size_bytes > 1_000_000 && got.labels["maintainer"] == "a b", "{got:?}");
    }

    #[test]
    fn an_exit_code_stands_in_brackets() {
        let cases =
            [("Exited (137) 2 hours ago", Some(137)), ("Exited (-1) now", Some(-1)), ("Up", None), ("()", None)];
        for (status, want) in cases {
            assert_eq!(exit_code(status), want, "{status}");
        }
    }

    #[test]
    fn a_secret_of_a_mesh_is_not_shown() {
        let text = |text: &str| text.replace('*', "abcdefghij234567");
        let mut answer = ContainerInspectResponse { id: Some("ab".to_owned()), ..ContainerInspectResponse::default() };
        answer.path = Some("scope".to_owned());
        answer.args = Some(vec!["launch".to_owned(), text("--secret=scope1-*")]);
        answer.config = Some(ContainerConfig {
            labels: Some([(text("scope1-*"), text("join scope1-*"))].into()),
            env: Some(vec![text("MESH=scope1-*"), text("scope1-*=x"), text("SCOPE_SECRET=scope1-*")]),
            ..ContainerConfig::default()
        });
        let summary = ContainerSummary {
            id: answer.id.clone(),
            command: Some(text("scope launch --secret=scope1-*")),
            ..ContainerSummary::default()
        };
        let got = inspected(&answer);
        let listed = listed_container(&summary, "docker").expect("has an id");
        for command in [got.command, listed.command] {
            assert_eq!(command, "scope launch --secret=scope1-***");
        }
        assert_eq!(got.labels, [("scope1-***".to_owned(), "join scope1-***".to_owned())].into());
        let hidden = || Some("scope1-***".to_owned());
        let want = [("MESH", hidden()), ("SCOPE_SECRET", None), ("scope1-***", Some("x".to_owned()))];
        assert_eq!(got.env, want.map(|(name, value)| (name.to_owned(), value)).into());
    }

    #[test]
    fn the_largest_container_stays_within_its_bounds_and_the_codec() {
        let long = "ü".repeat(10_000);
        let rows = |n: usize| (0..n).map(|row| (format!("{row}{long}"), long.clone())).collect::<HashMap<_, _>>();
        let list = |n: usize| rows(n).into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
        let mut answer: ContainerInspectResponse = fixture!("inspect-web.json");
        answer.name = Some(format!("/{long}"));
        answer.path = Some(long.clone());
        answer.args = Some(list(100));
        let config = answer.config.as_mut().expect("recorded");
        config.labels = Some(rows(500));
        config.env = Some(list(500).into_iter().chain((0..500).map(|n| format!("V{n}=x"))).collect());
        config.hostname = Some(long.clone());
        config.domainname = Some(long.clone());
        let settings = answer.network_settings.as_mut().expect("recorded");
        settings.ports = Some((1..=u16::MAX).map(|port| (format!("{port}/tcp"), None)).collect());
        settings.networks = Some((0..1000).map(|n| (format!("{n}{long}"), EndpointSettings::default())).collect());

        let got = inspected(&answer);
        assert!(got.name.len() <= NAME_BYTES_MAX && got.command.len() <= COMMAND_BYTES_MAX);
        assert!(got.labels.len() <= ROWS_MAX && got.env.len() <= ROWS_MAX && got.networks.len() <= NETWORKS_MAX);
        assert!(got.labels.iter().all(|(name, value)| name.len().max(value.len()) <= TEXT_BYTES_MAX));
        let bytes = codec::encode(&Fact::Container(got));
        assert!(bytes.len() <= codec::VALUE_BYTES_MAX, "{} bytes", bytes.len());
    }

    #[test]
    fn an_empty_answer_is_no_container_and_a_bare_one_has_defaults() {
        assert_eq!(container(&ContainerInspectResponse::default(), "docker"), None);
        assert_eq!(listed_container(&ContainerSummary::default(), "docker"), None);
        assert_eq!(image(&ImageInspect::default()), None);
        let bare = ContainerInspectResponse { id: Some("ab".to_owned()), ..ContainerInspectResponse::default() };
        let want = Container { runtime: "podman".to_owned(), ..Container::new(id("ab")) };
        assert_eq!(container(&bare, "podman"), Some(want));
    }
}
