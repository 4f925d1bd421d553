//! Figures of containers whose cgroups this peer cannot read, from the daemon: one stream of samples for each. Costly for
//! the daemon, so only for those a colleague names; with none of them there is no stream.

use std::collections::{BTreeMap, BTreeSet};

use bollard::Docker;
use bollard::models::{ContainerCpuStats, ContainerStatsResponse};
use bollard::query_parameters::StatsOptions;
use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use topology::gauges::ContainerGauges;
use topology::{ContainerId, Timestamp};

/// Most streams at once; the daemon sends a sample a second over each.
const STREAMS_MAX: usize = 100;

/// The newest figures of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    cpu: u32,
    memory_kib: u64,
    memory_max_kib: u64,
}

/// The streams and the newest sample of each. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Stats {
    tasks: JoinSet<()>,
    streams: BTreeMap<ContainerId, AbortHandle>,
    sender: mpsc::Sender<(ContainerId, Row)>,
    samples: mpsc::Receiver<(ContainerId, Row)>,
    rows: BTreeMap<ContainerId, Row>,
    /// Whether the last block had rows: then one without must follow.
    has_shown: bool,
}

impl Stats {
    pub(super) fn new() -> Self {
        let (sender, samples) = mpsc::channel(STREAMS_MAX);
        Self {
            tasks: JoinSet::new(),
            streams: BTreeMap::new(),
            sender,
            samples,
            rows: BTreeMap::new(),
            has_shown: false,
        }
    }

    /// Follows these containers and no others, at most [`STREAMS_MAX`] of them. Streams that ended begin anew.
    pub(super) fn follow<'a>(&mut self, client: &Docker, wanted: impl Iterator<Item = &'a ContainerId>) {
        let wanted: BTreeSet<&ContainerId> = wanted.take(STREAMS_MAX).collect();
        self.streams.retain(|id, stream| {
            let is_wanted = wanted.contains(id);
            if !is_wanted {
                stream.abort();
            }
            is_wanted
        });
        self.forget_ended();
        for id in wanted {
            if !self.streams.contains_key(id) {
                let stream = self.tasks.spawn(follow_one(client.clone(), id.clone(), self.sender.clone()));
                self.streams.insert(id.clone(), stream);
            }
        }
        while self.tasks.try_join_next().is_some() {}
    }

    /// Whether there is anything to show, or was in the last block.
    pub(super) fn is_active(&self) -> bool {
        self.has_shown || !self.streams.is_empty()
    }

    /// Forgets streams that ended, so that [`Self::follow`] tries them again, and what they said: nobody renews it.
    fn forget_ended(&mut self) {
        self.streams.retain(|_, stream| !stream.is_finished());
        self.rows.retain(|id, _| self.streams.contains_key(id));
    }

    /// Takes in samples for ever. Cancel safe.
    pub(super) async fn collect(&mut self) {
        while let Some((id, row)) = self.samples.recv().await {
            if self.streams.contains_key(&id) {
                self.rows.insert(id, row);
            }
        }
    }

    /// The newest figures; `None` if there are none, and were none last time.
    pub(super) fn block(&mut self, at: Timestamp) -> Option<ContainerGauges> {
        let has_shown = std::mem::replace(&mut self.has_shown, !self.rows.is_empty());
        if !has_shown && self.rows.is_empty() {
            return None;
        }
        let rows: BTreeMap<u64, Row> = self.rows.iter().map(|(id, row)| (id.prefix(), *row)).collect();
        Some(ContainerGauges {
            at,
            containers: rows.keys().copied().collect(),
            cpu: rows.values().map(|row| row.cpu).collect(),
            memory_kib: rows.values().map(|row| row.memory_kib).collect(),
            memory_max_kib: rows.values().map(|row| row.memory_max_kib).collect(),
        })
    }
}

async fn follow_one(client: Docker, id: ContainerId, rows: mpsc::Sender<(ContainerId, Row)>) {
    let options = StatsOptions { stream: true, one_shot: false };
    let mut samples = std::pin::pin!(client.stats(id.as_str(), Some(options)));
    while let Some(Ok(sample)) = samples.next().await {
        let Some(row) = row(&sample) else { continue };
        if rows.send((id.clone(), row)).await.is_err() {
            return;
        }
    }
}

/// The figures of a sample; `None` if it lacks some, as the first of a stream does.
fn row(sample: &ContainerStatsResponse) -> Option<Row> {
    let memory = sample.memory_stats.as_ref()?;
    // Working set, as `docker stats` shows it: cgroup v1 and v2 name the inactive file pages differently.
    let stats = memory.stats.as_ref();
    let inactive = stats.and_then(|stats| stats.get("total_inactive_file").or_else(|| stats.get("inactive_file")));
    Some(Row {
        cpu: cpu(sample.precpu_stats.as_ref()?, sample.cpu_stats.as_ref()?)?,
        memory_kib: memory.usage?.saturating_sub(inactive.copied().unwrap_or_default()) / 1024,
        memory_max_kib: memory.limit.unwrap_or_default() / 1024,
    })
}

/// CPU time between two samples, in hundredths of a percent of all CPUs.
fn cpu(before: &ContainerCpuStats, now: &ContainerCpuStats) -> Option<u32> {
    let used = |stats: &ContainerCpuStats| stats.cpu_usage.as_ref()?.total_usage;
    let system = now.system_cpu_usage?.checked_sub(before.system_cpu_usage.filter(|system| *system > 0)?)?;
    let hundredths = u128::from(used(now)?.saturating_sub(used(before)?)) * 10_000;
    let share = hundredths.checked_div(u128::from(system))?;
    Some(u32::try_from(share).unwrap_or(u32::MAX).min(10_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_sample_gives_the_figures_of_docker_stats() {
        let text = include_str!("../../../tests/fixtures/docker/stats.json");
        let sample: ContainerStatsResponse = serde_json::from_str(text).expect("recorded");
        let want = Row { cpu: 0, memory_kib: 320, memory_max_kib: 25_276_063_744 / 1024 };
        assert_eq!(row(&sample), Some(want));
    }

    #[test]
    fn a_row_needs_two_samples_and_knows_both_cgroup_versions() {
        let sample = |before: &str, now: &str, memory: &str| {
            let text = format!(r#"{{"precpu_stats":{before},"cpu_stats":{now},"memory_stats":{memory}}}"#);
            let sample: ContainerStatsResponse = serde_json::from_str(&text).expect("a sample");
            row(&sample).map(|row| (row.cpu, row.memory_kib))
        };
        let cpu =
            |used: u64, system: u64| format!(r#"{{"cpu_usage":{{"total_usage":{used}}},"system_cpu_usage":{system}}}"#);
        let memory = r#"{"usage":10240,"limit":20480,"stats":{"inactive_file":2048}}"#;
        let v1 = r#"{"usage":10240,"stats":{"inactive_file":0,"total_inactive_file":4096}}"#;
        let cases = [
            (cpu(100, 1000), cpu(350, 2000), memory, Some((2500, 8))),
            (cpu(100, 1000), cpu(350, 2000), v1, Some((2500, 6))),
            (cpu(0, 1000), cpu(9000, 2000), memory, Some((10_000, 8))),
            (cpu(100, 1000), cpu(50, 2000), memory, Some((0, 8))),
            (cpu(100, 2000), cpu(350, 1000), memory, None),
            (cpu(100, 1000), cpu(350, 1000), memory, None),
            (cpu(0, 0), cpu(350, 1000), memory, None),
            ("{}".to_owned(), cpu(350, 1000), memory, None),
            (cpu(100, 1000), cpu(350, 2000), "{}", None),
        ];
        for (before, now, memory, want) in cases {
            assert_eq!(sample(&before, &now, memory), want, "{before} {now} {memory}");
        }
    }
}
