//! Writing: one buffer for everything but records, which are spliced in where they belong.

use std::io;

use bytes::Bytes;

use super::{Chunk, EncodeError, Records};
use crate::uuid::Uuid;

/// Record bytes below this are copied: a piece of its own costs more than the copy.
const SPLICE_FROM: usize = 1024;

type Result<T, E = EncodeError> = std::result::Result<T, E>;

/// A frame that is being written.
#[derive(Debug, Default)]
pub struct Writer {
    buf: Vec<u8>,
    /// What is spliced in, each with the place in `buf` that it comes before.
    splices: Vec<(usize, Chunk)>,
    spliced: usize,
}

/// A frame as pieces, in the order of the wire.
#[derive(Clone, Debug, PartialEq)]
pub struct EncodedFrame {
    /// The pieces.
    pub chunks: Vec<Chunk>,
    /// Their length together.
    pub len: usize,
}

impl EncodedFrame {
    /// All bytes in one piece, read where they have to be read.
    pub fn to_vec(&self) -> io::Result<Vec<u8>> {
        let mut out = Vec::with_capacity(self.len);
        for chunk in &self.chunks {
            chunk.append_to(&mut out)?;
        }
        Ok(out)
    }
}

macro_rules! integers {
    ($($name:ident)*) => {$(
        #[doc = concat!("Writes a big-endian ", stringify!($name), ".")]
        #[inline]
        pub fn $name(&mut self, value: $name) {
            self.buf.extend_from_slice(&value.to_be_bytes());
        }
    )*};
}

impl Writer {
    /// A writer with room for `bytes` besides what is spliced in.
    pub fn with_capacity(bytes: usize) -> Writer {
        Writer { buf: Vec::with_capacity(bytes), ..Writer::default() }
    }

    /// The number of bytes so far, with what is spliced in.
    pub fn len(&self) -> usize {
        self.buf.len() + self.spliced
    }

    /// Whether nothing is written yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    integers!(i8 u8 i16 u16 i32 u32 i64 f64);

    /// Writes 1 or 0.
    #[inline]
    pub fn bool(&mut self, value: bool) {
        self.u8(u8::from(value));
    }

    /// Writes sixteen bytes.
    #[inline]
    pub fn uuid(&mut self, value: Uuid) {
        self.buf.extend_from_slice(value.as_bytes());
    }

    /// Writes bytes as they are.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
    }

    /// Writes an unsigned varint.
    #[inline]
    pub fn uvarint(&mut self, value: u32) {
        if value < 0x80 { self.buf.push(value as u8) } else { self.long_varint(u64::from(value)) }
    }

    /// Writes a zigzag varint.
    #[inline]
    pub fn varint(&mut self, value: i32) {
        self.uvarint(((value << 1) ^ (value >> 31)) as u32);
    }

    /// Writes a zigzag varint of up to 64 bits.
    #[inline]
    pub fn varlong(&mut self, value: i64) {
        self.long_varint(((value << 1) ^ (value >> 63)) as u64);
    }

    fn long_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.buf.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.buf.push(value as u8);
    }

    /// Writes the length of bytes, records or an array.
    #[inline]
    fn length(&mut self, length: usize, flexible: bool) -> Result<()> {
        let value = i32::try_from(length).map_err(|_| EncodeError::TooLong(length))?;
        if flexible {
            self.uvarint(value as u32 + 1)
        } else {
            self.i32(value)
        }
        Ok(())
    }

    #[inline]
    fn null(&mut self, flexible: bool) {
        if flexible { self.uvarint(0) } else { self.i32(-1) }
    }

    /// Writes a string.
    #[inline]
    pub fn string(&mut self, value: &str, flexible: bool) -> Result<()> {
        let length = i16::try_from(value.len()).map_err(|_| EncodeError::TooLong(value.len()))?;
        if flexible {
            self.uvarint(length as u32 + 1)
        } else {
            self.i16(length)
        }
        self.buf.extend_from_slice(value.as_bytes());
        Ok(())
    }

    /// Writes a string or null.
    #[inline]
    pub fn nullable_string(&mut self, value: Option<&str>, flexible: bool) -> Result<()> {
        match value {
            Some(value) => return self.string(value, flexible),
            None if flexible => self.uvarint(0),
            None => self.i16(-1),
        }
        Ok(())
    }

    /// Writes bytes.
    #[inline]
    pub fn bytes(&mut self, value: &[u8], flexible: bool) -> Result<()> {
        self.length(value.len(), flexible)?;
        self.buf.extend_from_slice(value);
        Ok(())
    }

    /// Writes bytes or null.
    #[inline]
    pub fn nullable_bytes(&mut self, value: Option<&[u8]>, flexible: bool) -> Result<()> {
        match value {
            Some(value) => return self.bytes(value, flexible),
            None => self.null(flexible),
        }
        Ok(())
    }

    /// Writes records: long ones and ranges of files are spliced in, not copied.
    pub fn records(&mut self, value: &Records<'_>, flexible: bool) -> Result<()> {
        self.length(value.len(), flexible)?;
        match value {
            Records::Borrowed(bytes) => self.raw(bytes),
            Records::Owned(bytes) => self.splice_bytes(bytes),
            Records::Chunks(chunks) => {
                for chunk in chunks {
                    match chunk {
                        Chunk::Bytes(bytes) => self.splice_bytes(bytes),
                        Chunk::File { .. } => self.splice(chunk.clone()),
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes records or null.
    #[inline]
    pub fn nullable_records(&mut self, value: Option<&Records<'_>>, flexible: bool) -> Result<()> {
        match value {
            Some(value) => return self.records(value, flexible),
            None => self.null(flexible),
        }
        Ok(())
    }

    fn splice_bytes(&mut self, bytes: &Bytes) {
        if bytes.len() < SPLICE_FROM { self.raw(bytes) } else { self.splice(Chunk::Bytes(bytes.clone())) }
    }

    fn splice(&mut self, chunk: Chunk) {
        if !chunk.is_empty() {
            self.spliced += chunk.len();
            self.splices.push((self.buf.len(), chunk));
        }
    }

    /// Writes an array, each element by `write`.
    #[inline]
    pub fn array<T>(
        &mut self,
        elements: &[T],
        flexible: bool,
        mut write: impl FnMut(&mut Self, &T) -> Result<()>,
    ) -> Result<()> {
        self.length(elements.len(), flexible)?;
        for element in elements {
            write(self, element)?;
        }
        Ok(())
    }

    /// Writes an array or null, each element by `write`.
    #[inline]
    pub fn nullable_array<T>(
        &mut self,
        elements: Option<&[T]>,
        flexible: bool,
        write: impl FnMut(&mut Self, &T) -> Result<()>,
    ) -> Result<()> {
        match elements {
            Some(elements) => return self.array(elements, flexible, write),
            None => self.null(flexible),
        }
        Ok(())
    }

    /// Writes a tagged field: its tag, its size, and what `write` writes.
    #[inline]
    pub fn tagged(&mut self, tag: u32, write: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        self.uvarint(tag);
        let (start, before) = (self.buf.len(), self.len());
        write(self)?;
        self.insert_size(start, self.len() - before)
    }

    /// Puts the size of a tagged field, known only now, before its content.
    fn insert_size(&mut self, start: usize, size: usize) -> Result<()> {
        let size = u32::try_from(size).map_err(|_| EncodeError::TooLong(size))?;
        let end = self.buf.len();
        self.uvarint(size);
        let width = self.buf.len() - end;
        self.buf[start..].rotate_right(width);
        for (at, _) in self.splices.iter_mut().rev().take_while(|(at, _)| *at >= start) {
            *at += width;
        }
        Ok(())
    }

    /// Overwrites four bytes with a big-endian number.
    pub(crate) fn patch_i32(&mut self, at: usize, value: i32) {
        if let Some(place) = self.buf.get_mut(at..at + 4) {
            place.copy_from_slice(&value.to_be_bytes());
        }
    }

    /// The frame, in pieces.
    pub fn finish(self) -> EncodedFrame {
        let len = self.len();
        let buf = Bytes::from(self.buf);
        if self.splices.is_empty() {
            return EncodedFrame { chunks: vec![Chunk::Bytes(buf)], len };
        }
        let mut chunks = Vec::with_capacity(2 * self.splices.len() + 1);
        let mut from = 0;
        for (at, chunk) in self.splices {
            if at > from {
                chunks.push(Chunk::Bytes(buf.slice(from..at)));
            }
            chunks.push(chunk);
            from = at;
        }
        if from < buf.len() {
            chunks.push(Chunk::Bytes(buf.slice(from..)));
        }
        EncodedFrame { chunks, len }
    }

    /// What was written, for messages that hold no records.
    pub(crate) fn into_vec(self) -> Vec<u8> {
        debug_assert!(self.splices.is_empty(), "records need finish()");
        self.buf
    }
}

/// The number of bytes of an unsigned varint.
pub fn uvarint_len(value: u32) -> usize {
    (38 - (value | 1).leading_zeros() as usize) / 7
}
