//! Journals in files of a directory.
//!
//! A session's stream is cut into files `<session>-<number>.journal`; a group lies whole in one of them. Files that are not needed
//! any more become spares (`spare-<number>.journal`) and are used again, by this session or the next: their blocks are allocated and
//! written, so that a durable write changes no metadata. A thread prepares the next file before the writer needs it, and writes zeros
//! into new spares; neither a start nor an append waits for zeros.
//!
//! What makes recycling safe is in [`super::group`]: stale bytes name another session or a lower position. One more rule is kept
//! here: the first block of a file is zeroed before the file gets its name in a session, so a file's first header, when
//! there is one, is its own.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use parking_lot::Mutex;

use self::pool::Pool;
use self::walk::Chain;
use self::writer::FileWriter;
use super::group::{self, Header};
use super::{EntryLocation, Footer, JournalError, JournalWriter, Journals, Position, Sealed, SessionId, Usage};
use crate::disk::{DirEntry, Disk, OpenMode};

mod pool;
#[cfg(test)]
mod tests;
mod walk;
mod writer;

/// Sizes of files, and how they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileJournalOptions {
    /// The size of a file as long as little is live; a multiple of 4096.
    pub file_bytes_min: u64,
    /// The size that files grow to under load; a multiple of 4096.
    pub file_bytes_max: u64,
    /// Spares are kept up to this even when nothing asks for them.
    pub idle_bytes: u64,
    /// What all files together should stay below; see [`Usage::limit_bytes`].
    pub limit_bytes: u64,
    /// Whether `O_DIRECT|O_DSYNC` is tried; otherwise, and where it is refused, writes are buffered and synced.
    pub direct: bool,
}

impl Default for FileJournalOptions {
    fn default() -> Self {
        FileJournalOptions {
            file_bytes_min: 4 << 20,
            file_bytes_max: 64 << 20,
            idle_bytes: 16 << 20,
            limit_bytes: 1 << 30,
            direct: true,
        }
    }
}

/// A file that is part of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileInfo {
    /// From 1, without gaps.
    number: u64,
    size: u64,
    /// The position of its first group; none as long as no group in it was durable.
    base: Option<Position>,
}

impl FileInfo {
    fn path(&self, dir: &Path, session: SessionId) -> PathBuf {
        dir.join(format!("{session}-{:010}{SUFFIX}", self.number))
    }
}

const SUFFIX: &str = ".journal";
const SPARE: &str = "spare";

/// What is known of a session.
#[derive(Debug, Default)]
struct Session {
    files: Vec<FileInfo>,
    /// While this process writes it.
    writer: Option<Arc<WriterState>>,
    sealed: Option<Sealed>,
}

/// What a writer shares with those who seal its session. Locked for the length of an append.
#[derive(Debug)]
struct WriterState {
    gate: Mutex<Gate>,
}

#[derive(Debug)]
struct Gate {
    /// Nothing may be appended.
    closed: bool,
    /// Everything before was answered with success.
    durable: Position,
}

type Sessions = Mutex<BTreeMap<SessionId, Session>>;

/// What the journals, their writer and the preparing thread share. Locks are taken in this order: a gate, the sessions, the pool.
#[derive(Debug)]
struct Shared {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: FileJournalOptions,
    sessions: Sessions,
    pool: Pool,
}

/// Journals in a directory.
#[derive(Debug)]
pub struct FileJournals {
    shared: Arc<Shared>,
    preparer: Mutex<Option<JoinHandle<()>>>,
}

impl FileJournals {
    /// Opens the directory, making it when it is missing.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: FileJournalOptions,
    ) -> Result<Arc<FileJournals>, JournalError> {
        let failed = |action| move |source| JournalError::Io { action, path: dir.to_owned(), source };
        let mut sessions: BTreeMap<SessionId, Session> = BTreeMap::new();
        let pool = Pool::new(options.direct);
        for entry in list_or_create(&*disk, dir).map_err(failed("list"))? {
            let path = dir.join(&entry.name);
            let io = |action: &'static str| {
                let path = path.clone();
                move |source| JournalError::Io { action, path, source }
            };
            match FileName::parse(&entry.name) {
                _ if entry.is_dir => {}
                Some(FileName::Of(session, number)) => {
                    let file = disk.open(&path, OpenMode::Read).map_err(io("open"))?;
                    let size = file.len().map_err(io("measure"))?;
                    let base = walk::base_of(&*file, session).map_err(io("read"))?;
                    sessions.entry(session).or_default().files.push(FileInfo { number, size, base });
                }
                Some(FileName::Spare(number)) => {
                    let size = disk.file_len(&path).map_err(io("measure"))?.unwrap_or_default();
                    pool.add(number, size);
                }
                Some(FileName::Unfinished) => disk.remove_file(&path).map_err(io("remove"))?,
                None => tracing::warn!(path = %path.display(), "a file in the journal's directory is none of ours"),
            }
        }
        for session in sessions.values_mut() {
            session.files.sort_unstable_by_key(|file| file.number);
        }
        let sessions = Mutex::new(sessions);
        let shared = Arc::new(Shared { disk, dir: dir.to_owned(), options, sessions, pool });
        let preparer = pool::start(Arc::clone(&shared)).map_err(failed("start thread for"))?;
        Ok(Arc::new(FileJournals { shared, preparer: Mutex::new(Some(preparer)) }))
    }

    /// Whether writes go around the page cache; none before the first session was begun.
    pub fn is_direct(&self) -> Option<bool> {
        self.shared.pool.is_direct()
    }
}

impl Drop for FileJournals {
    fn drop(&mut self) {
        self.shared.pool.stop();
        if let Some(thread) = self.preparer.lock().take() {
            // A panic of the thread (in builds that unwind) was reported where it happened.
            let _ = thread.join();
        }
    }
}

fn list_or_create(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<DirEntry>> {
    match disk.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            disk.create_dir_all(dir)?;
            dir.parent().map_or(Ok(()), |parent| disk.sync_dir(parent))?;
            Ok(Vec::new())
        }
        listed => listed,
    }
}

/// What a name in the directory says.
enum FileName {
    Of(SessionId, u64),
    Spare(u64),
    /// A spare that was being written when the process died.
    Unfinished,
}

impl FileName {
    fn parse(name: &str) -> Option<FileName> {
        if name.starts_with(SPARE) && name.ends_with(pool::UNFINISHED) {
            return Some(FileName::Unfinished);
        }
        let (owner, number) = name.strip_suffix(SUFFIX)?.split_once('-')?;
        let number = number.parse().ok()?;
        if owner == SPARE { Some(FileName::Spare(number)) } else { Some(FileName::Of(owner.parse().ok()?, number)) }
    }
}

impl Journals for FileJournals {
    fn sessions(&self) -> Result<Vec<SessionId>, JournalError> {
        Ok(self.shared.sessions.lock().keys().copied().collect())
    }

    fn create(&self, session: SessionId) -> Result<Box<dyn JournalWriter>, JournalError> {
        if self.shared.sessions.lock().contains_key(&session) {
            return Err(JournalError::SessionExists(session));
        }
        let (file, open) = self.shared.prepare(session, 1)?;
        let gate = Gate { closed: false, durable: Position::default() };
        let state = Arc::new(WriterState { gate: Mutex::new(gate) });
        let known = Session { files: vec![file], writer: Some(Arc::clone(&state)), sealed: None };
        self.shared.sessions.lock().insert(session, known);
        self.shared.pool.want_next(session, 2);
        Ok(Box::new(FileWriter::new(Arc::clone(&self.shared), session, state, file, open)))
    }

    fn seal(&self, session: SessionId) -> Result<Sealed, JournalError> {
        self.shared.seal(session)
    }

    fn footers(&self, session: SessionId, from: Position, visit: &mut dyn FnMut(Footer)) -> Result<(), JournalError> {
        let (files, sealed) = self.shared.files_of(session)?;
        let sealed = sealed.ok_or(JournalError::NotSealed(session))?;
        let chain = Chain { disk: &*self.shared.disk, dir: &self.shared.dir, session, files: &files };
        let end = chain.walk(from, &mut |header: &Header, head: &[u8]| {
            let footers = header.footers(head).ok_or(JournalError::Corrupt {
                session,
                position: header.position,
                what: "the footers are damaged",
            })?;
            footers.for_each(&mut *visit);
            Ok(())
        })?;
        if end.position == sealed.end {
            Ok(())
        } else {
            Err(JournalError::Corrupt { session, position: end.position, what: "the session ended elsewhere" })
        }
    }

    fn read(&self, session: SessionId, at: &EntryLocation) -> Result<Bytes, JournalError> {
        let (files, _) = self.shared.files_of(session)?;
        let corrupt = |what| JournalError::Corrupt { session, position: at.group, what };
        let holder = files.iter().rev().find(|file| file.base.is_some_and(|base| base <= at.group));
        let Some((file, base)) = holder.and_then(|file| Some((file, file.base?))) else {
            return Err(corrupt("the position was trimmed"));
        };
        let path = file.path(&self.shared.dir, session);
        let io = |action| {
            let path = path.clone();
            move |source| JournalError::Io { action, path, source }
        };
        let start = at.group.0 - base.0 + u64::from(at.offset);
        if start + u64::from(at.len) > file.size {
            return Err(corrupt("the position is behind the end"));
        }
        let file = self.shared.disk.open(&path, OpenMode::Read).map_err(io("open"))?;
        let mut bytes = vec![0; at.len as usize];
        let read = file.read_at(&mut bytes, start).map_err(io("read"))?;
        bytes.truncate(read);
        match group::entry_of(&bytes, &EntryLocation { offset: 0, ..*at }) {
            Some(_) => Ok(Bytes::from(bytes)),
            None => Err(corrupt("an entry does not have its checksum")),
        }
    }

    fn trim(&self, session: SessionId, up_to: Position) -> Result<(), JournalError> {
        self.shared.trim(session, up_to)
    }

    fn remove(&self, session: SessionId) -> Result<(), JournalError> {
        self.shared.remove(session)
    }

    fn usage(&self) -> Usage {
        let live_bytes = self.shared.live_bytes();
        Usage { live_bytes, spare_bytes: self.shared.pool.spare_bytes(), limit_bytes: self.shared.options.limit_bytes }
    }
}

impl Shared {
    fn live_bytes(&self) -> u64 {
        self.sessions.lock().values().flat_map(|session| &session.files).map(|file| file.size).sum()
    }

    fn files_of(&self, session: SessionId) -> Result<(Vec<FileInfo>, Option<Sealed>), JournalError> {
        let sessions = self.sessions.lock();
        let known = sessions.get(&session).ok_or(JournalError::UnknownSession(session))?;
        Ok((known.files.clone(), known.sealed))
    }

    fn seal(&self, session: SessionId) -> Result<Sealed, JournalError> {
        let writer = {
            let sessions = self.sessions.lock();
            let known = sessions.get(&session).ok_or(JournalError::UnknownSession(session))?;
            match known.sealed {
                Some(sealed) => return Ok(sealed),
                None => known.writer.clone(),
            }
        };
        // Waits for the append that is on its way, if there is one.
        let durable = writer.map(|writer| {
            let mut gate = writer.gate.lock();
            gate.closed = true;
            gate.durable
        });
        self.pool.release_next(session, |file| self.recycle(session, file))?;
        let (files, _) = self.files_of(session)?;
        let (sealed, place) = match durable {
            Some(end) => (Sealed { end, cut: None }, Some(place_of(&files, end))),
            None => self.find_end(session, &files)?,
        };
        let last = match place {
            Some((index, offset)) => {
                self.write_seal(session, &files[index], offset, sealed.end)?;
                index
            }
            None => files.len().saturating_sub(1),
        };
        let mut sessions = self.sessions.lock();
        if let Some(known) = sessions.get_mut(&session) {
            known.sealed = Some(sealed);
            known.writer = None;
            known.files.truncate(last + 1);
        }
        drop(sessions);
        for unused in files.iter().skip(last + 1) {
            self.recycle(session, *unused)?;
        }
        if let Some(cut) = sealed.cut {
            tracing::warn!(%session, position = sealed.end.0, bytes = cut.bytes, entries = cut.entries,
                "cut a write from the journal that was not finished when the last session died");
        }
        Ok(sealed)
    }

    /// Reads the whole session; none for the place when it is sealed already.
    fn find_end(&self, session: SessionId, files: &[FileInfo]) -> Result<(Sealed, Option<(usize, u64)>), JournalError> {
        let chain = Chain { disk: &*self.disk, dir: &self.dir, session, files };
        let end = chain.walk(Position::default(), &mut |_, _| Ok(()))?;
        let place = if end.sealed { None } else { Some((end.file, end.offset)) };
        Ok((Sealed { end: end.position, cut: end.cut }, place))
    }

    /// Puts the block that ends a session where its next group would have begun. A group leaves room for it.
    fn write_seal(&self, session: SessionId, info: &FileInfo, offset: u64, end: Position) -> Result<(), JournalError> {
        let path = info.path(&self.dir, session);
        let io = |action| {
            let path = path.clone();
            move |source| JournalError::Io { action, path, source }
        };
        let file = self.disk.open(&path, OpenMode::ReadWrite).map_err(io("open"))?;
        let mut block = [0; crate::disk::BLOCK_BYTES];
        group::encode_seal(session, end, &mut block);
        file.write_all_at(&[io::IoSlice::new(&block)], offset).map_err(io("seal"))?;
        // Also makes durable what a killed process has written and not synced: it is believed from now on.
        file.sync_data().map_err(io("sync"))
    }

    fn trim(&self, session: SessionId, up_to: Position) -> Result<(), JournalError> {
        let live_bytes = self.live_bytes();
        let trimmed: Vec<FileInfo> = {
            let mut sessions = self.sessions.lock();
            let known = sessions.get_mut(&session).ok_or(JournalError::UnknownSession(session))?;
            // A file ends where the next one that holds a durable group begins.
            let passed = |pair: &[FileInfo]| pair[1].base.is_some_and(|base| base <= up_to);
            let count = known.files.windows(2).take_while(|pair| passed(pair)).count();
            known.files.drain(..count).collect()
        };
        self.recycle_all(session, &trimmed, live_bytes)
    }

    fn remove(&self, session: SessionId) -> Result<(), JournalError> {
        let live_bytes = self.live_bytes();
        let files = {
            let mut sessions = self.sessions.lock();
            let known = sessions.get_mut(&session).ok_or(JournalError::UnknownSession(session))?;
            if known.sealed.is_none() {
                return Err(JournalError::NotSealed(session));
            }
            sessions.remove(&session).map(|known| known.files).unwrap_or_default()
        };
        self.recycle_all(session, &files, live_bytes)
    }

    /// Oldest first, so that a crash in between leaves the end of the stream, never a hole in it.
    fn recycle_all(&self, session: SessionId, files: &[FileInfo], live_bytes: u64) -> Result<(), JournalError> {
        if files.is_empty() {
            return Ok(());
        }
        for file in files {
            self.recycle(session, *file)?;
        }
        self.disk.sync_dir(&self.dir).map_err(|source| self.dir_error("sync", source))?;
        self.shrink(live_bytes)
    }

    fn dir_error(&self, action: &'static str, source: io::Error) -> JournalError {
        JournalError::Io { action, path: self.dir.clone(), source }
    }
}

/// The file and the place in it of a position up to which everything is durable.
fn place_of(files: &[FileInfo], position: Position) -> (usize, u64) {
    let index = files.iter().rposition(|file| file.base.is_some_and(|base| base <= position)).unwrap_or(0);
    let base = files.get(index).and_then(|file| file.base).unwrap_or(position);
    (index, position.0 - base.0)
}
