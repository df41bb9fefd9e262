//! The five codecs of record batches, read piece by piece under a limit, and written.
//!
//! [`Inflate`] never holds more than a block of its codec and a 32 KiB window of output, whatever the input claims: a batch that would
//! inflate beyond the limit is refused when the limit is passed, not after it was decompressed.

mod gzip;
mod lz4;
mod snappy;
mod zstd;

/// A codec, by its id in the batch's attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Codec {
    /// Not compressed.
    #[default]
    None = 0,
    /// gzip (RFC 1952).
    Gzip = 1,
    /// Snappy blocks, bare (librdkafka) or in xerial's framing (Java).
    Snappy = 2,
    /// LZ4 frames.
    Lz4 = 3,
    /// Zstandard frames, from Produce v7 and Fetch v10 on (KIP-110).
    Zstd = 4,
}

impl Codec {
    /// All codecs.
    pub const ALL: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    /// The codec with this id; `Err` gives the id back.
    pub fn from_id(id: u8) -> Result<Self, u8> {
        Self::ALL.into_iter().find(|codec| codec.id() == id).ok_or(id)
    }

    /// Its id in the batch's attributes.
    pub fn id(self) -> u8 {
        self as u8
    }

    /// Its name in `compression.type`.
    pub fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }
}

impl std::fmt::Display for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no codec has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown compression `{0}`: none, gzip, snappy, lz4 and zstd are known")]
pub struct UnknownCodec(pub String);

impl std::str::FromStr for Codec {
    type Err = UnknownCodec;

    fn from_str(name: &str) -> Result<Self, UnknownCodec> {
        // `uncompressed` is the name in a topic's configuration, `none` in a producer's.
        let name = if name == "uncompressed" { "none" } else { name };
        Self::ALL.into_iter().find(|codec| codec.name() == name).ok_or_else(|| UnknownCodec(name.to_owned()))
    }
}

/// A codec and how hard it tries (KIP-390).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compression {
    /// The codec.
    pub codec: Codec,
    /// gzip 1–9, zstd −131072–22; `None` is the codec's default. LZ4 levels exist in Kafka's settings; our encoder has one.
    pub level: Option<i32>,
}

impl Compression {
    /// No compression.
    pub fn none() -> Self {
        Self::default()
    }

    /// A codec at its default level.
    pub fn of(codec: Codec) -> Self {
        Compression { codec, level: None }
    }
}

impl From<Codec> for Compression {
    fn from(codec: Codec) -> Self {
        Self::of(codec)
    }
}

/// Why compressed bytes could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InflateError {
    /// They are not what the codec writes.
    #[error("{codec} data is damaged: {reason}")]
    Corrupt {
        /// The codec.
        codec: Codec,
        /// What its decoder says.
        reason: String,
    },
    /// They are what the codec writes, in a form that consumers cannot read.
    #[error("{codec} data {reason}")]
    Unsupported {
        /// The codec.
        codec: Codec,
        /// What is in it.
        reason: &'static str,
    },
    /// They inflate to more than is allowed.
    #[error("batch inflates to more than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
}

/// Why a codec did not compress: a level that it does not have.
#[derive(Debug, thiserror::Error)]
#[error("cannot compress with {codec}: {reason}")]
pub struct CompressError {
    codec: Codec,
    reason: String,
}

fn corrupt(codec: Codec, reason: impl ToString) -> InflateError {
    InflateError::Corrupt { codec, reason: reason.to_string() }
}

const WINDOW: usize = 32 * 1024;

/// Reads a payload, whatever its codec, under a limit.
pub struct Inflate<'a> {
    source: Source<'a>,
    window: Vec<u8>,
    start: usize,
    end: usize,
    produced: usize,
    limit: usize,
}

enum Source<'a> {
    Plain(&'a [u8]),
    Gzip(gzip::Reader<'a>),
    Snappy(snappy::Reader<'a>),
    Lz4(lz4::Reader<'a>),
    Zstd(zstd::Reader<'a>),
}

impl<'a> Inflate<'a> {
    /// A reader of `payload` that refuses to give more than `limit` bytes. Uncompressed payloads have no limit of their own.
    pub fn new(codec: Codec, payload: &'a [u8], limit: usize) -> Result<Self, InflateError> {
        if payload.is_empty() && codec != Codec::None {
            // Even nothing takes a few bytes in every codec.
            return Err(corrupt(codec, "no bytes"));
        }
        let source = match codec {
            Codec::None => Source::Plain(payload),
            Codec::Gzip => Source::Gzip(gzip::Reader::new(payload)),
            Codec::Snappy => Source::Snappy(snappy::Reader::new(payload)?),
            Codec::Lz4 => Source::Lz4(lz4::Reader::new(payload)?),
            Codec::Zstd => Source::Zstd(zstd::Reader::new(payload, limit)?),
        };
        let limit = if codec == Codec::None { usize::MAX } else { limit };
        // What cannot inflate far does not need the whole window.
        let window = vec![0; payload.len().saturating_mul(8).clamp(1024, WINDOW)];
        Ok(Inflate { source, window, start: 0, end: 0, produced: 0, limit })
    }

    /// Output that has not been consumed; empty at the end.
    #[inline]
    pub fn fill(&mut self) -> Result<&[u8], InflateError> {
        if self.start == self.end {
            self.refill()?;
        }
        Ok(&self.window[self.start..self.end])
    }

    /// Marks `length` bytes of what [`Self::fill`] gave as read.
    #[inline]
    pub fn consume(&mut self, length: usize) {
        self.start = (self.start + length).min(self.end);
    }

    #[cold]
    fn refill(&mut self) -> Result<(), InflateError> {
        let remaining = self.limit.saturating_sub(self.produced);
        let read = match &mut self.source {
            Source::Plain(rest) => {
                let read = rest.len().min(self.window.len());
                self.window[..read].copy_from_slice(&rest[..read]);
                *rest = &rest[read..];
                read
            }
            Source::Gzip(reader) => reader.read(&mut self.window)?,
            Source::Snappy(reader) => reader.read(&mut self.window, self.limit, remaining)?,
            Source::Lz4(reader) => reader.read(&mut self.window)?,
            Source::Zstd(reader) => reader.read(&mut self.window)?,
        };
        if read > remaining {
            return Err(InflateError::TooLarge { limit: self.limit });
        }
        self.produced += read;
        (self.start, self.end) = (0, read);
        Ok(())
    }
}

/// The whole payload, decompressed. For consumers, and for recompression, which need all of it at once.
pub fn decompress(codec: Codec, payload: &[u8], limit: usize) -> Result<Vec<u8>, InflateError> {
    if codec == Codec::None {
        return Ok(payload.to_vec());
    }
    let mut out = Vec::with_capacity(payload.len().saturating_mul(3).min(limit));
    let mut inflate = Inflate::new(codec, payload, limit)?;
    loop {
        let piece = inflate.fill()?;
        let length = piece.len();
        if length == 0 {
            return Ok(out);
        }
        out.extend_from_slice(piece);
        inflate.consume(length);
    }
}

/// Appends `data`, compressed, to `out`.
pub fn compress(compression: Compression, data: &[u8], out: &mut Vec<u8>) -> Result<(), CompressError> {
    let codec = compression.codec;
    let result = match codec {
        Codec::None => {
            out.extend_from_slice(data);
            Ok(())
        }
        Codec::Gzip => gzip::compress(compression.level, data, out),
        Codec::Snappy => snappy::compress(data, out),
        Codec::Lz4 => lz4::compress(data, out),
        Codec::Zstd => zstd::compress(compression.level, data, out),
    };
    result.map_err(|reason| CompressError { codec, reason })
}

#[cfg(test)]
mod tests;
