//! What this probe says to the rest of the program, each thing only when it changed.

use std::sync::Arc;

use tokio::sync::watch;
use topology::fact::{Source, SourceState};
use topology::gauges::{ContainerGauges, Gauges};

use super::registry::Registry;
use crate::probe::pace::Moment;
use crate::probe::{InitPids, Name, Update, Updates};

/// The hub is gone: the program ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct HubGone;

/// See the module.
pub(super) struct Outbox {
    updates: Updates,
    init_pids: watch::Sender<InitPids>,
    nudge: Arc<dyn Fn() + Send + Sync>,
    said: Option<Source>,
    /// Whether the last block of gauges had rows.
    has_gauges: bool,
}

impl Outbox {
    pub(super) fn new(
        updates: Updates,
        init_pids: watch::Sender<InitPids>,
        nudge: Arc<dyn Fn() + Send + Sync>,
    ) -> Self {
        Self { updates, init_pids, nudge, said: None, has_gauges: false }
    }

    /// Says how the probe does, if that is news. Changes are logged here, so a daemon that stays away is one line.
    pub(super) async fn status(&mut self, source: Source) -> Result<(), HubGone> {
        if self.said.as_ref() == Some(&source) {
            return Ok(());
        }
        match source.state {
            SourceState::Ok => tracing::info!(mode = source.mode, "docker probe works"),
            _ => tracing::warn!(state = ?source.state, reason = source.reason, "docker probe"),
        }
        self.said = Some(source.clone());
        self.send(Update::Status(Name::Docker, source)).await
    }

    /// Says all facts, and the first processes of the containers. Returns the number of facts.
    pub(super) async fn facts(&mut self, registry: &mut Registry) -> Result<usize, HubGone> {
        let init_pids = registry.init_pids();
        self.init_pids.send_if_modified(|known| {
            let is_news = *known != init_pids;
            if is_news {
                *known = Arc::clone(&init_pids);
            }
            is_news
        });
        let facts = registry.take_facts();
        let count = facts.len();
        self.send(Update::Facts(Name::Docker, facts)).await?;
        Ok(count)
    }

    pub(super) async fn gauges(&mut self, block: ContainerGauges) -> Result<(), HubGone> {
        self.has_gauges = !block.containers.is_empty();
        self.send(Update::Gauges(Name::Docker, Gauges::Containers(block))).await
    }

    /// Says that there are no figures any more, if there were some.
    pub(super) async fn no_gauges(&mut self) -> Result<(), HubGone> {
        if !self.has_gauges {
            return Ok(());
        }
        self.gauges(ContainerGauges { at: Moment::now().at, ..ContainerGauges::default() }).await
    }

    /// Processes came or went: whoever reads them should look now.
    pub(super) fn nudge(&self) {
        (self.nudge)();
    }

    async fn send(&mut self, update: Update) -> Result<(), HubGone> {
        self.updates.send(update).await.map_err(|_| HubGone)
    }
}
