//! Facts to CBOR (RFC 8949) and back. Structs are maps with text keys: a newer peer's extra fields are skipped, missing ones
//! get defaults, and a fact of an unknown kind is an error the caller counts and skips.
//!
//! `ciborium` writes, `cbor4ii` reads; both write the same bytes and read each other's. A host writes each of its facts once,
//! but every peer reads the facts of all hosts, so reading is what has to be fast: three times as fast as with `ciborium`, on
//! our own facts (`make bench`, `cbor`). Text keys stay: keys of one letter make a host's facts a third shorter, but not once
//! they are compressed, and reading them only an eighth faster.

use std::convert::Infallible;

use cbor4ii::core::dec::{Read, Reference};
use serde::Deserialize;

use crate::fact::Fact;
use crate::key::Key;

/// Longest accepted value, in bytes. A container with every label and variable the probe keeps stays well below.
pub const VALUE_BYTES_MAX: usize = 256 * 1024;

/// Deepest accepted nesting: maps, arrays, enums and options. Our own facts need eight.
const DEPTH_MAX: usize = 16;

/// Why bytes of a peer are not a fact.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Longer than [`VALUE_BYTES_MAX`].
    #[error("a fact of {0} bytes, of at most {VALUE_BYTES_MAX}")]
    TooLong(usize),
    /// Not CBOR of a fact we know.
    #[error("not a fact: {0}")]
    Malformed(String),
    /// The value names another thing than the key it is stored under.
    #[error("a fact about {value} under the key {key}")]
    WrongKey {
        /// Key it came under.
        key: String,
        /// Key its contents ask for.
        value: String,
    },
}

/// The fact as CBOR.
///
/// # Panics
/// Never: a fact has no part that cannot be written, and memory does not fail to write.
#[must_use]
pub fn encode(fact: &Fact) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    ciborium::into_writer(fact, &mut bytes).expect("a fact is plain data and a Vec takes every write");
    bytes
}

/// Reads a fact that came under `key`.
///
/// # Errors
/// [`DecodeError`] if the bytes are no fact, too many, or about something else than `key`.
pub fn decode(key: &Key, bytes: &[u8]) -> Result<Fact, DecodeError> {
    if bytes.len() > VALUE_BYTES_MAX {
        return Err(DecodeError::TooLong(bytes.len()));
    }
    let mut deserializer = cbor4ii::serde::Deserializer::new(Bounded { rest: bytes, depth: 0 });
    let fact = Fact::deserialize(&mut deserializer).map_err(|error| DecodeError::Malformed(error.to_string()))?;
    let rest = deserializer.into_inner().rest.len();
    if rest > 0 {
        return Err(DecodeError::Malformed(format!("{rest} bytes after it")));
    }
    let own = fact.key();
    if own == *key { Ok(fact) } else { Err(DecodeError::WrongKey { key: key.to_string(), value: own.to_string() }) }
}

/// Bytes to read, down to [`DEPTH_MAX`].
struct Bounded<'de> {
    rest: &'de [u8],
    depth: usize,
}

impl<'de> Read<'de> for Bounded<'de> {
    type Error = Infallible;

    #[inline]
    fn fill<'short>(&'short mut self, _want: usize) -> Result<Reference<'de, 'short>, Infallible> {
        Ok(Reference::Long(self.rest))
    }

    #[inline]
    fn advance(&mut self, n: usize) {
        self.rest = self.rest.get(n..).unwrap_or_default();
    }

    #[inline]
    fn step_in(&mut self) -> bool {
        let fits = self.depth < DEPTH_MAX;
        self.depth += usize::from(fits);
        fits
    }

    #[inline]
    fn step_out(&mut self) {
        self.depth -= 1;
    }
}

#[cfg(test)]
mod tests {
    use ciborium::{Value, cbor};

    use super::*;
    use crate::fact::{Container, ContainerState, Port, Protocol, Source, SourceState, Status};
    use crate::id::{ContainerId, Timestamp};
    use crate::synthetic::SyntheticHost;

    fn container() -> Fact {
        let mut container = Container::new(ContainerId::new("4f5e").expect("an id"));
        container.name = "web".into();
        container.state = ContainerState::Exited(137);
        container.env.insert("TOKEN".into(), None);
        container.networks.insert("app".into(), vec!["fd00::2".parse().expect("an address")]);
        Fact::Container(container)
    }

    /// Facts of every kind.
    fn facts() -> Vec<Fact> {
        let host = SyntheticHost::new(1, 2);
        let gauges = host.gauges(Timestamp(1_800_000_000_000)).into_iter().map(Fact::Gauges);
        let source = Source { state: SourceState::Off, mode: String::new(), reason: "no daemon".into() };
        let status = Fact::Status(Status { sources: [("docker".to_owned(), source)].into() });
        let mut facts: Vec<Fact> = host.facts().into_iter().chain(gauges).chain([status, container()]).collect();
        facts.dedup_by_key(|fact| std::mem::discriminant(fact));
        facts.extend(host.gauges(Timestamp(7)).into_iter().map(Fact::Gauges));
        facts
    }

    /// The fields of a fact's map, to add to and take from.
    fn fields(value: &mut Value) -> &mut Vec<(Value, Value)> {
        let kind = &mut value.as_map_mut().expect("a fact is a map of its kind")[0].1;
        let fields = kind.as_map_mut().expect("a fact's value is a map");
        if fields.len() == 1 && fields[0].1.is_map() && fields[0].0.as_text() != Some("sources") {
            return fields[0].1.as_map_mut().expect("gauges are a map of their kind");
        }
        fields
    }

    fn recode(fact: &Fact, change: impl Fn(&mut Vec<(Value, Value)>)) -> Vec<u8> {
        let mut value: Value = ciborium::from_reader(&*encode(fact)).expect("CBOR");
        change(fields(&mut value));
        let mut bytes = Vec::new();
        ciborium::into_writer(&value, &mut bytes).expect("a Vec takes every write");
        bytes
    }

    #[test]
    fn what_is_encoded_decodes_to_the_same() {
        for fact in facts() {
            assert_eq!(decode(&fact.key(), &encode(&fact)), Ok(fact));
        }
    }

    #[test]
    fn fields_of_a_newer_peer_are_skipped() {
        for fact in facts() {
            let nested = cbor!({ "deep" => [1, 2, { "x" => null }] }).expect("CBOR");
            let newer = recode(&fact, |fields| fields.insert(0, ("from the future".into(), nested.clone())));
            assert_eq!(decode(&fact.key(), &newer), Ok(fact));
        }
    }

    #[test]
    fn fields_an_older_peer_does_not_send_get_defaults() {
        let older = recode(&container(), |fields| fields.retain(|(name, _)| name.as_text() == Some("id")));
        let id = ContainerId::new("4f5e").expect("an id");
        assert_eq!(decode(&Key::Container(id.clone()), &older), Ok(Fact::Container(Container::new(id))));
    }

    #[test]
    fn words_of_a_newer_peer_become_unknown() {
        let mut known = Container::new(ContainerId::new("4f5e").expect("an id"));
        known.ports.push(Port { container_port: 443, protocol: Protocol::Udp, published: None });
        let words: [(&str, Value); 2] = [
            ("word", "hibernating".into()),
            ("word with a value", cbor!({ "hibernating" => { "since" => 7 } }).expect("CBOR")),
        ];
        for (name, word) in words {
            let newer = recode(&Fact::Container(known.clone()), |fields| {
                for (field, value) in fields {
                    match field.as_text() {
                        Some("state") => *value = word.clone(),
                        Some("ports") => {
                            value.as_array_mut().expect("a list")[0].as_map_mut().expect("a map")[1].1 = "quic".into();
                        }
                        _ => {}
                    }
                }
            });
            let Ok(Fact::Container(read)) = decode(&Key::Container(known.id.clone()), &newer) else { panic!("{name}") };
            assert_eq!((read.state, read.ports[0].protocol), (ContainerState::Unknown, Protocol::Other), "{name}");
        }
    }

    #[test]
    fn what_is_no_fact_is_an_error() {
        let kind = cbor!({ "pod" => { "id" => 1 } }).expect("CBOR");
        let mut unknown = Vec::new();
        ciborium::into_writer(&kind, &mut unknown).expect("a Vec takes every write");
        let deep = [vec![0x81; 5000], vec![0x00]].concat();
        let endless = [0x9f; 64];
        for bytes in [&unknown[..], &deep, &endless, &[], &[0xff]] {
            assert!(matches!(decode(&Key::Host, bytes), Err(DecodeError::Malformed(_))), "{bytes:02x?}");
        }
        let huge = vec![0; VALUE_BYTES_MAX + 1];
        assert_eq!(decode(&Key::Host, &huge), Err(DecodeError::TooLong(huge.len())));
        assert!(matches!(decode(&Key::Host, &encode(&container())), Err(DecodeError::WrongKey { .. })));
    }

    #[test]
    fn both_implementations_write_the_same_and_read_the_same() {
        for fact in facts() {
            let bytes = encode(&fact);
            assert_eq!(cbor4ii::serde::to_vec(Vec::new(), &fact).ok().as_ref(), Some(&bytes));
            assert_eq!(ciborium::from_reader::<Fact, _>(&*bytes).ok(), Some(fact));
        }
    }

    #[test]
    fn bytes_cut_anywhere_or_with_more_behind_are_no_fact() {
        for fact in facts() {
            let mut bytes = encode(&fact);
            for end in 0..bytes.len() {
                assert!(decode(&fact.key(), &bytes[..end]).is_err(), "cut at {end}");
            }
            bytes.push(0xf6);
            assert!(matches!(decode(&fact.key(), &bytes), Err(DecodeError::Malformed(_))));
        }
    }

    #[test]
    fn what_both_implementations_read_of_damaged_bytes_is_the_same() {
        for fact in facts() {
            let bytes = encode(&fact);
            for at in 0..bytes.len() {
                for mask in [0x01, 0x20, 0x40, 0x80, 0xe0, 0xff] {
                    let mut damaged = bytes.clone();
                    damaged[at] ^= mask;
                    let Ok(read) = decode(&fact.key(), &damaged) else { continue };
                    // Of what it skips, a field it does not know, the other one still checks the text.
                    let Ok(other) = ciborium::from_reader::<Fact, _>(&*damaged) else { continue };
                    assert_eq!(other, read, "byte {at} of {}, {mask:#x}", fact.key());
                }
            }
        }
    }
}
