//! Metric rows: the current values and recent samples of a node's gauges, with Weave Scope's names and formats.

use serde::{Serialize, Serializer};

use crate::cluster::{Cluster, HostEntry};
use crate::fact::{Container, Host, Process};
use crate::gauges::History;
use crate::id::Timestamp;
use crate::node::{Node, Subject};

/// One metric of a node.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MetricRow {
    /// Which metric.
    pub id: &'static str,
    /// What people read.
    pub label: &'static str,
    /// `percent`, `filesize`, `integer` or empty for a plain number.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub format: &'static str,
    /// Metrics of one group are shown together.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub group: &'static str,
    /// Newest value; 0 if there is none.
    pub value: f64,
    /// Whether there is no current value: none was read, or the host is not heard of.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub value_empty: bool,
    /// Low ones come first.
    pub priority: f64,
    /// Samples, oldest first; left out of summaries.
    pub samples: Option<Vec<MetricSample>>,
    /// Least possible value.
    pub min: f64,
    /// Greatest possible value, or the greatest seen where nothing bounds it.
    pub max: f64,
    /// Time of the oldest sample, by our clock.
    #[serde(serialize_with = "rfc3339")]
    pub first: Timestamp,
    /// Time of the newest sample.
    #[serde(serialize_with = "rfc3339")]
    pub last: Timestamp,
}

/// A value with its time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MetricSample {
    /// When it was read, by our clock.
    #[serde(serialize_with = "rfc3339")]
    pub date: Timestamp,
    /// What was read.
    pub value: f64,
}

fn rfc3339<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

/// Whether rows carry their samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Samples {
    /// The newest value alone.
    Newest,
    /// All that is kept.
    All,
}

struct Metric {
    id: &'static str,
    label: &'static str,
    format: &'static str,
    group: &'static str,
    priority: f64,
}

const fn metric(id: &'static str, label: &'static str, format: &'static str, priority: f64) -> Metric {
    Metric { id, label, format, group: "", priority }
}

const HOST_CPU: Metric = metric("host_cpu_usage_percent", "CPU", "percent", 1.0);
const HOST_MEMORY: Metric = metric("host_mem_usage_bytes", "Memory", "filesize", 2.0);
const LOAD1: Metric = Metric { group: "load", ..metric("load1", "Load (1m)", "", 11.0) };
const CONTAINER_CPU: Metric = metric("docker_cpu_total_usage", "CPU", "percent", 1.0);
const CONTAINER_MEMORY: Metric = metric("docker_memory_usage", "Memory", "filesize", 2.0);
const PROCESS_CPU: Metric = metric("process_cpu_usage_percent", "CPU", "percent", 1.0);
const PROCESS_MEMORY: Metric = metric("process_memory_usage_bytes", "Memory", "filesize", 2.0);
const OPEN_FILES: Metric = metric("open_files_count", "Open files", "integer", 3.0);

/// A column of samples on its way to a row: newest alone, or all of them oldest first.
struct Series {
    samples: Vec<MetricSample>,
    keep: Samples,
}

impl Series {
    fn new(keep: Samples, samples: impl DoubleEndedIterator<Item = (Timestamp, f64)>) -> Self {
        let sample = |(date, value)| MetricSample { date, value };
        let samples = match keep {
            Samples::All => samples.map(sample).collect(),
            Samples::Newest => samples.rev().take(1).map(sample).collect(),
        };
        Self { samples, keep }
    }

    fn row(self, metric: &Metric, max: Option<f64>) -> MetricRow {
        let newest = self.samples.last();
        let highest = || self.samples.iter().map(|sample| sample.value).fold(0.0, f64::max);
        MetricRow {
            id: metric.id,
            label: metric.label,
            format: metric.format,
            group: metric.group,
            value: newest.map_or(0.0, |sample| sample.value),
            value_empty: newest.is_none(),
            priority: metric.priority,
            min: 0.0,
            max: max.unwrap_or_else(highest),
            first: self.samples.first().map_or(Timestamp(0), |sample| sample.date),
            last: newest.map_or(Timestamp(0), |sample| sample.date),
            samples: (self.keep == Samples::All).then_some(self.samples),
        }
    }
}

/// Hundredths, as gauges carry them.
fn hundredths((at, value): (Timestamp, u32)) -> (Timestamp, f64) {
    (at, f64::from(value) / 100.0)
}

fn kib((at, value): (Timestamp, u64)) -> (Timestamp, f64) {
    (at, bytes(value.saturating_mul(1024)))
}

/// Bytes as JSON has them; exact below 2⁵³.
#[expect(clippy::cast_precision_loss, reason = "8 PiB and more are shown to three digits")]
fn bytes(value: u64) -> f64 {
    value as f64
}

impl MetricRow {
    /// The row as told of its host: times by our clock, and no current value of one that is not heard of. Its samples say how it
    /// was.
    fn told_of(mut self, entry: &HostEntry) -> Self {
        let samples = self.samples.iter_mut().flatten().map(|sample| &mut sample.date);
        for time in samples.chain([&mut self.first, &mut self.last]).filter(|time| time.0 > 0) {
            *time = entry.clock.ours(*time);
        }
        if !entry.life.is_live() {
            (self.value, self.value_empty) = (0.0, true);
        }
        self
    }
}

/// The metrics of a node: of what it is about, nothing for groups, services and pseudo nodes.
pub(crate) fn rows(node: &Node, cluster: &Cluster, keep: Samples) -> Vec<MetricRow> {
    let Some(entry) = node.subject.peer().and_then(|peer| cluster.host(peer)) else { return Vec::new() };
    let rows = match &node.subject {
        Subject::Host { host, .. } => of_host(host, &entry.gauges, keep),
        Subject::Container { container, .. } => of_container(container, entry, keep),
        Subject::Process { process, host, .. } => of_process(process, host, &entry.gauges, keep),
        Subject::Group { .. } | Subject::Service { .. } | Subject::Pseudo { .. } => Vec::new(),
    };
    rows.into_iter().map(|row| row.told_of(entry)).collect()
}

fn of_host(host: &Host, gauges: &History, keep: Samples) -> Vec<MetricRow> {
    let cpu = gauges.host().map(|block| hundredths((block.at, block.cpu)));
    let memory = gauges.host().map(|block| kib((block.at, block.memory_kib)));
    let load = gauges.host().map(|block| hundredths((block.at, block.load1)));
    vec![
        Series::new(keep, cpu).row(&HOST_CPU, Some(100.0)),
        Series::new(keep, memory).row(&HOST_MEMORY, Some(bytes(host.memory_bytes))),
        Series::new(keep, load).row(&LOAD1, None),
    ]
}

fn of_container(container: &Container, entry: &HostEntry, keep: Samples) -> Vec<MetricRow> {
    if !container.state.is_running() {
        return Vec::new();
    }
    let gauges = &entry.gauges;
    let cpu = gauges.container(&container.id, |block| &block.cpu).map(hundredths);
    let memory = gauges.container(&container.id, |block| &block.memory_kib).map(kib);
    let limit = gauges.container(&container.id, |block| &block.memory_max_kib).next_back().map(kib);
    let limit = limit.map_or(bytes(entry.graph.host.memory_bytes), |(_, limit)| limit);
    vec![
        Series::new(keep, cpu).row(&CONTAINER_CPU, Some(100.0)),
        Series::new(keep, memory).row(&CONTAINER_MEMORY, Some(limit)),
    ]
}

fn of_process(process: &Process, host: &Host, gauges: &History, keep: Samples) -> Vec<MetricRow> {
    let pid = process.id.pid;
    let cpu = gauges.process(pid, |block| &block.cpu).map(hundredths);
    let memory = gauges.process(pid, |block| &block.memory_kib).map(kib);
    let files = gauges.process(pid, |block| &block.open_files).map(|(at, files)| (at, f64::from(files)));
    vec![
        Series::new(keep, cpu).row(&PROCESS_CPU, Some(100.0)),
        Series::new(keep, memory).row(&PROCESS_MEMORY, Some(bytes(host.memory_bytes))),
        Series::new(keep, files).row(&OPEN_FILES, process.open_files_max.map(bytes)),
    ]
}
