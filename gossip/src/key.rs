//! The name of one entry of an origin.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The longest key. The longest the probes make, a flow's with an owner's container id and an IPv6
/// address, is about half.
pub const KEY_BYTES_MAX: usize = 256;

/// A short byte string, cheap to clone. At most [`KEY_BYTES_MAX`] long.
///
/// Owns its bytes rather than slicing a received frame: a key lives as long as what it names, and
/// must not keep the whole frame with it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<[u8]>);

/// A key longer than [`KEY_BYTES_MAX`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("key of {bytes} bytes, at most {KEY_BYTES_MAX} are taken")]
pub struct KeyTooLong {
    /// How long it is.
    pub bytes: usize,
}

impl Key {
    /// The key of these bytes, copied.
    ///
    /// # Errors
    /// [`KeyTooLong`] beyond [`KEY_BYTES_MAX`]; nothing is copied then.
    pub fn new(bytes: &[u8]) -> Result<Key, KeyTooLong> {
        match bytes.len() {
            len if len > KEY_BYTES_MAX => Err(KeyTooLong { bytes: len }),
            _ => Ok(Key(bytes.into())),
        }
    }

    /// The bytes of the key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<&[u8]> for Key {
    type Error = KeyTooLong;

    fn try_from(bytes: &[u8]) -> Result<Key, KeyTooLong> {
        Key::new(bytes)
    }
}

impl TryFrom<&str> for Key {
    type Error = KeyTooLong;

    fn try_from(text: &str) -> Result<Key, KeyTooLong> {
        Key::new(text.as_bytes())
    }
}

/// So a map of keys answers for plain bytes. `Arc<[u8]>` and `[u8]` agree on `Ord` and `Hash`.
impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.escape_ascii().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_bounded() {
        let cases =
            [(0, Ok(())), (KEY_BYTES_MAX, Ok(())), (KEY_BYTES_MAX + 1, Err(KeyTooLong { bytes: KEY_BYTES_MAX + 1 }))];
        for (len, want) in cases {
            assert_eq!(Key::new(&vec![b'k'; len]).map(|_| ()), want, "{len} bytes");
        }
    }

    #[test]
    fn a_key_prints_without_control_characters() {
        let key = Key::new(b"pid 7\n\xff").unwrap();
        assert_eq!(key.to_string(), r"pid 7\n\xff");
    }
}
