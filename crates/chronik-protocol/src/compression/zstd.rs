//! Zstandard frames, decoded with contexts that a thread keeps and uses again.

use std::cell::Cell;

use zstd::zstd_safe::get_frame_content_size;
use zstd::zstd_safe::{CCtx, CParameter, DCtx, InBuffer, OutBuffer, ResetDirective, compress_bound, get_error_name};

use super::{Codec, InflateError, corrupt};

/// Contexts that have grown beyond this (by a frame with a big window) are given back to the allocator.
const KEEP_BYTES_MAX: usize = 1024 * 1024;

thread_local! {
    static DECODER: Cell<Option<DCtx<'static>>> = const { Cell::new(None) };
    static ENCODER: Cell<Option<CCtx<'static>>> = const { Cell::new(None) };
}

pub(super) struct Reader<'a> {
    /// Taken only by `drop`.
    context: Option<DCtx<'static>>,
    rest: &'a [u8],
    /// Whether what was read so far ends with a whole frame.
    whole: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(payload: &'a [u8], limit: usize) -> Result<Self, InflateError> {
        // Most encoders write down how much there is: a bomb is then refused before its window is even allocated.
        if let Ok(Some(size)) = get_frame_content_size(payload)
            && size > limit as u64
        {
            return Err(InflateError::TooLarge { limit });
        }
        let kept = DECODER.try_with(Cell::take).ok().flatten();
        let mut context =
            kept.or_else(DCtx::try_create).ok_or_else(|| corrupt(Codec::Zstd, "no memory for a decoder"))?;
        context.reset(ResetDirective::SessionOnly).map_err(|code| corrupt(Codec::Zstd, get_error_name(code)))?;
        Ok(Reader { context: Some(context), rest: payload, whole: false })
    }

    pub(super) fn read(&mut self, out: &mut [u8]) -> Result<usize, InflateError> {
        let Some(context) = &mut self.context else { return Ok(0) };
        loop {
            if self.rest.is_empty() && self.whole {
                return Ok(0);
            }
            let mut output = OutBuffer::around(&mut *out);
            let mut input = InBuffer::around(self.rest);
            let hint = context.decompress_stream(&mut output, &mut input);
            let hint = hint.map_err(|code| corrupt(Codec::Zstd, get_error_name(code)))?;
            let (taken, written) = (input.pos(), output.pos());
            self.rest = &self.rest[taken..];
            self.whole = hint == 0;
            if written > 0 {
                return Ok(written);
            }
            if taken == 0 && !self.whole {
                return Err(corrupt(Codec::Zstd, "frame is cut"));
            }
        }
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        if let Some(context) = self.context.take().filter(|context| context.sizeof() <= KEEP_BYTES_MAX) {
            let _ = DECODER.try_with(|kept| kept.set(Some(context)));
        }
    }
}

pub(super) fn compress(level: Option<i32>, data: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let name = |code| get_error_name(code).to_owned();
    let kept = ENCODER.try_with(Cell::take).ok().flatten();
    let mut context = kept.or_else(CCtx::try_create).ok_or("no memory for an encoder")?;
    context.reset(ResetDirective::SessionAndParameters).map_err(name)?;
    context
        .set_parameter(CParameter::CompressionLevel(level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL)))
        .map_err(name)?;
    let start = out.len();
    out.resize(start + compress_bound(data.len()), 0);
    let written = context.compress2(&mut out[start..], data).map_err(name)?;
    out.truncate(start + written);
    if context.sizeof() <= KEEP_BYTES_MAX {
        let _ = ENCODER.try_with(|slot| slot.set(Some(context)));
    }
    Ok(())
}
