//! Facts to CBOR and back, one host's worth at a time.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use topology::codec;
use topology::synthetic::SyntheticHost;

fn facts(c: &mut Criterion) {
    let facts = SyntheticHost::new(3, 50).facts();
    let encoded: Vec<_> = facts.iter().map(|fact| (fact.key(), codec::encode(fact))).collect();
    let bytes: usize = encoded.iter().map(|(_, bytes)| bytes.len()).sum();
    let mut group = c.benchmark_group("codec");
    group.throughput(Throughput::ElementsAndBytes { elements: facts.len() as u64, bytes: bytes as u64 });
    group.bench_function("encode", |b| b.iter(|| facts.iter().map(codec::encode).collect::<Vec<_>>()));
    group.bench_function("decode", |b| {
        b.iter(|| {
            encoded.iter().map(|(key, bytes)| codec::decode(key, bytes).expect("just encoded")).collect::<Vec<_>>()
        });
    });
    group.finish();
}

criterion_group!(benches, facts);
criterion_main!(benches);
