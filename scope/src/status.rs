//! `scope status`: how the peer on this host does, as it says itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::args::Running;
use crate::launch::urls;
use crate::say::say;

/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// Prints how the peer does.
pub(crate) fn status(running: &Running) -> Result<()> {
    let run = running.find()?;
    let about = get(run.http_addr, "/api")?;
    say(format_args!("scope {} on {}, process {}", text(&about, "version"), text(&about, "hostname"), run.pid))?;
    say(format_args!("peer   {}", text(&about, "id")))?;
    say(format_args!("map    {}", urls(run.http_addr).join(" ")))?;
    for topology in get(run.http_addr, "/api/topology")?.as_array().into_iter().flatten() {
        let nodes = topology["stats"]["node_count"].as_u64().unwrap_or(0);
        let edges = topology["stats"]["edge_count"].as_u64().unwrap_or(0);
        let figures = format!("{}, {}", count(nodes, "node"), count(edges, "edge"));
        say(format_args!("view   {:<11} {figures}", text(topology, "name")))?;
    }
    for probe in get(run.http_addr, "/api/probes")?.as_array().into_iter().flatten() {
        say(format_args!("host   {}", text(probe, "hostname")))?;
        probe["sources"].as_array().into_iter().flatten().try_for_each(print_source)?;
    }
    Ok(())
}

fn count(number: u64, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

fn print_source(source: &Value) -> Result<()> {
    let cpu = source["cpuPercent"].as_f64().map(|cpu| format!("{cpu:.2} % of a CPU")).unwrap_or_default();
    let line =
        format!("  {:<12} {:<9} {:<10} {cpu}", text(source, "name"), text(source, "state"), text(source, "mode"));
    say(line.trim_end())?;
    let reason = text(source, "reason");
    if reason.is_empty() { Ok(()) } else { say(format_args!("    {reason}")) }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
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
