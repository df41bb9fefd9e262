//! The same strict walk over a decompressor's output, piece by piece, so that a batch is checked without ever being whole in memory.

use super::RecordError;
use crate::compression::{Inflate, InflateError};

/// What `validate` looks at in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordFacts {
    pub(crate) offset_delta: i32,
    pub(crate) timestamp_delta: i64,
    pub(crate) has_key: bool,
}

/// Why the walk stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WalkError {
    Inflate(InflateError),
    Record(RecordError),
}

impl From<InflateError> for WalkError {
    fn from(error: InflateError) -> Self {
        WalkError::Inflate(error)
    }
}

impl From<RecordError> for WalkError {
    fn from(error: RecordError) -> Self {
        WalkError::Record(error)
    }
}

/// Gives the facts of `count` records to `visit`, and makes sure that nothing follows them.
pub(crate) fn walk(inflate: &mut Inflate<'_>, count: i32, mut visit: impl FnMut(RecordFacts)) -> Result<(), WalkError> {
    let mut input = Input { inflate, left: 0 };
    for _ in 0..count {
        visit(input.record()?);
    }
    if input.inflate.fill()?.is_empty() { Ok(()) } else { Err(RecordError::MoreThanCounted.into()) }
}

struct Input<'i, 'a> {
    inflate: &'i mut Inflate<'a>,
    /// Bytes of the current record that were not read yet.
    left: usize,
}

impl Input<'_, '_> {
    fn record(&mut self) -> Result<RecordFacts, WalkError> {
        // The length stands in front of the record, so only its own longest form bounds it.
        self.left = 5;
        let length = self.varint()?;
        if length < 0 {
            return Err(RecordError::Length { what: "record length", value: length }.into());
        }
        self.left = length as usize;
        self.skip(1)?;
        let timestamp_delta = self.varlong()?;
        let offset_delta = self.varint()?;
        let has_key = self.skip_bytes("key length")?;
        self.skip_bytes("value length")?;
        let headers = self.varint()?;
        if headers < 0 {
            return Err(RecordError::Length { what: "header count", value: headers }.into());
        }
        for _ in 0..headers {
            if !self.skip_bytes("header key length")? {
                return Err(RecordError::Length { what: "header key length", value: -1 }.into());
            }
            self.skip_bytes("header value length")?;
        }
        if self.left > 0 {
            Err(RecordError::Trailing(self.left).into())
        } else {
            Ok(RecordFacts { offset_delta, timestamp_delta, has_key })
        }
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, WalkError> {
        let Some(left) = self.left.checked_sub(1) else { return Err(RecordError::Truncated.into()) };
        self.left = left;
        let Some(&byte) = self.inflate.fill()?.first() else { return Err(RecordError::Truncated.into()) };
        self.inflate.consume(1);
        Ok(byte)
    }

    fn skip(&mut self, mut length: usize) -> Result<(), WalkError> {
        let Some(left) = self.left.checked_sub(length) else { return Err(RecordError::Truncated.into()) };
        self.left = left;
        while length > 0 {
            let available = self.inflate.fill()?.len();
            if available == 0 {
                return Err(RecordError::Truncated.into());
            }
            let step = available.min(length);
            self.inflate.consume(step);
            length -= step;
        }
        Ok(())
    }

    /// Skips a length and what it counts; whether it was there (not null).
    fn skip_bytes(&mut self, what: &'static str) -> Result<bool, WalkError> {
        let length = self.varint()?;
        match length {
            0.. => self.skip(length as usize).map(|()| true),
            -1 => Ok(false),
            _ => Err(RecordError::Length { what, value: length }.into()),
        }
    }

    #[inline]
    fn varint(&mut self) -> Result<i32, WalkError> {
        let raw = self.unsigned(5)? as u32;
        Ok((raw >> 1) as i32 ^ -((raw & 1) as i32))
    }

    #[inline]
    fn varlong(&mut self) -> Result<i64, WalkError> {
        let raw = self.unsigned(10)?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    #[inline]
    fn unsigned(&mut self, bytes_max: usize) -> Result<u64, WalkError> {
        let mut raw = 0u64;
        for i in 0..bytes_max {
            let byte = self.byte()?;
            raw |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                return Ok(raw);
            }
        }
        Err(RecordError::Varint.into())
    }
}
