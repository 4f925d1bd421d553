//! Compression of what travels: ratio, and bytes a second each way. Of facts with the disorder of real ones, see
//! [`benches::lifelike`].

use std::collections::BTreeMap;
use std::time::Duration;

use benches::lifelike::Disorder;
use benches::origins;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gossip::{Change, Version, wire};
use topology::Timestamp;
use topology::fact::{Container, Fact, Host, Image, Process};
use topology::graph::Change as FactChange;
use topology::synthetic::SyntheticHost;

/// What a dictionary may take in the program.
const DICTIONARY_BYTES: usize = 8 * 1024;

fn config() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(700))
        .sample_size(20)
}

/// The payload of these changes as it is before compression, without the byte that says how it is compressed.
fn plain(changes: impl IntoIterator<Item = FactChange>) -> Vec<u8> {
    let mut versions = (1_000_000..).map(Version);
    let change = |change| {
        let (key, value) = origins::encode(change);
        Change { version: versions.next().expect("without end"), key, value }
    };
    let changes: Vec<_> = changes.into_iter().map(change).collect();
    let payload = wire::encode_payload(&changes);
    zstd::bulk::decompress(&payload[1..], wire::PAYLOAD_BYTES_MAX).expect("long enough to be compressed")
}

/// A change of 5 % of a busy host, its gauges, and all it says.
fn payloads(number: u32) -> [(&'static str, Vec<u8>); 3] {
    let host = SyntheticHost::new(number, 200);
    let put = |fact| FactChange::put(Disorder(number.into()).of(fact));
    let churn = host.churn(3).into_iter().map(|change| match change {
        FactChange::Put(fact) => put(*fact),
        removal @ FactChange::Remove(_) => removal,
    });
    let gauges = host.gauges(Timestamp(1_800_000_000_000)).into_iter().map(|block| put(Fact::Gauges(block)));
    let all = host.facts().into_iter().map(put);
    [("delta", plain(churn)), ("gauges", plain(gauges)), ("snapshot", plain(all))]
}

/// Trained on other hosts. That flatters it: real hosts have fewer words in common than synthetic ones.
fn trained() -> Vec<u8> {
    let samples: Vec<_> =
        (100..164).flat_map(payloads).filter(|(name, _)| *name != "snapshot").map(|(_, payload)| payload).collect();
    zstd::dict::from_samples(&samples, DICTIONARY_BYTES).expect("enough samples")
}

/// A fact of each kind with nothing in it: the names of fields, which is all that any two hosts surely share.
fn field_names() -> Vec<u8> {
    let host = SyntheticHost::new(0, 1);
    let blank = |fact: Fact| match fact {
        Fact::Host(_) => Fact::Host(Host::default()),
        Fact::Container(it) => Fact::Container(Container { ports: it.ports, ..Container::new(it.id) }),
        Fact::Process(it) => Fact::Process(Process::new(it.id)),
        Fact::Image(it) => Fact::Image(Image { tags: Vec::new(), labels: BTreeMap::new(), ..it }),
        other => other,
    };
    let mut facts = host.facts();
    facts.dedup_by_key(|fact| std::mem::discriminant(fact));
    let gauges = host.gauges(Timestamp(0)).into_iter().map(Fact::Gauges);
    plain(facts.into_iter().map(blank).chain(gauges).map(FactChange::put))
}

type Transform = Box<dyn FnMut(&[u8]) -> Vec<u8>>;

/// One way to compress.
struct Codec {
    name: &'static str,
    compress: Transform,
    decompress: Transform,
}

fn zstd_with(name: &'static str, dictionary: &[u8]) -> Codec {
    let mut compressor = zstd::bulk::Compressor::with_dictionary(1, dictionary).expect("a level there is");
    let mut decompressor = zstd::bulk::Decompressor::with_dictionary(dictionary).expect("memory");
    Codec {
        name,
        compress: Box::new(move |plain| compressor.compress(plain).expect("memory")),
        decompress: Box::new(move |bytes| decompressor.decompress(bytes, wire::PAYLOAD_BYTES_MAX).expect("ours")),
    }
}

fn codecs() -> Vec<Codec> {
    vec![
        Codec {
            name: "lz4",
            compress: Box::new(lz4_flex::compress_prepend_size),
            decompress: Box::new(|bytes| lz4_flex::decompress_size_prepended(bytes).expect("ours")),
        },
        Codec {
            name: "zstd-1-one-shot",
            compress: Box::new(|plain| zstd::bulk::compress(plain, 1).expect("memory")),
            decompress: Box::new(|bytes| {
                let size = zstd::bulk::Decompressor::upper_bound(bytes).expect("ours");
                zstd::bulk::decompress(bytes, size).expect("ours")
            }),
        },
        zstd_with("zstd-1", &[]),
        zstd_with("zstd-1-field-names", &field_names()),
        zstd_with("zstd-1-trained", &trained()),
    ]
}

fn compress(c: &mut Criterion) {
    for (payload, plain) in payloads(3) {
        let mut group = c.benchmark_group(format!("compress/{payload}"));
        group.throughput(Throughput::Bytes(plain.len() as u64));
        for Codec { name, mut compress, mut decompress } in codecs() {
            let compressed = compress(&plain);
            assert_eq!(decompress(&compressed), plain);
            println!("compress/{payload}/{name}: {} to {} bytes", plain.len(), compressed.len());
            group.bench_function(format!("{name}/compress"), |b| b.iter(|| compress(&plain)));
            group.bench_function(format!("{name}/decompress"), |b| b.iter(|| decompress(&compressed)));
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = config();
    targets = compress
}
criterion_main!(benches);
