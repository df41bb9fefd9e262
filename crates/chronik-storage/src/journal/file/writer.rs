//! The writer of a session: one aligned buffer, one write per group.

use std::io::{self, IoSlice};
use std::sync::Arc;

use super::pool::Open;
use super::{FileInfo, Shared, WriterState};
use crate::disk::BLOCK_BYTES;
use crate::journal::buffer::AlignedBuffer;
use crate::journal::{Entry, JournalError, JournalWriter, Position, SessionId, group};

/// Appends groups to the files of a session.
pub(super) struct FileWriter {
    shared: Arc<Shared>,
    session: SessionId,
    state: Arc<WriterState>,
    info: FileInfo,
    open: Open,
    /// Where in the file the next group goes.
    offset: u64,
    position: Position,
    buffer: AlignedBuffer,
}

impl std::fmt::Debug for FileWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileWriter")
            .field("session", &self.session)
            .field("file", &self.info.number)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

impl FileWriter {
    pub(super) fn new(
        shared: Arc<Shared>,
        session: SessionId,
        state: Arc<WriterState>,
        info: FileInfo,
        open: Open,
    ) -> FileWriter {
        let position = Position::default();
        FileWriter { shared, session, state, info, open, offset: 0, position, buffer: AlignedBuffer::default() }
    }

    fn write(&mut self, entries: &[Entry]) -> Result<(), JournalError> {
        let len = group::encoded_len(entries)?;
        // The block behind the last group of a file is the seal's.
        if self.offset + (len + BLOCK_BYTES) as u64 > self.info.size {
            self.roll((len + BLOCK_BYTES) as u64)?;
        }
        let bytes = self.buffer.take(len);
        group::encode(self.session, self.position, entries, bytes);
        let path = || self.info.path(&self.shared.dir, self.session);
        let failed = |action| move |source: io::Error| JournalError::Io { action, path: path(), source };
        self.open.file.write_all_at(&[IoSlice::new(bytes)], self.offset).map_err(failed("append"))?;
        if !self.open.direct {
            self.open.file.sync_data().map_err(failed("sync"))?;
        }
        if self.info.base.is_none() {
            self.info.base = Some(self.position);
            self.enter_in_session();
        }
        self.offset += len as u64;
        self.position.0 += len as u64;
        Ok(())
    }

    /// Goes on in the next file, which was prepared meanwhile.
    fn roll(&mut self, room: u64) -> Result<(), JournalError> {
        let number = self.info.number + 1;
        let (mut info, open) = self.shared.next_file(self.session, number)?;
        if info.size < room {
            let size = room.next_multiple_of(self.shared.options.file_bytes_min);
            let grown = open.file.preallocate(size).and_then(|()| open.file.sync_all());
            grown.map_err(|source| JournalError::Io {
                action: "enlarge",
                path: info.path(&self.shared.dir, self.session),
                source,
            })?;
            info.size = size;
        }
        (self.info, self.open, self.offset) = (info, open, 0);
        self.enter_in_session();
        self.shared.pool.want_next(self.session, number + 1);
        Ok(())
    }

    /// Makes the file known, so that a seal finds it; once it has a base it counts as one that holds groups, and those in front of
    /// it may be recycled.
    fn enter_in_session(&self) {
        let mut sessions = self.shared.sessions.lock();
        let Some(session) = sessions.get_mut(&self.session) else { return };
        match session.files.iter_mut().find(|file| file.number == self.info.number) {
            Some(file) => *file = self.info,
            None => session.files.push(self.info),
        }
    }
}

impl JournalWriter for FileWriter {
    fn append(&mut self, entries: &[Entry]) -> Result<Position, JournalError> {
        let state = Arc::clone(&self.state);
        let mut gate = state.gate.lock();
        if gate.closed {
            return Err(JournalError::Closed(self.session));
        }
        if entries.is_empty() {
            return Ok(self.position);
        }
        match self.write(entries) {
            Ok(()) => {
                gate.durable = self.position;
                Ok(self.position)
            }
            Err(error) => {
                gate.closed = true;
                Err(error)
            }
        }
    }

    fn position(&self) -> Position {
        self.position
    }

    fn close(self: Box<Self>) -> Result<Position, JournalError> {
        self.shared.seal(self.session).map(|sealed| sealed.end)
    }
}
