//! Metrics of the peer itself, for `/metrics`: what its process takes, how its sources do, and the mesh.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use gossip::mesh::{Classes, Counters, Offence, PeerStatus};
use procfs::WithCurrentSystemInfo;
use procfs::process::Process;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;
use topology::fact::SourceState;

use crate::probe::{Name, Update};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfSource {
    source: &'static str,
}

/// How the sources of this host do, and the mesh.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    cpu: Family<OfSource, Gauge<f64, AtomicU64>>,
    ok: Family<OfSource, Gauge>,
    lost: Family<OfSource, Gauge>,
    links: Gauge,
    lag: Gauge,
    mesh: OfMesh,
}

impl Metrics {
    /// Metrics that `registry` shows, with those of this process.
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("scope_source_cpu_ratio", "CPU time a source takes, of one CPU.", metrics.cpu.clone());
        registry.register("scope_source_ok", "Whether a source delivers all it should.", metrics.ok.clone());
        registry.register("scope_source_lost", "What a source missed since it started.", metrics.lost.clone());
        registry.register("scope_mesh_links", "Neighbours this peer is connected with.", metrics.links.clone());
        registry.register("scope_mesh_lag_versions", "Versions that exist and are not here yet.", metrics.lag.clone());
        registry.register_collector(Box::new(metrics.mesh.clone()));
        registry.register_collector(Box::new(OfProcess));
        metrics
    }

    /// Takes how the mesh does.
    pub(crate) fn observe_mesh(&self, peers: &[PeerStatus], counters: &Counters) {
        self.links.set(signed(peers.iter().filter(|peer| peer.link.is_some()).count() as u64));
        self.lag.set(signed(peers.iter().fold(0, |sum, peer| sum.saturating_add(peer.lag))));
        *self.mesh.0.lock().unwrap_or_else(PoisonError::into_inner) = counters.clone();
    }

    /// Takes from an update what it says of its source.
    pub(crate) fn observe(&self, update: &Update) {
        let of = |name: Name| OfSource { source: name.as_str() };
        match update {
            Update::Cost(name, hundredths) => {
                self.cpu.get_or_create(&of(*name)).set(f64::from(*hundredths) / 10_000.0);
            }
            Update::Status(name, source) => {
                self.ok.get_or_create(&of(*name)).set(i64::from(source.state == SourceState::Ok));
            }
            Update::Lost(name, lost) => {
                self.lost.get_or_create(&of(*name)).set(signed(*lost));
            }
            Update::Facts(..) | Update::Gauges(..) => {}
        }
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The sums that the mesh keeps.
#[derive(Clone, Debug, Default)]
struct OfMesh(Arc<Mutex<Counters>>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfClass {
    class: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfOffence {
    kind: &'static str,
}

impl Collector for OfMesh {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let sums = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let plain = [
            ("scope_mesh_frames_sent", "Frames sent to neighbours.", sums.frames_sent),
            ("scope_mesh_frames_received", "Frames received from neighbours.", sums.frames_received),
            ("scope_mesh_intervals_applied", "Intervals of other peers that were new.", sums.applied),
            ("scope_mesh_intervals_duplicate", "Intervals of other peers that were known.", sums.duplicates),
            ("scope_mesh_intervals_refused", "Intervals of other peers for which there was no room.", sums.refused),
        ];
        for (name, help, sum) in plain {
            let counter = ConstCounter::new(sum);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        let Classes { payload, head, control, beat } = sums.sent;
        let sent = [("payload", payload), ("head", head), ("control", control), ("beat", beat)];
        let mut family = encoder.encode_descriptor(
            "scope_mesh_sent_bytes",
            "Bytes of frames sent to neighbours.",
            None,
            MetricType::Counter,
        )?;
        for (class, bytes) in sent {
            ConstCounter::new(bytes as u64).encode(family.encode_family(&OfClass { class })?)?;
        }
        let mut family = encoder.encode_descriptor(
            "scope_mesh_offences",
            "Neighbours hung up on for what no peer does.",
            None,
            MetricType::Counter,
        )?;
        for (kind, count) in Offence::ALL.iter().zip(sums.offences) {
            ConstCounter::new(count).encode(family.encode_family(&OfOffence { kind: kind.as_str() })?)?;
        }
        Ok(())
    }
}

/// What this process takes, under the names Prometheus clients have for it. Read when it is asked for.
#[derive(Debug)]
struct OfProcess;

impl Collector for OfProcess {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // Where /proc does not show it the figures are left out.
        let Ok(stat) = Process::myself().and_then(|process| process.stat()) else { return Ok(()) };
        let cpu = ConstCounter::new(seconds(stat.utime.saturating_add(stat.stime)));
        let memory = ConstGauge::new(i64::try_from(stat.rss_bytes().get()).unwrap_or(i64::MAX));
        cpu.encode(encoder.encode_descriptor("process_cpu_seconds", "CPU time.", None, cpu.metric_type())?)?;
        memory.encode(encoder.encode_descriptor(
            "process_resident_memory_bytes",
            "Memory that is resident.",
            None,
            memory.metric_type(),
        )?)
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact for three million years")]
fn seconds(ticks: u64) -> f64 {
    ticks as f64 / procfs::ticks_per_second() as f64
}

#[cfg(test)]
mod tests {
    use topology::fact::Source;

    use super::*;

    #[test]
    fn metrics_tell_of_sources_the_mesh_and_the_process() {
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry);
        metrics.observe(&Update::Cost(Name::Process, 25));
        for (name, state) in [(Name::Docker, SourceState::Off), (Name::Host, SourceState::Ok)] {
            metrics.observe(&Update::Status(name, Source { state, mode: String::new(), reason: String::new() }));
        }
        let counters = Counters { frames_sent: 7, offences: [0, 3, 0, 0, 0], ..Counters::default() };
        metrics.observe_mesh(&[], &counters);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("a String takes every write");
        let lines = [
            "scope_source_cpu_ratio{source=\"process\"} 0.0025\n",
            "scope_source_ok{source=\"docker\"} 0\n",
            "scope_source_ok{source=\"host\"} 1\n",
            "scope_mesh_links 0\n",
            "scope_mesh_frames_sent_total 7\n",
            "scope_mesh_sent_bytes_total{class=\"beat\"} 0\n",
            "scope_mesh_offences_total{kind=\"forged\"} 3\n",
            "process_cpu_seconds_total ",
        ];
        for line in lines {
            assert!(text.contains(line), "{line} in {text}");
        }
        let memory = text.lines().find_map(|line| line.strip_prefix("process_resident_memory_bytes "));
        assert!(memory.and_then(|bytes| bytes.parse::<u64>().ok()).is_some_and(|bytes| bytes > 100_000), "{text}");
    }
}
