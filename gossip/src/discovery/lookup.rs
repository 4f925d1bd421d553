//! The names and addresses that lead to peers, each looked up again for ever.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::dns::MeshName;
use super::peer_address::Host;
use super::resolve::{self, Answer, LookupError, Server};
use super::status::{NameStatus, Outcome, Status};
use super::{Config, schedule};

/// Look-ups under way at once: each takes some sockets and, where nobody answers, ten seconds.
const LOOKUPS_AT_ONCE: usize = 16;

/// How often an address that needs no look-up is said again: whoever dials may have given it up.
const LITERAL_EVERY: Duration = Duration::from_secs(30);

/// One thing that leads to peers.
#[derive(Debug)]
pub(super) enum Target {
    /// An address itself.
    Literal(SocketAddr),
    /// A name.
    Name(Question),
}

/// A name to be looked up.
#[derive(Debug)]
pub(super) struct Question {
    name: Name,
    /// Goes with addresses that come without one.
    port: u16,
    /// In the order they are asked.
    servers: Vec<Server>,
}

#[derive(Debug)]
enum Name {
    Host(String),
    Mesh(MeshName),
}

/// All that leads to peers: those of the command line in their order, then the mesh's name.
///
/// Peers' names are asked of the system first, whose hosts file people know, then of the DNS server
/// that was given. For the mesh's name that server takes the system's place: it is where that name is
/// kept. WeaveDNS is asked last, as it is there by guess.
pub(super) fn targets(config: &Config) -> Vec<Target> {
    let given = config.dns.as_ref().and_then(|dns| dns.server).map(Server::At);
    let peers = config.peers.iter().map(|peer| match peer.host() {
        Host::Address(ip) => Target::Literal(SocketAddr::new(*ip, peer.port())),
        Host::Name(name) => Target::Name(Question {
            name: Name::Host(name.clone()),
            port: peer.port(),
            servers: [Server::System].into_iter().chain(given).collect(),
        }),
    });
    let mesh = config.dns.as_ref().map(|dns| {
        let weave = dns.weave.as_ref().map(|weave| Server::Weave(weave.dns));
        Target::Name(Question {
            name: Name::Mesh(dns.name.clone()),
            port: dns.port,
            servers: [given.unwrap_or(Server::System)].into_iter().chain(weave).collect(),
        })
    });
    peers.chain(mesh).collect()
}

/// The status before the first look-up.
pub(super) fn pending(targets: &[Target]) -> Vec<NameStatus> {
    let pending = |target: &Target| match target {
        Target::Literal(address) => {
            NameStatus { name: address.to_string(), is_mesh: false, outcome: Outcome::Literal, next_lookup: None }
        }
        Target::Name(question) => NameStatus {
            name: question.to_string(),
            is_mesh: question.is_mesh(),
            outcome: Outcome::Pending,
            next_lookup: None,
        },
    };
    targets.iter().map(pending).collect()
}

/// Looks up all targets for ever, and sends what each leads to. Ends when nobody receives. Can be
/// dropped at any time.
pub(super) async fn follow_all(
    targets: &[Target],
    found: &mpsc::Sender<Vec<SocketAddr>>,
    status: &watch::Sender<Status>,
) {
    let turns = Semaphore::new(LOOKUPS_AT_ONCE);
    let each = targets.iter().enumerate().map(async |(index, target)| match target {
        Target::Literal(address) => repeat(*address, found).await,
        Target::Name(question) => Follower { index, question, found, status, turns: &turns }.run().await,
    });
    join_all(each).await;
}

async fn repeat(address: SocketAddr, found: &mpsc::Sender<Vec<SocketAddr>>) {
    while found.send(vec![address]).await.is_ok() {
        sleep(LITERAL_EVERY).await;
    }
}

struct Follower<'a> {
    /// Of the name in [`Status::names`].
    index: usize,
    question: &'a Question,
    found: &'a mpsc::Sender<Vec<SocketAddr>>,
    status: &'a watch::Sender<Status>,
    turns: &'a Semaphore,
}

impl Follower<'_> {
    async fn run(self) {
        let mut before = Outcome::Pending;
        let mut failures: u32 = 0;
        loop {
            let looked_up = {
                let _turn = self.turns.acquire().await;
                self.question.ask().await
            };
            failures = if looked_up.is_ok() { 0 } else { failures.saturating_add(1) };
            let wait = match &looked_up {
                Ok(answer) => schedule::after_answer(answer.ttl),
                Err(_) => schedule::after_failure(failures, rand::random()),
            };
            let outcome = outcome(looked_up, failures);
            self.question.log(&before, &outcome);
            self.record(&outcome, wait);
            if let Outcome::Found { addresses, .. } = &outcome
                && self.found.send(addresses.clone()).await.is_err()
            {
                return;
            }
            before = outcome;
            sleep(wait).await;
        }
    }

    fn record(&self, outcome: &Outcome, wait: Duration) {
        self.status.send_modify(|status| {
            let name = &mut status.names[self.index];
            name.outcome = outcome.clone();
            name.next_lookup = Some(Instant::now() + wait);
        });
    }
}

fn outcome(looked_up: Result<Answer, LookupError>, failures: u32) -> Outcome {
    match looked_up {
        Ok(Answer { addresses, server, .. }) => Outcome::Found { addresses, server },
        Err(error) => Outcome::Failed { error, failures },
    }
}

impl Question {
    async fn ask(&self) -> Result<Answer, LookupError> {
        match &self.name {
            Name::Host(name) => resolve::host(name, self.port, &self.servers).await,
            Name::Mesh(name) => resolve::mesh(name, self.port, &self.servers).await,
        }
    }

    fn is_mesh(&self) -> bool {
        matches!(self.name, Name::Mesh(_))
    }

    /// Says what is new: a name that still does not resolve was said before.
    fn log(&self, before: &Outcome, now: &Outcome) {
        let name = self;
        match now {
            Outcome::Failed { error, failures }
                if matches!(before, Outcome::Failed { .. }) || self.is_normal(error) =>
            {
                debug!(%name, %error, failures, "name leads to no peer");
            }
            Outcome::Failed { error, .. } if self.is_mesh() => {
                warn!(%name, %error, "peers are not looked up in DNS: is that server right? trying on");
            }
            Outcome::Failed { error, .. } => {
                warn!(%name, %error, "peer not found: check its name, or give its address; trying on");
            }
            Outcome::Found { addresses, server } if before != now => {
                info!(%name, %server, ?addresses, "name leads to peers");
            }
            Outcome::Found { .. } | Outcome::Literal | Outcome::Pending => {}
        }
    }

    /// Most meshes are not in DNS: only a server that was named and does not answer is worth a word.
    fn is_normal(&self, error: &LookupError) -> bool {
        let is_asked_by_default = matches!(self.servers.first(), Some(Server::System));
        self.is_mesh() && (is_asked_by_default || error.is_unknown_name())
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Name::Host(name) => write!(f, "{name}:{}", self.port),
            Name::Mesh(name) => name.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::dns;
    use super::*;

    #[test]
    fn each_name_is_asked_of_its_servers_in_turn() {
        let server: SocketAddr = "10.0.0.53:53".parse().unwrap();
        let weave = Server::Weave("172.17.0.1:53".parse().unwrap());
        let peers = ["db1", "10.0.0.2"];
        let mut dns = dns::Config::new("id".to_owned());
        let by_system = Some(dns.clone());
        dns.server = Some(server);
        let by_server = Some(dns.clone());
        dns.weave = None;
        let cases = [
            (None, vec![("db1:4030", vec![Server::System]), ("10.0.0.2:4030", vec![])]),
            (
                by_system,
                vec![
                    ("db1:4030", vec![Server::System]),
                    ("10.0.0.2:4030", vec![]),
                    ("scope.weave.local", vec![Server::System, weave]),
                ],
            ),
            (
                by_server,
                vec![
                    ("db1:4030", vec![Server::System, Server::At(server)]),
                    ("10.0.0.2:4030", vec![]),
                    ("scope.weave.local", vec![Server::At(server), weave]),
                ],
            ),
            (
                Some(dns),
                vec![
                    ("db1:4030", vec![Server::System, Server::At(server)]),
                    ("10.0.0.2:4030", vec![]),
                    ("scope.weave.local", vec![Server::At(server)]),
                ],
            ),
        ];
        for (dns, want) in cases {
            let config = Config { peers: peers.iter().map(|peer| peer.parse().unwrap()).collect(), dns };
            let targets = targets(&config);
            let got: Vec<_> = targets.iter().map(asked).collect();
            let want: Vec<_> = want.into_iter().map(|(name, servers)| (name.to_owned(), servers)).collect();
            assert_eq!(got, want, "{config:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_is_said_at_once_and_again() {
        let config = Config { peers: vec!["[2001:db8::1]:4031".parse().unwrap()], dns: None };
        let targets = targets(&config);
        let (found, mut received) = mpsc::channel(1);
        let status = watch::Sender::new(Status { names: pending(&targets), ..Status::default() });
        let start = tokio::time::Instant::now();
        let receive = async {
            for second in [0, 30, 60] {
                assert_eq!(received.recv().await, Some(vec!["[2001:db8::1]:4031".parse().unwrap()]));
                assert_eq!(start.elapsed().as_secs(), second);
            }
            drop(received);
        };
        tokio::join!(follow_all(&targets, &found, &status), receive);
    }

    fn asked(target: &Target) -> (String, Vec<Server>) {
        match target {
            Target::Literal(address) => (address.to_string(), Vec::new()),
            Target::Name(question) => (question.to_string(), question.servers.clone()),
        }
    }
}
