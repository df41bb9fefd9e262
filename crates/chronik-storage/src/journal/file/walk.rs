//! Reading a session's files from the first group to the last, and telling a torn tail from damage.
//!
//! Groups are written one at a time, each only after the one before was durable. So only the last one can be torn; a group that is not
//! whole and has a later one of the same session behind it was whole once, and that is corruption.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::FileInfo;
use crate::disk::{BLOCK_BYTES, Disk, DiskFile, OpenMode};
use crate::journal::group::{Found, Header, Kind};
use crate::journal::{Cut, JournalError, Position, SessionId};

/// Where a session's groups end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub(super) position: Position,
    /// The place of the next group: the index of the file, and where in it.
    pub(super) file: usize,
    pub(super) offset: u64,
    pub(super) sealed: bool,
    pub(super) cut: Option<Cut>,
}

/// The files of a session, in order.
pub(super) struct Chain<'a> {
    pub(super) disk: &'a dyn Disk,
    pub(super) dir: &'a Path,
    pub(super) session: SessionId,
    pub(super) files: &'a [FileInfo],
}

/// Is shown the header and the head (header and footers) of a group.
pub(super) type Visit<'a> = dyn FnMut(&Header, &[u8]) -> Result<(), JournalError> + 'a;

/// A group that was passed: where it is.
#[derive(Clone, Copy)]
struct Passed {
    file: usize,
    offset: u64,
    header: Header,
}

impl Chain<'_> {
    /// Passes over all groups that end behind `from`, showing header and head (header and footers), and finds the end.
    pub(super) fn walk(&self, from: Position, visit: &mut Visit<'_>) -> Result<End, JournalError> {
        self.check_order()?;
        let first = self.files.iter().rposition(|file| file.base.is_some_and(|base| base <= from)).unwrap_or(0);
        let mut position = self.files.get(first).and_then(|file| file.base).unwrap_or_default();
        let mut last = None;
        let mut place = (first, 0);
        for (index, file) in self.files.iter().enumerate().skip(first) {
            match file.base {
                Some(base) if base == position => {}
                Some(_) => return Err(self.corrupt(position, "groups are missing or damaged before the next file")),
                None => break,
            }
            let mut reader = self.open(file)?;
            place = (index, 0);
            while let Some(header) = self.header_at(&mut reader, file, place.1, position)? {
                if header.kind == Kind::Seal {
                    return Ok(End { position, file: index, offset: place.1, sealed: true, cut: None });
                }
                let head = reader.get(place.1, header.head_bytes()).map_err(|error| self.io("read", file, error))?;
                if header.footers(head).is_none() {
                    last = None;
                    break;
                }
                if header.end() > from {
                    visit(&header, head)?;
                }
                last = Some(Passed { file: index, offset: place.1, header });
                position = header.end();
                place.1 += header.len;
            }
        }
        self.find_end(position, place, last)
    }

    /// The chain has come to something that is no group. Decides whether that is the end.
    fn find_end(
        &self,
        position: Position,
        (file, offset): (usize, u64),
        last: Option<Passed>,
    ) -> Result<End, JournalError> {
        if self.files.iter().skip(file + 1).any(|file| file.base.is_some()) {
            return Err(self.corrupt(position, "groups are missing or damaged before the next file"));
        }
        let mut torn = None;
        // The write that died may have been the first of the next file.
        for (index, info) in self.files.iter().enumerate().skip(file) {
            let from = if index == file { offset } else { 0 };
            torn = torn.or(self.rest_of(info, from, position)?);
        }
        if let Some(last) = last
            && !self.is_whole(&last)?
        {
            if torn.is_some() {
                return Err(self.corrupt(last.header.position, "a group is damaged and a later one was begun"));
            }
            let (position, cut) = (last.header.position, Some(last.header.cut()));
            return Ok(End { position, file: last.file, offset: last.offset, sealed: false, cut });
        }
        Ok(End { position, file, offset, sealed: false, cut: torn })
    }

    /// What stands behind the end in a file: nothing, or a group that was begun at `position`. A group that is later is
    /// corruption; those of an earlier lap have lower positions.
    fn rest_of(&self, info: &FileInfo, from: u64, position: Position) -> Result<Option<Cut>, JournalError> {
        let mut torn = None;
        let mut reader = self.open(info)?;
        let mut at = from;
        while at + BLOCK_BYTES as u64 <= info.size {
            let block = reader.get(at, BLOCK_BYTES).map_err(|error| self.io("read", info, error))?;
            match Header::find(block, self.session) {
                Found::Header(header) if header.position > position => {
                    return Err(self.corrupt(position, "a group is damaged and there are good ones behind it"));
                }
                Found::Header(header) if at == from && header.position == position => torn = Some(header.cut()),
                Found::Damaged if at == from => torn = Some(Cut { bytes: BLOCK_BYTES as u64, entries: 0 }),
                _ => {}
            }
            at += BLOCK_BYTES as u64;
        }
        Ok(torn)
    }

    fn is_whole(&self, passed: &Passed) -> Result<bool, JournalError> {
        let file = &self.files[passed.file];
        let mut reader = self.open(file)?;
        let len = usize::try_from(passed.header.len).unwrap_or(usize::MAX);
        let group = reader.get(passed.offset, len).map_err(|error| self.io("read", file, error))?;
        Ok(passed.header.is_whole(group))
    }

    /// The header at `offset` when it is the one that belongs there and its group fits into the file.
    fn header_at(
        &self,
        reader: &mut Window,
        file: &FileInfo,
        offset: u64,
        position: Position,
    ) -> Result<Option<Header>, JournalError> {
        if offset + BLOCK_BYTES as u64 > file.size {
            return Ok(None);
        }
        let block = reader.get(offset, BLOCK_BYTES).map_err(|error| self.io("read", file, error))?;
        Ok(match Header::find(block, self.session) {
            Found::Header(header) if header.position == position && offset + header.len <= file.size => Some(header),
            _ => None,
        })
    }

    fn check_order(&self) -> Result<(), JournalError> {
        for pair in self.files.windows(2) {
            if pair[1].number != pair[0].number + 1 {
                return Err(self.corrupt(pair[0].base.unwrap_or_default(), "a file is missing"));
            }
        }
        Ok(())
    }

    fn open(&self, file: &FileInfo) -> Result<Window, JournalError> {
        let path = file.path(self.dir, self.session);
        let file = self.disk.open(&path, OpenMode::Read).map_err(|source| JournalError::Io {
            action: "open",
            path,
            source,
        })?;
        Ok(Window { file, start: 0, bytes: Vec::new() })
    }

    fn io(&self, action: &'static str, file: &FileInfo, source: io::Error) -> JournalError {
        JournalError::Io { action, path: file.path(self.dir, self.session), source }
    }

    fn corrupt(&self, position: Position, what: &'static str) -> JournalError {
        JournalError::Corrupt { session: self.session, position, what }
    }
}

/// A piece of a file in memory: small groups are read many at a time, the insides of large ones are skipped.
struct Window {
    file: Arc<dyn DiskFile>,
    start: u64,
    bytes: Vec<u8>,
}

/// Large enough that reading a file costs few system calls, small enough that skipping a large group saves something.
const WINDOW_BYTES: usize = 256 * 1024;

impl Window {
    /// The `len` bytes at `offset`; an error when the file ends before.
    fn get(&mut self, offset: u64, len: usize) -> io::Result<&[u8]> {
        let inside = offset >= self.start && offset + len as u64 <= self.start + self.bytes.len() as u64;
        if !inside {
            self.bytes.resize(len.max(WINDOW_BYTES), 0);
            let read = self.file.read_at(&mut self.bytes, offset)?;
            self.bytes.truncate(read);
            self.start = offset;
            if read < len {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        // Within the window, so it fits.
        let at = (offset - self.start) as usize;
        Ok(&self.bytes[at..at + len])
    }
}

/// Where the groups of a file begin: the position in its first block when that is one of the session's.
pub(super) fn base_of(file: &dyn DiskFile, session: SessionId) -> io::Result<Option<Position>> {
    let mut block = vec![0; BLOCK_BYTES];
    let read = file.read_at(&mut block, 0)?;
    Ok(match Header::find(&block[..read], session) {
        Found::Header(header) => Some(header.position),
        Found::Damaged | Found::Nothing => None,
    })
}
