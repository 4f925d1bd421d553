//! What the mesh is put through, and what is measured meanwhile.

use std::time::Duration;

use super::figure::Figure;
use super::network::Model;
use super::relay::Misdeed;
use super::workload::Facts;
use super::world::Settings;

const MINUTE: Duration = Duration::from_secs(60);

/// One thing that can happen to a mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// A host joins the others, which have said much.
    Join,
    /// All others join at once, through one.
    Storm,
    /// Nobody publishes.
    Idle,
    /// One host publishes.
    One,
    /// One host after another publishes.
    Rotating,
    /// All hosts publish.
    All,
    /// All hosts publish, on links of 10 to 50 ms.
    Wan,
    /// All publish while hosts end and start again, 1 % a minute.
    Churn,
    /// A tenth of the programs is killed.
    Crash,
    /// A tenth of the machines loses its power.
    PowerLoss,
    /// All publish while links break at random.
    Flap,
    /// All publish, and a tenth of the links falls silent.
    Silence,
    /// The network is cut in halves for a minute.
    Partition,
    /// All publish, and one host's line carries half of it.
    Slow,
    /// All publish, and a tenth of the hosts misbehaves.
    Liars(Misdeed),
    /// A host's program starts again.
    Restart,
    /// A dead host is forgotten, and somebody who has slept meanwhile has not.
    Forget,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Scenario; 21] = [
        Scenario::Join,
        Scenario::Storm,
        Scenario::Idle,
        Scenario::One,
        Scenario::Rotating,
        Scenario::All,
        Scenario::Wan,
        Scenario::Churn,
        Scenario::Crash,
        Scenario::PowerLoss,
        Scenario::Flap,
        Scenario::Silence,
        Scenario::Partition,
        Scenario::Slow,
        Scenario::Liars(Misdeed::Drop),
        Scenario::Liars(Misdeed::Corrupt),
        Scenario::Liars(Misdeed::Forge),
        Scenario::Liars(Misdeed::Replay),
        Scenario::Liars(Misdeed::Invent),
        Scenario::Restart,
        Scenario::Forget,
    ];

    /// In a few words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Scenario::Join => "join",
            Scenario::Storm => "join storm",
            Scenario::Idle => "idle",
            Scenario::One => "one sender",
            Scenario::Rotating => "rotating senders",
            Scenario::All => "all senders",
            Scenario::Wan => "all senders on a WAN",
            Scenario::Churn => "churn 1 %/min",
            Scenario::Crash => "crash",
            Scenario::PowerLoss => "power loss",
            Scenario::Flap => "flapping links",
            Scenario::Silence => "silent links",
            Scenario::Partition => "partition",
            Scenario::Slow => "slow peer",
            Scenario::Liars(Misdeed::Drop) => "relays that drop",
            Scenario::Liars(Misdeed::Corrupt) => "relays that corrupt",
            Scenario::Liars(Misdeed::Forge) => "relays that forge",
            Scenario::Liars(Misdeed::Replay) => "relays that replay",
            Scenario::Liars(Misdeed::Invent) => "relays that invent",
            Scenario::Restart => "restart",
            Scenario::Forget => "forget",
        }
    }

    /// The world it happens in.
    #[must_use]
    pub fn settings(self, hosts: u32, seed: u64) -> Settings {
        let facts = match self {
            // As much as fits into this machine's memory once for each pair of hosts; in full at ten hosts.
            Scenario::Join if hosts <= 20 => Facts { keys: 40, value_bytes: 5_000, changed: 1 },
            Scenario::Join if hosts <= 200 => Facts { keys: 40, value_bytes: 500, changed: 1 },
            _ if hosts <= 200 => Facts { keys: 10, value_bytes: 700, changed: 2 },
            _ => Facts { keys: 2, value_bytes: 640, changed: 2 },
        };
        let model = if self == Scenario::Wan { Model::wan() } else { Model::lan() };
        let forget_after = if self == Scenario::Forget { MINUTE } else { 10 * MINUTE };
        Settings { seed, hosts, model, facts, forget_after }
    }
}

/// What a scenario gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// What was measured.
    pub figures: Vec<Figure>,
    /// What happened that must not.
    pub violations: Vec<String>,
    /// Events of the whole run, to compare two of the same seed.
    pub events: u64,
}
