//! Opening a partition that is there: what its files hold up to the recovery point is believed, what is behind is checked, and the journal has the
//! last word.
//!
//! Behind the recovery point every batch is read: its checksum, its offset, and the journal's checksum of it if the journal has it. The first that
//! does not hold ends the scan; what follows is cut off and written again from the journal. What is left behind the journal's end are batches
//! that were acknowledged with `acks=1` and survived in the page cache: they are kept and become visible when the new session's
//! journal has them. Records that are missing from the middle stay missing: reading them is an error, and their offsets are not used again.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use chronik_protocol::batch::{BatchHeader, HEADER_SIZE, check_crc, crc32c};

use crate::checkpoints;
use crate::config::LogConfig;
use crate::disk::DirEntry;
use crate::env::{Durability, Env};
use crate::epochs::EpochCache;
use crate::error::StorageError;
use crate::journal::{Footer, Journals, SessionId};
use crate::partition::{DELETED_SUFFIX, EPOCHS_FILE, Opened, Pending, Status};
use crate::producers::Producers;
use crate::reader;
use crate::segment::{Access, SEGMENT_SIZE_MAX, Segment, Window, is_plausible};

/// What the scan reads at once.
const SCAN_BYTES: usize = 1024 * 1024;

/// What the journals hold of one partition, by base offset; a later session's word counts.
pub(crate) type Footers = BTreeMap<i64, (SessionId, Footer)>;

/// What is known of a partition from outside its directory.
#[derive(Debug)]
pub(crate) struct Known {
    /// Up to where the segments are on stable storage; `None` if the checkpoint file is damaged.
    pub(crate) recovery_point: Option<i64>,
    pub(crate) log_start: Option<i64>,
    pub(crate) footers: Footers,
}

/// Opens what is in a partition's directory.
pub(crate) fn recover(
    env: &Arc<Env>,
    journals: &dyn Journals,
    (dir, name): (&Arc<Path>, &str),
    config: &LogConfig,
    known: Known,
    now_ms: i64,
) -> Result<Opened, StorageError> {
    let entries = env.disk.list(dir).map_err(StorageError::io("listing", &**dir))?;
    let mut recovery = Recovery {
        env,
        journals,
        dir,
        name,
        interval: u32::try_from(config.index_interval_bytes).unwrap_or(0),
        segment_bytes: u32::try_from(config.segment_bytes).unwrap_or(0),
        now_ms,
        durable_end: 0,
        point: 0,
        next: 0,
        segments: Vec::new(),
        producers: Producers::default(),
        epochs: EpochCache::default(),
        pending: VecDeque::new(),
        footers: known.footers,
        dirty: false,
    };
    recovery.run(&entries, known.recovery_point, known.log_start)
}

struct Recovery<'a> {
    env: &'a Arc<Env>,
    journals: &'a dyn Journals,
    dir: &'a Arc<Path>,
    name: &'a str,
    interval: u32,
    segment_bytes: u32,
    now_ms: i64,
    /// Everything before is durable: checkpointed, or in a journal.
    durable_end: i64,
    /// The recovery point.
    point: i64,
    /// The offset behind what was found so far.
    next: i64,
    segments: Vec<Arc<Segment>>,
    producers: Producers,
    epochs: EpochCache,
    pending: VecDeque<Pending>,
    footers: Footers,
    dirty: bool,
}

/// How the scan of a segment ended.
enum ScanEnd {
    /// At its last byte.
    Whole,
    /// Before it: what is there cannot be believed.
    Torn,
}

impl Recovery<'_> {
    fn run(
        &mut self,
        entries: &[DirEntry],
        point: Option<i64>,
        log_start: Option<i64>,
    ) -> Result<Opened, StorageError> {
        self.open_segments(entries)?;
        let first = self.segments.first().map_or(0, |first| first.base_offset);
        let last = self.segments.last().map_or(0, |last| last.base_offset);
        let log_start = log_start.unwrap_or(first);
        self.point = point.unwrap_or(last);
        let journal_end = self.footers.values().map(|(_, footer)| footer.meta.last_offset + 1).max().unwrap_or(0);
        self.durable_end = match self.env.durability {
            Durability::Fsync if point.is_some() => journal_end.max(self.point).max(log_start),
            // Without a checkpoint to go by, what is found is synced below. Without fsync, having it is enough.
            Durability::Fsync | Durability::Os => i64::MAX,
        };
        self.next = first;
        let sealed = self.check_sealed()?;
        self.load_state(entries, sealed)?;
        self.scan_tail(sealed, point.is_none())?;
        self.replay_journal()?;
        self.close_gap(log_start);
        if point.is_none() {
            self.sync()?;
        }
        if let Some(active) = self.segments.last() {
            active.load_first_timestamp().map_err(self.failed("reading"))?;
        }
        Ok(Opened {
            log_start,
            high_watermark: if self.pending.is_empty() { self.next } else { self.durable_end.min(self.next) },
            next_offset: self.next,
            segments: std::mem::take(&mut self.segments),
            producers: std::mem::take(&mut self.producers),
            epochs: std::mem::take(&mut self.epochs),
            pending: std::mem::take(&mut self.pending),
            status: Status::Online,
            dirty: self.dirty,
        })
    }

    fn failed(&self, action: &'static str) -> impl FnOnce(std::io::Error) -> StorageError + use<> {
        let dir = self.dir.to_path_buf();
        StorageError::io(action, dir)
    }

    /// Finds the segment files, removes what an interrupted deletion or replacement has left, and sets aside what is not ours.
    fn open_segments(&mut self, entries: &[DirEntry]) -> Result<(), StorageError> {
        for entry in entries {
            let path = self.dir.join(&entry.name);
            if entry.name.ends_with(DELETED_SUFFIX) || entry.name.ends_with(".tmp") {
                self.env.disk.remove_file(&path).map_err(StorageError::io("removing", &path))?;
                continue;
            }
            let Some(base) =
                entry.name.strip_suffix(".log").filter(|stem| stem.len() == 20).and_then(|stem| stem.parse().ok())
            else {
                continue;
            };
            let size = self.env.disk.file_len(&path).map_err(StorageError::io("reading", &path))?.unwrap_or(0);
            let size = u32::try_from(size).unwrap_or(SEGMENT_SIZE_MAX).min(SEGMENT_SIZE_MAX);
            let segment = Segment::new(self.dir.clone(), self.env.files.clone(), base, size, self.now_ms);
            match segment.header_at(Access::Blocking, 0).map_err(StorageError::io("reading", &path))? {
                Some(Ok(header)) if header.base_offset != base && check_foreign(&segment, &header) => {
                    tracing::error!(partition = self.name, file = %path.display(), begins_at = header.base_offset,
                        "this segment does not begin with the offset of its name: it is set aside");
                    let aside = self.dir.join(format!("{}.foreign", entry.name));
                    self.env.disk.rename(&path, &aside).map_err(StorageError::io("renaming", &path))?;
                }
                _ => self.segments.push(Arc::new(segment)),
            }
        }
        self.segments.sort_by_key(|segment| segment.base_offset);
        Ok(())
    }

    /// Looks at the segments that lie wholly before the recovery point; gives how many they are.
    fn check_sealed(&mut self) -> Result<usize, StorageError> {
        let sealed = self.segments.windows(2).take_while(|pair| pair[1].base_offset <= self.point).count();
        for pair in self.segments[..(sealed + 1).min(self.segments.len())].windows(2) {
            let (segment, next_base) = (&pair[0], pair[1].base_offset);
            let from = segment.with_indexes(|indexes| indexes.offsets.last().map_or(0, |last| last.position));
            let from = from.map_err(self.failed("reading"))?;
            let probe = Segment::new(
                self.dir.clone(),
                self.env.files.clone(),
                segment.base_offset,
                segment.size(),
                self.now_ms,
            );
            let (end, position) = probe.index_from(from, self.interval).map_err(self.failed("reading"))?;
            segment.drop_indexes();
            segment.mark_synced(segment.size());
            segment.close();
            if position < segment.size() {
                tracing::error!(partition = self.name, segment = %segment.path("log").display(), position,
                    "a sealed segment is damaged: reading the damaged batches will be an error");
            } else if end != next_base {
                tracing::error!(
                    partition = self.name,
                    from = end,
                    to = next_base,
                    "records are missing between two segments: reading them will be an error"
                );
            }
            self.next = next_base;
        }
        Ok(sealed)
    }

    /// Loads producers and epochs as they were at the recovery point; what the files do not say is read from the segments.
    fn load_state(&mut self, entries: &[DirEntry], sealed: usize) -> Result<(), StorageError> {
        let first = self.segments.first().map_or(self.point, |first| first.base_offset);
        let mut producers_at = None;
        for entry in entries.iter().rev() {
            let Some(offset) = entry.name.strip_suffix(".snapshot").and_then(|stem| stem.parse::<i64>().ok()) else {
                continue;
            };
            let path = self.dir.join(&entry.name);
            let bytes = checkpoints::read(&*self.env.disk, &path).map_err(StorageError::io("reading", &path))?;
            let producers = bytes.and_then(|bytes| Producers::decode(&bytes)).filter(|_| offset <= self.point);
            match producers {
                Some(producers) if producers_at.is_none() => (self.producers, producers_at) = (producers, Some(offset)),
                Some(_) => {}
                None => {
                    tracing::warn!(partition = self.name, file = %path.display(), "producer snapshot is damaged, or ahead of the log: removed");
                    self.env.disk.remove_file(&path).map_err(StorageError::io("removing", &path))?;
                }
            }
        }
        let path = self.dir.join(EPOCHS_FILE);
        let bytes = checkpoints::read(&*self.env.disk, &path).map_err(StorageError::io("reading", &path))?;
        let epochs = bytes.and_then(|bytes| EpochCache::decode(std::str::from_utf8(&bytes).ok()?));
        let epochs_at = if epochs.is_some() { self.point } else { first };
        self.epochs = epochs.unwrap_or_default();
        self.epochs.truncate_from_end(self.point);
        let producers_at = producers_at.unwrap_or(first);
        if producers_at.min(epochs_at) < self.point {
            self.walk_headers(producers_at, epochs_at, sealed)?;
        }
        Ok(())
    }

    /// Rebuilds producers and epochs from the headers between a snapshot and the recovery point.
    fn walk_headers(&mut self, producers_at: i64, epochs_at: i64, sealed: usize) -> Result<(), StorageError> {
        let from = producers_at.min(epochs_at);
        let segments =
            self.segments.get(..=sealed.min(self.segments.len().saturating_sub(1))).unwrap_or_default().to_vec();
        for (at, segment) in segments.iter().enumerate() {
            if segments.get(at + 1).is_some_and(|next| next.base_offset <= from) {
                continue;
            }
            let start = segment
                .with_indexes(|indexes| indexes.offsets.lookup(segment.relative(from)))
                .map_err(self.failed("reading"))?;
            let (mut position, size, mut window) = (start, segment.size(), Window::default());
            while let Some(header) =
                next_header(segment, &mut window, position, size).map_err(self.failed("reading"))?
            {
                let (position_of, header) = header;
                if header.base_offset >= self.point {
                    break;
                }
                if header.base_offset >= producers_at {
                    self.producers.update(&header, self.now_ms);
                }
                if header.base_offset >= epochs_at {
                    self.epochs.assign(header.partition_leader_epoch, header.base_offset);
                }
                position = position_of.saturating_add(size_of(&header));
            }
            if at < sealed {
                segment.drop_indexes();
            }
        }
        Ok(())
    }

    /// Scans the segments that reach behind the recovery point and cuts off what cannot be believed.
    fn scan_tail(&mut self, sealed: usize, tolerant: bool) -> Result<(), StorageError> {
        let mut ended = None;
        for at in sealed..self.segments.len() {
            let segment = self.segments[at].clone();
            if at > sealed && segment.base_offset != self.next {
                ended = Some(at);
                break;
            }
            if let ScanEnd::Torn = self.scan_segment(&segment, tolerant)? {
                ended = Some(at + 1);
                break;
            }
        }
        for dropped in self.segments.split_off(ended.unwrap_or(self.segments.len())) {
            tracing::warn!(partition = self.name, segment = %dropped.path("log").display(), bytes = dropped.size(),
                "segment behind the end of the log is removed; the journal has what was acknowledged of it");
            dropped.close();
            let path = dropped.path("log");
            self.env.disk.remove_file(&path).map_err(StorageError::io("removing", &path))?;
            self.dirty = true;
        }
        Ok(())
    }

    fn scan_segment(&mut self, segment: &Arc<Segment>, tolerant: bool) -> Result<ScanEnd, StorageError> {
        let file_size = segment.size();
        self.next = self.next.max(segment.base_offset);
        let start = self.scan_start(segment)?;
        segment.begin_scan(start).map_err(self.failed("reading"))?;
        let position = self.walk_to_point(segment, start, file_size)?;
        let position = self.check_batches(segment, position, file_size, tolerant)?;
        if position == file_size {
            return Ok(ScanEnd::Whole);
        }
        tracing::warn!(partition = self.name, segment = %segment.path("log").display(), offset = self.next, bytes = file_size - position,
            "the end of the log is torn: cut off; the journal has what was acknowledged of it");
        segment.cut(position).map_err(self.failed("truncating"))?;
        self.dirty = true;
        Ok(ScanEnd::Torn)
    }

    /// Where to begin with the headers: at the last indexed batch before the recovery point, if it is the one that the index says it is.
    fn scan_start(&mut self, segment: &Segment) -> Result<u32, StorageError> {
        if self.point <= segment.base_offset {
            // All of it is scanned, so whatever indexes there are of it are made anew.
            segment.forget_indexes();
            return Ok(0);
        }
        let entry = segment.with_indexes(|indexes| indexes.offsets.find(segment.relative(self.point)));
        let Some(entry) = entry.map_err(self.failed("reading"))? else { return Ok(0) };
        let header = segment.header_at(Access::Blocking, entry.position).map_err(self.failed("reading"))?;
        match header {
            Some(Ok(header))
                if segment.relative(header.last_offset()) == entry.relative && header.base_offset < self.point =>
            {
                self.next = self.next.max(header.base_offset);
                Ok(entry.position)
            }
            _ => Ok(0),
        }
    }

    /// Passes the batches before the recovery point, whose bytes are believed, up to the first that is not. Damage among them stays where it
    /// is: reading it will be an error, and what is behind it is served.
    fn walk_to_point(&mut self, segment: &Segment, mut position: u32, size: u32) -> Result<u32, StorageError> {
        let (mut window, mut from) = (Window::default(), position);
        while position < size && self.next < self.point {
            let header = window.header(segment, position, size).map_err(self.failed("reading"))?;
            let end = header.as_ref().map(|header| u64::from(position) + header.size_in_bytes() as u64);
            let whole = end.is_some_and(|end| end <= u64::from(size));
            let follows = |header: &BatchHeader| header.base_offset == self.next && header.next_offset() <= self.point;
            if let Some(header) = header.filter(|header| whole && follows(header) && is_plausible(header)) {
                segment.note_unchecked(&header, position, self.interval);
                self.next = header.next_offset();
                (from, position) = (position, position.saturating_add(size_of(&header)));
                continue;
            }
            if let Some(header) = header.filter(|header| whole && header.base_offset == self.next)
                && self.is_intact(segment, position, &header)?
            {
                // The recovery point lies inside this batch: it is none that we wrote.
                break;
            }
            let found =
                reader::step_over(segment, (from, position), self.next, size).map_err(self.failed("reading"))?;
            let offset = self.next;
            match found {
                Some((found, header)) => {
                    tracing::error!(
                        partition = self.name,
                        from = offset,
                        to = header.base_offset,
                        "batches are damaged or missing: reading them will be an error"
                    );
                    (from, position, self.next) = (found, found, header.base_offset);
                }
                None if whole => {
                    tracing::error!(
                        partition = self.name,
                        offset,
                        "the last batch is damaged: reading it will be an error"
                    );
                    segment.keep(size);
                    (position, self.next) = (size, self.point);
                }
                None => break,
            }
        }
        Ok(position)
    }

    /// Checks batch after batch; gives the position of the first that does not hold.
    fn check_batches(
        &mut self,
        segment: &Arc<Segment>,
        mut position: u32,
        size: u32,
        tolerant: bool,
    ) -> Result<u32, StorageError> {
        let (mut start, mut bytes) = (position, bytes::Bytes::new());
        while position < size {
            let skip = (position - start) as usize;
            let needed = BatchHeader::parse(bytes.get(skip..).unwrap_or_default())
                .map_or(HEADER_SIZE, |header| header.size_in_bytes());
            if bytes.len() < skip.saturating_add(needed) {
                let room = (size - position) as usize;
                bytes = self.read_from(segment, position, SCAN_BYTES.max(needed).min(room))?;
                let needed = BatchHeader::parse(&bytes).map_or(0, |header| header.size_in_bytes());
                if needed > bytes.len() && needed <= room {
                    bytes = self.read_from(segment, position, needed)?;
                }
                start = position;
            }
            let rest = &bytes[(position - start) as usize..];
            let Some(header) = self.intact(rest, tolerant) else {
                let found = if tolerant {
                    reader::search(segment, position, self.next, size).map_err(self.failed("reading"))?
                } else {
                    None
                };
                let Some((found, _)) = found else { return Ok(position) };
                tracing::error!(
                    partition = self.name,
                    offset = self.next,
                    "a batch is damaged: reading it will be an error"
                );
                position = found;
                self.next = self.next.max(segment.base_offset);
                (start, bytes) = (position, bytes::Bytes::new());
                continue;
            };
            self.take(segment, &header, position);
            position = position.saturating_add(size_of(&header));
        }
        Ok(position)
    }

    fn is_intact(&self, segment: &Segment, position: u32, header: &BatchHeader) -> Result<bool, StorageError> {
        let bytes = self.read_from(segment, position, header.size_in_bytes())?;
        Ok(is_plausible(header) && check_crc(&bytes).is_ok())
    }

    fn read_from(&self, segment: &Segment, position: u32, length: usize) -> Result<bytes::Bytes, StorageError> {
        let read = segment.read(Access::Blocking, position, length).map_err(self.failed("reading"))?;
        Ok(read.unwrap_or_default())
    }

    /// The header of the batch that bytes begin with, if the batch is whole, next in order, undamaged, and what the journal says.
    fn intact(&self, bytes: &[u8], tolerant: bool) -> Option<BatchHeader> {
        let header = BatchHeader::parse(bytes).ok()?;
        let batch = bytes.get(..header.size_in_bytes())?;
        let in_order = header.base_offset == self.next || (header.base_offset > self.next && tolerant);
        if !in_order || !is_plausible(&header) || check_crc(batch).is_err() {
            return None;
        }
        let agrees =
            self.footers.get(&header.base_offset).is_none_or(|(_, footer)| footer.location.crc == crc32c(batch));
        agrees.then_some(header)
    }

    /// Takes a batch that is in a segment.
    fn take(&mut self, segment: &Segment, header: &BatchHeader, start: u32) {
        segment.note(header, start, self.interval);
        self.producers.update(header, self.now_ms);
        self.epochs.assign(header.partition_leader_epoch, header.base_offset);
        self.next = header.next_offset();
        self.dirty = true;
        if header.base_offset >= self.durable_end {
            let last_offset = header.last_offset();
            self.pending.push_back(Pending {
                last_offset,
                segment_base: segment.base_offset,
                start,
                end: segment.size(),
            });
        }
    }

    /// Writes what the journal has and the segments have not.
    fn replay_journal(&mut self) -> Result<(), StorageError> {
        let footers = std::mem::take(&mut self.footers);
        let mut replayed = 0_u64;
        for (base, (session, footer)) in footers.range(self.next..) {
            if *base > self.next {
                tracing::error!(
                    partition = self.name,
                    from = self.next,
                    to = base,
                    "records are missing between the segments and the journal: reading them will be an error"
                );
            }
            let bytes = self.journals.read(*session, &footer.location)?;
            let header = BatchHeader::parse(&bytes).map_err(|error| StorageError::Damaged {
                path: self.dir.to_path_buf(),
                what: format!("the journal's batch at offset {base}: {error}"),
            })?;
            let segment = self.segment_for(&header)?;
            let written = segment.append(&header, [&bytes, &[]], self.interval);
            let position = written.map_err(|failure| self.failed("appending to")(failure.into_inner()))?;
            self.pending.clear();
            self.take(&segment, &header, position);
            replayed += 1;
        }
        if replayed > 0 {
            tracing::info!(partition = self.name, batches = replayed, end = self.next, "replayed the journal");
        }
        Ok(())
    }

    fn segment_for(&mut self, header: &BatchHeader) -> Result<Arc<Segment>, StorageError> {
        if let Some(last) = self.segments.last().filter(|last| last.has_room(header, self.segment_bytes, usize::MAX)) {
            return Ok(last.clone());
        }
        let created = Segment::create(self.dir.clone(), self.env.files.clone(), header.base_offset, self.now_ms);
        let segment = Arc::new(created.map_err(self.failed("creating a segment in"))?);
        if let Some(sealed) = self.segments.last() {
            sealed.finish_time_index();
        }
        self.segments.push(segment.clone());
        Ok(segment)
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.segments.iter().try_for_each(|segment| segment.sync().map(drop)).map_err(self.failed("syncing"))?;
        self.env.disk.sync_dir(self.dir).map_err(self.failed("syncing"))
    }

    /// Offsets that were given out once are not given out again, also if their records are lost.
    fn close_gap(&mut self, log_start: i64) {
        let floor = self.point.max(log_start);
        if self.next < floor {
            tracing::error!(
                partition = self.name,
                from = self.next,
                to = floor,
                "records that were on stable storage are missing: reading them will be an error"
            );
            self.next = floor;
            self.dirty = true;
        }
    }
}

fn size_of(header: &BatchHeader) -> u32 {
    u32::try_from(header.size_in_bytes()).unwrap_or(u32::MAX)
}

/// The next header at or behind `position`, stepping over damage.
fn next_header(
    segment: &Segment,
    window: &mut Window,
    position: u32,
    size: u32,
) -> std::io::Result<Option<(u32, BatchHeader)>> {
    if position >= size {
        return Ok(None);
    }
    match window.header(segment, position, size)? {
        Some(header)
            if is_plausible(&header) && u64::from(position) + header.size_in_bytes() as u64 <= u64::from(size) =>
        {
            Ok(Some((position, header)))
        }
        _ => reader::search(segment, position, segment.base_offset, size),
    }
}

/// Whether a segment's first batch is a good one with another offset than the file's name says.
fn check_foreign(segment: &Segment, header: &BatchHeader) -> bool {
    let bytes = segment.read(Access::Blocking, 0, header.size_in_bytes().min(segment.size() as usize));
    matches!(bytes, Ok(Some(bytes)) if bytes.len() == header.size_in_bytes() && check_crc(&bytes).is_ok())
}
