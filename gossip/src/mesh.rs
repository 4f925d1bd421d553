//! The protocol between peers, without input, output or clock: feed it [`Input`]s, carry out its [`Output`]s. The program
//! on a host does so over libp2p (`swarm`), [`sim`](crate::sim) for a thousand peers in virtual time.
//!
//! # What it does
//!
//! Every peer holds a [`Replica`] of all origins, and a handful of **links** to neighbours. For each origin the links
//! carry a tree of its own, which the receivers choose: each has at most one **parent**, the neighbour that sends it
//! what is new of the origin, and so has **children**. What comes from the parent is checked, applied and at once sent
//! to the children; all other neighbours are only told the version (*have*).
//!
//! ```text
//!              origin writes version 7
//!                 │ push                 push:  head (version, state hash, signature) and changes
//!                 ▼                      have:  "I hold 7", a few bytes, gathered for some milliseconds
//!      ┌──push─── B ───push──┐           graft: "send me this origin from now on, I hold 6"
//!      ▼          ┆          ▼           prune: "no more, I have it from elsewhere"
//!      C ┄┄have┄┄▷D ◁┄┄have┄┄ E          want:  "send me once what follows 6"
//! ```
//!
//! This is Plumtree (Leitão, Pereira, Rodrigues 2007, <https://asc.di.fct.unl.pt/~jleitao/pdf/srds07-leitao.pdf>) with
//! two changes. There is a tree per origin, as with many senders one shared tree is a bad one for most of them. And a
//! tree grows by grafts alone instead of being what prunes leave of a flood: who hears of a version it lacks, and has
//! no parent, grafts the neighbour it heard it from. So nobody is sent what nobody asked for, and a payload travels to
//! each peer once.
//!
//! - **A parent fails.** Its link goes down, and the children graft another neighbour. Or it is late: a version that
//!   others have announced is fetched from them ([`WAIT`]), and who misses twice is parent no longer. A neighbour that
//!   keeps announcing before the parent delivers becomes the parent: trees follow the fast paths.
//! - **Nothing is queued.** A link notes only *that* a neighbour lacks something of an origin. What it is sent, once
//!   the bytes before have left ([`WINDOW_BYTES_MAX`], the credit), is the newest state since the version it holds, so a
//!   slow neighbour gets fewer and larger intervals, never old ones.
//! - **Large intervals** come in parts, each asked for by the receiver, see [`Parts`].
//! - **Who lacks what** is known from the first moment: neighbours begin by naming all they hold, which is a digest,
//!   and go on with *have*. As links lose nothing, this stays true; a hash of all versions, sent now and then to a
//!   random neighbour, repairs what a defect or a liar left behind.
//! - **Trust.** An interval is applied only if the state it leads to is the one the origin signed. A relay can delay,
//!   not forge. Whoever sends what cannot be is disconnected.
//! - **Life.** An origin that writes nothing sends a **beat** down its tree, one more link of a hash chain
//!   ([`Beat`](crate::head::Beat)). Silence makes it [`Life::Suspect`], then [`Life::Gone`], then it is forgotten, with
//!   its last version kept so that nobody who missed its end brings it back. A neighbour whose link breaks says so to all
//!   (*lost*), and a peer whose link breaks sends a beat at once: who is killed is suspected after a moment, who only lost
//!   a link is not. No two clocks are compared.
//! - **Neighbours** are those beside a peer on a few rings, each ring an order of all living peers by a hash. The union
//!   of random rings is a random regular graph, connected as long as one ring is, of small diameter, and each peer
//!   finds its place alone. Up to [`rings::FULL_MESH_MAX`] peers everybody is everybody's neighbour.
//! - **Partitions** heal because the gone are dialled again and again until they are forgotten.
//!
//! Each peer and link is a row of a table; all state is bounded by the number of origins a replica may hold.

// What is known of peers and links.
mod link;
mod links;
mod peers;

// What is told, asked and held.
mod apply;
mod frames;
mod spread;

// Who lives, and who is whose neighbour.
mod life;
mod neighbours;
mod rings;

mod status;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::SeedableRng as _;
use rand::rngs::ChaCha8Rng;

use crate::head::{BeatChain, Cluster, Head, Signatures};
use crate::message::{From, Message};
use crate::roster::{ROSTER_KEY, Roster};
use crate::{Change, Interval, Key, Limits, LocalOrigin, OriginId, PeerId, PublishError, Replica, Version, wire};

pub use life::Life;
pub use status::{Classes, Counters, LinkStatus, PeerStatus};

use link::Link;
use neighbours::Hint;
use peers::{At, Ix, ME, Made, Peers};
use rings::Rings;

/// Since an arbitrary start, the same in all calls.
pub type Time = Duration;

/// Bytes handed over for a neighbour and not yet on the wire, at most, but for one frame. More would be no faster: what is
/// written goes on to the system's buffers.
pub const WINDOW_BYTES_MAX: usize = 128 * 1024;

/// The same on the slowest line.
const WINDOW_BYTES_MIN: usize = 32 * 1024;

/// On a slow line no more than it takes in this time: beats wait behind it.
const WINDOW_FOR: Duration = Duration::from_millis(250);

/// How long *have* may wait for company.
const HAVE_DELAY: Duration = Duration::from_millis(20);

/// How long beats may wait for company. Several hops of it stay within the slack of [`life`].
const BEAT_DELAY: Duration = Duration::from_millis(300);

/// The same of a peer that is said to be lost.
const BEAT_DELAY_LOST: Duration = Duration::from_millis(10);

/// How long the parent may be behind another neighbour's *have*, before the version is fetched there.
pub const WAIT: Duration = Duration::from_millis(250);

/// How long an answer may take, and so many round trips besides: a ping waits in the queue of a slow line too.
const PULL_TIMEOUT: Duration = Duration::from_secs(4);
const PULL_RTTS: u32 = 4;

/// Open questions to one neighbour. The others wait, perhaps for another neighbour.
const PULLS_MAX: usize = 64;

/// How long a neighbour may leave all questions open and be of no other use.
const MUTE_AFTER: Duration = Duration::from_secs(30);

/// So many faults make one neighbour worse than another; a version that a parent was late with is as many. One a second is
/// forgiven.
const FAULTS_STEP: u32 = 4;

/// Before compression, of what is sent at once of one origin.
const INTERVAL_BYTES: usize = 128 * 1024;

/// A message that is useless and costs more than a glance counts for as many.
const USELESS_STEP: u32 = 100;

/// How often all that is slow is looked after.
const ROUND: Duration = Duration::from_secs(1);

/// How often a neighbour is sent a hash of everything.
const DIGEST_EVERY: Duration = Duration::from_secs(30);

/// How long removals are kept for those who have not heard of them.
const TOMBSTONES_FOR: Duration = Duration::from_secs(60);

/// What a peer is told at its start.
#[derive(Debug, Clone)]
pub struct Config {
    /// The label that keeps the signatures of one cluster out of another.
    pub cluster: Cluster,
    /// Name and version of this program, for the others to show.
    pub agent: String,
    /// Where others reach this peer.
    pub addresses: Vec<SocketAddr>,
    /// How much is taken from others.
    pub limits: Limits,
    /// How long a silent peer stays.
    pub forget_after: Duration,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum Input {
    /// There is a connection to a peer, in both directions.
    Up {
        /// Whose key was proven.
        peer: PeerId,
        /// The other end.
        address: SocketAddr,
        /// Whether we dialled.
        dialed: bool,
    },
    /// There is none any more.
    Down {
        /// To whom.
        peer: PeerId,
    },
    /// A neighbour sent this.
    Received {
        /// Who.
        from: PeerId,
        /// What.
        frame: Bytes,
    },
    /// So much of what was to be sent has left: room for more.
    Sent {
        /// To whom.
        to: PeerId,
        /// How much.
        bytes: usize,
    },
    /// Peers may be at these addresses.
    Found(Vec<SocketAddr>),
    /// A dial led nowhere.
    DialFailed {
        /// As in [`Output::Dial`].
        peer: Option<PeerId>,
        /// As in [`Output::Dial`].
        addresses: Vec<SocketAddr>,
        /// Whether it led to this peer itself.
        itself: bool,
    },
    /// How long a neighbour takes to answer.
    Rtt {
        /// Who.
        peer: PeerId,
        /// How long.
        rtt: Duration,
    },
    /// The time of [`Mesh::poll_timeout`] has come.
    Tick,
}

/// What is to be done.
#[derive(Debug)]
pub enum Output {
    /// Connect. To be answered by `Up` or `DialFailed`.
    Dial {
        /// Who should be there; `None`: whoever is.
        peer: Option<PeerId>,
        /// Where, to be tried in this order or at once.
        addresses: Vec<SocketAddr>,
    },
    /// Send. To be answered by `Sent`, unless `Down` comes before.
    Send {
        /// To whom.
        to: PeerId,
        /// What.
        frame: Bytes,
    },
    /// Hang up.
    Disconnect {
        /// On whom.
        peer: PeerId,
        /// Why.
        why: Why,
    },
    /// The replica holds something new of another peer.
    Changed {
        /// All that came; what was held already may be in it.
        interval: Interval,
        /// The version that was held before.
        held: Version,
        /// If it is the whole origin, in the place of what was held: what differs, removals included.
        differences: Option<Vec<Change>>,
    },
    /// A peer lives, or seems not to.
    Life {
        /// Who.
        peer: PeerId,
        /// How it is now.
        life: Life,
    },
    /// Nothing is held of this peer any more.
    Forgotten {
        /// Who.
        peer: PeerId,
    },
    /// Another run with this peer's own key speaks: the state directory is in use twice or was put back from a copy.
    /// To be answered by [`Mesh::restart`] with a higher epoch, or by an error for a person to see.
    Superseded {
        /// The epoch of the other.
        epoch: crate::Epoch,
    },
}

/// Why a neighbour is hung up on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Neither side needs the link.
    Unwanted,
    /// It did what no peer does, or was caught at it lately.
    Misbehaved(Offence),
}

/// What no peer does that follows the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Offence {
    /// A frame or a payload that cannot be read, or is larger than allowed.
    Malformed,
    /// A state, or a beat, that the origin has not signed.
    Forged,
    /// Messages in an order that makes no sense.
    OutOfTurn,
    /// It announces and does not deliver.
    Mute,
    /// More useless messages than a defect explains.
    Flood,
}

/// The state of the protocol at one peer.
pub struct Mesh {
    config: Config,
    origin: OriginId,
    signatures: Arc<dyn Signatures>,
    rng: ChaCha8Rng,
    local: LocalOrigin,
    chain: BeatChain,
    replica: Replica,
    peers: Peers,
    links: BTreeMap<Ix, Link>,
    rings: Rings,
    hints: BTreeMap<SocketAddr, Hint>,
    /// Of these a neighbour holds more, and all who do have enough questions to answer.
    backlog: BTreeSet<Ix>,
    /// Links with something to send now.
    ready: BTreeSet<Ix>,
    timers: BinaryHeap<Reverse<(Time, Timer)>>,
    next_digest: Time,
    next_beat: Time,
    next_neighbours: Time,
    collected: Time,
    /// When this peer last sent a beat.
    beaten: Time,
    outputs: VecDeque<Output>,
    counters: Counters,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Peer(Ix),
    Link(Ix),
    Beat,
    Life,
    Neighbours,
    Round,
}

impl Mesh {
    /// A peer that knows nobody. Its first version, which says where it can be reached, is written. The seed is a secret
    /// of this run, [`Identity::run_secret`](crate::Identity::run_secret): from it are its dice and its beats.
    #[must_use]
    pub fn new(config: Config, origin: OriginId, signatures: Arc<dyn Signatures>, seed: [u8; 32], now: Time) -> Mesh {
        let mut rng = ChaCha8Rng::from_seed(seed);
        let limits = config.limits;
        let mut mesh = Mesh {
            chain: life::new_chain(&mut rng, origin, 0),
            local: LocalOrigin::new(origin, limits),
            replica: Replica::new(origin.peer, limits),
            peers: Peers::new(origin.peer, limits.origins_max, now),
            links: BTreeMap::new(),
            rings: Rings::new(origin.peer),
            hints: BTreeMap::new(),
            backlog: BTreeSet::new(),
            ready: BTreeSet::new(),
            timers: BinaryHeap::new(),
            next_digest: now + DIGEST_EVERY,
            next_beat: now,
            next_neighbours: Time::MAX,
            collected: now,
            beaten: now,
            outputs: VecDeque::new(),
            counters: Counters::default(),
            config,
            origin,
            signatures,
            rng,
        };
        mesh.say_roster(now);
        mesh.arm(now + life::BEAT_MIN, Timer::Beat);
        mesh.next_beat = now + life::BEAT_MIN;
        mesh.arm(now + life::LOOK_EVERY, Timer::Life);
        mesh.arm(now + ROUND, Timer::Round);
        mesh
    }

    /// Everything that is held.
    #[must_use]
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// This peer in this run.
    #[must_use]
    pub fn origin(&self) -> OriginId {
        self.origin
    }

    /// What has happened so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Writes values and removals of the local origin, and tells the neighbours; see [`LocalOrigin::publish`].
    ///
    /// # Errors
    /// [`PublishError`]; nothing is written then.
    pub fn publish(
        &mut self,
        now: Time,
        changes: impl IntoIterator<Item = (Key, Option<Bytes>)>,
    ) -> Result<Option<Interval>, PublishError> {
        let roster = |key: &Key| key.as_bytes() == ROSTER_KEY;
        let interval = self.write(now, changes.into_iter().filter(|(key, _)| !roster(key)))?;
        self.flush(now);
        Ok(interval)
    }

    /// Goes on as a newer run of the same peer, with the same entries.
    pub fn restart(&mut self, now: Time, epoch: crate::Epoch) {
        self.origin.epoch = epoch;
        let old = std::mem::replace(&mut self.local, LocalOrigin::new(self.origin, self.config.limits));
        self.chain = life::new_chain(&mut self.rng, self.origin, 0);
        self.peers[ME].beat = None;
        let entries = old.iter().filter(|(key, _)| key.as_bytes() != ROSTER_KEY);
        let entries: Vec<_> = entries.map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
        if let Err(refused) = self.write(now, entries) {
            tracing::error!(%refused, "no room for what was said before");
        }
        self.say_roster(now);
        self.flush(now);
    }

    /// Says anew where others reach this peer.
    pub fn set_addresses(&mut self, now: Time, addresses: Vec<SocketAddr>) {
        self.config.addresses = addresses;
        self.say_roster(now);
        self.flush(now);
    }

    fn say_roster(&mut self, now: Time) {
        let roster = Roster {
            agent: self.config.agent.clone(),
            addresses: self.config.addresses.clone(),
            chain: self.chain.number(),
            anchor: self.chain.anchor(),
            beat_ms: self.beat_every().as_millis().try_into().unwrap_or(u32::MAX),
        };
        let key = Key::new(ROSTER_KEY).expect("a short key");
        let value = roster.encode();
        self.peers[ME].beat_every = Duration::from_millis(u64::from(roster.beat_ms));
        self.peers[ME].roster = Some(Box::new(roster));
        if let Err(refused) = self.write(now, [(key, Some(value))]) {
            // What it said last stays true enough to be reached by.
            tracing::error!(%refused, "no room to say where this peer is");
        }
    }

    fn write(
        &mut self,
        now: Time,
        changes: impl IntoIterator<Item = (Key, Option<Bytes>)>,
    ) -> Result<Option<Interval>, PublishError> {
        let Some(interval) = self.local.publish(changes)? else { return Ok(None) };
        if let Err(refused) = self.replica.record(&interval) {
            // Both are this peer's own, kept in step here alone.
            tracing::error!(%refused, "the own replica refuses what this peer says");
            return Ok(None);
        }
        let version = self.local.version();
        let held = self.replica.origin(self.origin.peer).expect("just recorded");
        let head = Head::sign(&*self.signatures, self.config.cluster, self.origin, version, held.state_hash());
        let bytes: usize = interval.changes().iter().map(|change| change.value.as_ref().map_or(0, Bytes::len)).sum();
        // More is sent in parts, as everybody can take it.
        let made = (bytes <= INTERVAL_BYTES).then(|| Made {
            span: interval.span(),
            payload: wire::encode_payload(interval.changes()),
            at: now,
        });
        let me = &mut self.peers[ME];
        me.at = At { epoch: self.origin.epoch, version };
        me.head = Some(head);
        me.made.clear();
        me.made.extend(made);
        me.heard = now;
        self.spread(now, ME);
        Ok(Some(interval))
    }

    /// Takes what happened. Drain [`Mesh::poll_output`] after it.
    pub fn handle(&mut self, now: Time, input: Input) {
        match input {
            Input::Up { peer, address, dialed } => self.up(now, peer, address, dialed),
            Input::Down { peer } => {
                if let Some(ix) = self.peers.find(peer) {
                    self.down(now, ix);
                }
            }
            Input::Received { from, frame } => self.received(now, from, &frame),
            Input::Sent { to, bytes } => self.sent(now, to, bytes),
            Input::Found(addresses) => self.found(now, addresses),
            Input::DialFailed { peer, addresses, itself } => self.dial_failed(now, peer, &addresses, itself),
            Input::Rtt { peer, rtt } => {
                if let Some(link) = self.peers.find(peer).and_then(|ix| self.links.get_mut(&ix)) {
                    link.rtt = Some(rtt);
                }
            }
            Input::Tick => {}
        }
        self.run_timers(now);
        self.flush(now);
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Tick`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    fn arm(&mut self, at: Time, timer: Timer) {
        self.timers.push(Reverse((at, timer)));
    }

    fn run_timers(&mut self, now: Time) {
        while let Some(Reverse((at, timer))) = self.timers.peek().copied().filter(|Reverse((at, _))| *at <= now) {
            self.timers.pop();
            match timer {
                Timer::Peer(ix) => self.peer_due(now, at, ix),
                Timer::Link(ix) => self.link_due(now, at, ix),
                Timer::Beat => self.beat_due(now, at),
                Timer::Life => {
                    self.look_after_life(now);
                    self.arm(now + life::LOOK_EVERY, Timer::Life);
                }
                Timer::Neighbours => self.neighbours_due(now, at),
                Timer::Round => self.round(now),
            }
        }
    }

    /// Once a second: what is slow, and may cost a look at every peer.
    fn round(&mut self, now: Time) {
        self.look_after_parents(now);
        self.look_after_neighbours(now);
        for link in self.links.values_mut() {
            link.faults = link.faults.saturating_sub(1);
            link.useless = 0;
        }
        if now >= self.next_digest {
            self.next_digest = now + DIGEST_EVERY;
            self.send_digest();
        }
        if now >= self.collected + TOMBSTONES_FOR {
            self.collected = now;
            self.collect();
        }
        self.arm(now + ROUND, Timer::Round);
    }

    /// Drops the removals that were there a minute ago.
    fn collect(&mut self) {
        for peer in self.peers.iter_mut() {
            let up_to = std::mem::replace(&mut peer.collect_next, peer.at.version);
            self.replica.collect(peer.id, up_to);
        }
    }

    /// Hangs up on a neighbour that does what no peer does.
    fn offend(&mut self, now: Time, ix: Ix, offence: Offence) {
        self.counters.count(offence);
        let peer = &mut self.peers[ix];
        tracing::warn!(peer = %peer.id, ?offence, "a neighbour misbehaves: hung up");
        peer.dial.banned_until = now + neighbours::BAN;
        self.hang_up(now, ix, Why::Misbehaved(offence));
    }

    fn hang_up(&mut self, now: Time, ix: Ix, why: Why) {
        self.outputs.push_back(Output::Disconnect { peer: self.peers[ix].id, why });
        self.down(now, ix);
    }

    /// From where to ask for more of a peer.
    fn position(&self, ix: Ix) -> From {
        let peer = &self.peers[ix];
        let position = match &peer.parts {
            Some(collected) => collected.parts.position(),
            None if peer.needs_snapshot => crate::Position::nothing(peer.id),
            None => self.replica.position(peer.id),
        };
        From::of(&position)
    }

    fn tell(&mut self, link: Ix, message: Message) {
        if let Some(to) = self.links.get_mut(&link) {
            to.control.push(message);
            self.ready.insert(link);
        }
    }
}

impl std::fmt::Debug for Mesh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mesh").field("origin", &self.origin).field("links", &self.links.len()).finish_non_exhaustive()
    }
}
