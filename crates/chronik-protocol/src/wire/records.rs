//! Record bytes in a message: never parsed and never copied by the codec.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use bytes::Bytes;

/// Something that ranges of bytes can be read from or sent from: a segment file, an object.
pub trait RangeSource: fmt::Debug + Send + Sync {
    /// The file, if it is one: the connection may then use `sendfile`.
    fn fd(&self) -> Option<BorrowedFd<'_>>;
    /// Fills `buf` from `offset`; an error if there are not as many bytes.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;
}

/// A piece of an encoded frame.
#[derive(Clone, Debug)]
pub enum Chunk {
    /// Bytes in memory.
    Bytes(Bytes),
    /// A range of a file or object.
    File {
        /// Where the range lies.
        source: Arc<dyn RangeSource>,
        /// Its first byte.
        offset: u64,
        /// Its length in bytes.
        len: u32,
    },
}

impl Chunk {
    /// Its length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Chunk::Bytes(bytes) => bytes.len(),
            Chunk::File { len, .. } => *len as usize,
        }
    }

    /// Whether it has no byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends its bytes to `out`, reading them where they have to be read.
    pub fn append_to(&self, out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Chunk::Bytes(bytes) => out.extend_from_slice(bytes),
            Chunk::File { source, offset, len } => {
                let start = out.len();
                out.resize(start + *len as usize, 0);
                source.read_at(*offset, &mut out[start..])?;
            }
        }
        Ok(())
    }
}

/// Equal bytes, or the same range of the same source.
impl PartialEq for Chunk {
    fn eq(&self, other: &Chunk) -> bool {
        match (self, other) {
            (Chunk::Bytes(a), Chunk::Bytes(b)) => a == b,
            (Chunk::File { source: a, offset: i, len: m }, Chunk::File { source: b, offset: j, len: n }) => {
                Arc::ptr_eq(a, b) && i == j && m == n
            }
            _ => false,
        }
    }
}

/// The record batches of a Produce request or a Fetch response.
#[derive(Clone, Debug)]
pub enum Records<'a> {
    /// Part of the frame that was decoded.
    Borrowed(&'a [u8]),
    /// Bytes that are spliced into the frame.
    Owned(Bytes),
    /// Several pieces, in order.
    Chunks(Vec<Chunk>),
}

impl Records<'_> {
    /// No batch.
    pub const EMPTY: Records<'static> = Records::Borrowed(&[]);

    /// The length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Records::Borrowed(bytes) => bytes.len(),
            Records::Owned(bytes) => bytes.len(),
            Records::Chunks(chunks) => chunks.iter().map(Chunk::len).sum(),
        }
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, if they lie in memory in one piece: always so after decoding.
    pub fn as_slice(&self) -> Option<&[u8]> {
        match self {
            Records::Borrowed(bytes) => Some(bytes),
            Records::Owned(bytes) => Some(bytes),
            Records::Chunks(chunks) => match &chunks[..] {
                [] => Some(&[]),
                [Chunk::Bytes(bytes)] => Some(bytes),
                _ => None,
            },
        }
    }

    /// The same records with nothing borrowed.
    pub fn into_owned(self) -> Records<'static> {
        match self {
            Records::Borrowed(bytes) => Records::Owned(Bytes::copy_from_slice(bytes)),
            Records::Owned(bytes) => Records::Owned(bytes),
            Records::Chunks(chunks) => Records::Chunks(chunks),
        }
    }
}

impl Default for Records<'_> {
    fn default() -> Self {
        Records::EMPTY
    }
}

impl From<Bytes> for Records<'_> {
    fn from(bytes: Bytes) -> Self {
        Records::Owned(bytes)
    }
}

impl From<Vec<Chunk>> for Records<'_> {
    fn from(chunks: Vec<Chunk>) -> Self {
        Records::Chunks(chunks)
    }
}

/// Equal bytes in memory, or the same pieces.
impl PartialEq for Records<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Records::Chunks(a), Records::Chunks(b)) => a == b,
            _ => self.as_slice().is_some_and(|a| other.as_slice() == Some(a)),
        }
    }
}
