//! Record batches that may be wrong in any one place: an encoder of its own, without any check.

use std::time::{SystemTime, UNIX_EPOCH};

use chronik_protocol::batch::crc32c;
use chronik_protocol::compression::{Codec, Compression, compress};

/// A batch; what is `None` is computed.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) length: Option<i32>,
    pub(crate) magic: i8,
    pub(crate) crc: Option<u32>,
    pub(crate) attributes: i16,
    pub(crate) last_offset_delta: Option<i32>,
    pub(crate) base_timestamp: i64,
    pub(crate) max_timestamp: Option<i64>,
    pub(crate) producer_id: i64,
    pub(crate) epoch: i16,
    pub(crate) sequence: i32,
    pub(crate) count: Option<i32>,
    pub(crate) records: Vec<Record>,
    /// Instead of the records.
    pub(crate) payload: Option<Vec<u8>>,
}

/// A record; what is `None` is computed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    pub(crate) length: Option<Vec<u8>>,
    pub(crate) timestamp_delta: i64,
    pub(crate) offset_delta: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    /// Instead of the value with its length.
    pub(crate) raw_value: Option<Vec<u8>>,
    /// Instead of a header count of 0.
    pub(crate) raw_headers: Option<Vec<u8>>,
}

pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// A zigzag varint.
pub(crate) fn varint(value: i64) -> Vec<u8> {
    let mut value = ((value << 1) ^ (value >> 63)) as u64;
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn sized(bytes: Option<&[u8]>) -> Vec<u8> {
    match bytes {
        None => varint(-1),
        Some(bytes) => [varint(bytes.len() as i64), bytes.to_vec()].concat(),
    }
}

impl Record {
    pub(crate) fn of(offset_delta: i64, value: &str) -> Record {
        Record { offset_delta, value: Some(value.into()), ..Record::default() }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut body = vec![0];
        body.extend(varint(self.timestamp_delta));
        body.extend(varint(self.offset_delta));
        body.extend(sized(self.key.as_deref()));
        body.extend(self.raw_value.clone().unwrap_or_else(|| sized(self.value.as_deref())));
        body.extend(self.raw_headers.clone().unwrap_or_else(|| varint(0)));
        [self.length.clone().unwrap_or_else(|| varint(body.len() as i64)), body].concat()
    }
}

impl Batch {
    /// A good batch with these values.
    pub(crate) fn of(values: &[&str]) -> Batch {
        Batch::with(values.iter().zip(0..).map(|(value, at)| Record::of(at, value)).collect())
    }

    pub(crate) fn with(records: Vec<Record>) -> Batch {
        Batch {
            length: None,
            magic: 2,
            crc: None,
            attributes: 0,
            last_offset_delta: None,
            base_timestamp: now_ms(),
            max_timestamp: None,
            producer_id: -1,
            epoch: -1,
            sequence: -1,
            count: None,
            records,
            payload: None,
        }
    }

    /// From an idempotent producer.
    pub(crate) fn from(mut self, (id, epoch): (i64, i16), sequence: i32) -> Batch {
        (self.producer_id, self.epoch, self.sequence) = (id, epoch, sequence);
        self
    }

    pub(crate) fn compressed(mut self, codec: Codec) -> Batch {
        let mut out = Vec::new();
        compress(Compression::of(codec), &self.payload_bytes(), &mut out).unwrap();
        self.payload = Some(out);
        self.attributes |= i16::from(codec.id());
        self
    }

    fn payload_bytes(&self) -> Vec<u8> {
        self.payload.clone().unwrap_or_else(|| self.records.iter().flat_map(Record::bytes).collect())
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let count = self.records.len() as i32;
        let latest = self.records.iter().map(|r| r.timestamp_delta).max().unwrap_or(0);
        let mut body = self.attributes.to_be_bytes().to_vec();
        body.extend(self.last_offset_delta.unwrap_or(count - 1).to_be_bytes());
        body.extend(self.base_timestamp.to_be_bytes());
        body.extend(self.max_timestamp.unwrap_or(self.base_timestamp.wrapping_add(latest)).to_be_bytes());
        body.extend(self.producer_id.to_be_bytes());
        body.extend(self.epoch.to_be_bytes());
        body.extend(self.sequence.to_be_bytes());
        body.extend(self.count.unwrap_or(count).to_be_bytes());
        body.extend(self.payload_bytes());
        let mut out = 0i64.to_be_bytes().to_vec();
        out.extend(self.length.unwrap_or(body.len() as i32 + 9).to_be_bytes());
        out.extend((-1i32).to_be_bytes());
        out.push(self.magic as u8);
        out.extend(self.crc.unwrap_or_else(|| crc32c(&body)).to_be_bytes());
        [out, body].concat()
    }
}

/// The four codecs.
pub(crate) const CODECS: [Codec; 4] = [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
