//! Reading whole batches out of a segment: as bytes, or as a range of its file.
//!
//! What leaves here was found intact by this process. Bytes are checked as they are read; a file range is given only for bytes that
//! were checked before (by the append, by the recovery, or by an earlier read), since `sendfile` shows them to nobody on their way out. A
//! damaged batch ends the answer before it, or is an error if it is the first. Batches behind one whose length is damaged are found
//! again by searching for the next header with a right checksum.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use bytes::Bytes;
use chronik_protocol::batch::{BatchHeader, HEADER_SIZE, check_crc};
use chronik_protocol::wire::{Chunk, RangeSource};

use crate::disk::DiskFile;
use crate::error::{ReadError, StorageError};
use crate::segment::{Access, Segment, Window, is_plausible};

/// From this size on an answer is a file range: below it, copying the bytes costs less than the second system call.
pub const FILE_RANGE_MIN: usize = 32 * 1024;

/// What one answer reads into memory at most, unless a single batch is longer.
const MEMORY_READ_MAX: usize = 4 * 1024 * 1024;
const PROBE_STEP: u32 = 128 * 1024;
const SEARCH_WINDOW: usize = 1024 * 1024;
const SEARCH_MAX: u32 = 256 * 1024 * 1024;
const MAGIC_AT: usize = 16;
const MAGIC: u8 = 2;

/// What to read from a segment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SegmentRequest {
    pub(crate) offset: i64,
    pub(crate) max_bytes: usize,
    pub(crate) at_least_one: bool,
    /// Batches at or behind this offset are not read.
    pub(crate) limit_offset: i64,
    /// Where that offset is in the file, if it is known.
    pub(crate) limit_position: Option<u32>,
    /// Where the batch with `offset` starts, if it is known.
    pub(crate) hint: Option<u32>,
    pub(crate) access: Access,
}

/// Whole batches.
#[derive(Debug)]
pub(crate) struct SegmentBatches {
    pub(crate) chunk: Chunk,
    /// The offset behind the last batch.
    pub(crate) next_offset: i64,
    /// The position behind the last batch.
    pub(crate) end: u32,
}

/// What a segment has for a request.
#[derive(Debug)]
pub(crate) enum SegmentOutcome {
    Batches(SegmentBatches),
    /// The first batch is longer than the caller has room for.
    TooLarge,
    /// The segment ends before the offset.
    Nothing,
}

#[derive(Debug)]
struct SegmentFile(Arc<dyn DiskFile>);

impl RangeSource for SegmentFile {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.0.fd()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        match self.0.read_at(buf, offset)? {
            got if got == buf.len() => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

fn failed(segment: &Segment) -> impl FnOnce(io::Error) -> ReadError + '_ {
    |source| ReadError::Storage(StorageError::io("reading", segment.path("log"))(source))
}

fn corrupt(segment: &Segment, offset: i64) -> ReadError {
    ReadError::Corrupt { offset, path: segment.path("log") }
}

/// Reads whole batches, the first of which holds the offset.
pub(crate) fn read(segment: &Arc<Segment>, request: &SegmentRequest) -> Result<SegmentOutcome, ReadError> {
    let size = segment.size();
    let limit = match request.limit_position {
        Some(position) => position.min(size),
        None => {
            locate(segment, request.access, request.limit_offset, None, size)?.map_or(size, |(position, _)| position)
        }
    };
    let Some((start, first)) = locate(segment, request.access, request.offset, request.hint, limit)? else {
        return Ok(SegmentOutcome::Nothing);
    };
    // A batch that begins later means that those before it are missing: an error, never a jump.
    if first.base_offset > request.offset {
        return Ok(SegmentOutcome::Nothing);
    }
    let first_size = first.size_in_bytes();
    if first_size > request.max_bytes && !request.at_least_one {
        return Ok(SegmentOutcome::TooLarge);
    }
    let room = u32::try_from(request.max_bytes.max(first_size)).unwrap_or(u32::MAX);
    let end = start.saturating_add(room).min(limit);
    if (end - start) as usize >= FILE_RANGE_MIN
        && let Some(batches) = file_range(segment, request, (start, &first), (end, limit))?
    {
        return Ok(SegmentOutcome::Batches(batches));
    }
    let length = ((end - start) as usize).min(MEMORY_READ_MAX.max(first_size));
    read_checked(segment, request, start, length).map(SegmentOutcome::Batches)
}

/// A range of the file, if all of it was found intact before; `None` if it has to be read to be checked.
fn file_range(
    segment: &Arc<Segment>,
    request: &SegmentRequest,
    (start, first): (u32, &BatchHeader),
    (end, limit): (u32, u32),
) -> Result<Option<SegmentBatches>, ReadError> {
    if !segment.is_intact(start, end) {
        return Ok(None);
    }
    let (end, next_offset) = match end == limit && request.limit_position.is_some() {
        true => (end, request.limit_offset),
        false => whole_batches(segment, request.access, (start, first), (end, limit))?,
    };
    if ((end - start) as usize) < FILE_RANGE_MIN {
        return Ok(None);
    }
    if request.access == Access::Hot && !is_hot(segment, start, end).map_err(failed(segment))? {
        return Err(ReadError::Cold);
    }
    let file = segment.file().map_err(failed(segment))?;
    let chunk = Chunk::File { source: Arc::new(SegmentFile(file)), offset: u64::from(start), len: end - start };
    Ok(Some(SegmentBatches { chunk, next_offset, end }))
}

/// The end of the last batch that ends at or before `end`, and the offset behind it.
fn whole_batches(
    segment: &Segment,
    access: Access,
    (start, first): (u32, &BatchHeader),
    (end, limit): (u32, u32),
) -> Result<(u32, i64), ReadError> {
    let indexed = segment.with_indexes(|indexes| indexes.offsets.floor_position(end)).map_err(failed(segment))?;
    let size_of = |header: &BatchHeader| u32::try_from(header.size_in_bytes()).unwrap_or(u32::MAX);
    let after_first = start.saturating_add(size_of(first));
    let mut position = indexed.filter(|indexed| *indexed > after_first).unwrap_or(after_first);
    let mut next_offset = first.next_offset();
    let mut window = Window::default();
    while position < limit {
        let header =
            window.try_header(segment, access, position, limit).map_err(failed(segment))?.ok_or(ReadError::Cold)?;
        let Ok(header) = header else { return Err(corrupt(segment, next_offset)) };
        next_offset = header.base_offset;
        let behind = position.saturating_add(size_of(&header));
        if behind > end {
            break;
        }
        (position, next_offset) = (behind, header.next_offset());
    }
    Ok((position, next_offset))
}

fn is_hot(segment: &Segment, start: u32, end: u32) -> io::Result<bool> {
    let file = segment.file()?;
    let probes = (start..end).step_by(PROBE_STEP as usize).chain([end - 1]);
    for at in probes {
        if file.read_at_nowait(&mut [0], u64::from(at))?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Reads bytes and gives the whole, intact batches at their beginning.
fn read_checked(
    segment: &Segment,
    request: &SegmentRequest,
    start: u32,
    length: usize,
) -> Result<SegmentBatches, ReadError> {
    let bytes = segment.read(request.access, start, length).map_err(failed(segment))?.ok_or(ReadError::Cold)?;
    let Some((length, next_offset)) = intact_prefix(&bytes) else { return Err(corrupt(segment, request.offset)) };
    let end = start + u32::try_from(length).unwrap_or(0);
    segment.mark_intact(start, end);
    Ok(SegmentBatches { chunk: Chunk::Bytes(bytes.slice(..length)), next_offset, end })
}

/// Length of the whole, intact batches that bytes begin with, and the offset behind them.
fn intact_prefix(bytes: &Bytes) -> Option<(usize, i64)> {
    let (mut at, mut next) = (0, None);
    while let Ok(header) = BatchHeader::parse(&bytes[at..]) {
        let end = at + header.size_in_bytes();
        let follows = next.is_none_or(|next| header.base_offset == next);
        if end > bytes.len() || !follows || check_crc(&bytes[at..end]).is_err() {
            break;
        }
        (at, next) = (end, Some(header.next_offset()));
    }
    next.map(|next| (at, next))
}

/// The first batch whose last offset is at or behind `offset`; `None` if there is none before `end`. Only headers were looked at. If the
/// batches that held the offset are missing, it is the next one, which begins behind it.
pub(crate) fn locate(
    segment: &Segment,
    access: Access,
    offset: i64,
    hint: Option<u32>,
    end: u32,
) -> Result<Option<(u32, BatchHeader)>, ReadError> {
    let start = match hint {
        Some(position) => Start { position, known: Place::Begins(offset) },
        None if access == Access::Hot && !segment.has_indexes() => return Err(ReadError::Cold),
        None => Start::from_index(segment, segment.relative(offset)).map_err(failed(segment))?,
    };
    let mut walk = walk_to(segment, access, offset, start, end)?;
    if let Walk::Damage { .. } = walk {
        if access == Access::Hot {
            return Err(ReadError::Cold);
        }
        // The place that the index named may be the damage itself: begin one entry earlier.
        let before = start.position.checked_sub(1);
        let earlier = segment.with_indexes(|indexes| before.and_then(|before| indexes.offsets.floor_position(before)));
        let start = match earlier.map_err(failed(segment))? {
            Some(position) => Start { position, known: Place::Unknown },
            None => Start { position: 0, known: Place::Begins(segment.base_offset) },
        };
        walk = walk_to(segment, access, offset, start, end)?;
    }
    loop {
        match walk {
            Walk::Found(position, header) => return Ok(Some((position, header))),
            Walk::End => return Ok(None),
            Walk::Damage { from, position, floor } => {
                match step_over(segment, (from, position), floor, end).map_err(failed(segment))? {
                    Some((position, header)) if header.base_offset <= offset => {
                        let start = Start { position, known: Place::Begins(header.base_offset) };
                        walk = walk_to(segment, access, offset, start, end)?;
                    }
                    // The batch is good, and those before it are missing.
                    Some((found, header)) if found == position => return Ok(Some((found, header))),
                    _ => return Err(corrupt(segment, offset)),
                }
            }
        }
    }
}

/// Where a walk over headers begins, and what is known of the batch there.
#[derive(Debug, Clone, Copy)]
struct Start {
    position: u32,
    known: Place,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    /// It begins with this offset.
    Begins(i64),
    /// It ends with this offset.
    Ends(i64),
    Unknown,
}

impl Place {
    fn holds(self, header: &BatchHeader) -> bool {
        match self {
            Place::Begins(offset) => header.base_offset == offset,
            Place::Ends(offset) => header.last_offset() == offset,
            Place::Unknown => true,
        }
    }
}

impl Start {
    fn from_index(segment: &Segment, relative: u32) -> io::Result<Self> {
        let entry = segment.with_indexes(|indexes| indexes.offsets.find(relative))?;
        Ok(match entry {
            Some(entry) => {
                let known = Place::Ends(segment.base_offset + i64::from(entry.relative));
                Start { position: entry.position, known }
            }
            None => Start { position: 0, known: Place::Begins(segment.base_offset) },
        })
    }
}

enum Walk {
    Found(u32, BatchHeader),
    End,
    /// What is at `position` is not the batch that begins at `floor`. The batch before it begins at `from`: its length may be the damage.
    Damage {
        from: u32,
        position: u32,
        floor: i64,
    },
}

fn walk_to(segment: &Segment, access: Access, offset: i64, start: Start, end: u32) -> Result<Walk, ReadError> {
    let (mut position, mut floor, mut known) = (start.position, segment.base_offset, start.known);
    let mut from = position;
    let mut window = Window::default();
    while position < end {
        let header =
            window.try_header(segment, access, position, end).map_err(failed(segment))?.ok_or(ReadError::Cold)?;
        let Ok(header) = header else { return Ok(Walk::Damage { from, position, floor }) };
        let behind = u64::from(position) + header.size_in_bytes() as u64;
        if behind > u64::from(end) || !known.holds(&header) || header.base_offset < floor || !is_plausible(&header) {
            return Ok(Walk::Damage { from, position, floor });
        }
        if header.last_offset() >= offset {
            return Ok(Walk::Found(position, header));
        }
        (from, position) = (position, u32::try_from(behind).unwrap_or(end));
        floor = header.next_offset();
        known = Place::Begins(floor);
    }
    Ok(Walk::End)
}

/// The first intact batch behind `from` that fits behind `floor`: the one at `position`, if batches before it are missing and it is
/// confirmed by the one behind it, otherwise the first that is found.
pub(crate) fn step_over(
    segment: &Segment,
    (from, position): (u32, u32),
    floor: i64,
    end: u32,
) -> io::Result<Option<(u32, BatchHeader)>> {
    let next = search(segment, from, floor, end)?;
    let here = segment.read(Access::Blocking, position, HEADER_SIZE)?;
    let here = match here {
        Some(bytes) => intact_at(segment, &bytes, position, floor, end)?,
        None => None,
    };
    let Some(here) = here.filter(|_| next.as_ref().is_none_or(|(found, _)| *found >= position)) else {
        return Ok(next);
    };
    let behind = search(segment, position, floor, end)?;
    let confirmed = behind.as_ref().is_none_or(|(_, behind)| behind.base_offset == here.next_offset());
    Ok(if confirmed { Some((position, here)) } else { behind })
}

/// Searches behind damage for the next intact batch with an offset at or behind `floor`.
pub(crate) fn search(segment: &Segment, damage: u32, floor: i64, end: u32) -> io::Result<Option<(u32, BatchHeader)>> {
    let end = end.min(damage.saturating_add(SEARCH_MAX));
    let mut from = damage + 1;
    while (from as usize) + HEADER_SIZE < end as usize {
        let length = SEARCH_WINDOW.min((end - from) as usize);
        let Some(bytes) = segment.read(Access::Blocking, from, length)? else { return Ok(None) };
        if bytes.len() < HEADER_SIZE {
            return Ok(None);
        }
        let candidates = bytes.len() - HEADER_SIZE + 1;
        for at in (0..candidates).filter(|at| bytes[at + MAGIC_AT] == MAGIC) {
            let position = from + u32::try_from(at).unwrap_or(u32::MAX);
            if let Some(header) = intact_at(segment, &bytes[at..], position, floor, end)? {
                return Ok(Some((position, header)));
            }
        }
        from += u32::try_from(candidates).unwrap_or(u32::MAX);
    }
    Ok(None)
}

fn intact_at(segment: &Segment, bytes: &[u8], position: u32, floor: i64, end: u32) -> io::Result<Option<BatchHeader>> {
    let Ok(header) = BatchHeader::parse(bytes) else { return Ok(None) };
    let offsets = floor..floor.saturating_add(i64::from(u32::MAX));
    let fits = u64::from(position) + header.size_in_bytes() as u64 <= u64::from(end);
    if !fits || !offsets.contains(&header.base_offset) || !is_plausible(&header) {
        return Ok(None);
    }
    let whole = segment.read(Access::Blocking, position, header.size_in_bytes())?;
    Ok(whole.filter(|whole| check_crc(whole).is_ok()).map(|_| header))
}
