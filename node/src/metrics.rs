//! Metrics of the peer itself, for `/metrics`: what its process takes, and how its sources do.

use std::fmt;
use std::sync::atomic::AtomicU64;

use procfs::WithCurrentSystemInfo;
use procfs::process::Process;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
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

/// How the sources of this host do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    cpu: Family<OfSource, Gauge<f64, AtomicU64>>,
    ok: Family<OfSource, Gauge>,
}

impl Metrics {
    /// Metrics that `registry` shows, with those of this process.
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("scope_source_cpu_ratio", "CPU time a source takes, of one CPU.", metrics.cpu.clone());
        registry.register("scope_source_ok", "Whether a source delivers all it should.", metrics.ok.clone());
        registry.register_collector(Box::new(OfProcess));
        metrics
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
            Update::Facts(..) | Update::Gauges(..) => {}
        }
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
    fn metrics_tell_of_sources_and_of_the_process() {
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry);
        metrics.observe(&Update::Cost(Name::Process, 25));
        for (name, state) in [(Name::Docker, SourceState::Off), (Name::Host, SourceState::Ok)] {
            metrics.observe(&Update::Status(name, Source { state, mode: String::new(), reason: String::new() }));
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("a String takes every write");
        let lines = [
            "scope_source_cpu_ratio{source=\"process\"} 0.0025\n",
            "scope_source_ok{source=\"docker\"} 0\n",
            "scope_source_ok{source=\"host\"} 1\n",
            "process_cpu_seconds_total ",
        ];
        for line in lines {
            assert!(text.contains(line), "{line} in {text}");
        }
        let memory = text.lines().find_map(|line| line.strip_prefix("process_resident_memory_bytes "));
        assert!(memory.and_then(|bytes| bytes.parse::<u64>().ok()).is_some_and(|bytes| bytes > 100_000), "{text}");
    }
}
