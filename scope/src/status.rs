//! `scope status`: how the peer on this host does, as it says itself.

mod mesh;
mod sources;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::args::Status;
use crate::launch::urls;
use crate::say::say;

/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// Prints how the peer does.
pub(crate) fn status(wanted: &Status) -> Result<()> {
    let run = wanted.running.find()?;
    let [about, probes] = [get(run.http_addr, "/api")?, get(run.http_addr, "/api/probes")?];
    // A peer of before an upgrade has none.
    let peers = get(run.http_addr, "/api/peers").unwrap_or_default();
    if wanted.json {
        return say(json!({ "about": about, "peers": peers, "probes": probes }));
    }
    say(format_args!("scope {} on {}, process {}", text(&about, "version"), text(&about, "hostname"), run.pid))?;
    say(format_args!("peer   {}", text(&about, "id")))?;
    say(format_args!("map    {}", urls(run.http_addr).join(" ")))?;
    mesh::lines(&peers).iter().try_for_each(say)?;
    for topology in list(&get(run.http_addr, "/api/topology")?) {
        let nodes = topology["stats"]["node_count"].as_u64().unwrap_or(0);
        let edges = topology["stats"]["edge_count"].as_u64().unwrap_or(0);
        let figures = format!("{}, {}", count(nodes, "node"), count(edges, "edge"));
        say(format_args!("view   {:<11} {figures}", text(topology, "name")))?;
    }
    sources::lines(&probes, &about["id"]).iter().try_for_each(say)
}

fn count(number: u64, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A field that is text, empty if there is none.
fn text(value: &Value, field: &str) -> String {
    plain(value[field].as_str().unwrap_or_default())
}

/// A text without what a terminal would obey: much of it is said by other hosts.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn get(address: SocketAddr, path: &str) -> Result<Value> {
    let host = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let url = format!("http://{}{path}", SocketAddr::new(host, address.port()));
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).proxy(None).build().into();
    let mut answer = match agent.get(&url).call() {
        Err(ureq::Error::Timeout(_)) => bail!("the peer has not answered at {url} for {} s", TIMEOUT.as_secs()),
        answer => answer.with_context(|| format!("the peer does not answer at {url}"))?,
    };
    let bytes = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
    let bytes = bytes.with_context(|| format!("the answer of {url} broke off"))?;
    serde_json::from_slice(&bytes).with_context(|| format!("the answer of {url} is no JSON"))
}
