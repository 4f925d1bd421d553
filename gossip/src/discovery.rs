//! Ways into the mesh: which addresses may lead to peers, and how others come to know ours.
//!
//! ```text
//!   PEERS of the command line ─┐
//!                              ├─ look-ups, for ever ──▶ addresses ──▶ who dials
//!   scope.weave.local ─────────┘
//!        ▲
//!        ├─ RFC 2136 updates, signed by TSIG ◀─┐
//!        └─ weaveDNS's HTTP API ◀──────────────┴─ our addresses, and those of the dead
//! ```
//!
//! Nothing here is needed once a peer is in the mesh, where peers learn of each other, and nothing
//! here is fatal: a name that leads nowhere today may tomorrow, and most hosts have neither a DNS zone
//! for the mesh nor weaveDNS. So all is tried for ever, and what fails is in the [`Status`].
//!
//! DNS has no leases. Who leaves removes its own records; who dies leaves them, and the survivors
//! remove them, each a moment later than another, so that mostly one does it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

// What people write.
pub mod dns;
mod key_file;
mod peer_address;

// How names become addresses.
mod lookup;
mod resolve;
mod schedule;

// How others come to know ours.
mod records;
mod register;
mod update;
mod weave;

mod status;

pub use key_file::{BadKey, KeyFileError, TsigKey};
pub use peer_address::{BadPeer, Host, MESH_PORT, PeerAddress};
pub use resolve::{LookupError, Server};
pub use status::{NameStatus, Outcome, Registration, Status};
pub use update::UpdateError;
pub use weave::WeaveError;

/// How long the way out may take.
const WITHDRAW_WITHIN: Duration = Duration::from_secs(1);

/// What is looked up and registered.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Peers that a person named.
    pub peers: Vec<PeerAddress>,
    /// The name that all peers share. `None`: neither looked up nor registered.
    pub dns: Option<dns::Config>,
}

/// What the mesh knows of addresses, to register some and remove others. Those that other hosts
/// cannot reach, such as the loopback's, are passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Where this peer listens, as it tells other peers. At most 128 are registered.
    pub local: BTreeSet<SocketAddr>,
    /// Where other live peers listen. Their records are left alone.
    pub live: BTreeSet<SocketAddr>,
    /// Where peers listened that died. Their records are removed, except what leads to `local` and
    /// `live` too. Kept here for as long as the mesh remembers a dead peer: an address that leaves
    /// this set and comes back is a new death.
    pub gone: BTreeSet<SocketAddr>,
}

/// Looks up and registers until `stop`, then withdraws what it registered, within a second.
///
/// Each look-up that leads somewhere sends all the addresses it gave, the same ones again and again:
/// who receives them knows which are dialled already. If it is slow, look-ups wait for it; if it is
/// dropped, they end.
pub async fn run(
    config: Config,
    found: mpsc::Sender<Vec<SocketAddr>>,
    view: watch::Receiver<View>,
    status: watch::Sender<Status>,
    stop: CancellationToken,
) {
    let targets = lookup::targets(&config);
    status.send_replace(Status { names: lookup::pending(&targets), ..Status::default() });
    let look_up = stop.run_until_cancelled(lookup::follow_all(&targets, &found, &status));
    let register = async {
        if let Some(dns) = &config.dns
            && let Some(key) = &dns.update_key
        {
            register::run(dns, key, view.clone(), &status, &stop).await;
        }
    };
    let tell_weave = async {
        if let Some(dns) = &config.dns
            && let Some(weave) = &dns.weave
        {
            weave::run(weave, dns, view.clone(), &status, &stop).await;
        }
    };
    tokio::join!(look_up, register, tell_weave);
}
