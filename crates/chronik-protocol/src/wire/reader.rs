//! Reading: strict where a wrong byte could be believed, bounded by what is there, lenient where clients are odd.
//!
//! The rules are those of Kafka 4.4: a negative length is null where null is allowed; tagged fields come in any order,
//! unknown ones are skipped; a varint has at most five bytes (ten for 64 bits), overlong or not.

use std::borrow::Cow;

use super::{Blob, DecodeError, Records, Str};
use crate::uuid::Uuid;

/// The most elements that an array may have.
pub const MAX_ELEMENTS: u32 = 1_000_000;
/// The most tagged fields that a struct may have.
pub const MAX_TAGS: u32 = 10_000;

/// What a decoder may allocate: this many bytes for each byte of the frame …
const BUDGET_FACTOR: usize = 16;
/// … and this many besides.
const BUDGET_BASE: usize = 64 * 1024;

type Result<T, E = DecodeError> = std::result::Result<T, E>;

/// A position in a frame, and the memory that may still be spent on it.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    budget: usize,
}

macro_rules! integers {
    ($($name:ident)*) => {$(
        #[doc = concat!("Reads a big-endian ", stringify!($name), ".")]
        #[inline]
        pub fn $name(&mut self) -> Result<$name> {
            let (head, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Truncated)?;
            self.rest = rest;
            Ok($name::from_be_bytes(*head))
        }
    )*};
}

impl<'a> Reader<'a> {
    /// Reads from the front of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes, budget: bytes.len().saturating_mul(BUDGET_FACTOR).saturating_add(BUDGET_BASE) }
    }

    /// What is not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The number of bytes that are not read yet.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// An error if anything is left.
    pub fn finish(self) -> Result<()> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(DecodeError::Trailing(u32::try_from(left).unwrap_or(u32::MAX))),
        }
    }

    /// Takes the next `n` bytes.
    #[inline]
    pub fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    integers!(i8 u8 i16 u16 i32 u32 i64 f64);

    /// Reads a byte; anything but 0 is true.
    #[inline]
    pub fn bool(&mut self) -> Result<bool> {
        Ok(self.u8()? != 0)
    }

    /// Reads sixteen bytes.
    #[inline]
    pub fn uuid(&mut self) -> Result<Uuid> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(Uuid::from_bytes(*head))
    }

    /// Reads an unsigned varint of at most 32 bits.
    #[inline]
    pub fn uvarint(&mut self) -> Result<u32> {
        match self.rest.split_first() {
            Some((&byte, rest)) if byte < 0x80 => {
                self.rest = rest;
                Ok(u32::from(byte))
            }
            _ => Ok(self.long_varint(32)? as u32),
        }
    }

    /// Reads a zigzag varint of at most 32 bits.
    #[inline]
    pub fn varint(&mut self) -> Result<i32> {
        let value = self.uvarint()?;
        Ok((value >> 1) as i32 ^ -((value & 1) as i32))
    }

    /// Reads a zigzag varint of at most 64 bits.
    #[inline]
    pub fn varlong(&mut self) -> Result<i64> {
        let value = self.long_varint(64)?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn long_varint(&mut self, bits: u32) -> Result<u64> {
        let mut value = 0;
        for shift in (0..bits).step_by(7) {
            let byte = self.u8()?;
            let part = u64::from(byte & 0x7f);
            if bits - shift < 7 && part >> (bits - shift) != 0 {
                return Err(DecodeError::Varint);
            }
            value |= part << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::Varint)
    }

    /// A length in the compact form: one more than it is, 0 for null. Beyond 2³¹ Kafka's arithmetic wraps to null too.
    #[inline]
    fn compact_length(&mut self) -> Result<Option<u32>> {
        Ok(u32::try_from((self.uvarint()? as i32).wrapping_sub(1)).ok())
    }

    #[inline]
    fn length(&mut self, flexible: bool) -> Result<Option<u32>> {
        if flexible { self.compact_length() } else { Ok(u32::try_from(self.i32()?).ok()) }
    }

    /// Reads a string that may be null.
    #[inline]
    pub fn nullable_string(&mut self, flexible: bool) -> Result<Option<Str<'a>>> {
        let length = if flexible { self.compact_length()? } else { u32::try_from(self.i16()?).ok() };
        let Some(length) = length else { return Ok(None) };
        if length > i16::MAX as u32 {
            return Err(DecodeError::StringTooLong(length));
        }
        let text = std::str::from_utf8(self.take(length as usize)?).map_err(|_| DecodeError::Utf8)?;
        Ok(Some(Cow::Borrowed(text)))
    }

    /// Reads a string.
    #[inline]
    pub fn string(&mut self, flexible: bool) -> Result<Str<'a>> {
        self.nullable_string(flexible)?.ok_or(DecodeError::Null)
    }

    #[inline]
    fn nullable_slice(&mut self, flexible: bool) -> Result<Option<&'a [u8]>> {
        match self.length(flexible)? {
            Some(length) => Ok(Some(self.take(length as usize)?)),
            None => Ok(None),
        }
    }

    /// Reads bytes that may be null.
    #[inline]
    pub fn nullable_bytes(&mut self, flexible: bool) -> Result<Option<Blob<'a>>> {
        Ok(self.nullable_slice(flexible)?.map(Cow::Borrowed))
    }

    /// Reads bytes.
    #[inline]
    pub fn bytes(&mut self, flexible: bool) -> Result<Blob<'a>> {
        self.nullable_bytes(flexible)?.ok_or(DecodeError::Null)
    }

    /// Reads records that may be null.
    #[inline]
    pub fn nullable_records(&mut self, flexible: bool) -> Result<Option<Records<'a>>> {
        Ok(self.nullable_slice(flexible)?.map(Records::Borrowed))
    }

    /// Reads records.
    #[inline]
    pub fn records(&mut self, flexible: bool) -> Result<Records<'a>> {
        self.nullable_records(flexible)?.ok_or(DecodeError::Null)
    }

    /// Reads an array that may be null, each element by `read`.
    #[inline]
    pub fn nullable_array<T>(
        &mut self,
        flexible: bool,
        mut read: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Option<Vec<T>>> {
        let Some(count) = self.length(flexible)? else { return Ok(None) };
        self.charge(count, size_of::<T>())?;
        let mut elements = Vec::with_capacity(count as usize);
        for _ in 0..count {
            elements.push(read(self)?);
        }
        Ok(Some(elements))
    }

    /// Reads an array, each element by `read`.
    #[inline]
    pub fn array<T>(&mut self, flexible: bool, read: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        self.nullable_array(flexible, read)?.ok_or(DecodeError::Null)
    }

    /// Refuses elements that cannot be there or that would cost more memory than the frame justifies.
    fn charge(&mut self, count: u32, size: usize) -> Result<()> {
        if count > MAX_ELEMENTS || count as usize > self.rest.len() {
            return Err(DecodeError::ArrayTooLong(count));
        }
        let cost = (count as usize).saturating_mul(size);
        self.budget = self.budget.checked_sub(cost).ok_or(DecodeError::OverBudget)?;
        Ok(())
    }

    /// Reads a struct that may be null: a byte says whether it is there.
    #[inline]
    pub fn nullable_struct<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<Option<T>> {
        if self.i8()? < 0 { Ok(None) } else { read(self).map(Some) }
    }

    /// Reads a struct in a tagged field that may be null: a varint says whether it is there.
    #[inline]
    pub fn nullable_tagged_struct<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<Option<T>> {
        if self.uvarint()? == 0 { Ok(None) } else { read(self).map(Some) }
    }

    /// Reads the tagged fields of a struct. `read` gets each tag with a reader that ends where the field ends, and
    /// returns false for a tag that it does not know, which is then skipped.
    #[inline]
    pub fn tags(&mut self, mut read: impl FnMut(&mut Self, u32) -> Result<bool>) -> Result<()> {
        for _ in 0..self.tag_count()? {
            let tag = self.uvarint()?;
            let size = self.uvarint()? as usize;
            let field = self.take(size)?;
            let behind = std::mem::replace(&mut self.rest, field);
            if read(self, tag)? && !self.rest.is_empty() {
                return Err(DecodeError::TagSize(tag));
            }
            self.rest = behind;
        }
        Ok(())
    }

    /// Skips the tagged fields of a struct that has none of its own.
    #[inline]
    pub fn skip_tags(&mut self) -> Result<()> {
        match self.rest.split_first() {
            Some((0, rest)) => self.rest = rest,
            _ => self.tags(|_, _| Ok(false))?,
        }
        Ok(())
    }

    fn tag_count(&mut self) -> Result<u32> {
        match self.uvarint()? {
            count if count > MAX_TAGS => Err(DecodeError::TooManyTags(count)),
            count => Ok(count),
        }
    }
}
