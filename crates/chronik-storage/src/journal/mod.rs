//! The journal: what makes batches durable, one stream for all partitions of a broker session.
//!
//! A session is one life of a broker; its journal has one writer. A *group* is what one write makes durable: either all of its
//! entries are there after a crash or none. Start-up is the take-over of one's own last session: [`Journals::seal`] it, read its
//! [`Journals::footers`], rebuild, [`Journals::create`] the next. Nothing here knows topics or files of partitions: an entry is bytes
//! and what must be known about them without reading them.

use std::fmt::Debug;
use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use chronik_protocol::Uuid;

mod buffer;
mod committer;
mod file;
mod group;
mod session;
#[cfg(test)]
mod testing;

pub use committer::{CommitTarget, Committer, CommitterClosed, CommitterCounts, CommitterLimits};
pub use file::{FileJournalOptions, FileJournals};
pub use session::SessionId;

/// A place in the stream of a session: how many bytes of groups come before it. It only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub u64);

/// How many bytes of an entry stand in [`Entry::head`]: the part of a record batch that the broker patches (base offset,
/// length, leader epoch). So a batch is journalled without copying the rest, and without allocating for the head.
pub const HEAD_BYTES: usize = 16;

/// What is known of an entry without reading its bytes. Offsets, producer state and transactions are rebuilt from this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryMeta {
    /// The topic's id.
    pub topic_id: Uuid,
    /// The partition's index in the topic.
    pub partition: i32,
    /// The leader epoch that wrote it.
    pub leader_epoch: i32,
    /// The first offset.
    pub base_offset: i64,
    /// The last offset.
    pub last_offset: i64,
    /// The producer id, −1 for none.
    pub producer_id: i64,
    /// The producer's epoch, −1 for none.
    pub producer_epoch: i16,
    /// The batch's attributes (compression, timestamp type, transactional, control).
    pub attributes: i16,
    /// The first sequence number, −1 for none.
    pub base_sequence: i32,
    /// The largest timestamp, ms since 1970.
    pub max_timestamp_ms: i64,
}

/// One record batch on its way to the journal: `head` and then `rest`.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What the footer will say of it.
    pub meta: EntryMeta,
    /// The first bytes, patched.
    pub head: [u8; HEAD_BYTES],
    /// The bytes after them.
    pub rest: Bytes,
}

impl Entry {
    /// How long the entry is.
    pub fn len(&self) -> usize {
        HEAD_BYTES + self.rest.len()
    }

    /// Never: there is always a head.
    pub fn is_empty(&self) -> bool {
        false
    }
}

/// Where an entry's bytes are in a session's journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryLocation {
    /// The start of its group.
    pub group: Position,
    /// Where the entry begins in the group.
    pub offset: u32,
    /// How long it is.
    pub len: u32,
    /// The CRC-32C of all its bytes, the patched head included: a segment's bytes can be compared without reading the journal.
    pub crc: u32,
}

/// A line of a group's table of contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footer {
    /// What the entry is.
    pub meta: EntryMeta,
    /// Where its bytes are.
    pub location: EntryLocation,
}

/// What [`Journals::seal`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed {
    /// The end of the last whole group.
    pub end: Position,
    /// What came after it and was not a whole group: the write that was on its way when the session died. None of it was acknowledged.
    pub cut: Option<Cut>,
}

/// A torn group that was cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// How long it claimed to be.
    pub bytes: u64,
    /// How many entries it claimed to hold.
    pub entries: u32,
}

/// How much room the journals take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes in files that hold groups, trimmed away only by [`Journals::trim`] and [`Journals::remove`].
    pub live_bytes: u64,
    /// Bytes in files that wait for their next use.
    pub spare_bytes: u64,
    /// What `live_bytes` should stay below: checkpoint and trim well before.
    pub limit_bytes: u64,
}

/// Why a journal could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The disk refused. A writer that answered this is dead.
    #[error("journal {action} failed at {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// Bytes that had been durable are damaged. Never answered by cutting: there is good data behind.
    #[error("journal of session {session} is damaged at position {}: {what}", position.0)]
    Corrupt {
        /// The session.
        session: SessionId,
        /// Where the damage is.
        position: Position,
        /// What is wrong.
        what: &'static str,
    },
    /// There is no such session.
    #[error("journal has no session {0}")]
    UnknownSession(SessionId),
    /// The session exists and cannot be begun again.
    #[error("journal session {0} exists already")]
    SessionExists(SessionId),
    /// The session is sealed, or its writer died: nothing can be appended any more.
    #[error("journal session {0} takes no more entries")]
    Closed(SessionId),
    /// Footers and sealed reads were asked of a session that is still written to.
    #[error("journal session {0} is not sealed")]
    NotSealed(SessionId),
    /// An entry that no group can hold.
    #[error("journal entry of {0} bytes is too large")]
    TooLarge(usize),
}

/// The journals of all sessions that left something behind, in one place (a directory, later a bucket). Blocking.
pub trait Journals: Send + Sync + Debug {
    /// The sessions that are there, oldest first.
    fn sessions(&self) -> Result<Vec<SessionId>, JournalError>;

    /// Begins a session. Nothing waits for files to be filled with zeros.
    fn create(&self, session: SessionId) -> Result<Box<dyn JournalWriter>, JournalError>;

    /// Ends a session: nothing can be appended any more, also by a writer that still lives. A torn tail is cut and reported;
    /// a damaged group with good ones behind it is [`JournalError::Corrupt`]. Sealing twice gives the same end.
    ///
    /// In the process whose writer has failed, the end is the last group that was answered with success: what the failed write has left
    /// on the disk is not believed.
    fn seal(&self, session: SessionId) -> Result<Sealed, JournalError>;

    /// Visits the footers of all groups of a sealed session that end behind `from`, in the order in which they were written.
    /// Groups that were trimmed may still be among them.
    fn footers(&self, session: SessionId, from: Position, visit: &mut dyn FnMut(Footer)) -> Result<(), JournalError>;

    /// The bytes of an entry, checked against its CRC.
    fn read(&self, session: SessionId, at: &EntryLocation) -> Result<Bytes, JournalError>;

    /// Says that groups that end at or before `up_to` are not needed any more. Files that hold nothing else are recycled.
    fn trim(&self, session: SessionId, up_to: Position) -> Result<(), JournalError>;

    /// Forgets a session that is sealed; its files are recycled.
    fn remove(&self, session: SessionId) -> Result<(), JournalError>;

    /// How much room is taken.
    fn usage(&self) -> Usage;
}

/// The one writer of a session.
pub trait JournalWriter: Send + Debug {
    /// Writes a group. `Ok`: all of it is on stable storage, and the position is its end. `Err`: the writer is dead for ever, and whether
    /// the group is there is known only after [`Journals::seal`].
    fn append(&mut self, group: &[Entry]) -> Result<Position, JournalError>;

    /// Where the next group will begin: everything before is on stable storage.
    fn position(&self) -> Position;

    /// Ends the session in good order, so that the next start need not search for its end.
    fn close(self: Box<Self>) -> Result<Position, JournalError>;
}
