//! The bytes of [`Message`]s.
//!
//! A frame is a sequence of CBOR items (RFC 8742), one per message: an array of a number for its kind
//! and its fields in the order of their declaration. A new field goes to the end and a new kind gets
//! a new number; peers that know neither skip them. How a frame's end is found in a stream is up to
//! whoever carries it.
//!
//! ```text
//!  Have { handle: 5, version: 7 }   83 03 05 07
//!                                   │  │  │  └ version
//!                                   │  │  └ handle
//!                                   │  └ kind
//!                                   └ array of 3
//! ```
//!
//! Decoding takes one pass and, but for a [`Message::Push`]'s payload, constant memory: nothing is
//! reserved on a sender's word, and there is nothing to recurse into. The payload is a slice of the
//! frame, which a relay passes on as it is.

mod fields;
mod payload;

use std::convert::Infallible;
use std::ops::AddAssign;

use bytes::Bytes;
use minicbor::Decoder;
use minicbor::encode::{self, Encoder, Write};

use crate::head::{Beat, Head};
use crate::message::{From as Place, Handle, Message};
use crate::{Epoch, KeyTooLong, OriginId, PeerId, Span, StateHash, VALUE_BYTES_MAX, Version};

pub(crate) use fields::{Fields, Malformed};
pub use payload::{CHANGES_PER_PAYLOAD_MAX, PAYLOAD_BYTES_MAX, decode_payload, encode_payload};

/// The longest frame: twice the longest value.
pub const FRAME_BYTES_MAX: usize = 2 * VALUE_BYTES_MAX;

/// The budget for [`Replica::answer`](crate::Replica::answer) whose intervals fit into a frame even
/// if they do not compress. A value that is longer on its own does too.
pub const INTERVAL_BUDGET_BYTES: usize = VALUE_BYTES_MAX;

/// Why bytes were not taken. Who sent them does not keep to the protocol.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A frame longer than [`FRAME_BYTES_MAX`].
    #[error("frame of {bytes} bytes, at most {FRAME_BYTES_MAX} are taken")]
    FrameTooLong {
        /// How long it is.
        bytes: usize,
    },
    /// Not CBOR of definite length, or not the fields of a message of its kind.
    #[error("malformed at byte {at}")]
    Malformed {
        /// How many bytes were read before.
        at: usize,
    },
    /// A payload that is empty or compressed in an unknown way.
    #[error("payload is compressed in an unknown way")]
    Compression,
    /// A payload that does not decompress, or does not say how long it gets.
    #[error("payload does not decompress")]
    Decompress,
    /// A payload longer than [`PAYLOAD_BYTES_MAX`] when decompressed.
    #[error("payload of more than {PAYLOAD_BYTES_MAX} bytes")]
    PayloadTooLong,
    /// A payload of more than [`CHANGES_PER_PAYLOAD_MAX`] changes.
    #[error("payload of {changes} changes, at most {CHANGES_PER_PAYLOAD_MAX} are taken")]
    TooManyChanges {
        /// How many it says it has.
        changes: u64,
    },
    /// A key that is too long.
    #[error(transparent)]
    KeyTooLong(#[from] KeyTooLong),
    /// A value longer than [`VALUE_BYTES_MAX`].
    #[error("value of {bytes} bytes, at most {VALUE_BYTES_MAX} are taken")]
    ValueTooLong {
        /// How long it is.
        bytes: usize,
    },
}

impl From<Malformed> for WireError {
    fn from(malformed: Malformed) -> WireError {
        WireError::Malformed { at: malformed.at }
    }
}

/// The kinds of messages. Never given anew, so that no peer mistakes one for another.
mod kind {
    pub(super) const HELLO: u64 = 0;
    pub(super) const KEEP: u64 = 1;
    pub(super) const NAME: u64 = 2;
    pub(super) const HAVE: u64 = 3;
    pub(super) const WANT: u64 = 4;
    pub(super) const GRAFT: u64 = 5;
    pub(super) const PRUNE: u64 = 6;
    pub(super) const PUSH: u64 = 7;
    pub(super) const BEAT: u64 = 8;
    pub(super) const ASK_BEAT: u64 = 9;
    pub(super) const DIGEST: u64 = 10;
    pub(super) const LOST: u64 = 11;
}

/// Adds a message to a frame. That the frame does not get longer than [`FRAME_BYTES_MAX`] is up to
/// the caller.
pub fn encode(message: &Message, frame: &mut Vec<u8>) {
    write(message, &mut Encoder::new(frame)).expect("memory takes whatever is written to it");
}

/// The messages of a frame, each decoded when it is asked for.
#[must_use]
pub fn decode(frame: Bytes) -> Messages {
    Messages { frame, at: 0, unknown: 0, failed: false }
}

/// The messages of a frame. Ends after the first error: what follows it cannot be told apart.
#[derive(Debug, Clone)]
pub struct Messages {
    frame: Bytes,
    at: usize,
    unknown: usize,
    failed: bool,
}

impl Messages {
    /// How many messages of an unknown kind were skipped so far.
    #[must_use]
    pub fn unknown(&self) -> usize {
        self.unknown
    }

    /// The next message of a known kind. The caller has checked the frame's length.
    fn read(&mut self) -> Result<Option<Message>, Malformed> {
        let mut decoder = Decoder::new(&self.frame);
        while self.at < self.frame.len() {
            decoder.set_position(self.at);
            let mut fields = Fields::open(&mut decoder)?;
            let message = read(&mut fields, &self.frame)?;
            fields.skip()?;
            self.at = decoder.position();
            if message.is_some() {
                return Ok(message);
            }
            self.unknown += 1;
        }
        Ok(None)
    }
}

impl Iterator for Messages {
    type Item = Result<Message, WireError>;

    fn next(&mut self) -> Option<Result<Message, WireError>> {
        if self.failed {
            return None;
        }
        let bytes = self.frame.len();
        let read = match bytes {
            ..=FRAME_BYTES_MAX => self.read().map_err(WireError::from),
            _ => Err(WireError::FrameTooLong { bytes }),
        };
        self.failed = read.is_err();
        read.transpose()
    }
}

/// How many bytes of messages are for what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Classes {
    /// Changes, as they are compressed.
    pub payload: usize,
    /// What comes with them: whose, between which versions, signed.
    pub head: usize,
    /// Signs of life, and questions for them.
    pub beat: usize,
    /// Everything else.
    pub control: usize,
}

impl Classes {
    /// Of one message, as [`encode()`] writes it.
    #[must_use]
    pub fn of(message: &Message) -> Classes {
        let mut counter = Counter(0);
        write(message, &mut Encoder::new(&mut counter)).expect("a counter takes whatever is written to it");
        let bytes = counter.0;
        let none = Classes::default();
        match message {
            Message::Push { payload, .. } => Classes { payload: payload.len(), head: bytes - payload.len(), ..none },
            Message::Beat { .. } | Message::AskBeat { .. } | Message::Lost { .. } => Classes { beat: bytes, ..none },
            _ => Classes { control: bytes, ..none },
        }
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> usize {
        let Classes { payload, head, beat, control } = self;
        payload + head + beat + control
    }
}

impl AddAssign for Classes {
    fn add_assign(&mut self, other: Classes) {
        let Classes { payload, head, beat, control } = other;
        self.payload += payload;
        self.head += head;
        self.beat += beat;
        self.control += control;
    }
}

/// Counts what is written to it.
struct Counter(usize);

impl Write for Counter {
    type Error = Infallible;

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        self.0 += bytes.len();
        Ok(())
    }
}

fn write<W: Write>(message: &Message, e: &mut Encoder<W>) -> Result<(), encode::Error<W::Error>> {
    match message {
        Message::Hello { origin, keep } => {
            e.array(4)?.u64(kind::HELLO)?;
            write_origin(*origin, e)?.bool(*keep)?.ok()
        }
        Message::Keep(keep) => e.array(2)?.u64(kind::KEEP)?.bool(*keep)?.ok(),
        Message::Name { handle, origin, version, silent_ms } => {
            e.array(6)?.u64(kind::NAME)?.u32(handle.0)?;
            write_origin(*origin, e)?.u64(version.0)?.u32(*silent_ms)?.ok()
        }
        Message::Have { handle, version } => e.array(3)?.u64(kind::HAVE)?.u32(handle.0)?.u64(version.0)?.ok(),
        Message::Want { handle, from } => {
            e.array(5)?.u64(kind::WANT)?.u32(handle.0)?;
            write_place(*from, e)?.ok()
        }
        Message::Graft { handle, from } => {
            e.array(5)?.u64(kind::GRAFT)?.u32(handle.0)?;
            write_place(*from, e)?.ok()
        }
        Message::Prune { handle } => e.array(2)?.u64(kind::PRUNE)?.u32(handle.0)?.ok(),
        Message::Push { handle, head, span, payload } => {
            e.array(8)?.u64(kind::PUSH)?.u32(handle.0)?;
            write_span(*span, e)?.bytes(head.state.as_bytes())?.bytes(&head.signature)?.bytes(payload)?.ok()
        }
        Message::Beat { handle, beat: Beat { chain, count, proof } } => {
            e.array(5)?.u64(kind::BEAT)?.u32(handle.0)?.u32(*chain)?.u32(*count)?.bytes(proof)?.ok()
        }
        Message::AskBeat { handle, chain, count } => {
            e.array(4)?.u64(kind::ASK_BEAT)?.u32(handle.0)?.u32(*chain)?.u32(*count)?.ok()
        }
        Message::Lost { handle, chain, count } => {
            e.array(4)?.u64(kind::LOST)?.u32(handle.0)?.u32(*chain)?.u32(*count)?.ok()
        }
        Message::Digest(hash) => e.array(2)?.u64(kind::DIGEST)?.bytes(hash)?.ok(),
    }
}

/// The encoder again, to go on with.
type Written<'a, W> = Result<&'a mut Encoder<W>, encode::Error<<W as Write>::Error>>;

fn write_origin<W: Write>(origin: OriginId, e: &mut Encoder<W>) -> Written<'_, W> {
    e.bytes(origin.peer.as_bytes())?.u64(origin.epoch.0)
}

fn write_place<W: Write>(place: Place, e: &mut Encoder<W>) -> Written<'_, W> {
    e.u64(place.epoch.0)?.u64(place.version.0)?.u64(place.removals_after.0)
}

/// The end, and how far before and after it the others are: mostly a byte each. Of ends that are not
/// in order come numbers that [`read_span`] refuses.
fn write_span<W: Write>(span: Span, e: &mut Encoder<W>) -> Written<'_, W> {
    let Span { since, until, complete_at } = span;
    e.u64(until.0)?.u64(until.0.wrapping_sub(since.0))?.u64(complete_at.0.wrapping_sub(until.0))
}

/// `None` for a kind that we do not know.
fn read(fields: &mut Fields<'_, '_>, frame: &Bytes) -> Result<Option<Message>, Malformed> {
    let message = match fields.u64()? {
        kind::HELLO => Message::Hello { origin: read_origin(fields)?, keep: fields.bool()? },
        kind::KEEP => Message::Keep(fields.bool()?),
        kind::NAME => Message::Name {
            handle: read_handle(fields)?,
            origin: read_origin(fields)?,
            version: read_version(fields)?,
            silent_ms: fields.u32()?,
        },
        kind::HAVE => Message::Have { handle: read_handle(fields)?, version: read_version(fields)? },
        kind::WANT => Message::Want { handle: read_handle(fields)?, from: read_place(fields)? },
        kind::GRAFT => Message::Graft { handle: read_handle(fields)?, from: read_place(fields)? },
        kind::PRUNE => Message::Prune { handle: read_handle(fields)? },
        kind::PUSH => {
            let (handle, span) = (read_handle(fields)?, read_span(fields)?);
            let state = StateHash::from_bytes(fields.fixed()?);
            let head = Head { version: span.complete_at, state, signature: fields.fixed()? };
            Message::Push { handle, head, span, payload: frame.slice_ref(fields.bytes()?) }
        }
        kind::BEAT => {
            let handle = read_handle(fields)?;
            let beat = Beat { chain: fields.u32()?, count: fields.u32()?, proof: fields.fixed()? };
            Message::Beat { handle, beat }
        }
        kind::LOST => Message::Lost { handle: read_handle(fields)?, chain: fields.u32()?, count: fields.u32()? },
        kind::ASK_BEAT => Message::AskBeat { handle: read_handle(fields)?, chain: fields.u32()?, count: fields.u32()? },
        kind::DIGEST => Message::Digest(fields.fixed()?),
        _ => return Ok(None),
    };
    Ok(Some(message))
}

fn read_handle(fields: &mut Fields<'_, '_>) -> Result<Handle, Malformed> {
    fields.u32().map(Handle)
}

fn read_version(fields: &mut Fields<'_, '_>) -> Result<Version, Malformed> {
    fields.u64().map(Version)
}

fn read_origin(fields: &mut Fields<'_, '_>) -> Result<OriginId, Malformed> {
    Ok(OriginId { peer: PeerId::from_bytes(fields.fixed()?), epoch: Epoch(fields.u64()?) })
}

fn read_place(fields: &mut Fields<'_, '_>) -> Result<Place, Malformed> {
    let epoch = Epoch(fields.u64()?);
    Ok(Place { epoch, version: read_version(fields)?, removals_after: read_version(fields)? })
}

fn read_span(fields: &mut Fields<'_, '_>) -> Result<Span, Malformed> {
    let until = fields.u64()?;
    let (at, before) = (fields.at(), fields.u64()?);
    let since = until.checked_sub(before).filter(|&since| since < until).ok_or(Malformed { at })?;
    let (at, after) = (fields.at(), fields.u64()?);
    let complete_at = until.checked_add(after).ok_or(Malformed { at })?;
    Ok(Span { since: Version(since), until: Version(until), complete_at: Version(complete_at) })
}
