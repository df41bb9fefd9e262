//! From bytes to frames: a buffer that grows with what has come, never with what a length claims.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use chronik_protocol::frame::{self, FrameError};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// What a connection may allocate before it has sent anything.
const FIRST_BYTES: usize = 64 * 1024;
/// Room that makes a read worthwhile when no frame has begun: many small requests come in one read.
const READ_BYTES: usize = 16 * 1024;
/// As much room at most, where a connection has sent long frames before.
const READ_BYTES_MAX: usize = 2 * 1024 * 1024;

/// The bytes of one connection that are not requests yet.
#[derive(Debug)]
pub(crate) struct FrameReader {
    buffer: BytesMut,
    /// The longest frame that came in full, fading: a connection that has sent that much may be trusted with a buffer for
    /// it, and needs no copy then.
    longest: usize,
    frame_max: usize,
}

impl FrameReader {
    pub(crate) fn new(frame_max: usize) -> FrameReader {
        FrameReader { buffer: BytesMut::new(), longest: 0, frame_max }
    }

    /// The next whole frame, without its length. An error means that the bytes cannot be a request.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(len) = self.announced()? else { return Ok(None) };
        if self.buffer.len() < 4 + len {
            return Ok(None);
        }
        self.buffer.advance(4);
        self.longest = len.max(self.longest - self.longest / 8);
        let frame = self.buffer.split_to(len).freeze();
        if self.buffer.is_empty() {
            // The frame keeps the memory alive as long as somebody needs it; an idle connection holds none.
            self.buffer = BytesMut::new();
        }
        Ok(Some(frame))
    }

    /// Whether [`FrameReader::next_frame`] has something to say.
    pub(crate) fn has_frame(&self) -> bool {
        match self.announced() {
            Ok(Some(len)) => self.buffer.len() >= 4 + len,
            Ok(None) => false,
            Err(_) => true,
        }
    }

    /// The API key of the frame at the front, if that much has come.
    pub(crate) fn next_key(&self) -> Option<i16> {
        self.buffer.get(4..6).map(|key| i16::from_be_bytes([key[0], key[1]]))
    }

    /// What has come, to say in a log line what it looked like.
    pub(crate) fn peek(&self) -> &[u8] {
        &self.buffer
    }

    /// Reads what the socket has, at most as much as the buffer may hold. 0 bytes: the peer is done.
    pub(crate) fn poll_read(&mut self, socket: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // Readiness first: a connection that has nothing to say gets no buffer.
        ready!(socket.poll_read_ready(cx))?;
        self.make_room();
        let read = pin!(socket.read_buf(&mut self.buffer)).poll(cx);
        if read.is_pending() && self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
        read
    }

    fn announced(&self) -> Result<Option<usize>, FrameError> {
        match self.buffer.first_chunk::<4>() {
            Some(prefix) => frame::length(*prefix, self.frame_max).map(Some),
            None => Ok(None),
        }
    }

    fn make_room(&mut self) {
        let room = match self.announced() {
            Ok(Some(len)) if 4 + len > self.buffer.len() => {
                let missing = 4 + len - self.buffer.len();
                // Doubling with what has come, or at once what this connection has filled before.
                missing.min(self.buffer.len().max(self.longest + 4).max(FIRST_BYTES))
            }
            _ => READ_BYTES.max((self.longest + 4).min(READ_BYTES_MAX)),
        };
        if self.buffer.capacity() - self.buffer.len() < room.min(READ_BYTES) || room > READ_BYTES {
            self.buffer.reserve(room);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(bytes: &[u8]) -> FrameReader {
        FrameReader { buffer: BytesMut::from(bytes), longest: 0, frame_max: 100 }
    }

    #[test]
    fn frames_come_out_whole_and_in_order() {
        let mut r = reader(b"\0\0\0\x02ab\0\0\0\x01c\0\0\0\x05de");
        assert_eq!(r.next_frame().unwrap().unwrap(), "ab");
        assert_eq!(r.next_frame().unwrap().unwrap(), "c");
        assert_eq!(r.next_frame().unwrap(), None);
        assert!(!r.peek().is_empty() && !r.has_frame());
        r.buffer.extend_from_slice(b"fgh");
        assert_eq!(r.next_frame().unwrap().unwrap(), "defgh");
        assert!(r.peek().is_empty());
        assert_eq!(r.buffer.capacity(), 0);
    }

    #[test]
    fn lengths_that_cannot_be_are_refused() {
        for bytes in [b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\x65"] {
            assert!(reader(bytes).next_frame().is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_claimed_length_allocates_the_first_64_kib_only() {
        let mut r = FrameReader::new(100 << 20);
        r.buffer.extend_from_slice(&(50i32 << 20).to_be_bytes());
        r.make_room();
        assert!(r.buffer.capacity() <= FIRST_BYTES + 8, "{}", r.buffer.capacity());
        // What has come may be doubled.
        r.buffer.resize(FIRST_BYTES, 0);
        r.make_room();
        assert!(r.buffer.capacity() <= 4 * FIRST_BYTES, "{}", r.buffer.capacity());
    }
}
