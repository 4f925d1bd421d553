//! Views: drawn from scratch, and following one host's change.

use std::hint::black_box;
use std::time::Duration;

use benches::{HOSTS, views, writer};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use topology::summary::Summary;
use topology::synthetic::{FACTS_PER_HOST, SyntheticHost};
use topology::{Kind, Options, Timestamp, View};

fn config() -> Criterion {
    Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3)).sample_size(50)
}

/// All hosts' facts into a picture: what a peer does when it joins.
fn cold(c: &mut Criterion) {
    let mut group = c.benchmark_group("cluster/cold");
    group.sample_size(20);
    group.throughput(Throughput::Elements(u64::from(HOSTS) * FACTS_PER_HOST as u64));
    group.bench_function(BenchmarkId::new("hosts", HOSTS), |b| {
        let changes: Vec<_> = (0..HOSTS).map(|number| SyntheticHost::new(number, HOSTS)).collect();
        b.iter_batched(
            || changes.iter().map(|host| (host.peer(), host.changes())).collect::<Vec<_>>(),
            |changes| {
                let mut writer = topology::cluster::Writer::default();
                for (peer, changes) in changes {
                    writer.apply(&peer, changes);
                }
                writer.cluster()
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

fn full(c: &mut Criterion) {
    let cluster = writer(HOSTS).cluster();
    let mut group = c.benchmark_group("render/full");
    for kind in Kind::ALL {
        let view = View::of(&cluster, kind, Options::defaults(kind));
        assert!(view.stats().nodes > 1, "{} has nothing to draw", kind.id());
        group.bench_function(kind.id(), |b| {
            b.iter_with_large_drop(|| View::of(&cluster, kind, Options::defaults(kind)));
        });
    }
    group.bench_function("all-stats", |b| {
        b.iter_with_large_drop(|| {
            let views = Kind::ALL.map(|kind| View::of(&cluster, kind, Options::defaults(kind)));
            (views.each_ref().map(View::stats), views)
        });
    });
    group.finish();
}

/// One host changes 5 % of its facts: from the changes to the diffs of all views.
fn change(c: &mut Criterion) {
    let mut group = c.benchmark_group("change/all-views");
    for hosts in [10, HOSTS, 200] {
        group.bench_function(BenchmarkId::new("hosts", hosts), |b| {
            let mut writer = writer(hosts);
            let mut views = views();
            for view in &mut views {
                view.update(&writer.cluster());
            }
            let host = SyntheticHost::new(3, hosts);
            let peer = host.peer();
            let mut step = 0;
            b.iter_batched(
                || {
                    step += 1;
                    host.churn(step)
                },
                |changes| {
                    writer.apply(&peer, changes);
                    let cluster = writer.cluster();
                    let diffs: Vec<_> = views.iter_mut().map(|view| view.update(&cluster)).collect();
                    assert!(diffs.iter().any(|diff| !diff.is_empty()), "a change shows");
                    diffs
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// A view as API clients get it.
fn summaries(c: &mut Criterion) {
    let cluster = writer(HOSTS).cluster();
    let mut group = c.benchmark_group("summaries");
    for kind in [Kind::Containers, Kind::Processes] {
        let view = View::of(&cluster, kind, Options::defaults(kind));
        group.throughput(Throughput::Elements(view.stats().nodes as u64));
        group.bench_function(kind.id(), |b| {
            b.iter(|| {
                for node in view.nodes() {
                    black_box(Summary::of(node, &cluster, Timestamp(1_800_000_000_000)));
                }
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = config();
    targets = cold, full, change, summaries
}
criterion_main!(benches);
