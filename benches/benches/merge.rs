//! Merging: what it costs a peer to take in what the others say.

use std::sync::LazyLock;
use std::time::Duration;

use benches::origins::{self, HostOrigin, KEYS, Plain};
use benches::{HOSTS, whole_state};
use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use gossip::head::{Cluster, Ed25519, Head};
use gossip::wire::{decode_payload, encode_payload};
use gossip::{Applied, Digest, Interval, OriginId, Replica, Version};
use topology::PeerId;
use topology::cluster::Writer;
use topology::graph::Change;
use topology::synthetic::FACTS_PER_HOST;

/// Facts of each, six of which are processes that are gone in the next.
const FACTS_PER_REPORT: u64 = FACTS_PER_HOST as u64 + 6;

/// Full reports that each host sends in the cold merge, as in Weave Scope's benchmark.
const REPORTS_PER_HOST: u32 = 5;

fn config() -> Criterion {
    Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(2)).sample_size(30)
}

/// Intervals of 1, 10 and 1000 changed keys of origins with 3000: one origin, or a hundred in turn, so that nothing of the
/// one that changes is left in the processor's caches.
fn keys(c: &mut Criterion) {
    let mut group = c.benchmark_group("merge/keys");
    for origins in [1, 100] {
        let mut replica = Replica::new(origins::reader(), origins::limits());
        let mut plain: Vec<_> = (0..origins).map(Plain::new).collect();
        for origin in &mut plain {
            replica.apply(&origin.write(KEYS)).expect("the first interval of an origin");
        }
        let mut turn = (0..plain.len()).cycle();
        for keys in [1, 10, 1000] {
            group.throughput(Throughput::Elements(u64::from(keys)));
            group.bench_function(format!("keys={keys}/origins={origins}"), |b| {
                b.iter_batched_ref(
                    || turn.next().map(|turn| plain[turn].write(keys)).expect("there is an origin"),
                    |interval| {
                        let applied = replica.apply(interval).expect("in order");
                        assert!(matches!(applied, Applied::Changed(changes) if changes.len() == keys as usize));
                    },
                    BatchSize::NumIterations(if keys < 1000 { 2000 } else { 100 }),
                );
            });
        }
    }
    group.finish();
}

/// One host's change, 5 % of its facts, from the interval to a published cluster of N hosts.
fn hosts(c: &mut Criterion) {
    let mut group = c.benchmark_group("merge");
    for hosts in [10, HOSTS, 1000] {
        group.throughput(Throughput::Elements(Churn::new(HostOrigin::new(3, hosts)).next().changes().len() as u64));
        group.bench_function(format!("hosts={hosts}"), |b| {
            let (mut replica, mut writer, origin) = origins::cluster(hosts);
            let peer = origin.peer.clone();
            let mut churn = Churn::new(origin);
            replica.apply(&churn.first).expect("in order");
            b.iter_batched_ref(
                || churn.next(),
                |interval| {
                    let Ok(Applied::Changed(changes)) = replica.apply(interval) else { panic!("in order") };
                    writer.apply(&peer, changes.iter().map(origins::decode));
                    writer.cluster()
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// A host on which something always happens.
struct Churn {
    origin: HostOrigin,
    step: u32,
    /// What happened first: processes that came before this go in the next step.
    first: Interval,
}

impl Churn {
    fn new(mut origin: HostOrigin) -> Churn {
        let first = origin.publish(origin.host.churn(0));
        Churn { origin, step: 0, first }
    }

    fn next(&mut self) -> Interval {
        self.step += 1;
        self.origin.publish(self.origin.host.churn(self.step))
    }
}

/// What the origin's signature adds to the same change: a state hash over all the host says, and ed25519.
fn signed(c: &mut Criterion) {
    let mut group = c.benchmark_group("merge/signed");
    let mut replica = Replica::new(origins::reader(), origins::limits());
    let origin = HostOrigin::new(3, HOSTS);
    replica.apply(&origin.snapshot()).expect("the first interval of an origin");
    let mut churn = Churn::new(origin);
    replica.apply(&churn.first).expect("in order");
    let mut churn = || (churn.next(), churn.origin.state_hash());
    let (interval, state) = churn();
    replica.apply_signed(&interval, &state).expect("in order");
    group.throughput(Throughput::Elements(interval.changes().len() as u64));
    group.bench_function("apply", |b| {
        b.iter_batched_ref(
            &mut churn,
            |(interval, state)| {
                assert!(matches!(replica.apply_signed(interval, state), Ok(Applied::Changed(_))));
            },
            BatchSize::SmallInput,
        );
    });
    let keypair = libp2p_identity::Keypair::generate_ed25519();
    let signatures = Ed25519::try_from(&keypair).expect("an ed25519 key");
    let peer = gossip::PeerId::try_from(keypair.public()).expect("an ed25519 key");
    let id = OriginId { peer, ..interval.origin() };
    let head = Head::sign(&signatures, Cluster::OPEN, id, interval.span().until, state);
    group.throughput(Throughput::Elements(1));
    group.bench_function("verify", |b| {
        b.iter(|| assert!(head.verify(&signatures, Cluster::OPEN, id)));
    });
    group.bench_function("sign", |b| {
        b.iter(|| Head::sign(&signatures, Cluster::OPEN, id, interval.span().until, state));
    });
    group.finish();
}

/// A full report: who it is of, the interval, its payload as it travels, and what is news in it.
struct Report {
    peer: PeerId,
    interval: Interval,
    payload: Bytes,
    news: Vec<Change>,
}

/// Five full reports of each of fifty hosts, first those of the first round; 5 % differ from round to round.
fn reports() -> Vec<Report> {
    let mut replica = Replica::new(origins::reader(), origins::limits());
    let mut origins: Vec<_> = (0..HOSTS).map(|number| HostOrigin::new(number, HOSTS)).collect();
    let mut reports = Vec::new();
    for round in 0..REPORTS_PER_HOST {
        for origin in &mut origins {
            origin.publish(origin.host.churn(round));
            let interval = origin.snapshot();
            assert_eq!(interval.changes().len() as u64, FACTS_PER_REPORT);
            let news = origins::apply(&mut replica, &interval).iter().map(origins::decode).collect();
            let payload = encode_payload(interval.changes());
            reports.push(Report { peer: origin.peer.clone(), interval, payload, news });
        }
    }
    reports
}

/// The same as our peers send it: of each host one snapshot, then what changed.
fn as_sent() -> Vec<Report> {
    let mut origins: Vec<_> = (0..HOSTS).map(|number| HostOrigin::new(number, HOSTS)).collect();
    let mut reports = Vec::new();
    for round in 0..REPORTS_PER_HOST {
        for origin in &mut origins {
            let change = origin.publish(origin.host.churn(round));
            let interval = if round == 0 { origin.snapshot() } else { change };
            let payload = encode_payload(interval.changes());
            reports.push(Report { peer: origin.peer.clone(), interval, payload, news: Vec::new() });
        }
    }
    reports
}

/// A payload as it came, made an interval again.
fn unpack(report: &Report) -> Interval {
    let changes = decode_payload(&report.payload).expect("a payload");
    let (origin, span) = (report.interval.origin(), report.interval.span());
    Interval::new(origin, span, changes).expect("versions rise")
}

/// A peer that hears of everything at once. `merge` is what it does with what it has decoded, `decode` what it would take to
/// decode all facts of all reports; it decodes those that differ from what it holds. `as-sent` is the whole for the same hosts
/// where they send what our peers send.
fn cold(c: &mut Criterion) {
    let reports = LazyLock::new(reports);
    let mut group = c.benchmark_group("merge/cold");
    group.sample_size(20).measurement_time(Duration::from_secs(4));
    group.throughput(Throughput::Elements(u64::from(HOSTS * REPORTS_PER_HOST) * FACTS_PER_REPORT));
    group.bench_function("merge", |b| {
        b.iter_batched(
            || reports.iter().map(|report| report.news.clone()).collect::<Vec<_>>(),
            |news| {
                let mut replica = Replica::new(origins::reader(), origins::limits());
                let mut writer = Writer::default();
                for (report, news) in reports.iter().zip(news) {
                    origins::apply(&mut replica, &report.interval);
                    writer.apply(&report.peer, news);
                }
                (replica, writer.cluster(), writer)
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("decode", |b| {
        let decode = |report| unpack(report).changes().iter().map(origins::decode).collect::<Vec<_>>();
        b.iter_with_large_drop(|| reports.iter().map(decode).collect::<Vec<_>>());
    });
    group.bench_function("decode+merge", |b| {
        b.iter_with_large_drop(|| {
            let mut replica = Replica::new(origins::reader(), origins::limits());
            let mut writer = Writer::default();
            for report in reports.iter() {
                let news = origins::apply(&mut replica, &unpack(report));
                writer.apply(&report.peer, news.iter().map(origins::decode));
            }
            let cluster = writer.cluster();
            assert_eq!(cluster.hosts().len(), HOSTS as usize);
            (replica, cluster, writer)
        });
    });
    group.bench_function("as-sent", |b| {
        let as_sent = as_sent();
        b.iter_with_large_drop(|| {
            let mut replica = Replica::new(origins::reader(), origins::limits());
            let mut writer = Writer::default();
            for report in &as_sent {
                let news = origins::apply(&mut replica, &unpack(report));
                writer.apply(&report.peer, news.iter().map(origins::decode));
            }
            (replica, writer.cluster(), writer)
        });
    });
    group.finish();
}

/// Everything a host says into a replica that holds an older state of it.
fn snapshot(c: &mut Criterion) {
    let mut origin = HostOrigin::new(3, HOSTS);
    let mut replica = Replica::new(origins::reader(), origins::limits());
    replica.apply(&origin.snapshot()).expect("the first interval of an origin");
    origin.publish(origin.host.churn(0));
    let snapshot = origin.snapshot();
    let mut group = c.benchmark_group("merge");
    group.throughput(Throughput::Elements(snapshot.changes().len() as u64));
    group.bench_function("snapshot", |b| {
        b.iter_batched_ref(
            || replica.clone(),
            |replica| assert_eq!(replica.apply(&snapshot), Ok(Applied::Replaced)),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

/// Who lacks what, of a thousand origins of which ten differ.
fn digest(c: &mut Criterion) {
    const ORIGINS: u32 = 1000;
    let mut replica = Replica::new(origins::reader(), origins::limits());
    let mut theirs = Vec::new();
    for number in 0..ORIGINS {
        let mut origin = Plain::new(number);
        let interval = origin.write(10);
        replica.apply(&interval).expect("the first interval of an origin");
        let ahead = u64::from(number % 100 == 0);
        theirs.push((interval.origin(), Version(interval.span().until.0 + ahead)));
    }
    let theirs = Digest::new(theirs, ORIGINS as usize).expect("each peer once");
    let mut group = c.benchmark_group("merge/digest");
    group.throughput(Throughput::Elements(u64::from(ORIGINS)));
    group.bench_function("difference/origins=1000", |b| {
        b.iter(|| {
            let difference = replica.difference(&theirs);
            assert_eq!(difference.behind.len(), 10);
            difference
        });
    });
    let ours = replica.digest();
    group.bench_function("hash/origins=1000", |b| b.iter(|| ours.hash()));
    group.finish();
}

/// The same change of one host where replicas exchange all they hold.
fn whole_state(c: &mut Criterion) {
    let mut group = c.benchmark_group("merge/whole-state");
    group.sample_size(10);
    for hosts in [10, HOSTS] {
        let mut origins: Vec<_> = (0..hosts).map(|number| HostOrigin::new(number, hosts)).collect();
        let snapshots: Vec<_> = origins.iter().map(HostOrigin::snapshot).collect();
        let host = origins[3].host;
        let change = origins[3].publish(host.churn(0));
        group.throughput(Throughput::Elements(change.changes().len() as u64));

        let mut ours = whole_state::Plain::default();
        snapshots.iter().for_each(|snapshot| ours.write(snapshot));
        let mut theirs = ours.clone();
        theirs.write(&change);
        group.bench_function(format!("BTreeMap/hosts={hosts}"), |b| {
            b.iter_batched_ref(
                || (ours.clone(), Some(theirs.clone())),
                |(ours, theirs)| ours.merge(theirs.take().expect("once")),
                BatchSize::LargeInput,
            );
        });

        let mut ours = whole_state::Crdt::default();
        snapshots.iter().for_each(|snapshot| ours.write(snapshot));
        let mut theirs = ours.clone();
        theirs.write(&change);
        group.bench_function(format!("crdts::Map/hosts={hosts}"), |b| {
            b.iter_batched_ref(
                || (ours.clone(), Some(theirs.clone())),
                |(ours, theirs)| ours.merge(theirs.take().expect("once")),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = config();
    targets = keys, hosts, signed, cold, snapshot, digest, whole_state
}
criterion_main!(benches);
