//! What the merge suites merge: intervals of origins, with the synthetic hosts' facts or with plain keys.

use bytes::Bytes;
use gossip::{
    Answer, Applied, Change, Epoch, Interval, Key, Limits, LocalOrigin, OriginId, PeerId, Position, Replica, Span,
    StateHash, Version,
};
use topology::cluster::Writer;
use topology::codec;
use topology::graph::Change as FactChange;
use topology::synthetic::SyntheticHost;

/// Keys of an origin of plain keys: a host with some hundred containers.
pub const KEYS: u32 = 3000;

/// Value of a plain key: about what the mean fact takes.
const VALUE_BYTES: usize = 180;

/// The first run of a made-up peer.
#[must_use]
pub fn origin_id(number: u32) -> OriginId {
    let mut public_key = [7; 32];
    public_key[..4].copy_from_slice(&number.to_be_bytes());
    OriginId { peer: PeerId::from_bytes(public_key), epoch: Epoch(1) }
}

/// The peer whose replica takes it all.
#[must_use]
pub fn reader() -> PeerId {
    PeerId::from_bytes([0xff; 32])
}

/// With as many tombstones as the hosts here leave in a minute; older ones are no longer kept by then.
#[must_use]
pub fn limits() -> Limits {
    Limits { tombstones_per_origin_max: 128, ..Limits::default() }
}

/// # Panics
/// Never: the key is short.
fn plain_key(number: u32) -> Key {
    Key::new(format!("flow/{}.88301/outgoing/tcp/10.0.0.2/{number}", number / 7).as_bytes()).expect("a short key")
}

/// An origin that writes the same [`KEYS`] keys again and again, in no order.
#[derive(Debug)]
pub struct Plain {
    id: OriginId,
    version: u64,
}

impl Plain {
    /// The origin with that number, which has said nothing yet.
    #[must_use]
    pub fn new(number: u32) -> Plain {
        Plain { id: origin_id(number), version: 0 }
    }

    /// Its next `keys` writes.
    ///
    /// # Panics
    /// Never: the interval is well-formed.
    pub fn write(&mut self, keys: u32) -> Interval {
        let since = Version(self.version);
        let changes = (0..keys).map(|_| {
            self.version += 1;
            // 1259 and KEYS have no common divisor: each key comes once a round.
            let number = u32::try_from(self.version * 1259 % u64::from(KEYS)).expect("less than KEYS");
            Change { version: Version(self.version), key: plain_key(number), value: Some(vec![7; VALUE_BYTES].into()) }
        });
        let changes = changes.collect();
        Interval::new(self.id, Span::whole(since, Version(self.version)), changes).expect("versions rise one by one")
    }
}

/// A synthetic host with what it has published.
#[derive(Debug)]
pub struct HostOrigin {
    /// The host.
    pub host: SyntheticHost,
    /// Its peer, as the cluster names it.
    pub peer: topology::PeerId,
    local: LocalOrigin,
    replica: Replica,
}

impl HostOrigin {
    /// Host `number` of `hosts`, which has published all its facts.
    #[must_use]
    pub fn new(number: u32, hosts: u32) -> HostOrigin {
        let host = SyntheticHost::new(number, hosts);
        let id = origin_id(number);
        let local = LocalOrigin::new(id, limits());
        let replica = Replica::new(id.peer, limits());
        let mut origin = HostOrigin { host, peer: host.peer(), local, replica };
        origin.publish(host.changes());
        origin
    }

    /// The interval of these changes.
    ///
    /// # Panics
    /// If they change nothing.
    pub fn publish(&mut self, changes: Vec<FactChange>) -> Interval {
        let changes = changes.into_iter().map(encode);
        let interval = self.local.publish(changes).expect("a host keeps within the limits").expect("something changes");
        self.replica.record(&interval).expect("our own interval joins on");
        interval
    }

    /// The host's own word for its state.
    ///
    /// # Panics
    /// Never: it has published its facts.
    #[must_use]
    pub fn state_hash(&self) -> StateHash {
        self.replica.origin(self.local.id().peer).expect("its own origin").state_hash()
    }

    /// Everything it says now.
    ///
    /// # Panics
    /// Never: it has published its facts.
    #[must_use]
    pub fn snapshot(&self) -> Interval {
        match self.replica.answer(&Position::nothing(self.local.id().peer), usize::MAX) {
            Answer::Interval(snapshot) => snapshot,
            other => unreachable!("who holds nothing gets a snapshot, not {other:?}"),
        }
    }
}

/// A change of a fact as one of an origin.
///
/// # Panics
/// Never: a synthetic host's keys are short.
#[must_use]
pub fn encode(change: FactChange) -> (Key, Option<Bytes>) {
    let (key, value) = match change {
        FactChange::Put(fact) => (fact.key(), Some(Bytes::from(codec::encode(&fact)))),
        FactChange::Remove(key) => (key, None),
    };
    (Key::new(key.to_string().as_bytes()).expect("a short key"), value)
}

/// A change of an origin as one of a fact.
///
/// # Panics
/// If it is none.
#[must_use]
pub fn decode(change: &Change) -> FactChange {
    let key = std::str::from_utf8(change.key.as_bytes()).expect("keys of facts are text");
    let key: topology::Key = key.parse().expect("a key of a fact");
    match &change.value {
        Some(value) => FactChange::put(codec::decode(&key, value).expect("a fact")),
        None => FactChange::Remove(key),
    }
}

/// What an interval changes in a replica, which then holds it. Of a snapshot that is what differs from what was held.
///
/// # Panics
/// If it does not join on.
pub fn apply(replica: &mut Replica, interval: &Interval) -> Vec<Change> {
    let held = replica.origin(interval.origin().peer);
    let differences = held.filter(|_| interval.is_snapshot()).map(|held| held.differences(interval));
    match replica.apply(interval) {
        Ok(Applied::Changed(changes)) => changes.to_vec(),
        Ok(Applied::Replaced) => differences.unwrap_or_else(|| interval.changes().to_vec()),
        other => panic!("applied in order and once, {other:?}"),
    }
}

/// A replica and a cluster of that many hosts, with one of the hosts.
///
/// # Panics
/// Never: snapshots join on to nothing.
#[must_use]
pub fn cluster(hosts: u32) -> (Replica, Writer, HostOrigin) {
    let mut replica = Replica::new(reader(), limits());
    let mut writer = Writer::default();
    for number in 0..hosts {
        let origin = HostOrigin::new(number, hosts);
        replica.apply(&origin.snapshot()).expect("the first interval of an origin");
        writer.apply(&origin.peer, origin.host.changes());
    }
    let _ = writer.cluster();
    (replica, writer, HostOrigin::new(3, hosts))
}
