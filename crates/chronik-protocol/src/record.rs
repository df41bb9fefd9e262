//! The records inside a batch: an allocation-free, strict walk, and writing one.
//!
//! A record is `length, attributes, timestamp delta, offset delta, key, value, headers`, all numbers as zig-zag varints. Strict means that
//! every length must be what Kafka writes: −1 or more, inside the record, and the record's own length exactly used up.

mod stream;

pub(crate) use stream::{RecordFacts, WalkError, walk};

/// Why bytes are not records.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The bytes end inside a record, or a length points behind the end.
    #[error("record ends before its content does")]
    Truncated,
    /// A varint is longer than its type allows.
    #[error("varint is too long")]
    Varint,
    /// A length or count is below what is allowed.
    #[error("invalid {what} {value}")]
    Length {
        /// Which one.
        what: &'static str,
        /// What it is.
        value: i32,
    },
    /// A record's content is shorter than its length says.
    #[error("record has {0} bytes behind its last header")]
    Trailing(usize),
    /// Bytes behind the last record that the batch counts.
    #[error("bytes behind the last record")]
    MoreThanCounted,
}

/// One record, borrowed from the batch (or from what it decompressed to).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRef<'a> {
    /// Offset minus the batch's base offset.
    pub offset_delta: i32,
    /// Timestamp minus the batch's base timestamp, ms.
    pub timestamp_delta: i64,
    /// The key; `None` is null.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is null, a tombstone in a compacted topic.
    pub value: Option<&'a [u8]>,
    headers: Headers<'a>,
}

impl<'a> RecordRef<'a> {
    /// The headers, in order.
    pub fn headers(&self) -> Headers<'a> {
        self.headers
    }
}

/// The headers of a record: key and value. They were checked when the record was read, so iterating cannot fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers<'a> {
    count: i32,
    bytes: &'a [u8],
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.count <= 0 {
            return None;
        }
        self.count -= 1;
        let key = take_bytes(&mut self.bytes, "header key length").ok()??;
        let value = take_bytes(&mut self.bytes, "header value length").ok()?;
        Some((key, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let count = self.count.max(0) as usize;
        (count, Some(count))
    }
}

/// Walks the records of an uncompressed payload. Ends after the first error, and with [`RecordError::MoreThanCounted`] when bytes are left.
#[derive(Clone, Debug)]
pub struct RecordIter<'a> {
    rest: &'a [u8],
    left: i32,
}

impl<'a> RecordIter<'a> {
    /// The `count` records of `payload`.
    pub fn new(payload: &'a [u8], count: i32) -> Self {
        RecordIter { rest: payload, left: count.max(0) }
    }
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<RecordRef<'a>, RecordError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            if self.rest.is_empty() {
                return None;
            }
            self.rest = &[];
            return Some(Err(RecordError::MoreThanCounted));
        }
        self.left -= 1;
        let record = read_record(&mut self.rest);
        if record.is_err() {
            self.left = 0;
            self.rest = &[];
        }
        Some(record)
    }
}

#[inline]
fn read_record<'a>(rest: &mut &'a [u8]) -> Result<RecordRef<'a>, RecordError> {
    let length = read_varint(rest)?;
    if length < 0 {
        return Err(RecordError::Length { what: "record length", value: length });
    }
    let (mut body, behind) = rest.split_at_checked(length as usize).ok_or(RecordError::Truncated)?;
    *rest = behind;
    // Record attributes: no bit has a meaning yet.
    body = body.get(1..).ok_or(RecordError::Truncated)?;
    let timestamp_delta = read_varlong(&mut body)?;
    let offset_delta = read_varint(&mut body)?;
    let key = take_bytes(&mut body, "key length")?;
    let value = take_bytes(&mut body, "value length")?;
    let count = read_varint(&mut body)?;
    if count < 0 {
        return Err(RecordError::Length { what: "header count", value: count });
    }
    let headers = Headers { count, bytes: body };
    for _ in 0..count {
        if take_bytes(&mut body, "header key length")?.is_none() {
            return Err(RecordError::Length { what: "header key length", value: -1 });
        }
        take_bytes(&mut body, "header value length")?;
    }
    if !body.is_empty() {
        return Err(RecordError::Trailing(body.len()));
    }
    Ok(RecordRef { offset_delta, timestamp_delta, key, value, headers })
}

#[inline]
fn take_bytes<'a>(rest: &mut &'a [u8], what: &'static str) -> Result<Option<&'a [u8]>, RecordError> {
    let length = read_varint(rest)?;
    if length < 0 {
        return if length == -1 { Ok(None) } else { Err(RecordError::Length { what, value: length }) };
    }
    let (bytes, behind) = rest.split_at_checked(length as usize).ok_or(RecordError::Truncated)?;
    *rest = behind;
    Ok(Some(bytes))
}

#[inline]
fn read_varint(rest: &mut &[u8]) -> Result<i32, RecordError> {
    if let [byte @ 0..=0x7f, behind @ ..] = *rest {
        *rest = behind;
        let raw = u32::from(*byte);
        return Ok((raw >> 1) as i32 ^ -((raw & 1) as i32));
    }
    let mut raw = 0u64;
    for (i, &byte) in rest.iter().enumerate().take(5) {
        raw |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            *rest = &rest[i + 1..];
            // A fifth byte may carry bits beyond 32, which Kafka drops.
            let raw = raw as u32;
            return Ok((raw >> 1) as i32 ^ -((raw & 1) as i32));
        }
    }
    Err(if rest.len() < 5 { RecordError::Truncated } else { RecordError::Varint })
}

#[inline]
fn read_varlong(rest: &mut &[u8]) -> Result<i64, RecordError> {
    let mut raw = 0u64;
    for (i, &byte) in rest.iter().enumerate().take(10) {
        raw |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            *rest = &rest[i + 1..];
            return Ok((raw >> 1) as i64 ^ -((raw & 1) as i64));
        }
    }
    Err(if rest.len() < 10 { RecordError::Truncated } else { RecordError::Varint })
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn varint_size(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

fn write_varint(out: &mut Vec<u8>, value: i64) {
    let mut raw = zigzag(value);
    while raw > 0x7f {
        out.push((raw as u8 & 0x7f) | 0x80);
        raw >>= 7;
    }
    out.push(raw as u8);
}

fn length_of(bytes: Option<&[u8]>) -> i64 {
    bytes.map_or(-1, |bytes| bytes.len() as i64)
}

fn bytes_size(bytes: Option<&[u8]>) -> usize {
    varint_size(length_of(bytes)) + bytes.map_or(0, <[u8]>::len)
}

fn write_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    write_varint(out, length_of(bytes));
    out.extend_from_slice(bytes.unwrap_or_default());
}

fn body_size(
    timestamp_delta: i64,
    offset_delta: i32,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[(&[u8], Option<&[u8]>)],
) -> usize {
    let headers_size: usize = headers.iter().map(|(key, value)| bytes_size(Some(key)) + bytes_size(*value)).sum();
    1 + varint_size(timestamp_delta)
        + varint_size(i64::from(offset_delta))
        + bytes_size(key)
        + bytes_size(value)
        + varint_size(headers.len() as i64)
        + headers_size
}

/// Bytes of a record as [`write_record`] writes it.
pub fn encoded_size(
    timestamp_delta: i64,
    offset_delta: i32,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[(&[u8], Option<&[u8]>)],
) -> usize {
    let body = body_size(timestamp_delta, offset_delta, key, value, headers);
    varint_size(body as i64) + body
}

/// Appends one record to `out`.
pub fn write_record(
    out: &mut Vec<u8>,
    timestamp_delta: i64,
    offset_delta: i32,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[(&[u8], Option<&[u8]>)],
) {
    let body = body_size(timestamp_delta, offset_delta, key, value, headers);
    out.reserve(body + 5);
    write_varint(out, body as i64);
    out.push(0);
    write_varint(out, timestamp_delta);
    write_varint(out, i64::from(offset_delta));
    write_bytes(out, key);
    write_bytes(out, value);
    write_varint(out, headers.len() as i64);
    for (key, value) in headers {
        write_bytes(out, Some(key));
        write_bytes(out, *value);
    }
}

#[cfg(test)]
mod tests;
