//! Journals in memory, which survive a restart of the store, and fail when they are told to.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use chronik_protocol::batch::crc32c;
use parking_lot::{Condvar, Mutex};

use crate::journal::{
    Entry, EntryLocation, Footer, JournalError, JournalWriter, Journals, Position, Sealed, SessionId, Usage,
};

#[derive(Debug, Default)]
struct Session {
    entries: Vec<(Footer, Bytes)>,
    end: u64,
    trimmed: u64,
    sealed: bool,
}

type Sessions = Arc<Mutex<BTreeMap<SessionId, Session>>>;

/// Journals in memory.
#[derive(Debug, Default, Clone)]
pub(crate) struct MemJournals {
    sessions: Sessions,
    fails: Arc<AtomicBool>,
    /// Whether writes wait.
    held: Arc<(Mutex<bool>, Condvar)>,
}

impl MemJournals {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Lets all further writes fail, or succeed again.
    pub(crate) fn fail(&self, fails: bool) {
        self.fails.store(fails, Ordering::Release);
    }

    /// Lets writes wait, or go on.
    pub(crate) fn hold(&self, held: bool) {
        *self.held.0.lock() = held;
        self.held.1.notify_all();
    }

    /// A copy of what is there, as the next process finds it.
    pub(crate) fn after_crash(&self) -> Arc<Self> {
        let sessions = self.sessions.lock();
        let copies = sessions.iter().map(|(id, session)| {
            let copy =
                Session { entries: session.entries.clone(), end: session.end, trimmed: session.trimmed, sealed: false };
            (*id, copy)
        });
        Arc::new(MemJournals { sessions: Arc::new(Mutex::new(copies.collect())), ..MemJournals::default() })
    }

    /// How many entries are there that were not trimmed.
    pub(crate) fn live(&self) -> usize {
        let sessions = self.sessions.lock();
        sessions
            .values()
            .map(|session| session.entries.iter().filter(|entry| entry.0.location.group.0 >= session.trimmed).count())
            .sum()
    }

    pub(crate) fn session_count(&self) -> usize {
        self.sessions.lock().len()
    }
}

impl Journals for MemJournals {
    fn sessions(&self) -> Result<Vec<SessionId>, JournalError> {
        Ok(self.sessions.lock().keys().copied().collect())
    }

    fn create(&self, session: SessionId) -> Result<Box<dyn JournalWriter>, JournalError> {
        self.sessions.lock().insert(session, Session::default());
        Ok(Box::new(Writer { session, journals: self.clone() }))
    }

    fn seal(&self, session: SessionId) -> Result<Sealed, JournalError> {
        let mut sessions = self.sessions.lock();
        let held = sessions.get_mut(&session).ok_or(JournalError::UnknownSession(session))?;
        held.sealed = true;
        Ok(Sealed { end: Position(held.end), cut: None })
    }

    fn footers(&self, session: SessionId, from: Position, visit: &mut dyn FnMut(Footer)) -> Result<(), JournalError> {
        let sessions = self.sessions.lock();
        let held = sessions.get(&session).ok_or(JournalError::UnknownSession(session))?;
        let from = from.0.max(held.trimmed);
        held.entries
            .iter()
            .filter(|(footer, _)| footer.location.group.0 >= from)
            .for_each(|(footer, _)| visit(*footer));
        Ok(())
    }

    fn read(&self, session: SessionId, at: &EntryLocation) -> Result<Bytes, JournalError> {
        let sessions = self.sessions.lock();
        let held = sessions.get(&session).ok_or(JournalError::UnknownSession(session))?;
        Ok(held
            .entries
            .iter()
            .find(|(footer, _)| footer.location == *at)
            .expect("an entry that a footer named")
            .1
            .clone())
    }

    fn trim(&self, session: SessionId, up_to: Position) -> Result<(), JournalError> {
        let mut sessions = self.sessions.lock();
        let held = sessions.get_mut(&session).ok_or(JournalError::UnknownSession(session))?;
        held.trimmed = held.trimmed.max(up_to.0);
        Ok(())
    }

    fn remove(&self, session: SessionId) -> Result<(), JournalError> {
        self.sessions.lock().remove(&session);
        Ok(())
    }

    fn usage(&self) -> Usage {
        Usage::default()
    }
}

#[derive(Debug)]
struct Writer {
    session: SessionId,
    journals: MemJournals,
}

impl JournalWriter for Writer {
    fn append(&mut self, group: &[Entry]) -> Result<Position, JournalError> {
        let mut held = self.journals.held.0.lock();
        while *held {
            self.journals.held.1.wait(&mut held);
        }
        drop(held);
        if self.journals.fails.load(Ordering::Acquire) {
            return Err(JournalError::Io {
                action: "writing",
                path: "memory".into(),
                source: io::Error::other("told to fail"),
            });
        }
        let mut sessions = self.journals.sessions.lock();
        let session = sessions.get_mut(&self.session).ok_or(JournalError::UnknownSession(self.session))?;
        for entry in group {
            let bytes: Bytes = [&entry.head[..], &entry.rest[..]].concat().into();
            let location = EntryLocation {
                group: Position(session.end),
                offset: 0,
                len: u32::try_from(bytes.len()).expect("a small entry"),
                crc: crc32c(&bytes),
            };
            session.end += bytes.len() as u64;
            session.entries.push((Footer { meta: entry.meta, location }, bytes));
        }
        Ok(Position(session.end))
    }

    fn position(&self) -> Position {
        Position(self.journals.sessions.lock().get(&self.session).map_or(0, |session| session.end))
    }

    fn close(self: Box<Self>) -> Result<Position, JournalError> {
        Ok(self.position())
    }
}
