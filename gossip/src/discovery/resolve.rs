//! From a name to the addresses behind it. Each look-up starts afresh, with the system's files read
//! again: they change while a peer runs (DHCP, a VPN, a line in `/etc/hosts`), and a cache of our own
//! would only be older than the server's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream;
use hickory_client::proto::op::Query;
use hickory_client::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{Hosts, TokioResolver};
use tokio::time::timeout;

use super::dns::MeshName;
use super::records;

/// How long a server may take over one name, its searches and retries included.
const SERVER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long weaveDNS may take over it: it is on this host, or its address leads nowhere and nobody says so.
const WEAVE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long over one query, before it is sent again or another server is asked.
const QUERY_TIMEOUT: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 2;

/// How long what the hosts file says is good for: reading it again costs nothing.
const HOSTS_FILE_TTL: Duration = Duration::from_secs(30);

/// Addresses taken from one answer; the message bounds them too, by 64 KiB. More are not needed: each
/// is a way into the same mesh.
const ADDRESSES_MAX: usize = 4096;
/// Targets of SRV records that are looked up by themselves, and how many at once. Servers that have
/// the targets' addresses send them along, so few are.
const TARGETS_MAX: usize = 64;
const TARGETS_AT_ONCE: usize = 8;

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// What `/etc/hosts` and `/etc/resolv.conf` say.
    System,
    /// This DNS server.
    At(SocketAddr),
    /// The weaveDNS there.
    Weave(SocketAddr),
}

/// What a name led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// All addresses, none twice, in their order. Not empty.
    pub(super) addresses: Vec<SocketAddr>,
    /// How long they are good for.
    pub(super) ttl: Duration,
    /// Who said so.
    pub(super) server: Server,
}

/// Why a name led nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// The server answers that there is no such name, or no address behind it.
    #[error("{server} knows no such name")]
    UnknownName {
        /// Who was asked.
        server: Server,
    },
    /// The server did not answer.
    #[error("{server} did not answer within {} s", server.timeout().as_secs())]
    NoAnswer {
        /// Who was asked.
        server: Server,
    },
    /// The server cannot be asked, or answered with an error.
    #[error("{server} failed: {reason}")]
    Failed {
        /// Who was asked.
        server: Server,
        /// What went wrong.
        reason: String,
    },
}

impl LookupError {
    /// Whether the server answered, and the name is not there.
    #[must_use]
    pub fn is_unknown_name(&self) -> bool {
        matches!(self, LookupError::UnknownName { .. })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Server::System => f.write_str("the system's resolver"),
            Server::At(address) => write!(f, "the DNS server {address}"),
            Server::Weave(address) => write!(f, "weaveDNS at {address}"),
        }
    }
}

/// The addresses of a host, as the first of `servers` says that knows it, each with `port`.
///
/// # Errors
/// That of the first server: the others are asked only in case.
pub(super) async fn host(name: &str, port: u16, servers: &[Server]) -> Result<Answer, LookupError> {
    first_answer(servers, |server| async move {
        if server == Server::System
            && let Some(listed) = in_hosts_file(name, port)
        {
            return server.answer(listed, Instant::now() + HOSTS_FILE_TTL);
        }
        let resolver = server.resolver()?;
        let lookup = server.bounded(resolver.lookup_ip(name)).await?;
        server.answer(addresses(lookup.as_lookup().answers(), port), lookup.valid_until())
    })
    .await
}

/// The addresses of all peers of a mesh, as the first of `servers` says that knows it: those of its
/// SRV records with the ports there, the others behind its name with `port`.
///
/// SRV records are looked up at `_scope._tcp` below the name, where RFC 2782 has them, not at the name.
///
/// # Errors
/// That of the first server: the others are asked only in case.
pub(super) async fn mesh(mesh: &MeshName, port: u16, servers: &[Server]) -> Result<Answer, LookupError> {
    first_answer(servers, |server| async move {
        let resolver = server.resolver()?;
        let (services, hosts) = tokio::join!(
            server.bounded(services(&resolver, mesh)),
            server.bounded(resolver.lookup_ip(mesh.as_name().clone()))
        );
        match (services, hosts) {
            (Err(_), Err(error)) => Err(error),
            (Ok((found, until)), Err(_)) => server.answer(found, until),
            (Err(_), Ok(hosts)) => server.answer(addresses(hosts.as_lookup().answers(), port), hosts.valid_until()),
            (Ok((mut found, until)), Ok(hosts)) => {
                let known: BTreeSet<IpAddr> = found.iter().map(SocketAddr::ip).collect();
                let others = addresses(hosts.as_lookup().answers(), port);
                found.extend(others.into_iter().filter(|address| !known.contains(&address.ip())));
                server.answer(found, until.min(hosts.valid_until()))
            }
        }
    })
    .await
}

/// The server that a zone's records are changed at, as the system's resolver says: the primary in the
/// SOA record of the zone that `mesh` is in.
///
/// # Errors
/// [`LookupError::UnknownName`] if the name is in no zone but the root.
pub(super) async fn primary(mesh: &MeshName) -> Result<SocketAddr, LookupError> {
    let server = Server::System;
    let resolver = server.resolver()?;
    let soa = match timeout(server.timeout(), resolver.soa_lookup(mesh.as_name().clone())).await {
        Ok(Ok(lookup)) => lookup.answers().iter().find_map(primary_in),
        // "No such name" comes with the SOA record of the zone that would have it.
        Ok(Err(error)) if error.is_no_records_found() => {
            error.into_soa().and_then(|soa| primary_in(&soa.into_record_of_rdata()))
        }
        Ok(Err(error)) => return Err(server.failed(&error)),
        Err(_) => return Err(LookupError::NoAnswer { server }),
    };
    let primary = soa.ok_or(LookupError::UnknownName { server })?;
    let hosts = server.bounded(resolver.lookup_ip(primary)).await?;
    let ip = hosts.iter().next().ok_or(LookupError::UnknownName { server })?;
    Ok(SocketAddr::new(ip, DNS_PORT))
}

/// Where DNS servers listen.
const DNS_PORT: u16 = 53;

/// The primary server named in a SOA record; nobody but its operators writes to the root zone.
fn primary_in(record: &Record) -> Option<Name> {
    match &record.data {
        RData::SOA(soa) if !record.name.is_root() => Some(soa.mname.clone()),
        _ => None,
    }
}

async fn first_answer<F>(servers: &[Server], ask: impl Fn(Server) -> F) -> Result<Answer, LookupError>
where
    F: Future<Output = Result<Answer, LookupError>>,
{
    let mut first_error = None;
    for server in servers {
        match ask(*server).await {
            Ok(answer) => return Ok(answer),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    Err(first_error.unwrap_or(LookupError::UnknownName { server: Server::System }))
}

/// The addresses that the mesh's SRV records lead to, and until when they are good.
async fn services(resolver: &TokioResolver, mesh: &MeshName) -> Result<(Vec<SocketAddr>, Instant), NetError> {
    let lookup = resolver.srv_lookup(records::service_name(mesh)).await?;
    let targets: BTreeSet<(Name, u16)> = lookup.answers().iter().filter_map(target).collect();
    let glue = glue(&lookup);
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for (name, port) in targets {
        match glue.get(&name) {
            Some(ips) => found.extend(ips.iter().map(|ip| SocketAddr::new(*ip, port))),
            None => missing.push((name, port)),
        }
    }
    let mut until = lookup.valid_until();
    missing.truncate(TARGETS_MAX);
    let lookups = missing.into_iter().map(|(name, port)| async move { (resolver.lookup_ip(name).await, port) });
    let mut lookups = stream::iter(lookups).buffer_unordered(TARGETS_AT_ONCE);
    while let Some((looked_up, port)) = lookups.next().await {
        if let Ok(hosts) = looked_up {
            found.extend(addresses(hosts.as_lookup().answers(), port));
            until = until.min(hosts.valid_until());
        }
    }
    Ok((found, until))
}

/// Where an SRV record leads. The root stands for "nowhere" (RFC 2782), port 0 for nothing.
fn target(record: &Record) -> Option<(Name, u16)> {
    match &record.data {
        RData::SRV(srv) if !srv.target.is_root() && srv.port > 0 => Some((srv.target.to_lowercase(), srv.port)),
        _ => None,
    }
}

/// Addresses that came along with an answer, by their names.
fn glue(lookup: &Lookup) -> BTreeMap<Name, Vec<IpAddr>> {
    let mut glue: BTreeMap<Name, Vec<IpAddr>> = BTreeMap::new();
    for record in lookup.additionals() {
        if let Some(ip) = record.data.ip_addr() {
            glue.entry(record.name.to_lowercase()).or_default().push(ip);
        }
    }
    glue
}

fn addresses(records: &[Record], port: u16) -> Vec<SocketAddr> {
    let is_address = |record: &&Record| matches!(record.record_type(), RecordType::A | RecordType::AAAA);
    let ips = records.iter().filter(is_address).filter_map(|record| record.data.ip_addr());
    ips.map(|ip| SocketAddr::new(ip, port)).collect()
}

/// What `/etc/hosts` says of a name, if anything. A resolver would look there too, and ask a server for the version of IP
/// that is not there: who lists a name does so because no server has it, or because none answers.
fn in_hosts_file(name: &str, port: u16) -> Option<Vec<SocketAddr>> {
    let name = Name::from_ascii(name).ok()?;
    let hosts = Hosts::from_system().ok()?;
    let listed = [RecordType::A, RecordType::AAAA]
        .into_iter()
        .filter_map(|kind| hosts.lookup_static_host(&Query::query(name.to_lowercase(), kind)))
        .flat_map(|lookup| addresses(lookup.answers(), port))
        .collect::<Vec<_>>();
    (!listed.is_empty()).then_some(listed)
}

impl Server {
    /// See [`SERVER_TIMEOUT`].
    fn timeout(self) -> Duration {
        match self {
            Server::System | Server::At(_) => SERVER_TIMEOUT,
            Server::Weave(_) => WEAVE_TIMEOUT,
        }
    }

    fn resolver(self) -> Result<TokioResolver, LookupError> {
        let mut builder = match self {
            // A host without DNS still has its hosts file.
            Server::System => TokioResolver::builder_tokio().unwrap_or_else(|_| resolver_of(Vec::new())),
            Server::At(address) => {
                resolver_of(connections(address, [ConnectionConfig::udp(), ConnectionConfig::tcp()]))
            }
            // Where there is no weaveDNS, TCP is refused at once; UDP would be waited for.
            Server::Weave(address) => resolver_of(connections(address, [ConnectionConfig::tcp()])),
        };
        let options: &mut ResolverOpts = builder.options_mut();
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.timeout = options.timeout.min(QUERY_TIMEOUT);
        options.attempts = options.attempts.min(ATTEMPTS);
        options.cache_size = 0;
        if self != Server::System {
            options.use_hosts_file = ResolveHosts::Never;
        }
        builder.build().map_err(|error| self.failed(&error))
    }

    async fn bounded<T>(self, asked: impl Future<Output = Result<T, NetError>>) -> Result<T, LookupError> {
        match timeout(self.timeout(), asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.failed(&error)),
            Err(_) => Err(LookupError::NoAnswer { server: self }),
        }
    }

    fn failed(self, error: &NetError) -> LookupError {
        match error {
            error if error.is_no_records_found() => LookupError::UnknownName { server: self },
            NetError::Timeout => LookupError::NoAnswer { server: self },
            NetError::NoConnections if self == Server::System => {
                LookupError::Failed { server: self, reason: "no DNS server in /etc/resolv.conf to be asked".to_owned() }
            }
            error => LookupError::Failed { server: self, reason: error.to_string() },
        }
    }

    fn answer(self, mut addresses: Vec<SocketAddr>, until: Instant) -> Result<Answer, LookupError> {
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(ADDRESSES_MAX);
        if addresses.is_empty() {
            return Err(LookupError::UnknownName { server: self });
        }
        Ok(Answer { addresses, ttl: until.saturating_duration_since(Instant::now()), server: self })
    }
}

type Builder = hickory_resolver::ResolverBuilder<TokioRuntimeProvider>;

fn resolver_of(servers: Vec<NameServerConfig>) -> Builder {
    TokioResolver::builder_with_config(
        ResolverConfig::from_parts(None, Vec::new(), servers),
        TokioRuntimeProvider::default(),
    )
}

fn connections<const N: usize>(server: SocketAddr, connections: [ConnectionConfig; N]) -> Vec<NameServerConfig> {
    let connections = connections.map(|mut connection| {
        connection.port = server.port();
        connection
    });
    vec![NameServerConfig::new(server.ip(), true, connections.to_vec())]
}

#[cfg(test)]
mod tests {
    use hickory_client::proto::rr::rdata::{A, SOA, SRV};

    use super::*;

    #[test]
    fn a_zones_primary_is_in_its_soa_record_but_the_roots_is_not_ours() {
        let soa = |zone: &str| {
            let soa = SOA::new(name("ns1.example.com."), name("admin.example.com."), 1, 60, 60, 600, 1);
            Record::from_rdata(name(zone), 30, RData::SOA(soa))
        };
        let address = Record::from_rdata(name("example.com."), 30, RData::A(A::new(10, 0, 0, 1)));
        let cases = [(soa("example.com."), Some("ns1.example.com.")), (soa("."), None), (address, None)];
        for (record, want) in cases {
            assert_eq!(primary_in(&record).map(|name| name.to_ascii()).as_deref(), want, "{record}");
        }
    }

    #[test]
    fn a_service_record_may_say_that_there_is_no_service() {
        let cases = [
            ("Db1.example.com.", 4030, Some(("db1.example.com.", 4030))),
            (".", 4030, None),
            ("db1.example.com.", 0, None),
        ];
        for (host, port, want) in cases {
            let srv = RData::SRV(SRV::new(0, 0, port, name(host)));
            let got = target(&Record::from_rdata(name("_scope._tcp.example.com."), 30, srv));
            assert_eq!(got, want.map(|(host, port)| (name(host), port)), "{host}:{port}");
        }
    }

    #[tokio::test]
    async fn the_first_server_that_knows_answers_and_the_first_error_counts() {
        let server = |last: u8| Server::At(SocketAddr::from(([10, 0, 0, last], 53)));
        let answer =
            |server| Answer { addresses: vec![SocketAddr::from(([10, 0, 0, 9], 1))], ttl: Duration::ZERO, server };
        let unknown = |server| Err(LookupError::UnknownName { server });
        let silent = |server| Err(LookupError::NoAnswer { server });
        let cases = [
            (vec![Ok(answer(server(0)))], Ok(answer(server(0)))),
            (vec![unknown(server(0)), Ok(answer(server(1)))], Ok(answer(server(1)))),
            (vec![silent(server(0)), Ok(answer(server(1))), unknown(server(2))], Ok(answer(server(1)))),
            (vec![silent(server(0)), unknown(server(1))], silent(server(0))),
            (vec![unknown(server(0)), silent(server(1))], unknown(server(0))),
        ];
        for (says, want) in cases {
            let servers: Vec<Server> = (0..).map(server).take(says.len()).collect();
            let ask = |asked: Server| {
                let index = servers.iter().position(|server| *server == asked).unwrap();
                std::future::ready(says[index].clone())
            };
            assert_eq!(first_answer(&servers, ask).await, want, "{says:?}");
        }
    }

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }
}
