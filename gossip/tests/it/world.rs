//! A few peers that publish, restart and forget, and what a test may do to the messages between
//! them. Knows every state each origin ever had, and checks replicas against these.

use std::collections::BTreeMap;

use bytes::Bytes;
use gossip::{
    Answer, Applied, ApplyError, Epoch, Interval, Key, Limits, LocalOrigin, OriginId, Parts, PeerId, Replica,
    StateHash, Version,
};
use proptest::prelude::*;
use proptest::sample::Index;

/// The live entries of one origin.
type Contents = BTreeMap<Key, Bytes>;

/// More parts than any origin here can take: who needs more is going round in circles.
pub(crate) const PARTS_MAX: usize = 1000;

/// Something that happens. Peers are numbered from 0.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// A peer writes; a key is a number below 8.
    Publish { peer: usize, changes: Vec<(u8, Option<u8>)> },
    /// Any interval that was ever sent arrives, again or for the first time.
    Deliver { interval: Index, to: usize },
    /// A peer asks another one for what it lacks, and gets some of the parts.
    Ask { to: usize, from: usize, budget_bytes: usize, parts_max: usize },
    /// A peer forgets some of the tombstones of another one.
    Collect { at: usize, of: usize, percent: u64 },
    /// A peer loses everything but its key and epoch.
    Restart { peer: usize },
}

/// Steps among so many peers.
pub(crate) fn steps(peers: usize, len: usize) -> impl Strategy<Value = Vec<Step>> {
    let peer = 0..peers;
    let change = (0..8u8, prop::option::weighted(0.6, 0..3u8));
    let changes = prop::collection::vec(change, 1..6);
    let budget = prop_oneof![3 => 1..200usize, 1 => Just(usize::MAX)];
    let step = prop_oneof![
        6 => (peer.clone(), changes).prop_map(|(peer, changes)| Step::Publish { peer, changes }),
        6 => (any::<Index>(), peer.clone())
            .prop_map(|(interval, to)| Step::Deliver { interval, to }),
        6 => (peer.clone(), peer.clone(), budget, 1..4usize).prop_map(
            |(to, from, budget_bytes, parts_max)| Step::Ask { to, from, budget_bytes, parts_max }
        ),
        2 => (peer.clone(), peer.clone(), 0..=100u64)
            .prop_map(|(at, of, percent)| Step::Collect { at, of, percent }),
        1 => peer.prop_map(|peer| Step::Restart { peer }),
    ];
    prop::collection::vec(step, 0..len)
}

pub(crate) struct World {
    locals: Vec<LocalOrigin>,
    pub(crate) replicas: Vec<Replica>,
    /// What was cut off on its way to a peer, by that peer and the origin's.
    unfinished: BTreeMap<(usize, PeerId), Parts>,
    /// All whole intervals that were sent.
    pub(crate) sent: Vec<Interval>,
    /// Every state each origin had, and the hash it has wherever it is held.
    states: BTreeMap<(OriginId, Version), (Contents, Option<StateHash>)>,
}

impl World {
    pub(crate) fn new(peers: usize) -> World {
        let origins = (0..peers).map(|peer| OriginId { peer: peer_id(peer), epoch: Epoch(1) });
        World {
            locals: origins.map(|id| LocalOrigin::new(id, Limits::default())).collect(),
            replicas: (0..peers).map(empty_replica).collect(),
            unfinished: BTreeMap::new(),
            sent: Vec::new(),
            states: BTreeMap::new(),
        }
    }

    pub(crate) fn run(steps: &[Step], peers: usize) -> World {
        let mut world = World::new(peers);
        for step in steps {
            world.step(step);
        }
        world
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Publish { peer, changes } => self.publish(*peer, changes),
            Step::Deliver { interval, to } if !self.sent.is_empty() => {
                let interval = interval.get(&self.sent).clone();
                self.apply(*to, &interval);
            }
            Step::Deliver { .. } => {}
            Step::Ask { to, from, budget_bytes, parts_max } => {
                self.ask_for_all(*to, *from, *budget_bytes, *parts_max);
            }
            Step::Collect { at, of, percent } => {
                let peer = peer_id(*of);
                let version = self.replicas[*at].position(peer).version;
                self.replicas[*at].collect(peer, Version(version.0 * percent / 100));
                self.check(*at);
            }
            Step::Restart { peer } => self.restart(*peer),
        }
    }

    pub(crate) fn publish(&mut self, peer: usize, changes: &[(u8, Option<u8>)]) {
        let changes = changes
            .iter()
            .map(|&(key, value)| (Key::new(&[key]).unwrap(), value.map(|value| Bytes::from(vec![value; 20]))));
        let local = &mut self.locals[peer];
        let Some(interval) = local.publish(changes).unwrap() else {
            return;
        };
        let state = (local.id(), local.version());
        self.states.insert(state, (contents_of_local(local), None));
        self.replicas[peer].record(&interval).unwrap();
        self.sent.push(interval);
        self.check(peer);
    }

    fn restart(&mut self, peer: usize) {
        let OriginId { peer: id, epoch } = self.locals[peer].id();
        let origin = OriginId { peer: id, epoch: Epoch(epoch.0 + 1) };
        self.locals[peer] = LocalOrigin::new(origin, Limits::default());
        self.replicas[peer] = empty_replica(peer);
        self.unfinished.retain(|(to, _), _| *to != peer);
    }

    /// `to` asks `from` for all that it lacks, up to so many parts of each origin.
    pub(crate) fn ask_for_all(&mut self, to: usize, from: usize, budget_bytes: usize, parts_max: usize) {
        let difference = self.replicas[to].difference(&self.replicas[from].digest());
        for position in difference.behind {
            for _ in 0..parts_max {
                if !self.ask(to, from, position.origin.peer, budget_bytes) {
                    break;
                }
            }
        }
    }

    /// One question and its answer. Whether there is more to ask for.
    fn ask(&mut self, to: usize, from: usize, peer: PeerId, budget_bytes: usize) -> bool {
        let started = self.unfinished.remove(&(to, peer));
        let position = match &started {
            Some(parts) => parts.position(),
            None => self.replicas[to].position(peer),
        };
        let Answer::Interval(part) = self.replicas[from].answer(&position, budget_bytes) else {
            return started.is_some(); // the parts reach beyond that peer: start again without them
        };
        let mut parts = match started {
            Some(parts) if position.origin == part.origin() => parts,
            _ => Parts::new(part.origin(), part.span().since, usize::MAX),
        };
        parts.push(part).unwrap();
        match parts.into_interval() {
            Ok(whole) => {
                self.apply(to, &whole);
                self.sent.push(whole);
                false
            }
            Err(parts) => {
                self.unfinished.insert((to, peer), parts);
                true
            }
        }
    }

    /// Applies a whole interval and checks that the replica says truly what changed, and takes it only
    /// for the state it leads to.
    fn apply(&mut self, to: usize, interval: &Interval) {
        let (_, hash) = self.states[&(interval.origin(), interval.span().until)];
        let hash = hash.expect("it was held where it was published");
        let replica = &mut self.replicas[to];
        let peer = interval.origin().peer;
        let before = replica.origin(peer).map(contents);
        refuses_for_another_state(replica, interval);
        match replica.apply_signed(interval, &hash) {
            Ok(Applied::Replaced) => {}
            Ok(Applied::Known) => assert_eq!(replica.origin(peer).map(contents), before),
            Ok(Applied::Changed(changes)) => {
                let mut want = before.unwrap();
                for change in changes {
                    match &change.value {
                        Some(value) => want.insert(change.key.clone(), value.clone()),
                        None => want.remove(&change.key),
                    };
                }
                assert_eq!(replica.origin(peer).map(contents), Some(want));
            }
            Err(ApplyError::Gap { from, since }) => {
                let joins_on = from.origin == interval.origin() && from.version >= since;
                assert!(!joins_on, "gap at {from:?} before {interval:?}");
            }
            Err(ApplyError::LocalPeer(origin)) => assert_eq!(origin.peer, peer_id(to)),
            Err(error) => panic!("{error}: {interval:?}"),
        }
        self.check(to);
    }

    /// A replica holds only states that their origins had, and its sums are right.
    fn check(&mut self, peer: usize) {
        let replica = &self.replicas[peer];
        let mut bytes = 0;
        for origin in replica.origins() {
            let state = (origin.id(), origin.version());
            let (want, hash) = self.states.get_mut(&state).expect("no origin had this state");
            assert_eq!(&contents(origin), want, "at {}", origin.version());
            assert_eq!(*hash.get_or_insert(origin.state_hash()), origin.state_hash());
            assert_eq!(origin.footprint().entries, want.len());
            bytes += origin.footprint().bytes;
        }
        assert_eq!(replica.bytes(), bytes);
    }

    /// Peers ask each other round and round. How many rounds it took until all hold the same.
    pub(crate) fn converge(&mut self, budget_bytes: usize) -> Option<usize> {
        let peers = self.replicas.len();
        (0..=peers).find(|_| {
            for to in 0..peers {
                for from in 0..peers {
                    self.ask_for_all(to, from, budget_bytes, PARTS_MAX);
                }
            }
            let first = state(&self.replicas[0]);
            self.replicas.iter().all(|replica| state(replica) == first)
        })
    }

    /// What every peer says now.
    pub(crate) fn said(&self) -> BTreeMap<OriginId, Contents> {
        self.locals.iter().map(|local| (local.id(), contents_of_local(local))).collect()
    }

    /// What a peer holds of every peer.
    pub(crate) fn held(&self, peer: usize) -> BTreeMap<OriginId, Contents> {
        self.replicas[peer].origins().map(|origin| (origin.id(), contents(origin))).collect()
    }
}

fn refuses_for_another_state(replica: &mut Replica, interval: &Interval) {
    let before = state(replica);
    match replica.apply_signed(interval, &StateHash::from_bytes([0; 32])) {
        Ok(Applied::Changed(_) | Applied::Replaced) => panic!("taken: {interval:?}"),
        Ok(Applied::Known) | Err(_) => assert_eq!(state(replica), before),
    }
}

/// All of a replica that others can tell.
pub(crate) fn state(replica: &Replica) -> Vec<(OriginId, Version, StateHash)> {
    let origins = replica.origins();
    origins.map(|origin| (origin.id(), origin.version(), origin.state_hash())).collect()
}

pub(crate) fn peer_id(peer: usize) -> PeerId {
    PeerId::from_bytes([u8::try_from(peer).unwrap(); 32])
}

fn empty_replica(peer: usize) -> Replica {
    Replica::new(peer_id(peer), Limits::default())
}

fn contents(origin: &gossip::Origin) -> Contents {
    origin.iter().map(|(key, _, value)| (key.clone(), value.clone())).collect()
}

fn contents_of_local(local: &LocalOrigin) -> Contents {
    local.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}
