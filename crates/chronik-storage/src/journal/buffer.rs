//! A buffer whose bytes start at a multiple of [`BLOCK_BYTES`] in memory, as direct writes demand, made of an ordinary vector that is
//! a block larger than it need be: no unsafe code.

use crate::disk::BLOCK_BYTES;

/// A reusable aligned buffer.
#[derive(Default)]
pub(super) struct AlignedBuffer {
    bytes: Vec<u8>,
    start: usize,
}

/// What is kept from one group to the next; a rare large group gives its memory back.
const KEPT_BYTES: usize = 8 << 20;

impl AlignedBuffer {
    /// `len` bytes of any content.
    pub(super) fn take(&mut self, len: usize) -> &mut [u8] {
        let room = self.bytes.len().saturating_sub(BLOCK_BYTES);
        if room < len || (room > KEPT_BYTES && len <= KEPT_BYTES) {
            let wanted = len.next_power_of_two().max(64 * 1024);
            self.bytes = vec![0; wanted + BLOCK_BYTES];
            self.start = self.bytes.as_ptr().align_offset(BLOCK_BYTES);
        }
        &mut self.bytes[self.start..self.start + len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_aligned_and_gives_large_memory_back() {
        let mut buffer = AlignedBuffer::default();
        for len in [1, 4096, 100_000, 3 << 20, 20 << 20, 4096] {
            let bytes = buffer.take(len);
            assert_eq!(bytes.len(), len);
            assert_eq!(bytes.as_ptr().addr() % BLOCK_BYTES, 0);
        }
        assert!(buffer.bytes.len() < KEPT_BYTES);
    }
}
