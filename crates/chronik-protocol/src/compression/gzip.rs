//! gzip, one or more members as `GZIPInputStream` reads them.

use std::io::{Read, Write};

use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::{Codec, InflateError, corrupt};

pub(super) struct Reader<'a>(MultiGzDecoder<&'a [u8]>);

impl<'a> Reader<'a> {
    pub(super) fn new(payload: &'a [u8]) -> Self {
        Reader(MultiGzDecoder::new(payload))
    }

    pub(super) fn read(&mut self, out: &mut [u8]) -> Result<usize, InflateError> {
        self.0.read(out).map_err(|error| corrupt(Codec::Gzip, error))
    }
}

pub(super) fn compress(level: Option<i32>, data: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let level = match level {
        // Kafka's −1 is the library's default too.
        None | Some(-1) => flate2::Compression::default(),
        Some(level @ 0..=9) => flate2::Compression::new(level as u32),
        Some(level) => return Err(format!("level {level} is not within 1..=9")),
    };
    let mut encoder = GzEncoder::new(out, level);
    encoder.write_all(data).and_then(|()| encoder.finish()).map(drop).map_err(|error| error.to_string())
}
