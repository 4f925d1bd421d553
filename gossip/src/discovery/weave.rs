//! This peer in the weaveDNS of its host, by its HTTP API: `PUT /name/{id}/{ip}` and `DELETE`.
//!
//! Few hosts have one, so that it does not answer is normal. Entries of peers that died are not for
//! others to remove: weaveDNS takes an entry out only where it was put in, and drops all of a host
//! whose weave is gone.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::dns::{Config, WeaveConfig};
use super::status::{Registration, Status};
use super::{View, WITHDRAW_WITHIN, records};

/// How often weaveDNS is told again: it may have been started, or have forgotten.
const PUT_EVERY: Duration = Duration::from_secs(60);

/// How long it may take over one request. It is on this host.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Addresses that are registered.
const ADDRESSES_MAX: usize = 64;

/// Why weaveDNS does not have this peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeaveError {
    /// Nothing there, as on most hosts.
    #[error("no weaveDNS answers at {server}")]
    Absent {
        /// Where it would be.
        server: SocketAddr,
    },
    /// It, or another program there, does not take the registration.
    #[error("weaveDNS at {server} answers {status}")]
    Refused {
        /// Where it is.
        server: SocketAddr,
        /// HTTP status code.
        status: u16,
    },
}

/// Keeps this peer in weaveDNS until `stop`, then takes it out, within [`WITHDRAW_WITHIN`].
pub(super) async fn run(
    config: &WeaveConfig,
    dns: &Config,
    mut view: watch::Receiver<View>,
    status: &watch::Sender<Status>,
    stop: &CancellationToken,
) {
    let mut registrar = Registrar { config, dns, status, published: BTreeSet::new() };
    registrar.set_status(Registration::Pending);
    let _ = stop.run_until_cancelled(registrar.keep(&mut view)).await;
    let published = std::mem::take(&mut registrar.published);
    if !published.is_empty() && timeout(WITHDRAW_WITHIN, registrar.delete_all(&published)).await == Ok(Ok(())) {
        registrar.set_status(Registration::Withdrawn);
    }
}

struct Registrar<'a> {
    config: &'a WeaveConfig,
    dns: &'a Config,
    status: &'a watch::Sender<Status>,
    /// What it may have of us.
    published: BTreeSet<Ipv4Addr>,
}

impl Registrar<'_> {
    async fn keep(&mut self, view: &mut watch::Receiver<View>) {
        let mut is_view_kept_up = true;
        loop {
            let told = local(&view.borrow_and_update());
            if !told.is_empty() || !self.published.is_empty() {
                let registration = match self.publish(&told).await {
                    Ok(()) => self.done(&told),
                    Err(error) => Registration::Failed(error),
                };
                self.report(&registration);
            }
            let mut again = pin!(sleep(PUT_EVERY));
            loop {
                tokio::select! {
                    () = &mut again => break,
                    changed = view.changed(), if is_view_kept_up => {
                        is_view_kept_up = changed.is_ok();
                        // The view changes with every peer that comes and goes.
                        if local(&view.borrow_and_update()) != told {
                            break;
                        }
                    }
                }
            }
        }
    }

    /// What is new goes first: being found matters more than not being sought where we were.
    async fn publish(&mut self, local: &BTreeSet<Ipv4Addr>) -> Result<(), WeaveError> {
        let former: BTreeSet<Ipv4Addr> = self.published.difference(local).copied().collect();
        for ip in local {
            self.published.insert(*ip);
            self.request(Method::PUT, *ip, format!("fqdn={}.", self.dns.name)).await?;
        }
        self.delete_all(&former).await?;
        self.published.retain(|ip| local.contains(ip));
        Ok(())
    }

    /// One that weaveDNS refuses to delete it does not have, or will never delete: that is done too.
    async fn delete_all(&self, ips: &BTreeSet<Ipv4Addr>) -> Result<(), WeaveError> {
        for ip in ips {
            match self.request(Method::DELETE, *ip, String::new()).await {
                Err(error @ WeaveError::Refused { .. }) => debug!(%ip, %error, "not deleted"),
                answer => answer?,
            }
        }
        Ok(())
    }

    async fn request(&self, method: Method, ip: Ipv4Addr, form: String) -> Result<(), WeaveError> {
        let server = self.config.http;
        let request = Request::builder()
            .method(method)
            .uri(format!("/name/{}/{ip}", path_segment(&self.config.id)))
            .header(HOST, server.to_string())
            .header(CONNECTION, "close")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::new(Bytes::from(form)))
            .expect("letters, digits, `-` and `_` make a path");
        match timeout(TIMEOUT, send(server, request)).await {
            Ok(Some(status)) if status.is_success() => Ok(()),
            Ok(Some(status)) => Err(WeaveError::Refused { server, status: status.as_u16() }),
            Ok(None) | Err(_) => Err(WeaveError::Absent { server }),
        }
    }

    fn done(&self, local: &BTreeSet<Ipv4Addr>) -> Registration<WeaveError> {
        if local.is_empty() {
            return Registration::Pending;
        }
        // weaveDNS knows no ports: whoever looks us up takes the default one.
        let addresses = local.iter().map(|ip| SocketAddr::from((*ip, self.dns.port))).collect();
        Registration::Done { server: self.config.http, addresses }
    }

    /// Logs what is new, and sets the status.
    fn report(&self, registration: &Registration<WeaveError>) {
        if self.set_status(registration.clone()) {
            match registration {
                Registration::Done { server, addresses } => {
                    info!(%server, ?addresses, name = %self.dns.name, "registered in weaveDNS");
                }
                Registration::Failed(error @ WeaveError::Refused { .. }) => {
                    warn!(%error, "not registered in weaveDNS, trying on");
                }
                Registration::Failed(error @ WeaveError::Absent { .. }) => debug!(%error),
                Registration::Off | Registration::Pending | Registration::Withdrawn => {}
            }
        }
    }

    /// Returns whether that is new.
    fn set_status(&self, registration: Registration<WeaveError>) -> bool {
        self.status.send_if_modified(|status| {
            let is_new = status.weave != registration;
            status.weave = registration;
            is_new
        })
    }
}

/// Sends one request on a connection of its own. `None` if no HTTP server answers.
async fn send(server: SocketAddr, request: Request<Full<Bytes>>) -> Option<StatusCode> {
    let stream = TcpStream::connect(server).await.ok()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    let mut connection = pin!(connection);
    let mut answer = pin!(sender.send_request(request));
    tokio::select! {
        biased;
        answer = &mut answer => answer.ok().map(|answer| answer.status()),
        // It may end with the answer in the same turn.
        _ = &mut connection => answer.await.ok().map(|answer| answer.status()),
    }
}

/// Our addresses that weaveDNS can hold, which knows no v6.
fn local(view: &View) -> BTreeSet<Ipv4Addr> {
    let registrable = view.local.iter().filter(|address| records::is_registrable(address));
    let v4 = registrable.filter_map(|address| match address.ip().to_canonical() {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    });
    v4.take(ADDRESSES_MAX).collect()
}

/// An id without what would mean something in a path.
fn path_segment(id: &str) -> String {
    id.chars().filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weave_is_told_the_v4_addresses_that_others_can_reach() {
        let view = View {
            local: ["10.0.0.5:4030", "10.0.0.5:4031", "[2001:db8::5]:4030", "127.0.0.1:4030", "[::ffff:10.0.0.6]:1"]
                .iter()
                .map(|address| address.parse().unwrap())
                .collect(),
            ..View::default()
        };
        assert_eq!(local(&view), BTreeSet::from([Ipv4Addr::new(10, 0, 0, 5), Ipv4Addr::new(10, 0, 0, 6)]));
    }

    #[test]
    fn an_id_stays_within_its_part_of_the_path() {
        for (id, want) in [("12D3KooW-a_b", "12D3KooW-a_b"), ("../a b?c#d%2f\n", "abcd2f"), ("", "")] {
            assert_eq!(path_segment(id), want, "{id:?}");
        }
    }
}
