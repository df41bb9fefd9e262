//! One segment of a partition: a `.log` file in Apache Kafka's format, its two indexes, and what is known of its bytes.
//!
//! The partition's lock orders all changes; the segment's own lock is only ever held for a few instructions, so that readers and the
//! committer do not wait for a write. The indexes of the active segment are in memory; those of a sealed one are loaded when they are
//! needed, and rebuilt from the segment when they are damaged.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use bytes::{Bytes, BytesMut};
use chronik_protocol::batch::{BatchHeader, HEADER_SIZE};
use parking_lot::Mutex;

use crate::disk::DiskFile;
use crate::files::{FileCache, FileSlot};
use crate::index::OffsetIndex;
use crate::ranges::Ranges;
use crate::timeindex::TimeIndex;

/// Whether a read may wait for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Only what is in memory; otherwise the answer is "cold". For async threads.
    Hot,
    /// Wait for the disk. For the blocking pool.
    Blocking,
}

/// The smallest distance between two entries of the offset index, whatever `index.interval.bytes` says: one entry per 16 to 32 KiB keeps the
/// index of a full segment small, and the walk behind a lookup costs two microseconds.
pub(crate) const INDEX_INTERVAL_MIN: u32 = 16 * 1024;

/// The position behind the last byte that a segment can have: positions are 31 bits in Kafka's index.
pub(crate) const SEGMENT_SIZE_MAX: u32 = i32::MAX as u32;

/// The greatest timestamp of a segment, and the last offset of the first batch that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MaxTimestamp {
    pub(crate) timestamp: i64,
    pub(crate) last_offset: i64,
}

/// The indexes of a segment, as they are in memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Indexes {
    pub(crate) offsets: OffsetIndex,
    pub(crate) times: TimeIndex,
    /// Bytes behind the last entry of the offset index.
    unindexed: u32,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    size: u32,
    /// None for a sealed segment whose indexes nobody has asked for.
    indexes: Option<Indexes>,
    max_timestamp: Option<MaxTimestamp>,
    /// Timestamp of the first batch: `segment.ms` counts from it.
    first_timestamp: Option<i64>,
    created_ms: i64,
    intact: Ranges,
    /// Bytes before this are on stable storage.
    synced: u32,
    /// Entries of each index that are in its file.
    stored: (usize, usize),
    /// Whether the indexes must stay in memory, because they are not in the files yet.
    pinned: bool,
}

/// The indexes of a sealed segment in memory: they can be loaded again.
#[derive(Debug)]
pub(crate) struct LoadedIndexes(Weak<Mutex<State>>);

impl LoadedIndexes {
    /// Takes them out of memory, unless the segment needs them there.
    pub(crate) fn drop_indexes(&self) {
        if let Some(state) = self.0.upgrade() {
            let mut state = state.lock();
            if !state.pinned {
                state.indexes = None;
            }
        }
    }
}

/// One segment.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) base_offset: i64,
    dir: Arc<Path>,
    files: Arc<FileCache>,
    slot: Arc<FileSlot>,
    state: Arc<Mutex<State>>,
}

/// The file names of a segment: the base offset in twenty digits, and a suffix.
pub(crate) fn file_name(base_offset: i64, suffix: &str) -> String {
    format!("{base_offset:020}.{suffix}")
}

impl Segment {
    /// A segment whose file is there, with `size` bytes that count.
    pub(crate) fn new(dir: Arc<Path>, files: Arc<FileCache>, base_offset: i64, size: u32, now_ms: i64) -> Self {
        let state = State { size, created_ms: now_ms, ..State::default() };
        Segment { base_offset, dir, files, slot: Arc::default(), state: Arc::new(Mutex::new(state)) }
    }

    /// A new, empty segment and its file.
    pub(crate) fn create(dir: Arc<Path>, files: Arc<FileCache>, base_offset: i64, now_ms: i64) -> io::Result<Self> {
        let segment = Segment::new(dir, files, base_offset, 0, now_ms);
        segment.files.create(&segment.slot, &segment.path("log"))?;
        segment.forget_indexes();
        Ok(segment)
    }

    pub(crate) fn path(&self, suffix: &str) -> PathBuf {
        self.dir.join(file_name(self.base_offset, suffix))
    }

    /// The open file.
    pub(crate) fn file(&self) -> io::Result<Arc<dyn DiskFile>> {
        self.files.open(&self.slot, || self.path("log"))
    }

    /// Closes the file, as far as nobody reads it.
    pub(crate) fn close(&self) {
        self.slot.close();
    }

    /// Bytes of whole batches.
    pub(crate) fn size(&self) -> u32 {
        self.state.lock().size
    }

    /// When the segment was created or opened, by our clock.
    pub(crate) fn created_ms(&self) -> i64 {
        self.state.lock().created_ms
    }

    /// Timestamp of the first batch, if there is one that has any.
    pub(crate) fn first_timestamp(&self) -> Option<i64> {
        self.state.lock().first_timestamp
    }

    /// The greatest timestamp so far; `None` in an empty segment, or if no record has one.
    pub(crate) fn max_timestamp(&self) -> Option<MaxTimestamp> {
        self.state.lock().max_timestamp
    }

    /// Whether the next batch fits: file size, relative offset, index entries.
    pub(crate) fn has_room(&self, header: &BatchHeader, segment_bytes: u32, index_bytes: usize) -> bool {
        let state = self.state.lock();
        let Ok(size) = u32::try_from(header.size_in_bytes()) else { return false };
        let end = state.size.saturating_add(size);
        let entries = state.indexes.as_ref().map_or(0, |indexes| indexes.offsets.len().max(indexes.times.len()) + 1);
        let fits_index =
            entries * crate::timeindex::TIME_ENTRY_SIZE <= index_bytes.max(crate::timeindex::TIME_ENTRY_SIZE);
        let relative = header.last_offset().checked_sub(self.base_offset);
        end <= SEGMENT_SIZE_MAX
            && (end <= segment_bytes || state.size == 0)
            && (fits_index || state.size == 0)
            && relative.is_some_and(|relative| relative <= i64::from(i32::MAX))
    }

    /// Writes a batch (`header` is final) at the end of the file, in the page cache; gives its position. After an error nothing of it
    /// is there, unless the error says that not even cutting it off was possible.
    pub(crate) fn append(&self, header: &BatchHeader, parts: [&[u8]; 2], interval: u32) -> Result<u32, AppendFailure> {
        let file = self.file().map_err(AppendFailure::Clean)?;
        let position = self.size();
        let slices = [IoSlice::new(parts[0]), IoSlice::new(parts[1])];
        if let Err(error) = file.write_all_at(&slices, u64::from(position)) {
            return Err(match file.set_len(u64::from(position)) {
                Ok(()) => AppendFailure::Clean(error),
                Err(_) => AppendFailure::Torn(error),
            });
        }
        self.note(header, position, interval);
        Ok(position)
    }

    /// Notes an intact batch that is in the file at `position`, behind all others.
    pub(crate) fn note(&self, header: &BatchHeader, position: u32, interval: u32) {
        let size = u32::try_from(header.size_in_bytes()).unwrap_or(u32::MAX);
        let mut state = self.state.lock();
        state.size = position.saturating_add(size);
        let end = state.size;
        state.intact.insert(position, end);
        self.note_header(&mut state, header, position, interval);
    }

    fn note_header(&self, state: &mut State, header: &BatchHeader, position: u32, interval: u32) {
        let relative = self.relative(header.last_offset());
        if state.max_timestamp.is_none_or(|max| header.max_timestamp > max.timestamp) && header.max_timestamp >= 0 {
            state.max_timestamp =
                Some(MaxTimestamp { timestamp: header.max_timestamp, last_offset: header.last_offset() });
        }
        if state.first_timestamp.is_none() && header.max_timestamp >= 0 {
            state.first_timestamp = Some(header.max_timestamp);
        }
        let max = state.max_timestamp;
        let Some(indexes) = &mut state.indexes else { return };
        if indexes.unindexed > interval.max(INDEX_INTERVAL_MIN) {
            indexes.offsets.push(relative, position);
            if let Some(max) = max {
                indexes.times.push(max.timestamp, self.relative(max.last_offset));
            }
            indexes.unindexed = 0;
        }
        indexes.unindexed = indexes.unindexed.saturating_add(u32::try_from(header.size_in_bytes()).unwrap_or(u32::MAX));
    }

    /// An offset relative to the base offset, as the indexes have it.
    pub(crate) fn relative(&self, offset: i64) -> u32 {
        u32::try_from(offset.saturating_sub(self.base_offset).max(0)).unwrap_or(u32::MAX)
    }

    /// Cuts the file at `position`, behind the last batch that was noted.
    pub(crate) fn cut(&self, position: u32) -> io::Result<()> {
        self.file()?.set_len(u64::from(position))?;
        let mut state = self.state.lock();
        state.size = position;
        state.synced = state.synced.min(position);
        state.intact.truncate(position);
        Ok(())
    }

    /// Cuts off room that was reserved and not used.
    pub(crate) fn trim(&self) -> io::Result<()> {
        let (file, size) = (self.file()?, u64::from(self.size()));
        if file.len()? > size { file.set_len(size) } else { Ok(()) }
    }

    /// Reads `len` bytes at `position`; `None` if they are not in memory and `access` does not allow to wait.
    pub(crate) fn read(&self, access: Access, position: u32, len: usize) -> io::Result<Option<Bytes>> {
        let file = self.file()?;
        let mut buffer = BytesMut::zeroed(len);
        let got = match access {
            Access::Blocking => file.read_at(&mut buffer, u64::from(position))?,
            Access::Hot => match file.read_at_nowait(&mut buffer, u64::from(position))? {
                Some(got) => got,
                None => return Ok(None),
            },
        };
        buffer.truncate(got);
        Ok(Some(buffer.freeze()))
    }

    /// The header of the batch at `position`; `Some(Err)` if there is none that can be believed.
    pub(crate) fn header_at(&self, access: Access, position: u32) -> io::Result<Option<Result<BatchHeader, ()>>> {
        let Some(bytes) = self.read(access, position, HEADER_SIZE)? else { return Ok(None) };
        Ok(Some(BatchHeader::parse(&bytes).map_err(drop)))
    }

    /// Whether all of `start..end` was found intact by this process.
    pub(crate) fn is_intact(&self, start: u32, end: u32) -> bool {
        self.state.lock().intact.contains(start, end)
    }

    /// Says that all batches in `start..end` are intact.
    pub(crate) fn mark_intact(&self, start: u32, end: u32) {
        self.state.lock().intact.insert(start, end);
    }

    /// Looks something up in the indexes, which are loaded or rebuilt if they are not in memory.
    pub(crate) fn with_indexes<T>(&self, look: impl FnOnce(&Indexes) -> T) -> io::Result<T> {
        if let Some(indexes) = &self.state.lock().indexes {
            return Ok(look(indexes));
        }
        let (indexes, max, stored) = self.load_indexes()?;
        let mut loaded = None;
        let mut state = self.state.lock();
        if state.indexes.is_none() {
            state.max_timestamp = state.max_timestamp.or(max);
            state.stored = stored;
            let bytes = indexes.offsets.memory() + indexes.times.memory();
            state.indexes = Some(indexes);
            loaded = Some(bytes);
        }
        let result = look(state.indexes.get_or_insert_default());
        drop(state);
        if let Some(bytes) = loaded {
            self.files.admit_indexes(LoadedIndexes(Arc::downgrade(&self.state)), bytes);
        }
        Ok(result)
    }

    /// Whether the indexes are in memory.
    pub(crate) fn has_indexes(&self) -> bool {
        self.state.lock().indexes.is_some()
    }

    /// Begins with empty indexes.
    pub(crate) fn forget_indexes(&self) {
        let mut state = self.state.lock();
        state.indexes = Some(Indexes::default());
        (state.max_timestamp, state.stored, state.pinned) = (None, (0, 0), true);
    }

    /// Takes the indexes of a sealed segment out of memory, once they are in its files.
    pub(crate) fn drop_indexes(&self) {
        let mut state = self.state.lock();
        (state.indexes, state.pinned) = (None, false);
    }

    fn load_indexes(&self) -> io::Result<(Indexes, Option<MaxTimestamp>, (usize, usize))> {
        let disk = self.files.disk();
        let size = self.size();
        let offsets = crate::checkpoints::read(&**disk, &self.path("index"))?;
        let times = crate::checkpoints::read(&**disk, &self.path("timeindex"))?;
        let offsets = offsets.and_then(|bytes| OffsetIndex::decode(&bytes, u64::from(size)));
        let times = times.and_then(|bytes| TimeIndex::decode(&bytes));
        if let (Some(offsets), Some(times)) = (offsets, times)
            && self.agrees(&offsets)?
        {
            let max = times.last().map(|last| MaxTimestamp {
                timestamp: last.timestamp,
                last_offset: self.base_offset + i64::from(last.relative),
            });
            let stored = (offsets.len(), times.len());
            return Ok((Indexes { offsets, times, unindexed: 0 }, max, stored));
        }
        tracing::warn!(segment = %self.path("log").display(), "indexes are missing or damaged: rebuilding them from the segment");
        let rebuilt = Segment::new(self.dir.clone(), self.files.clone(), self.base_offset, size, 0);
        rebuilt.state.lock().indexes = Some(Indexes::default());
        rebuilt.index_from(0, INDEX_INTERVAL_MIN)?;
        let mut state = rebuilt.state.lock();
        let max = state.max_timestamp;
        Ok((state.indexes.take().unwrap_or_default(), max, (0, 0)))
    }

    /// Whether the last entry of an index names a batch that is there: a cheap test that finds an index of another file.
    fn agrees(&self, offsets: &OffsetIndex) -> io::Result<bool> {
        let Some(last) = offsets.last() else { return Ok(true) };
        let header = self.header_at(Access::Blocking, last.position)?;
        Ok(matches!(header, Some(Ok(header)) if self.relative(header.last_offset()) == last.relative))
    }

    /// Walks the headers from the last indexed batch to the end of the segment and gives the offset behind the last batch and its
    /// position: how a segment that was written by an earlier process is opened. Stops at what is not a batch.
    pub(crate) fn index_from(&self, from: u32, interval: u32) -> io::Result<(i64, u32)> {
        let (mut position, size, mut next) = (from, self.size(), self.base_offset);
        let mut window = Window::default();
        while position < size {
            let Some(header) = window.header(self, position, size)? else { break };
            let end = u64::from(position) + header.size_in_bytes() as u64;
            if end > u64::from(size) || header.base_offset < next || !is_plausible(&header) {
                break;
            }
            self.note_header(&mut self.state.lock(), &header, position, interval);
            next = header.next_offset();
            position = u32::try_from(end).unwrap_or(size);
        }
        Ok((next, position))
    }

    /// Prepares a scan from `position`: what the indexes say of it and of what is behind is forgotten, and so is the size.
    pub(crate) fn begin_scan(&self, position: u32) -> io::Result<()> {
        self.state.lock().pinned = true;
        self.with_indexes(|_| ())?;
        let mut state = self.state.lock();
        state.size = position;
        state.synced = position;
        let stored = state.stored;
        let Some(indexes) = &mut state.indexes else { return Ok(()) };
        indexes.offsets.truncate(position);
        indexes.times.truncate(indexes.offsets.last().map_or(0, |last| last.relative));
        let kept = (indexes.offsets.len().min(stored.0), indexes.times.len().min(stored.1));
        let last = indexes.times.last();
        state.max_timestamp = last.map(|last| MaxTimestamp {
            timestamp: last.timestamp,
            last_offset: self.base_offset + i64::from(last.relative),
        });
        // What was cut from memory is still in the files: they are written as a whole next time.
        state.stored = if kept == stored { stored } else { (0, 0) };
        Ok(())
    }

    /// Notes a batch whose header alone was looked at: its bytes are checked when they are read.
    pub(crate) fn note_unchecked(&self, header: &BatchHeader, position: u32, interval: u32) {
        let mut state = self.state.lock();
        let size = u32::try_from(header.size_in_bytes()).unwrap_or(u32::MAX);
        state.size = position.saturating_add(size);
        state.synced = state.size;
        self.note_header(&mut state, header, position, interval);
    }

    /// Counts all bytes before `size` to the segment, whatever they are.
    pub(crate) fn keep(&self, size: u32) {
        let mut state = self.state.lock();
        state.size = size;
        state.synced = size;
    }

    /// Loads the timestamp of the first batch, from which `segment.ms` counts.
    pub(crate) fn load_first_timestamp(&self) -> io::Result<()> {
        if self.size() > 0 && self.first_timestamp().is_none() {
            let header = self.header_at(Access::Blocking, 0)?;
            if let Some(Ok(header)) = header {
                self.state.lock().first_timestamp = Some(header.max_timestamp).filter(|timestamp| *timestamp >= 0);
            }
        }
        Ok(())
    }

    /// Adds the final entry of the time index, as Kafka does when a segment is sealed or closed.
    pub(crate) fn finish_time_index(&self) {
        let mut state = self.state.lock();
        let max = state.max_timestamp;
        if let (Some(indexes), Some(max)) = (&mut state.indexes, max) {
            indexes.times.push(max.timestamp, self.relative(max.last_offset));
        }
    }

    /// Writes what the index files do not hold yet. With `sync` they are on stable storage afterwards, but for their names.
    pub(crate) fn store_indexes(&self, sync: bool) -> io::Result<()> {
        let (offsets, times, stored, counts) = {
            let state = self.state.lock();
            let Some(indexes) = &state.indexes else { return Ok(()) };
            let counts = (indexes.offsets.len(), indexes.times.len());
            (indexes.offsets.encode(), indexes.times.encode(), state.stored, counts)
        };
        let stored = (stored.0.min(counts.0), stored.1.min(counts.1));
        self.store_index("index", &offsets, stored.0 * crate::index::OFFSET_ENTRY_SIZE, sync)?;
        self.store_index("timeindex", &times, stored.1 * crate::timeindex::TIME_ENTRY_SIZE, sync)?;
        self.state.lock().stored = counts;
        Ok(())
    }

    fn store_index(&self, suffix: &str, bytes: &[u8], stored: usize, sync: bool) -> io::Result<()> {
        let file = self.files.disk().open(&self.path(suffix), crate::disk::OpenMode::Create)?;
        if file.len()? != stored as u64 || stored == 0 {
            // The file is not the one that we wrote: replace its content as a whole.
            file.set_len(0)?;
            file.write_all_at(&[IoSlice::new(bytes)], 0)?;
        } else if stored < bytes.len() {
            file.write_all_at(&[IoSlice::new(&bytes[stored..])], stored as u64)?;
        }
        if sync { file.sync_all() } else { Ok(()) }
    }

    /// Makes the batches durable; gives the size that is.
    pub(crate) fn sync(&self) -> io::Result<u32> {
        let (size, synced) = {
            let state = self.state.lock();
            (state.size, state.synced)
        };
        if synced < size {
            self.file()?.sync_data()?;
            let mut state = self.state.lock();
            state.synced = state.synced.max(size);
        }
        Ok(size)
    }

    /// Says that the bytes before `position` are on stable storage already.
    pub(crate) fn mark_synced(&self, position: u32) {
        let mut state = self.state.lock();
        state.synced = state.synced.max(position);
    }

    /// Bytes that are not known to be on stable storage.
    pub(crate) fn unsynced(&self) -> u32 {
        let state = self.state.lock();
        state.size - state.synced.min(state.size)
    }
}

/// Why a batch could not be written to a segment.
#[derive(Debug)]
pub(crate) enum AppendFailure {
    /// Nothing of it is in the file.
    Clean(io::Error),
    /// A part of it may be in the file.
    Torn(io::Error),
}

impl AppendFailure {
    pub(crate) fn into_inner(self) -> io::Error {
        match self {
            AppendFailure::Clean(error) | AppendFailure::Torn(error) => error,
        }
    }
}

/// Whether a header can be one of ours: a batch has as many records as offsets, so that a damaged count does not lead a walk astray.
pub(crate) fn is_plausible(header: &BatchHeader) -> bool {
    header.last_offset_delta >= 0 && header.records_count.checked_sub(1) == Some(header.last_offset_delta)
}

/// A piece of a segment in memory, through which headers are walked without a system call for each.
#[derive(Debug, Default)]
pub(crate) struct Window {
    start: u32,
    bytes: Bytes,
}

const WINDOW_BYTES: usize = 32 * 1024;

impl Window {
    /// The header at `position`, waiting for the disk; `None` if there is no header before `end`.
    pub(crate) fn header(&mut self, segment: &Segment, position: u32, end: u32) -> io::Result<Option<BatchHeader>> {
        match self.try_header(segment, Access::Blocking, position, end)? {
            Some(header) => Ok(header.ok()),
            None => Ok(None),
        }
    }

    /// The header at `position`: `None` if the bytes are cold, `Some(Err)` if they are no header.
    pub(crate) fn try_header(
        &mut self,
        segment: &Segment,
        access: Access,
        position: u32,
        end: u32,
    ) -> io::Result<Option<Result<BatchHeader, ()>>> {
        let held = position
            .checked_sub(self.start)
            .map(|skip| skip as usize)
            .filter(|skip| skip + HEADER_SIZE <= self.bytes.len());
        let skip = match held {
            Some(skip) => skip,
            None => {
                let len = WINDOW_BYTES.min(end.saturating_sub(position) as usize);
                let Some(bytes) = segment.read(access, position, len)? else { return Ok(None) };
                (self.start, self.bytes) = (position, bytes);
                0
            }
        };
        Ok(Some(BatchHeader::parse(&self.bytes[skip..]).map_err(drop)))
    }
}
