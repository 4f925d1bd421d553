//! Keys of facts, as text: `process/4711.88301`, `flow/4711.88301/outgoing/tcp/10.0.0.2/80`. Text, because replicas store
//! and order keys without knowing what they mean, and people read them in dumps.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::fact::{Direction, FlowKey, ListenerKey, Owner, Protocol};
use crate::gauges;
use crate::id::{ContainerId, ImageId, Netns, ProcessId};

/// Names a fact within its origin.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The host itself.
    Host,
    /// A container.
    Container(ContainerId),
    /// An image.
    Image(ImageId),
    /// A process.
    Process(ProcessId),
    /// A listening socket.
    Listener(ListenerKey),
    /// A flow.
    Flow(FlowKey),
    /// A network namespace.
    Namespace(Netns),
    /// Names of a remote address.
    RemoteName(IpAddr),
    /// Rules for known services.
    Services,
    /// A block of gauges.
    Gauges(gauges::Kind),
    /// The probe's status.
    Status,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("host"),
            Self::Status => f.write_str("status"),
            Self::Services => f.write_str("services"),
            Self::Namespace(netns) => write!(f, "netns/{}", netns.0),
            Self::RemoteName(address) => write!(f, "name/{address}"),
            Self::Container(id) => write!(f, "container/{id}"),
            Self::Image(id) => write!(f, "image/{id}"),
            Self::Process(id) => write!(f, "process/{id}"),
            Self::Gauges(kind) => write!(f, "gauges/{}", kind.as_str()),
            Self::Listener(ListenerKey { netns, protocol, address, port }) => {
                write!(f, "listener/{}/{}/{address}/{port}", netns.0, protocol.as_str())
            }
            Self::Flow(flow) => {
                f.write_str("flow/")?;
                match flow.owner {
                    Owner::Process(id) => write!(f, "{id}")?,
                    Owner::Netns(netns) => write!(f, "net.{}", netns.0)?,
                }
                let direction = match flow.direction {
                    Direction::Incoming => "incoming",
                    Direction::Outgoing => "outgoing",
                };
                write!(f, "/{direction}/{}/{}/{}", flow.protocol.as_str(), flow.remote, flow.port)
            }
        }
    }
}

/// A key of a kind we do not know, or a malformed one. Peers newer than us may send them: skip the fact.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("no key of a fact: {0:?}")]
pub struct BadKey(pub String);

impl FromStr for Key {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        parse(text).ok_or_else(|| BadKey(text.chars().take(120).collect()))
    }
}

fn parse(text: &str) -> Option<Key> {
    let (kind, rest) = text.split_once('/').unwrap_or((text, ""));
    let key = match kind {
        "host" if text == "host" => Key::Host,
        "status" if text == "status" => Key::Status,
        "services" if text == "services" => Key::Services,
        "netns" => Key::Namespace(Netns(rest.parse().ok()?)),
        "name" => Key::RemoteName(rest.parse().ok()?),
        "container" => Key::Container(ContainerId::new(rest).ok()?),
        "image" => Key::Image(ImageId::new(rest).ok()?),
        "process" => Key::Process(process(rest)?),
        "gauges" => Key::Gauges(gauges::Kind::from_name(rest)?),
        "listener" => {
            let [netns, protocol, address, port] = parts(rest)?;
            Key::Listener(ListenerKey {
                netns: Netns(netns.parse().ok()?),
                protocol: self::protocol(protocol)?,
                address: address.parse().ok()?,
                port: port.parse().ok()?,
            })
        }
        "flow" => {
            let [owner, direction, protocol, remote, port] = parts(rest)?;
            Key::Flow(FlowKey {
                owner: self::owner(owner)?,
                direction: match direction {
                    "incoming" => Direction::Incoming,
                    "outgoing" => Direction::Outgoing,
                    _ => return None,
                },
                protocol: self::protocol(protocol)?,
                remote: remote.parse().ok()?,
                port: port.parse().ok()?,
            })
        }
        _ => return None,
    };
    Some(key)
}

fn parts<const N: usize>(text: &str) -> Option<[&str; N]> {
    let mut parts = text.split('/');
    let mut taken = [""; N];
    for slot in &mut taken {
        *slot = parts.next()?;
    }
    parts.next().is_none().then_some(taken)
}

fn process(text: &str) -> Option<ProcessId> {
    let (pid, start) = text.split_once('.')?;
    Some(ProcessId { pid: pid.parse().ok()?, start: start.parse().ok()? })
}

fn owner(text: &str) -> Option<Owner> {
    match text.strip_prefix("net.") {
        Some(netns) => Some(Owner::Netns(Netns(netns.parse().ok()?))),
        None => process(text).map(Owner::Process),
    }
}

fn protocol(text: &str) -> Option<Protocol> {
    [Protocol::Tcp, Protocol::Udp, Protocol::Sctp, Protocol::Other]
        .into_iter()
        .find(|protocol| protocol.as_str() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_what_it_prints() {
        let keys = [
            "host",
            "status",
            "container/4f5e",
            "image/77aa",
            "process/4711.88301",
            "gauges/processes",
            "listener/4026531840/tcp/0.0.0.0/80",
            "flow/4711.88301/outgoing/tcp/fe80::1/443",
            "flow/net.4026532000/incoming/udp/10.0.0.2/53",
            "netns/4026532000",
            "name/2606:2800:220:1::",
            "services",
        ];
        for text in keys {
            assert_eq!(text.parse::<Key>().map(|key| key.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn what_is_no_key_is_refused_by_name() {
        let texts = [
            "",
            "host/x",
            "services/x",
            "netns/",
            "name/web",
            "pod/1",
            "process/1",
            "flow/1.2/outgoing/tcp/10.0.0.2",
            "flow/1.2/up/tcp/::1/1/9",
        ];
        for text in texts {
            assert_eq!(text.parse::<Key>(), Err(BadKey(text.to_owned())));
        }
    }
}
