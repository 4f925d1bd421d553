//! Reads one CBOR array field by field: whatever the bytes say, in constant memory and one pass.

use minicbor::data::Type;
use minicbor::decode::{Decoder, Error};

/// Not CBOR, not of a definite length, or not the field that belongs there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed {
    /// How many bytes were read before.
    pub(crate) at: usize,
}

/// The fields of an array that are still to be read. Those of a newer peer may have more than we
/// know: they are skipped.
///
/// Nothing we write has an indefinite length (RFC 8949 §4.2), so such items are refused. That is why
/// skipping needs no stack: a nested array only adds to the number of items to skip.
pub(crate) struct Fields<'a, 'b> {
    decoder: &'a mut Decoder<'b>,
    left: u64,
}

impl<'a, 'b> Fields<'a, 'b> {
    /// Reads the head of an array.
    pub(crate) fn open(decoder: &'a mut Decoder<'b>) -> Result<Fields<'a, 'b>, Malformed> {
        let at = decoder.position();
        match decoder.array() {
            Ok(Some(left)) => Ok(Fields { decoder, left }),
            _ => Err(Malformed { at }),
        }
    }

    /// How many fields are left, by the array's own word.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// How many bytes were read so far.
    pub(crate) fn at(&self) -> usize {
        self.decoder.position()
    }

    pub(crate) fn array(&mut self) -> Result<Fields<'_, 'b>, Malformed> {
        self.take()?;
        Fields::open(self.decoder)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.read(Decoder::u32)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.read(Decoder::u64)
    }

    pub(crate) fn bool(&mut self) -> Result<bool, Malformed> {
        self.read(Decoder::bool)
    }

    pub(crate) fn str(&mut self) -> Result<&'b str, Malformed> {
        self.read(Decoder::str)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'b [u8], Malformed> {
        self.read(Decoder::bytes)
    }

    pub(crate) fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let at = self.at();
        self.bytes()?.try_into().map_err(|_| Malformed { at })
    }

    /// Bytes, or null.
    pub(crate) fn bytes_or_null(&mut self) -> Result<Option<&'b [u8]>, Malformed> {
        match self.decoder.datatype() {
            Ok(Type::Null) => self.read(Decoder::null).map(|()| None),
            _ => self.bytes().map(Some),
        }
    }

    /// Skips what is left, whatever it is.
    pub(crate) fn skip(self) -> Result<(), Malformed> {
        let mut items = self.left;
        while items > 0 {
            let at = self.at();
            let nested = skip_one(self.decoder).map_err(|_| Malformed { at })?.ok_or(Malformed { at })?;
            items = (items - 1).checked_add(nested).ok_or(Malformed { at })?;
        }
        Ok(())
    }

    fn read<T>(&mut self, read: impl FnOnce(&mut Decoder<'b>) -> Result<T, Error>) -> Result<T, Malformed> {
        self.take()?;
        let at = self.at();
        read(self.decoder).map_err(|_| Malformed { at })
    }

    fn take(&mut self) -> Result<(), Malformed> {
        self.left = self.left.checked_sub(1).ok_or(Malformed { at: self.at() })?;
        Ok(())
    }
}

/// Skips an item but for those nested in it, and says how many these are; `None` if that is not
/// known beforehand.
fn skip_one(decoder: &mut Decoder<'_>) -> Result<Option<u64>, Error> {
    match decoder.datatype()? {
        Type::Array => decoder.array(),
        Type::Map => Ok(decoder.map()?.and_then(|pairs| pairs.checked_mul(2))),
        Type::Tag => decoder.tag().map(|_| Some(1)),
        Type::ArrayIndef | Type::MapIndef | Type::BytesIndef | Type::StringIndef | Type::Break => Ok(None),
        _ => decoder.skip().map(|()| Some(0)),
    }
}
