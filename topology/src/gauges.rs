//! Gauges: all current metric values of a host, quantised, in a few blocks of columns. They have a slower beat than the
//! facts they belong to and come apart from them, so a busy CPU never makes a new version of a container.
//!
//! A block is always complete: an interval carries only the newest value of a key, so "what changed since the last block"
//! would be lost. Rows that a block's columns disagree about (a malformed peer) are cut to the shortest column.
//!
//! Columns of ascending numbers travel as gaps: that takes a quarter off what the gauges of a busy host weigh compressed.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::id::{ContainerId, Timestamp};

/// Samples kept of each block: two minutes at the default beat of two seconds.
pub const SAMPLES_MAX: usize = 60;

/// Memory for the blocks of one kind, as their columns count it: two minutes of a host with 5,000 processes. Where blocks are
/// larger, fewer are kept, down to [`SAMPLES_MIN`]: a peer may make them as large as a fact may be.
pub const HISTORY_BYTES_MAX: usize = 6 * 1024 * 1024;

/// Samples kept of blocks of any size: a line takes two.
pub const SAMPLES_MIN: usize = 2;

/// One block of metric values, all taken at one time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gauges {
    /// Of the host itself.
    Host(HostGauges),
    /// Of its containers.
    Containers(ContainerGauges),
    /// Of its processes.
    Processes(ProcessGauges),
    /// Of its flows.
    Flows(FlowGauges),
}

/// Names a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// [`HostGauges`].
    Host,
    /// [`ContainerGauges`].
    Containers,
    /// [`ProcessGauges`].
    Processes,
    /// [`FlowGauges`].
    Flows,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Host, Self::Containers, Self::Processes, Self::Flows];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Containers => "containers",
            Self::Processes => "processes",
            Self::Flows => "flows",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

impl Gauges {
    /// Which block this is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Host(_) => Kind::Host,
            Self::Containers(_) => Kind::Containers,
            Self::Processes(_) => Kind::Processes,
            Self::Flows(_) => Kind::Flows,
        }
    }
}

/// The host's own figures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostGauges {
    /// When they were read, by the host's clock.
    pub at: Timestamp,
    /// Time not idle, in hundredths of a percent of all CPUs: 10,000 is all of them busy.
    pub cpu: u32,
    /// Memory in use (total less available), in KiB.
    pub memory_kib: u64,
    /// Load average over one minute, in hundredths.
    pub load1: u32,
    /// What each source of the probe costs, in hundredths of a percent of one CPU.
    pub probe_cpu: Vec<(String, u32)>,
    /// What each source of the probe has missed since it started, as far as it knows: events, messages, connections.
    pub probe_lost: Vec<(String, u64)>,
}

impl HostGauges {
    /// What a source of the probe costs, in percent of one CPU; `None` until it was measured.
    #[must_use]
    pub fn cost(&self, source: &str) -> Option<f64> {
        let (_, hundredths) = self.probe_cpu.iter().find(|(name, _)| name == source)?;
        Some(f64::from(*hundredths) / 100.0)
    }

    /// What a source of the probe has missed; `None` of one that does not count.
    #[must_use]
    pub fn lost(&self, source: &str) -> Option<u64> {
        self.probe_lost.iter().find(|(name, _)| name == source).map(|(_, lost)| *lost)
    }
}

/// One row a running container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerGauges {
    /// When they were read.
    pub at: Timestamp,
    /// [`ContainerId::prefix`], ascending.
    pub containers: Vec<u64>,
    /// CPU time used, in hundredths of a percent of all CPUs of the host.
    pub cpu: Vec<u32>,
    /// Working set: memory of the cgroup less inactive file pages, in KiB, as `docker stats` shows it.
    pub memory_kib: Vec<u64>,
    /// Limit of that, in KiB; the host's memory if the cgroup has none.
    pub memory_max_kib: Vec<u64>,
}

/// One row a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessGauges {
    /// When they were read.
    pub at: Timestamp,
    /// Pids, ascending.
    #[serde(with = "gaps")]
    pub pids: Vec<u32>,
    /// CPU time used, in hundredths of a percent of all CPUs of the host.
    pub cpu: Vec<u32>,
    /// Resident set, in KiB.
    pub memory_kib: Vec<u64>,
    /// Open file descriptors; counted at a lower rate than the rest.
    pub open_files: Vec<u32>,
}

/// One row a flow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FlowGauges {
    /// When they were read.
    pub at: Timestamp,
    /// [`crate::fact::Flow::serial`], ascending.
    #[serde(with = "gaps")]
    pub serials: Vec<u32>,
    /// Connections open now.
    pub open: Vec<u32>,
    /// Connections seen since the flow was first seen, those open now among them.
    pub opened: Vec<u32>,
    /// Bytes the owner's side sent and had acknowledged, per second, to two significant digits.
    pub sent: Vec<u64>,
    /// Bytes the owner's side received, per second, to two significant digits.
    pub received: Vec<u64>,
    /// Smoothed round trip time in microseconds, to two significant digits; 0 if not known.
    pub rtt: Vec<u32>,
    /// Segments sent again since the flow was first seen.
    pub retransmits: Vec<u32>,
    /// Seconds before `at` in which no trace of a connection was seen; 0 while one is open.
    pub idle: Vec<u32>,
}

/// Values of one flow at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowFigures {
    /// When they were read.
    pub at: Timestamp,
    /// Connections open now.
    pub open: u32,
    /// Connections seen since the flow was first seen.
    pub opened: u32,
    /// Bytes per second the owner's side sent.
    pub sent: u64,
    /// Bytes per second the owner's side received.
    pub received: u64,
    /// Smoothed round trip time in microseconds, if it is known.
    pub rtt: Option<u32>,
    /// Segments the owner's side sent again since the flow was first seen.
    pub retransmits: u32,
    /// Seconds without a trace of a connection.
    pub idle: u32,
}

impl FlowGauges {
    /// The values of one flow; `None` if the block does not know it. What a column lacks is 0.
    #[must_use]
    pub fn figures(&self, serial: u32) -> Option<FlowFigures> {
        fn at<V: Copy + Default>(column: &[V], row: usize) -> V {
            column.get(row).copied().unwrap_or_default()
        }
        let row = self.serials.binary_search(&serial).ok()?;
        Some(FlowFigures {
            at: self.at,
            open: at(&self.open, row),
            opened: at(&self.opened, row),
            sent: at(&self.sent, row),
            received: at(&self.received, row),
            rtt: Some(at(&self.rtt, row)).filter(|rtt| *rtt > 0),
            retransmits: at(&self.retransmits, row),
            idle: at(&self.idle, row),
        })
    }
}

/// A column as the first number and the gap before each other one. What is not ascending, or is too large, wraps around.
mod gaps {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(column: &[u32], serializer: S) -> Result<S::Ok, S::Error> {
        let mut last = 0;
        serializer.collect_seq(column.iter().map(|&number| number.wrapping_sub(std::mem::replace(&mut last, number))))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u32>, D::Error> {
        let mut column = Vec::<u32>::deserialize(deserializer)?;
        let mut last = 0_u32;
        for number in &mut column {
            last = last.wrapping_add(*number);
            *number = last;
        }
        Ok(column)
    }
}

/// The newest blocks of one host: what sparklines are drawn from.
#[derive(Clone, Debug, Default)]
pub struct History {
    host: Blocks<HostGauges>,
    containers: Blocks<ContainerGauges>,
    processes: Blocks<ProcessGauges>,
    flows: Option<Arc<FlowGauges>>,
}

/// A value with the time it was read.
pub type Sample<T> = (Timestamp, T);

/// The newest blocks of one kind, oldest first, within [`SAMPLES_MAX`] and [`HISTORY_BYTES_MAX`].
#[derive(Clone, Debug, Default)]
struct Blocks<T> {
    blocks: VecDeque<Arc<T>>,
    bytes: usize,
}

impl<T: Columns> Blocks<T> {
    fn push(&mut self, block: T) {
        self.bytes += block.bytes();
        self.blocks.push_back(Arc::new(block));
        while self.blocks.len() > SAMPLES_MAX || (self.bytes > HISTORY_BYTES_MAX && self.blocks.len() > SAMPLES_MIN) {
            let Some(oldest) = self.blocks.pop_front() else { break };
            self.bytes -= oldest.bytes();
        }
    }

    fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.blocks.iter().map(|block| &**block)
    }
}

/// What a block's columns take in memory, each at its own length: those of a malformed peer differ.
trait Columns {
    fn bytes(&self) -> usize;
}

impl Columns for HostGauges {
    fn bytes(&self) -> usize {
        let names = self.probe_cpu.iter().map(|(source, _)| source);
        let names = names.chain(self.probe_lost.iter().map(|(source, _)| source));
        size_of_val(&*self.probe_cpu) + size_of_val(&*self.probe_lost) + names.map(String::len).sum::<usize>()
    }
}

impl Columns for ContainerGauges {
    fn bytes(&self) -> usize {
        size_of_val(&*self.containers)
            + size_of_val(&*self.cpu)
            + size_of_val(&*self.memory_kib)
            + size_of_val(&*self.memory_max_kib)
    }
}

impl Columns for ProcessGauges {
    fn bytes(&self) -> usize {
        size_of_val(&*self.pids)
            + size_of_val(&*self.cpu)
            + size_of_val(&*self.memory_kib)
            + size_of_val(&*self.open_files)
    }
}

fn row<K: Ord, V: Copy>(keys: &[K], key: &K, column: &[V]) -> Option<V> {
    keys.binary_search(key).ok().and_then(|row| column.get(row)).copied()
}

impl History {
    /// Keeps a block, and forgets the oldest of its kind beyond [`SAMPLES_MAX`] or [`HISTORY_BYTES_MAX`].
    pub fn push(&mut self, gauges: Gauges) {
        match gauges {
            Gauges::Host(block) => self.host.push(block),
            Gauges::Containers(block) => self.containers.push(block),
            Gauges::Processes(block) => self.processes.push(block),
            Gauges::Flows(block) => self.flows = Some(Arc::new(block)),
        }
    }

    /// Blocks of the host itself, oldest first.
    pub fn host(&self) -> impl DoubleEndedIterator<Item = &HostGauges> {
        self.host.iter()
    }

    /// A column of a container, oldest sample first.
    pub fn container<'a, V: Copy>(
        &'a self,
        id: &ContainerId,
        column: impl Fn(&ContainerGauges) -> &[V] + 'a,
    ) -> impl DoubleEndedIterator<Item = Sample<V>> + 'a {
        let prefix = id.prefix();
        self.containers
            .iter()
            .filter_map(move |block| Some((block.at, row(&block.containers, &prefix, column(block))?)))
    }

    /// A column of a process, oldest sample first.
    pub fn process<'a, V: Copy>(
        &'a self,
        pid: u32,
        column: impl Fn(&ProcessGauges) -> &[V] + 'a,
    ) -> impl DoubleEndedIterator<Item = Sample<V>> + 'a {
        self.processes.iter().filter_map(move |block| Some((block.at, row(&block.pids, &pid, column(block))?)))
    }

    /// Newest values of a flow; `None` if the newest block does not know it.
    #[must_use]
    pub fn flow(&self, serial: u32) -> Option<FlowFigures> {
        self.flows.as_ref().and_then(|block| block.figures(serial))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ascending_column_travels_as_gaps_and_any_column_comes_back() {
        let columns: [(&[u32], Option<&[u32]>); 5] = [
            (&[], Some(&[])),
            (&[7], Some(&[7])),
            (&[7, 8, 11], Some(&[7, 1, 3])),
            (&[0, u32::MAX], Some(&[0, u32::MAX])),
            (&[9, 3, 3, 0], None), // whatever it is
        ];
        for (column, want) in columns {
            let block = FlowGauges { serials: column.to_vec(), ..FlowGauges::default() };
            let json = serde_json::to_value(&block).expect("plain data");
            if let Some(want) = want {
                assert_eq!(json["serials"], serde_json::json!(want));
            }
            assert_eq!(serde_json::from_value::<FlowGauges>(json).expect("just made"), block);
        }
    }

    #[test]
    fn a_history_is_bounded_and_reads_columns_by_row() {
        let mut history = History::default();
        for beat in 0..100 {
            history.push(Gauges::Processes(ProcessGauges {
                at: Timestamp(beat),
                pids: vec![1, 7],
                cpu: vec![0, u32::try_from(beat).expect("small")],
                ..ProcessGauges::default()
            }));
        }
        let cpu: Vec<_> = history.process(7, |block| &block.cpu).collect();
        assert_eq!((cpu.len(), cpu.last()), (SAMPLES_MAX, Some(&(Timestamp(99), 99))));
        assert_eq!(history.process(8, |block| &block.cpu).count(), 0, "unknown pid");
        assert_eq!(history.process(7, |block| &block.memory_kib).count(), 0, "column shorter than the keys");
    }

    #[test]
    fn of_large_blocks_fewer_are_kept() {
        let processes = |rows: u32| {
            let len = rows as usize;
            Gauges::Processes(ProcessGauges {
                pids: (0..rows).collect(),
                cpu: vec![1; len],
                memory_kib: vec![1; len],
                open_files: vec![1; len],
                ..ProcessGauges::default()
            })
        };
        let containers = |limits| {
            Gauges::Containers(ContainerGauges { memory_max_kib: vec![0; limits], ..ContainerGauges::default() })
        };
        let host = |name| Gauges::Host(HostGauges { probe_cpu: vec![("x".repeat(name), 1)], ..HostGauges::default() });
        let mib = 1024 * 1024;
        let cases = [
            ("a desktop", processes(400), SAMPLES_MAX),
            ("a busy host", processes(5_000), SAMPLES_MAX),
            ("a huge host", processes(20_000), 15),
            ("beyond all bounds", processes(1_000_000), SAMPLES_MIN),
            ("one column alone", containers(mib / 8), 6),
            ("one long name", host(mib), 5),
        ];
        for (case, block, want) in cases {
            let mut history = History::default();
            for _ in 0..SAMPLES_MAX + 10 {
                history.push(block.clone());
            }
            let History { host, containers, processes, .. } = &history;
            assert_eq!(host.blocks.len() + containers.blocks.len() + processes.blocks.len(), want, "{case}");
            for _ in 0..SAMPLES_MAX {
                history.push(Gauges::Processes(ProcessGauges::default()));
            }
            assert_eq!((history.processes.blocks.len(), history.processes.bytes), (SAMPLES_MAX, 0), "{case}: all gone");
        }
    }
}
