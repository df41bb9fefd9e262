//! LZ4 frames. Java's consumer reads independent blocks only, so frames with linked ones are refused rather than stored.

use std::io::{Read, Write};

use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use super::{Codec, InflateError, corrupt};

/// Little-endian magic of the LZ4 frame format.
const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
/// Frame descriptor flag: blocks do not refer to each other.
const INDEPENDENT: u8 = 1 << 5;
/// Frame descriptor flag: a checksum follows the end mark.
const CONTENT_CHECKSUM: u8 = 1 << 2;
/// A block of no bytes ends a frame.
const END_MARK: [u8; 4] = [0; 4];

pub(super) struct Reader<'a> {
    decoder: FrameDecoder<&'a [u8]>,
    content_checksum: bool,
    /// Whether the end mark was seen.
    ended: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(payload: &'a [u8]) -> Result<Self, InflateError> {
        let descriptor = payload.strip_prefix(&MAGIC).and_then(|rest| rest.first());
        let Some(flags) = descriptor else { return Err(corrupt(Codec::Lz4, "no frame header")) };
        if flags & INDEPENDENT == 0 {
            return Err(InflateError::Unsupported {
                codec: Codec::Lz4,
                reason: "has blocks that depend on each other",
            });
        }
        Ok(Reader {
            decoder: FrameDecoder::new(payload),
            content_checksum: flags & CONTENT_CHECKSUM != 0,
            ended: false,
        })
    }

    pub(super) fn read(&mut self, out: &mut [u8]) -> Result<usize, InflateError> {
        let before = *self.decoder.get_ref();
        let read = self.decoder.read(out).map_err(|error| corrupt(Codec::Lz4, error))?;
        if read == 0 && !self.ended {
            // The decoder takes the end of its input for the end of the frame: look for the end mark in what it took last.
            let taken = &before[..before.len() - self.decoder.get_ref().len()];
            let mark_end = if self.content_checksum { taken.len().saturating_sub(4) } else { taken.len() };
            if !taken[..mark_end].ends_with(&END_MARK) {
                return Err(corrupt(Codec::Lz4, "frame is cut"));
            }
            self.ended = true;
        }
        Ok(read)
    }
}

pub(super) fn compress(data: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let info = FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Independent);
    let mut encoder = FrameEncoder::with_frame_info(info, out);
    encoder.write_all(data).map_err(|error| error.to_string())?;
    encoder.finish().map(drop).map_err(|error| error.to_string())
}
