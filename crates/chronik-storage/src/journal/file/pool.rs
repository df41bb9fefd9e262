//! Files before and after their use: spares, the next file of the session that is being written, and the thread that prepares them.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

use super::{FileInfo, SPARE, SUFFIX, Shared};
use crate::disk::{BLOCK_BYTES, DiskFile, OpenMode};
use crate::journal::buffer::AlignedBuffer;
use crate::journal::{JournalError, SessionId};

/// The end of the name of a spare that is still being filled with zeros.
pub(super) const UNFINISHED: &str = ".unfinished";

/// Zeros are written in pieces of this size, each synced, so that the journal's own writes get their turn in between.
const ZEROS_BYTES: usize = 1 << 20;

/// An open file of the journal.
#[derive(Debug, Clone)]
pub(super) struct Open {
    pub(super) file: Arc<dyn DiskFile>,
    /// A write is durable when it returns.
    pub(super) direct: bool,
}

/// A file that waits for its use.
#[derive(Debug, Clone, Copy)]
struct Spare {
    number: u64,
    size: u64,
}

#[derive(Debug, Default)]
struct State {
    spares: Vec<Spare>,
    next_number: u64,
    next: BTreeMap<SessionId, Next>,
    direct: Option<bool>,
    /// What recent load has needed, in bytes: grows at once, shrinks by and by.
    demand_bytes: u64,
    /// Filling spares with zeros has failed; it is not tried again before files come back.
    no_room: bool,
    stopping: bool,
}

/// The file that a writer goes on with when its own is full.
#[derive(Debug)]
enum Next {
    Wanted { number: u64 },
    BeingPrepared,
    Ready(FileInfo, Open),
    Failed,
}

#[derive(Debug)]
pub(super) struct Pool {
    state: Mutex<State>,
    work: Condvar,
    ready: Condvar,
}

impl Pool {
    pub(super) fn new(try_direct: bool) -> Pool {
        let direct = if try_direct { None } else { Some(false) };
        let state = State { direct, next_number: 1, ..State::default() };
        Pool { state: Mutex::new(state), work: Condvar::new(), ready: Condvar::new() }
    }

    /// Takes a file into the spares.
    pub(super) fn add(&self, number: u64, size: u64) {
        let mut state = self.state.lock();
        state.next_number = state.next_number.max(number + 1);
        state.no_room = false;
        state.spares.push(Spare { number, size });
    }

    pub(super) fn is_direct(&self) -> Option<bool> {
        self.state.lock().direct
    }

    pub(super) fn spare_bytes(&self) -> u64 {
        self.state.lock().spares.iter().map(|spare| spare.size).sum()
    }

    pub(super) fn stop(&self) {
        self.state.lock().stopping = true;
        self.work.notify_all();
        self.ready.notify_all();
    }

    /// Asks for the file that a session will go on with.
    pub(super) fn want_next(&self, session: SessionId, number: u64) {
        self.state.lock().next.insert(session, Next::Wanted { number });
        self.work.notify_one();
    }

    /// Takes the file that was asked for, waiting for it if need be; none when it could not be prepared.
    fn take_next(&self, session: SessionId) -> Result<Option<(FileInfo, Open)>, JournalError> {
        let mut state = self.state.lock();
        loop {
            match state.next.remove(&session) {
                Some(Next::Ready(file, open)) => return Ok(Some((file, open))),
                Some(Next::Failed) => return Ok(None),
                None => return Err(JournalError::Closed(session)),
                Some(pending) => state.next.insert(session, pending),
            };
            if state.stopping {
                return Err(JournalError::Closed(session));
            }
            self.ready.wait(&mut state);
        }
    }

    /// The session needs no next file; one that was prepared is given to `recycle`.
    pub(super) fn release_next(
        &self,
        session: SessionId,
        recycle: impl FnOnce(FileInfo) -> Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        let mut state = self.state.lock();
        while let Some(Next::BeingPrepared) = state.next.get(&session) {
            self.ready.wait(&mut state);
        }
        let next = state.next.remove(&session);
        drop(state);
        match next {
            Some(Next::Ready(file, _)) => recycle(file),
            _ => Ok(()),
        }
    }
}

/// Starts the thread that prepares files.
pub(super) fn start(shared: Arc<Shared>) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("journal-files".into()).spawn(move || shared.prepare_files())
}

enum Job {
    Next(SessionId, u64),
    Spare,
    Stop,
}

impl Shared {
    fn prepare_files(&self) {
        loop {
            match self.next_job() {
                Job::Next(session, number) => {
                    let next = match self.prepare(session, number) {
                        Ok((file, open)) => Next::Ready(file, open),
                        Err(error) => {
                            tracing::warn!(%error, "the journal's next file is not ready");
                            Next::Failed
                        }
                    };
                    self.pool.state.lock().next.insert(session, next);
                    self.pool.ready.notify_all();
                }
                Job::Spare => {
                    if let Err(error) = self.make_spare() {
                        tracing::warn!(%error, "no spare file for the journal");
                        self.pool.state.lock().no_room = true;
                    }
                }
                Job::Stop => return,
            }
        }
    }

    fn next_job(&self) -> Job {
        let mut state = self.pool.state.lock();
        loop {
            if state.stopping {
                return Job::Stop;
            }
            let wanted = state.next.iter_mut().find_map(|(session, next)| match *next {
                Next::Wanted { number } => {
                    *next = Next::BeingPrepared;
                    Some((*session, number))
                }
                _ => None,
            });
            if let Some((session, number)) = wanted {
                return Job::Next(session, number);
            }
            // Spares are made only while somebody writes, one ahead of need.
            if state.spares.is_empty() && !state.no_room && !state.next.is_empty() {
                return Job::Spare;
            }
            self.pool.work.wait(&mut state);
        }
    }

    /// The size of a new file: an eighth of what is live, so that there are never many.
    fn new_file_bytes(&self) -> u64 {
        let wanted = (self.live_bytes() / 8).next_power_of_two();
        wanted.clamp(self.options.file_bytes_min, self.options.file_bytes_max)
    }

    /// The file that a session goes on with. When preparing it ahead has failed, that was perhaps for lack of room that is there by
    /// now: nothing is lost yet, so it is tried once more.
    pub(super) fn next_file(&self, session: SessionId, number: u64) -> Result<(FileInfo, Open), JournalError> {
        match self.pool.take_next(session)? {
            Some(ready) => Ok(ready),
            None => self.prepare(session, number),
        }
    }

    /// Makes a file ready to be written as part of a session: a spare, or a new one of which only the room is reserved.
    pub(super) fn prepare(&self, session: SessionId, number: u64) -> Result<(FileInfo, Open), JournalError> {
        let spare = {
            let mut state = self.pool.state.lock();
            let largest = (0..state.spares.len()).max_by_key(|&index| state.spares[index].size);
            largest.map(|index| state.spares.swap_remove(index))
        };
        let spare = match spare {
            Some(spare) => spare,
            None => self.reserve(self.new_file_bytes())?,
        };
        let from = self.spare_path(spare.number);
        let io = |action| {
            let path = from.clone();
            move |source| JournalError::Io { action, path, source }
        };
        let open = self.open_cleared(&from).map_err(io("open"))?;
        open.file.sync_all().map_err(io("sync"))?;
        let file = FileInfo { number, size: spare.size, base: None };
        self.disk.rename(&from, &file.path(&self.dir, session)).map_err(io("rename"))?;
        self.disk.sync_dir(&self.dir).map_err(|source| self.dir_error("sync", source))?;
        self.pool.work.notify_one();
        Ok((file, open))
    }

    /// A new spare without zeros: its writes cost a little more until it comes round again.
    fn reserve(&self, size: u64) -> Result<Spare, JournalError> {
        let number = self.next_number();
        let path = self.spare_path(number);
        let reserved = self.disk.open(&path, OpenMode::Truncate).and_then(|file| file.preallocate(size));
        reserved.map_err(|source| JournalError::Io { action: "reserve", path, source })?;
        Ok(Spare { number, size })
    }

    /// A new spare full of zeros, durable.
    fn make_spare(&self) -> Result<(), JournalError> {
        let size = self.new_file_bytes();
        let number = self.next_number();
        let path = self.dir.join(format!("{SPARE}-{number:010}{UNFINISHED}"));
        let filled = self.fill(&path, size).and_then(|()| self.disk.rename(&path, &self.spare_path(number)));
        if let Err(source) = filled {
            // What is left of it would only take room that is short.
            let _ = self.disk.remove_file(&path);
            return Err(JournalError::Io { action: "fill", path, source });
        }
        self.pool.add(number, size);
        Ok(())
    }

    fn fill(&self, path: &Path, size: u64) -> io::Result<()> {
        let file = self.disk.open(path, OpenMode::CreateNew)?;
        file.preallocate(size)?;
        let zeros = vec![0; ZEROS_BYTES];
        let mut at = 0;
        while at < size && !self.pool.state.lock().stopping {
            // Bounded by the size of the zeros, so it fits.
            let piece = (size - at).min(ZEROS_BYTES as u64) as usize;
            file.write_all_at(&[IoSlice::new(&zeros[..piece])], at)?;
            file.sync_data()?;
            at += piece as u64;
        }
        if at < size { Err(io::ErrorKind::Interrupted.into()) } else { file.sync_all() }
    }

    /// Opens a spare and writes zeros over what could be taken for its first header. That is also the probe: some file systems
    /// refuse direct writes only when one is tried.
    fn open_cleared(&self, path: &Path) -> io::Result<Open> {
        let mut buffer = AlignedBuffer::default();
        let zeros = buffer.take(BLOCK_BYTES);
        zeros.fill(0);
        let clear = |mode| {
            let file = self.disk.open(path, mode)?;
            file.write_all_at(&[IoSlice::new(zeros)], 0)?;
            Ok(file)
        };
        if self.pool.is_direct() != Some(false) {
            match clear(OpenMode::DirectSync) {
                Ok(file) => {
                    self.pool.state.lock().direct = Some(true);
                    return Ok(Open { file, direct: true });
                }
                Err(error) if is_refusal(&error) => {
                    tracing::info!("the journal's file system does no direct writes: buffered writes and fdatasync");
                    self.pool.state.lock().direct = Some(false);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Open { file: clear(OpenMode::ReadWrite)?, direct: false })
    }

    /// Makes a file of a session a spare.
    pub(super) fn recycle(&self, session: SessionId, file: FileInfo) -> Result<(), JournalError> {
        let number = self.next_number();
        let path = file.path(&self.dir, session);
        self.disk.rename(&path, &self.spare_path(number)).map_err(|source| JournalError::Io {
            action: "recycle",
            path,
            source,
        })?;
        self.pool.add(number, file.size);
        Ok(())
    }

    /// Removes spares that the recent load would not have needed. `live_bytes` is what it has needed just now.
    pub(super) fn shrink(&self, live_bytes: u64) -> Result<(), JournalError> {
        let still_live = self.live_bytes();
        let mut surplus = Vec::new();
        let mut state = self.pool.state.lock();
        state.demand_bytes = live_bytes.max(state.demand_bytes - state.demand_bytes / 4);
        let kept = state.demand_bytes.max(self.options.idle_bytes).min(self.options.limit_bytes);
        let mut total = still_live + state.spares.iter().map(|spare| spare.size).sum::<u64>();
        while total > kept
            && let Some(spare) = state.spares.pop()
        {
            total -= spare.size;
            surplus.push(spare);
        }
        drop(state);
        for spare in surplus {
            let path = self.spare_path(spare.number);
            let removed = self.disk.remove_file(&path);
            removed.map_err(|source| JournalError::Io { action: "remove", path, source })?;
        }
        Ok(())
    }

    fn next_number(&self) -> u64 {
        let mut state = self.pool.state.lock();
        state.next_number += 1;
        state.next_number - 1
    }

    fn spare_path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{SPARE}-{number:010}{SUFFIX}"))
    }
}

/// Whether the answer means that direct writes are not possible here, rather than that one has failed.
fn is_refusal(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}
