//! Facts to CBOR and back, one host's worth at a time, with the implementations there are to choose from.

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use topology::codec;
use topology::fact::Fact;
use topology::synthetic::SyntheticHost;

fn config() -> Criterion {
    Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(2)).sample_size(40)
}

fn throughput(encoded: &[Vec<u8>]) -> Throughput {
    let bytes: usize = encoded.iter().map(Vec::len).sum();
    Throughput::ElementsAndBytes { elements: encoded.len() as u64, bytes: bytes as u64 }
}

/// What we use: bounds, and the check against the key, included.
fn ours(c: &mut Criterion) {
    let facts = SyntheticHost::new(3, 50).facts();
    let keys: Vec<_> = facts.iter().map(Fact::key).collect();
    let encoded: Vec<_> = facts.iter().map(codec::encode).collect();
    let mut group = c.benchmark_group("codec");
    group.throughput(throughput(&encoded));
    group.bench_function("encode", |b| b.iter_with_large_drop(|| facts.iter().map(codec::encode).collect::<Vec<_>>()));
    group.bench_function("decode", |b| {
        let decode = |(key, bytes): (_, &Vec<u8>)| codec::decode(key, bytes).expect("just encoded");
        b.iter_with_large_drop(|| keys.iter().zip(&encoded).map(decode).collect::<Vec<_>>());
    });
    group.bench_function("keys", |b| {
        let text: Vec<_> = keys.iter().map(ToString::to_string).collect();
        let parse = |text: &String| text.parse::<topology::Key>().expect("just printed");
        b.iter_with_large_drop(|| text.iter().map(parse).collect::<Vec<_>>());
    });
    group.finish();
}

/// Each implementation alone.
fn implementations(c: &mut Criterion) {
    let facts = SyntheticHost::new(3, 50).facts();
    let ciborium = |fact: &Fact| {
        let mut bytes = Vec::with_capacity(256);
        ciborium::into_writer(fact, &mut bytes).expect("memory takes every write");
        bytes
    };
    let cbor4ii =
        |fact: &Fact| cbor4ii::serde::to_vec(Vec::with_capacity(256), fact).expect("memory takes every write");
    let minicbor = |fact: &Fact| minicbor_serde::to_vec(fact).expect("memory takes every write");
    let encoded: Vec<_> = facts.iter().map(ciborium).collect();
    assert!(facts.iter().map(cbor4ii).eq(encoded.iter().cloned()), "the same bytes");
    assert!(facts.iter().map(minicbor).eq(encoded.iter().cloned()), "the same bytes");

    let mut group = c.benchmark_group("cbor/encode");
    group.throughput(throughput(&encoded));
    group.bench_function("ciborium", |b| b.iter_with_large_drop(|| facts.iter().map(ciborium).collect::<Vec<_>>()));
    group.bench_function("cbor4ii", |b| b.iter_with_large_drop(|| facts.iter().map(cbor4ii).collect::<Vec<_>>()));
    group.bench_function("minicbor-serde", |b| {
        b.iter_with_large_drop(|| facts.iter().map(minicbor).collect::<Vec<_>>());
    });
    group.finish();

    let mut group = c.benchmark_group("cbor/decode");
    group.throughput(throughput(&encoded));
    group.bench_function("ciborium", |b| {
        let decode = |bytes: &Vec<u8>| ciborium::from_reader::<Fact, _>(&**bytes).expect("just encoded");
        b.iter_with_large_drop(|| encoded.iter().map(decode).collect::<Vec<_>>());
    });
    group.bench_function("cbor4ii", |b| {
        let decode = |bytes: &Vec<u8>| cbor4ii::serde::from_slice::<Fact>(bytes).expect("just encoded");
        b.iter_with_large_drop(|| encoded.iter().map(decode).collect::<Vec<_>>());
    });
    group.bench_function("minicbor-serde", |b| {
        let decode = |bytes: &Vec<u8>| minicbor_serde::from_slice::<Fact>(bytes).expect("just encoded");
        b.iter_with_large_drop(|| encoded.iter().map(decode).collect::<Vec<_>>());
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = config();
    targets = ours, implementations
}
criterion_main!(benches);
