//! The changes of a push: compressed once, where they were made, and passed on as they are.
//!
//! ```text
//!  compression  1 byte: 0 none, 1 zstd
//!  changes      CBOR: [version, key, value, version, key, value, …]
//!               version: how far after the one before it; value: null for a removal
//! ```

use std::cell::RefCell;
use std::convert::Infallible;

use bytes::Bytes;
use minicbor::Decoder;
use minicbor::encode::{self, Encoder};
use zstd::bulk::{Compressor, Decompressor};

use super::{Fields, Malformed, WireError};
use crate::{Change, Key, VALUE_BYTES_MAX, Version};

/// The longest payload, decompressed.
pub const PAYLOAD_BYTES_MAX: usize = 2 * 1024 * 1024;

/// The most changes of a payload. A change takes three bytes at least, but a hundred in memory.
pub const CHANGES_PER_PAYLOAD_MAX: u64 = 64 * 1024;

/// What is shorter hardly compresses.
const COMPRESS_FROM_BYTES: usize = 200;

/// The fastest but for the negative levels.
const ZSTD_LEVEL: i32 = 1;

const NONE: u8 = 0;
const ZSTD: u8 = 1;

/// Version, key and value.
const FIELDS_PER_CHANGE: u64 = 3;

/// Room for a change besides its key and value, that is, for three heads of CBOR items.
const CHANGE_OVERHEAD_BYTES: usize = 16;

/// The payload of these changes, oldest first. One of an interval within
/// [`INTERVAL_BUDGET_BYTES`](super::INTERVAL_BUDGET_BYTES) keeps all bounds; what exceeds them is
/// refused by whoever decodes it.
#[must_use]
pub fn encode_payload(changes: &[Change]) -> Bytes {
    let sizes = changes.iter().map(|Change { key, value, .. }| {
        key.as_bytes().len() + value.as_ref().map_or(0, Bytes::len) + CHANGE_OVERHEAD_BYTES
    });
    let mut plain = Vec::with_capacity(CHANGE_OVERHEAD_BYTES + sizes.sum::<usize>());
    plain.push(NONE);
    write(changes, &mut plain).expect("memory takes whatever is written to it");
    compress(&plain).unwrap_or_else(|| plain.into())
}

/// `None` if that is not shorter.
fn compress(plain: &[u8]) -> Option<Bytes> {
    let changes = plain.get(1..).filter(|changes| changes.len() >= COMPRESS_FROM_BYTES)?;
    let compressed = COMPRESSOR.with_borrow_mut(|kept| match kept {
        Some(compressor) => compressor.compress(changes),
        None => kept.insert(Compressor::new(ZSTD_LEVEL)?).compress(changes),
    });
    let compressed = compressed.ok()?;
    (compressed.len() < changes.len()).then(|| [&[ZSTD], compressed.as_slice()].concat().into())
}

fn write(changes: &[Change], plain: &mut Vec<u8>) -> Result<(), encode::Error<Infallible>> {
    let mut e = Encoder::new(plain);
    e.array(changes.len() as u64 * FIELDS_PER_CHANGE)?;
    let mut last = Version::ZERO;
    for Change { version, key, value } in changes {
        // Of changes out of order come numbers that are refused.
        e.u64(version.0.wrapping_sub(last.0))?.bytes(key.as_bytes())?;
        match value {
            Some(value) => e.bytes(value)?,
            None => e.null()?,
        };
        last = *version;
    }
    Ok(())
}

/// The changes of a payload, in the order of their versions, which are above 0. They own their bytes.
/// Check first who signed what they lead to.
///
/// # Errors
/// [`WireError`]. No more is reserved than [`PAYLOAD_BYTES_MAX`] and [`CHANGES_PER_PAYLOAD_MAX`] say,
/// and no more than the payload itself says.
pub fn decode_payload(payload: &[u8]) -> Result<Vec<Change>, WireError> {
    match payload.split_first() {
        Some((&NONE, plain)) if plain.len() > PAYLOAD_BYTES_MAX => Err(WireError::PayloadTooLong),
        Some((&NONE, plain)) => read(plain),
        Some((&ZSTD, compressed)) => read(&decompress(compressed)?),
        _ => Err(WireError::Compression),
    }
}

thread_local! {
    /// Takes five times as long to make as a small payload takes to decompress, hence one for all.
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };

    /// The same is true of compressing.
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
}

fn decompress(compressed: &[u8]) -> Result<Vec<u8>, WireError> {
    let bytes = Decompressor::upper_bound(compressed).ok_or(WireError::Decompress)?;
    if bytes > PAYLOAD_BYTES_MAX {
        return Err(WireError::PayloadTooLong);
    }
    let plain = DECOMPRESSOR.with_borrow_mut(|kept| match kept {
        Some(decompressor) => decompressor.decompress(compressed, bytes),
        None => kept.insert(Decompressor::new()?).decompress(compressed, bytes),
    });
    plain.map_err(|_| WireError::Decompress)
}

fn read(plain: &[u8]) -> Result<Vec<Change>, WireError> {
    let mut decoder = Decoder::new(plain);
    let mut fields = Fields::open(&mut decoder)?;
    let count = fields.left() / FIELDS_PER_CHANGE;
    if count > CHANGES_PER_PAYLOAD_MAX {
        return Err(WireError::TooManyChanges { changes: count });
    }
    // Each field takes a byte at least.
    if fields.left() % FIELDS_PER_CHANGE > 0 || fields.left() > plain.len() as u64 {
        return Err(WireError::Malformed { at: 0 });
    }
    let mut changes = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
    let mut last = Version::ZERO;
    while fields.left() > 0 {
        let change = read_change(&mut fields, last)?;
        last = change.version;
        changes.push(change);
    }
    match fields.at() {
        at if at < plain.len() => Err(WireError::Malformed { at }),
        _ => Ok(changes),
    }
}

fn read_change(fields: &mut Fields<'_, '_>, last: Version) -> Result<Change, WireError> {
    let (at, after) = (fields.at(), fields.u64()?);
    let version = last.0.checked_add(after).filter(|&version| version > last.0).ok_or(Malformed { at })?;
    let key = Key::new(fields.bytes()?)?;
    let value = match fields.bytes_or_null()? {
        Some(value) if value.len() > VALUE_BYTES_MAX => {
            return Err(WireError::ValueTooLong { bytes: value.len() });
        }
        value => value.map(Bytes::copy_from_slice),
    };
    Ok(Change { version: Version(version), key, value })
}
