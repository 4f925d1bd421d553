//! This peer's records in DNS by RFC 2136: put there, kept up to date, taken out on exit; and those of
//! peers that died without.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use hickory_client::proto::rr::{Name, Record};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::dns::Config;
use super::key_file::TsigKey;
use super::status::{Registration, Status};
use super::update::{Connection, UpdateError};
use super::{View, WITHDRAW_WITHIN, records, resolve, schedule};

/// How often our records are written again. Somebody who could not see us, as in a partition, may have
/// removed them.
const REFRESH_EVERY: Duration = Duration::from_secs(5 * 60);

/// Survivors remove a dead peer's records at random within this time, so that the first does it and
/// the others find it done.
const PRUNE_WITHIN: Duration = Duration::from_secs(3);

/// When our records are written again after a dead peer came back: at random between these. Later than
/// [`PRUNE_WITHIN`], so that what was about to be removed is removed by then.
const REPUBLISH_AFTER: Duration = Duration::from_secs(4);
const REPUBLISH_WITHIN: Duration = Duration::from_secs(8);

/// Addresses handled in one update: with 3 records of 100 bytes each, well within the 64 KiB of a message.
const ADDRESSES_AT_ONCE: usize = 128;

/// Keeps this peer's records until `stop`, then removes them, within [`WITHDRAW_WITHIN`].
pub(super) async fn run(
    config: &Config,
    key: &TsigKey,
    mut view: watch::Receiver<View>,
    status: &watch::Sender<Status>,
    stop: &CancellationToken,
) {
    let mut registrar = Registrar::new(config, key, status);
    registrar.set_status(Registration::Pending);
    registrar.plan(&view.borrow_and_update());
    // An update that is cut off may or may not be carried out: `published` has it already.
    let _ = stop.run_until_cancelled(registrar.keep(&mut view)).await;
    let kept = view.borrow().live.clone();
    registrar.withdraw(&kept).await;
}

struct Registrar<'a> {
    config: &'a Config,
    key: &'a TsigKey,
    status: &'a watch::Sender<Status>,
    /// The server and zone of the last update: the given server, else the zone's primary as its SOA
    /// record says. `None` before the first and after a failure.
    home: Option<(SocketAddr, Name)>,
    /// What may be in DNS of us.
    published: BTreeSet<SocketAddr>,
    /// Our addresses in the last view.
    planned: BTreeSet<SocketAddr>,
    /// Of the peers that are gone, those whose records were seen to be removed.
    pruned: BTreeSet<SocketAddr>,
    /// Addresses of the dead in the last view.
    mourned: BTreeSet<SocketAddr>,
    /// Since the last success.
    failures: u32,
    publish_at: Instant,
    prune_at: Option<Instant>,
}

impl<'a> Registrar<'a> {
    fn new(config: &'a Config, key: &'a TsigKey, status: &'a watch::Sender<Status>) -> Registrar<'a> {
        Registrar {
            config,
            key,
            status,
            home: None,
            published: BTreeSet::new(),
            planned: BTreeSet::new(),
            pruned: BTreeSet::new(),
            mourned: BTreeSet::new(),
            failures: 0,
            publish_at: Instant::now(),
            prune_at: None,
        }
    }

    async fn keep(&mut self, view: &mut watch::Receiver<View>) {
        let mut is_view_kept_up = true;
        loop {
            tokio::select! {
                () = sleep_until(self.publish_at) => {
                    let now = view.borrow().clone();
                    self.publish(&now).await;
                }
                () = sleep_until(self.prune_at.unwrap_or(self.publish_at)), if self.prune_at.is_some() => {
                    let now = view.borrow().clone();
                    self.prune(&now).await;
                }
                changed = view.changed(), if is_view_kept_up => {
                    is_view_kept_up = changed.is_ok();
                    let now = view.borrow_and_update().clone();
                    self.plan(&now);
                }
            }
        }
    }

    /// What is to be done about a new view, and when.
    fn plan(&mut self, view: &View) {
        // Not what is published: after a failure that waits its time, whoever else comes and goes.
        let local = local(view);
        if local != self.planned {
            self.planned = local;
            self.publish_at = Instant::now();
        }
        // A partition healed, perhaps: there we were the dead, and our records were removed.
        if !self.mourned.is_disjoint(&view.live) {
            let jitter = (REPUBLISH_WITHIN - REPUBLISH_AFTER).mul_f64(rand::random());
            self.publish_at = self.publish_at.min(Instant::now() + REPUBLISH_AFTER + jitter);
        }
        self.mourned.clone_from(&view.gone);
        self.pruned.retain(|address| view.gone.contains(address));
        if !self.gone(view).is_empty() && self.prune_at.is_none() {
            self.prune_at = Some(Instant::now() + PRUNE_WITHIN.mul_f64(rand::random()));
        }
    }

    /// Addresses of the dead whose records nobody was seen to remove, as many as are handled at once.
    fn gone(&self, view: &View) -> BTreeSet<SocketAddr> {
        view.gone.difference(&self.pruned).take(ADDRESSES_AT_ONCE).copied().collect()
    }

    async fn publish(&mut self, view: &View) {
        let local = local(view);
        let former: BTreeSet<SocketAddr> = self.published.difference(&local).copied().collect();
        if local.is_empty() && former.is_empty() {
            self.publish_at = Instant::now() + REFRESH_EVERY;
            self.set_status(Registration::Pending);
            return;
        }
        self.published.extend(&local);
        let kept = local.union(&view.live).copied().collect();
        let written = self.write(&local, &former, &kept).await;
        self.publish_at = Instant::now() + self.wait(written.is_ok());
        match written {
            Ok(server) => {
                let addresses: Vec<SocketAddr> = local.iter().copied().collect();
                self.published = local;
                self.report(&match addresses.is_empty() {
                    true => Registration::Pending,
                    false => Registration::Done { server, addresses },
                });
            }
            Err(error) => self.report(&Registration::Failed(error)),
        }
    }

    async fn prune(&mut self, view: &View) {
        self.prune_at = None;
        let gone = self.gone(view);
        if gone.is_empty() {
            return;
        }
        let kept = local(view).union(&view.live).copied().collect();
        match self.remove_leftovers(&gone, &kept).await {
            Ok(removed) => {
                if removed > 0 {
                    info!(?gone, removed, "records of dead peers removed from DNS");
                }
                self.pruned.extend(&gone);
                self.prune_at = (!self.gone(view).is_empty()).then(Instant::now);
            }
            // A person was told of the same when our own records were to be written.
            Err(error) => {
                debug!(?gone, %error, "records of dead peers not removed from DNS");
                self.prune_at = Some(Instant::now() + self.wait(false));
            }
        }
    }

    /// Removes the records that lead only to `gone`. Returns how many, 0 if another peer did it.
    async fn remove_leftovers(
        &mut self,
        gone: &BTreeSet<SocketAddr>,
        kept: &BTreeSet<SocketAddr>,
    ) -> Result<usize, UpdateError> {
        let mesh = &self.config.name;
        let (mut connection, zone) = self.connect().await?;
        let mut removed = Vec::new();
        for address in gone {
            let leftovers = records::leading_only_to(*address, kept, mesh);
            if is_there(&mut connection, &leftovers).await? {
                removed.extend(leftovers);
            }
        }
        let count = removed.len();
        if count > 0 {
            connection.update(records::update(&zone, Vec::new(), removed), self.key, mesh).await?;
        }
        self.home = Some((connection.server(), zone));
        Ok(count)
    }

    async fn withdraw(&mut self, kept: &BTreeSet<SocketAddr>) {
        if self.published.is_empty() {
            return;
        }
        let published = std::mem::take(&mut self.published);
        // Whatever is said of them: they are ours.
        let kept = kept.difference(&published).copied().collect();
        match timeout(WITHDRAW_WITHIN, self.write(&BTreeSet::new(), &published, &kept)).await {
            Ok(Ok(server)) => {
                info!(%server, addresses = ?published, "withdrawn from DNS");
                self.set_status(Registration::Withdrawn);
            }
            Ok(Err(error)) => {
                debug!(%error, "not withdrawn from DNS");
                self.set_status(Registration::Failed(error));
            }
            Err(_) => debug!("not withdrawn from DNS in time: other peers will do it"),
        }
    }

    /// Adds what leads to `added` and removes what leads only to `removed`. Returns the server.
    async fn write(
        &mut self,
        added: &BTreeSet<SocketAddr>,
        removed: &BTreeSet<SocketAddr>,
        kept: &BTreeSet<SocketAddr>,
    ) -> Result<SocketAddr, UpdateError> {
        let mesh = &self.config.name;
        let (mut connection, zone) = self.connect().await?;
        let added = added.iter().flat_map(|address| records::leading_to(*address, mesh)).collect();
        let removed = removed.iter().flat_map(|address| records::leading_only_to(*address, kept, mesh)).collect();
        connection.update(records::update(&zone, added, removed), self.key, mesh).await?;
        let server = connection.server();
        self.home = Some((server, zone));
        Ok(server)
    }

    /// Connects to the server that has the zone, found anew after a failure.
    async fn connect(&mut self) -> Result<(Connection, Name), UpdateError> {
        if let Some((server, zone)) = self.home.take() {
            let connection = Connection::open(server).await?;
            return Ok((connection, zone));
        }
        let server = match self.config.server {
            Some(server) => server,
            None => resolve::primary(&self.config.name)
                .await
                .map_err(|reason| UpdateError::NoServer { name: self.config.name.to_string(), reason })?,
        };
        let mut connection = Connection::open(server).await?;
        let zone = connection.zone_of(&self.config.name).await?;
        Ok((connection, zone))
    }

    fn wait(&mut self, succeeded: bool) -> Duration {
        if succeeded {
            self.failures = 0;
            return REFRESH_EVERY;
        }
        self.failures = self.failures.saturating_add(1);
        schedule::after_failure(self.failures, rand::random())
    }

    /// Logs what is new, and sets the status.
    fn report(&self, registration: &Registration<UpdateError>) {
        if self.set_status(registration.clone()) {
            match registration {
                Registration::Done { server, addresses } => {
                    info!(%server, ?addresses, name = %self.config.name, "registered in DNS");
                }
                Registration::Failed(error) => warn!(%error, "not registered in DNS, trying on"),
                Registration::Off | Registration::Pending | Registration::Withdrawn => {}
            }
        }
    }

    /// Returns whether that is new.
    fn set_status(&self, registration: Registration<UpdateError>) -> bool {
        self.status.send_if_modified(|status| {
            let is_new = status.dns != registration;
            status.dns = registration;
            is_new
        })
    }
}

/// Our addresses that others can reach.
fn local(view: &View) -> BTreeSet<SocketAddr> {
    view.local.iter().filter(|address| records::is_registrable(address)).take(ADDRESSES_AT_ONCE).copied().collect()
}

/// Whether a dead peer's records may still be there. They go together, so the one at a name of its own
/// tells; the sets that all peers share may be too large for a message. Without that one, as another
/// peer has the same address, nothing tells.
async fn is_there(connection: &mut Connection, leftovers: &[Record]) -> Result<bool, UpdateError> {
    let Some(own) = records::at_its_own_name(leftovers) else {
        return Ok(!leftovers.is_empty());
    };
    let listed = connection.records(own.name.clone(), own.record_type()).await?;
    Ok(listed.iter().any(|record| record.data == own.data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_new_view_is_acted_on_only_where_it_asks_for_it() {
        let config = Config::new("id".to_owned());
        let key = "key k { algorithm hmac-sha256; secret \"c2VjcmV0\"; };".parse().unwrap();
        let status = watch::Sender::new(Status::default());
        let cases: [(&str, View, bool, bool); 5] = [
            // what is new, the view, whether to publish now, whether to prune soon
            ("our first address", view(&["10.0.0.5:4030"], &[], &[]), true, false),
            ("another peer", view(&["10.0.0.5:4030"], &["10.0.0.6:4030"], &[]), false, false),
            ("an address that nobody else reaches", view(&["10.0.0.5:4030", "127.0.0.1:4030"], &[], &[]), false, false),
            ("our second address", view(&["10.0.0.5:4030", "10.0.0.7:4030"], &[], &[]), true, false),
            ("a death", view(&["10.0.0.5:4030", "10.0.0.7:4030"], &[], &["10.0.0.6:4030"]), false, true),
        ];
        let mut registrar = Registrar::new(&config, &key, &status);
        let later = Instant::now() + REFRESH_EVERY;
        for (what, view, publishes, prunes) in cases {
            registrar.publish_at = later;
            registrar.plan(&view);
            assert_eq!(registrar.publish_at == Instant::now(), publishes, "{what}");
            assert_eq!(registrar.prune_at.is_some_and(|at| at <= Instant::now() + PRUNE_WITHIN), prunes, "{what}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_death_is_dealt_with_once() {
        let config = Config::new("id".to_owned());
        let key = "key k { algorithm hmac-sha256; secret \"c2VjcmV0\"; };".parse().unwrap();
        let status = watch::Sender::new(Status::default());
        let mut registrar = Registrar::new(&config, &key, &status);
        let dead = view(&[], &[], &["10.0.0.6:4030"]);
        registrar.pruned = dead.gone.clone();
        for (view, want) in [(&dead, false), (&View::default(), false), (&dead, true)] {
            registrar.plan(view);
            assert_eq!(registrar.prune_at.is_some(), want, "{view:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn our_records_are_written_again_when_the_dead_come_back() {
        let config = Config::new("id".to_owned());
        let key = "key k { algorithm hmac-sha256; secret \"c2VjcmV0\"; };".parse().unwrap();
        let status = watch::Sender::new(Status::default());
        let other = &["10.0.0.6:4030"];
        let cases: [(&str, &[&str], &[&str], bool); 6] = [
            // what is new, the live, the gone, whether to publish soon
            ("another peer", other, &[], false),
            ("a death", &[], other, false),
            ("nothing", &[], other, false),
            ("a dead peer forgotten", &[], &[], false),
            ("the death again", &[], other, false),
            ("a return", other, &[], true),
        ];
        let mut registrar = Registrar::new(&config, &key, &status);
        registrar.plan(&view(&["10.0.0.5:4030"], &[], &[]));
        for (what, live, gone, publishes) in cases {
            let later = Instant::now() + REFRESH_EVERY;
            registrar.publish_at = later;
            registrar.plan(&view(&["10.0.0.5:4030"], live, gone));
            let soon = Instant::now() + REPUBLISH_AFTER..Instant::now() + REPUBLISH_WITHIN;
            assert_eq!(soon.contains(&registrar.publish_at), publishes, "{what}");
            assert_eq!(registrar.publish_at == later, !publishes, "{what}");
        }
        // Earlier ones stay.
        let now = Instant::now();
        registrar.publish_at = now;
        registrar.plan(&view(&["10.0.0.5:4030"], &[], other));
        registrar.plan(&view(&["10.0.0.5:4030"], other, &[]));
        assert_eq!(registrar.publish_at, now);
    }

    fn view(local: &[&str], live: &[&str], gone: &[&str]) -> View {
        let set = |addresses: &[&str]| addresses.iter().map(|address| address.parse().unwrap()).collect();
        View { local: set(local), live: set(live), gone: set(gone) }
    }
}
