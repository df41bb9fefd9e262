//! Snappy in its two framings: a bare block (librdkafka, and most others) and xerial's sequence of blocks (Java).

use snap::raw::{Decoder, Encoder, decompress_len};

use super::{Codec, InflateError, corrupt};

/// What xerial's framing starts with; a version and a compatible version (both 1) follow.
const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const XERIAL_HEADER: usize = 16;
/// Block size of Java's `SnappyOutputStream`.
const BLOCK: usize = 32 * 1024;
/// The format's densest element makes 64 bytes out of 3; what claims more than this lies.
const RATIO_MAX: usize = 32;

pub(super) struct Reader<'a> {
    rest: &'a [u8],
    xerial: bool,
    decoder: Decoder,
    block: Vec<u8>,
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(payload: &'a [u8]) -> Result<Self, InflateError> {
        let xerial = payload.starts_with(&XERIAL_MAGIC);
        let rest = if xerial { payload.get(XERIAL_HEADER..) } else { Some(payload) };
        let rest = rest.ok_or_else(|| corrupt(Codec::Snappy, "framing header is cut"))?;
        Ok(Reader { rest, xerial, decoder: Decoder::new(), block: Vec::new(), at: 0 })
    }

    pub(super) fn read(&mut self, out: &mut [u8], limit: usize, remaining: usize) -> Result<usize, InflateError> {
        while self.at == self.block.len() {
            let Some(compressed) = self.next_block()? else { return Ok(0) };
            self.inflate(compressed, limit, remaining)?;
        }
        let ready = &self.block[self.at..];
        let length = ready.len().min(out.len());
        out[..length].copy_from_slice(&ready[..length]);
        self.at += length;
        Ok(length)
    }

    fn next_block(&mut self) -> Result<Option<&'a [u8]>, InflateError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        if !self.xerial {
            return Ok(Some(std::mem::take(&mut self.rest)));
        }
        // Java appends streams to each other, header included.
        if self.rest.starts_with(&XERIAL_MAGIC) {
            self.rest = self.rest.get(XERIAL_HEADER..).unwrap_or_default();
        }
        if self.rest.is_empty() {
            return Ok(None);
        }
        let cut = || corrupt(Codec::Snappy, "block is cut");
        let (length, rest) = self.rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let (block, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize).ok_or_else(cut)?;
        self.rest = rest;
        Ok(Some(block))
    }

    fn inflate(&mut self, compressed: &[u8], limit: usize, remaining: usize) -> Result<(), InflateError> {
        let length = decompress_len(compressed).map_err(|error| corrupt(Codec::Snappy, error))?;
        if length > compressed.len().saturating_mul(RATIO_MAX) {
            return Err(corrupt(Codec::Snappy, "block claims more than it can hold"));
        }
        if length > remaining {
            return Err(InflateError::TooLarge { limit });
        }
        self.at = 0;
        self.block.resize(length, 0);
        let read =
            self.decoder.decompress(compressed, &mut self.block).map_err(|error| corrupt(Codec::Snappy, error))?;
        self.block.truncate(read);
        Ok(())
    }
}

pub(super) fn compress(data: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    out.extend_from_slice(&XERIAL_MAGIC);
    out.extend_from_slice(&1i32.to_be_bytes());
    out.extend_from_slice(&1i32.to_be_bytes());
    let mut encoder = Encoder::new();
    for block in data.chunks(BLOCK) {
        let length_at = out.len();
        let start = length_at + 4;
        out.resize(start + snap::raw::max_compress_len(block.len()), 0);
        let written = encoder.compress(block, &mut out[start..]).map_err(|error| error.to_string())?;
        out[length_at..start].copy_from_slice(&(written as u32).to_be_bytes());
        out.truncate(start + written);
    }
    Ok(())
}
