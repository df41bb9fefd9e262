//! Answers on their way out: many in one write, ranges of files by `sendfile`.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use chronik_protocol::wire::{Chunk, EncodedFrame};
use rustix::net::{SendAncillaryBuffer, SendFlags};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Pieces that go into one system call.
const PIECES_MAX: usize = 64;
/// Ranges below this are read and sent with their neighbours: a `sendfile` of its own costs more than the copy.
const SENDFILE_FROM: usize = 32 * 1024;
/// Ranges that cannot be sent by `sendfile` are read in pieces of this size.
const READ_BYTES: usize = 256 * 1024;
/// What one `sendfile` is asked for.
const SENDFILE_BYTES_MAX: usize = 1 << 20;

/// The unsent answers of one connection, in order.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    chunks: VecDeque<Chunk>,
    /// Bytes of [`Chunk::Bytes`] among them.
    in_memory: usize,
}

impl Outbox {
    pub(crate) fn push(&mut self, frame: EncodedFrame) {
        for chunk in frame.chunks {
            if let Chunk::Bytes(bytes) = &chunk {
                self.in_memory += bytes.len();
            }
            self.chunks.push_back(chunk);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Unsent bytes that are held in memory.
    pub(crate) fn in_memory(&self) -> usize {
        self.in_memory
    }

    /// Sends until everything is gone (`Ready(Ok)`) or the socket is full.
    pub(crate) fn poll_flush(&mut self, socket: &TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(first) = self.chunks.front() {
            ready!(socket.poll_write_ready(cx))?;
            let sent = match first {
                Chunk::File { source, offset, len } if *len as usize >= SENDFILE_FROM && source.fd().is_some() => {
                    send_file(socket, source.as_ref(), *offset, *len as usize)
                }
                Chunk::File { .. } => {
                    self.load_first()?;
                    continue;
                }
                Chunk::Bytes(_) => {
                    self.load_small_ranges()?;
                    self.send_bytes(socket)
                }
            };
            match sent {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(n) => self.advance(n),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// One write of the pieces in memory at the front; `MSG_MORE` keeps the head of an answer and the range behind it
    /// in the same segments on the wire.
    fn send_bytes(&self, socket: &TcpStream) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); PIECES_MAX];
        let mut count = 0;
        for (slot, chunk) in slices.iter_mut().zip(&self.chunks) {
            let Chunk::Bytes(bytes) = chunk else { break };
            *slot = IoSlice::new(bytes);
            count += 1;
        }
        let more = if count < self.chunks.len() { SendFlags::MORE } else { SendFlags::empty() };
        socket.try_io(Interest::WRITABLE, || {
            let mut ancillary = SendAncillaryBuffer::default();
            Ok(rustix::net::sendmsg(socket, &slices[..count], &mut ancillary, SendFlags::NOSIGNAL | more)?)
        })
    }

    /// Reads short ranges among the first pieces, so that they leave in the same write.
    fn load_small_ranges(&mut self) -> io::Result<()> {
        for chunk in self.chunks.iter_mut().take(PIECES_MAX) {
            if let Chunk::File { source, offset, len } = chunk {
                if *len as usize >= SENDFILE_FROM {
                    break;
                }
                let mut bytes = vec![0; *len as usize];
                source.read_at(*offset, &mut bytes)?;
                self.in_memory += bytes.len();
                *chunk = Chunk::Bytes(bytes.into());
            }
        }
        Ok(())
    }

    /// Reads a piece of the range at the front into memory.
    fn load_first(&mut self) -> io::Result<()> {
        let Some(Chunk::File { source, offset, len }) = self.chunks.front_mut() else { return Ok(()) };
        let piece = (*len as usize).min(READ_BYTES);
        let mut bytes = vec![0; piece];
        source.read_at(*offset, &mut bytes)?;
        *offset += piece as u64;
        *len -= piece as u32;
        if *len == 0 {
            self.chunks.pop_front();
        }
        self.in_memory += piece;
        self.chunks.push_front(Chunk::Bytes(bytes.into()));
        Ok(())
    }

    fn advance(&mut self, mut sent: usize) {
        while let Some(first) = self.chunks.front_mut() {
            let len = first.len();
            let step = sent.min(len);
            match first {
                Chunk::Bytes(bytes) => {
                    self.in_memory -= step;
                    Bytes::advance(bytes, step);
                }
                Chunk::File { offset, len, .. } => {
                    *offset += step as u64;
                    *len -= step as u32;
                }
            }
            sent -= step;
            if step < len {
                return;
            }
            self.chunks.pop_front();
            if sent == 0 {
                return;
            }
        }
    }
}

fn send_file(
    socket: &TcpStream,
    source: &dyn chronik_protocol::wire::RangeSource,
    offset: u64,
    len: usize,
) -> io::Result<usize> {
    let Some(file) = source.fd() else { return Err(io::ErrorKind::Unsupported.into()) };
    socket.try_io(Interest::WRITABLE, || {
        let mut at = offset;
        match rustix::fs::sendfile(socket, file, Some(&mut at), len.min(SENDFILE_BYTES_MAX))? {
            // The range was there when the answer was made; a file that is shorter now must not become a silent gap.
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            sent => Ok(sent),
        }
    })
}
