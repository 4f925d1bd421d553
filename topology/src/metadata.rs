//! Metadata rows and tables: what a node's facts say, as text people read, with Weave Scope's ids, order and data types.
//! Ages are made here, from the times in the facts, put right by what is known of the host's clock, and the time of asking.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Serialize;

use crate::clock::Clock;
use crate::cluster::{Cluster, HostEntry};
use crate::fact::{Container, ContainerState, Host, Image, Port, Process, Source, SourceState};
use crate::id::Timestamp;
use crate::node::{Node, Subject};
use crate::view::options::image_name;

/// One row of a node's metadata.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MetadataRow {
    /// Which row.
    pub id: &'static str,
    /// What people read.
    pub label: &'static str,
    /// Its value, always as text.
    pub value: String,
    /// Low ones come first; 10 and more are shown on demand.
    pub priority: f64,
    /// `number`, `ip`, `datetime`, `duration` (seconds) or empty for text.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub data_type: &'static str,
    /// Characters shown of it; 0 is all.
    #[serde(skip_serializing_if = "is_zero")]
    pub truncate: u8,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(value: &u8) -> bool {
    *value == 0
}

/// A table of names and values.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Table {
    /// Which table.
    pub id: &'static str,
    /// What people read.
    pub label: &'static str,
    /// `property-list`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Rows by name.
    pub rows: Vec<TableRow>,
}

/// One name with its value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TableRow {
    /// Unique within the table.
    pub id: String,
    /// `label` and `value`.
    pub entries: BTreeMap<&'static str, String>,
}

const TEXT: &str = "";
const NUMBER: &str = "number";
const DATETIME: &str = "datetime";
const DURATION: &str = "duration";

fn row(
    id: &'static str,
    label: &'static str,
    value: &dyn ToString,
    priority: f64,
    data_type: &'static str,
) -> MetadataRow {
    MetadataRow { id, label, value: value.to_string(), priority, data_type, truncate: 0 }
}

/// The rows of a node as of `now`, or as of when its host was last heard of; those without a value left out.
pub(crate) fn rows(node: &Node, cluster: &Cluster, now: Timestamp) -> Vec<MetadataRow> {
    let entry = node.subject.peer().and_then(|peer| cluster.host(peer));
    let clock = entry.map(|entry| entry.clock).unwrap_or_default();
    let until = node.life.until(now);
    let mut rows = match &node.subject {
        Subject::Host { host, .. } => of_host(host, clock, until),
        Subject::Process { process, .. } => of_process(process),
        Subject::Container { container, .. } => of_container(container, clock, until),
        Subject::Group { .. } | Subject::Service { .. } | Subject::Pseudo { .. } => Vec::new(),
    };
    rows.retain(|row| !row.value.is_empty());
    rows
}

fn of_host(host: &Host, clock: Clock, until: Timestamp) -> Vec<MetadataRow> {
    let booted_at = clock.ours(host.booted_at);
    let uptime = if host.booted_at.0 > 0 { booted_at.seconds_until(until).to_string() } else { String::new() };
    let networks = host.networks.iter().map(|net| format!("{}/{}", net.address, net.prefix));
    vec![
        row("kernel_version", "Kernel version", &host.kernel, 1.0, TEXT),
        row("uptime", "Uptime", &uptime, 2.0, DURATION),
        row("host_name", "Hostname", &host.name, 11.0, TEXT),
        row("os", "OS", &host.os, 12.0, TEXT),
        row("local_networks", "Local networks", &join(networks), 13.0, TEXT),
        row("host_scope_version", "Scope version", &host.scope_version, 14.0, TEXT),
    ]
}

fn of_process(process: &Process) -> Vec<MetadataRow> {
    vec![
        row("pid", "PID", &process.id.pid, 1.0, NUMBER),
        row("cmdline", "Command", &process.command_line, 2.0, TEXT),
        row("ppid", "Parent PID", &process.parent, 3.0, NUMBER),
        row("threads", "# Threads", &process.threads, 4.0, NUMBER),
        row("user", "User", &process.user, 5.0, TEXT),
    ]
}

fn of_container(container: &Container, clock: Clock, until: Timestamp) -> Vec<MetadataRow> {
    let name = image_name(&container.image);
    let tag = container.image[name.len()..].split('@').next().unwrap_or_default().trim_start_matches(':');
    let addresses = container.networks.values().flatten();
    let started = container.started_at.filter(|_| container.state.is_running());
    let uptime = started.map(|at| clock.ours(at).seconds_until(until).to_string()).unwrap_or_default();
    let created = if container.created_at.0 > 0 { clock.ours(container.created_at).to_string() } else { String::new() };
    let state = human(container.state);
    vec![
        row("docker_image_tag", "Image tag", &tag, 1.0, TEXT),
        row("docker_image_name", "Image name", &name, 2.0, TEXT),
        row("docker_container_command", "Command", &container.command, 3.0, TEXT),
        row("docker_container_state_human", "State", &state, 4.0, TEXT),
        row("docker_container_uptime", "Uptime", &uptime, 5.0, DURATION),
        row("docker_container_restart_count", "Restart #", &container.restart_count, 6.0, NUMBER),
        row("docker_container_networks", "Networks", &join(container.networks.keys()), 7.0, TEXT),
        row("docker_container_ips", "IPs", &join(addresses), 8.0, "ip"),
        row("docker_container_ports", "Ports", &join(container.ports.iter().map(port)), 9.0, TEXT),
        row("docker_container_created", "Created", &created, 10.0, DATETIME),
        MetadataRow { truncate: 12, ..row("docker_container_id", "ID", &container.id, 11.0, TEXT) },
    ]
}

/// A container's state in a word, in Docker's.
pub(crate) fn state(state: ContainerState) -> &'static str {
    match state {
        ContainerState::Created => "created",
        ContainerState::Running => "running",
        ContainerState::Paused => "paused",
        ContainerState::Restarting => "restarting",
        ContainerState::Removing => "removing",
        ContainerState::Exited(_) => "exited",
        ContainerState::Dead => "dead",
        ContainerState::Unknown => "unknown",
    }
}

/// The state for people; how long it has lasted has a row of its own.
fn human(of: ContainerState) -> String {
    let word = state(of);
    let word = word[..1].to_ascii_uppercase() + &word[1..];
    if let ContainerState::Exited(code) = of { format!("{word} ({code})") } else { word }
}

/// `0.0.0.0:8080->80/tcp` if published, else `80/tcp`.
pub(crate) fn port(port: &Port) -> String {
    let inside = format!("{}/{}", port.container_port, port.protocol.as_str());
    match port.published {
        Some(SocketAddr::V4(outside)) => format!("{outside}->{inside}"),
        Some(SocketAddr::V6(outside)) => format!("{outside}->{inside}"),
        None => inside,
    }
}

pub(crate) fn join<T: ToString>(values: impl IntoIterator<Item = T>) -> String {
    let values: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
    values.join(", ")
}

fn table(id: &'static str, label: &'static str, rows: impl Iterator<Item = (String, String)>) -> Option<Table> {
    let entry = |(name, value): (String, String)| TableRow {
        id: format!("{id}{name}"),
        entries: BTreeMap::from([("label", name), ("value", value)]),
    };
    let rows: Vec<TableRow> = rows.map(entry).collect();
    (!rows.is_empty()).then_some(Table { id, label, kind: "property-list", rows })
}

/// Labels and environment of a container; the image where it is known.
pub(crate) fn tables(node: &Node) -> Vec<Table> {
    let Subject::Container { container, .. } = &node.subject else { return Vec::new() };
    let labels = container.labels.iter().map(|(name, value)| (name.clone(), value.clone()));
    let env =
        container.env.iter().map(|(name, value)| (name.clone(), value.clone().unwrap_or_else(|| "••••••".into())));
    [table("docker_label_", "Docker labels", labels), table("docker_env_", "Environment variables", env)]
        .into_iter()
        .flatten()
        .collect()
}

/// What there is to say of an image.
pub(crate) fn image_table(image: &Image) -> Option<Table> {
    let rows = [
        ("ID", image.id.to_string()),
        ("Tags", join(&image.tags)),
        ("Size", format!("{:.1} MB", megabytes(image.size_bytes))),
    ];
    table("image_table", "Image", rows.into_iter().map(|(name, value)| (name.to_owned(), value)))
}

/// How the sources of a host's facts do.
pub(crate) fn sources_table(entry: &HostEntry) -> Option<Table> {
    let sources = entry.graph.status.sources.iter();
    table("host_sources_", "Sources", sources.map(|(name, source)| (name.clone(), source_text(name, source, entry))))
}

fn word(state: SourceState) -> &'static str {
    match state {
        SourceState::Ok => "ok",
        SourceState::Degraded => "degraded",
        SourceState::Off => "off",
        SourceState::Unknown => "unknown",
    }
}

/// `degraded, sock_diag, 0.75 % of a CPU, 12 lost: why`; costs of a host that is not heard of are left out.
fn source_text(name: &str, source: &Source, entry: &HostEntry) -> String {
    let spending = entry.gauges.host().next_back().filter(|_| entry.life.is_live());
    let cost = spending.and_then(|block| block.cost(name)).map(|percent| format!("{percent} % of a CPU"));
    let lost = spending.and_then(|block| block.lost(name)).filter(|lost| *lost > 0).map(|lost| format!("{lost} lost"));
    let words = [Some(word(source.state).to_owned()), Some(source.mode.clone()), cost, lost];
    let words = join(words.into_iter().flatten().filter(|word| !word.is_empty()));
    if source.reason.is_empty() { words } else { format!("{words}: {}", source.reason) }
}

#[expect(clippy::cast_precision_loss, reason = "shown to one decimal")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
