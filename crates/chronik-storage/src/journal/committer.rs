//! The group commit: one thread that owns the journal's writer. While one write is on its way the next group gathers; there is no
//! timer that waits for company.
//!
//! [`Committer::submit`] is called under a partition's lock and never waits. What bounds the queue is [`Committer::poll_room`]: a
//! connection asks it before it takes the next request. The first failed write is the last: everything that waits is failed, and
//! nothing is taken any more.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::{Entry, JournalError, JournalWriter, Position};

/// Who is told what became of its entries; a partition. Called on the commit thread, in the order of submission, with no lock held.
pub trait CommitTarget: Send + Sync {
    /// All entries of this target up to `last_offset` are on stable storage, in the journal before `position`.
    fn committed(&self, last_offset: i64, position: Position);

    /// Entries of this target that were submitted and not reported as committed may or may not survive. Called once.
    fn failed(&self, error: &JournalError);
}

/// How much the committer takes on.
#[derive(Debug, Clone, Copy)]
pub struct CommitterLimits {
    /// From here on [`Committer::poll_room`] says no.
    pub queued_bytes_max: usize,
    /// A group is closed when it has reached this (one larger entry makes a group of its own).
    pub group_bytes_max: usize,
    /// A group is closed when it has this many entries.
    pub group_entries_max: usize,
}

impl Default for CommitterLimits {
    fn default() -> Self {
        CommitterLimits { queued_bytes_max: 64 << 20, group_bytes_max: 4 << 20, group_entries_max: 8192 }
    }
}

/// The committer takes nothing any more: its writer has failed, or it was shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the journal takes no more entries")]
pub struct CommitterClosed;

/// Counts since the start, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CommitterCounts {
    /// Groups written.
    pub groups: u64,
    /// Entries written.
    pub entries: u64,
    /// Bytes of entries written.
    pub bytes: u64,
}

/// The commit thread's handle.
pub struct Committer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<Result<Position, JournalError>>>>,
}

impl fmt::Debug for Committer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Committer").field("queued_bytes", &self.queued_bytes()).finish_non_exhaustive()
    }
}

struct Shared {
    limits: CommitterLimits,
    state: Mutex<State>,
    work: Condvar,
    progress: Condvar,
}

#[derive(Default)]
struct State {
    entries: Vec<Entry>,
    /// Runs beside `entries`.
    targets: Vec<Arc<dyn CommitTarget>>,
    /// Bytes that were submitted and are not written, the group on its way included.
    queued_bytes: usize,
    /// Entries ever submitted and ever finished, for `flush`.
    submitted: u64,
    finished: u64,
    position: Position,
    counts: CommitterCounts,
    wakers: Vec<Waker>,
    failed: bool,
    stopping: bool,
}

impl Committer {
    /// Starts the thread.
    pub fn start(writer: Box<dyn JournalWriter>, limits: CommitterLimits) -> io::Result<Committer> {
        let state = Mutex::new(State { position: writer.position(), ..State::default() });
        let shared = Arc::new(Shared { limits, state, work: Condvar::new(), progress: Condvar::new() });
        let thread = std::thread::Builder::new().name("journal-commit".into()).spawn({
            let shared = Arc::clone(&shared);
            move || Worker { shared, writer, group: Vec::new(), targets: Vec::new(), reports: HashMap::new() }.run()
        })?;
        Ok(Committer { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Queues an entry; never waits. Entries of one target are reported in the order in which they are submitted here, so the caller
    /// holds the lock under which it gave the entry its offsets. When this answers an error the target is not called.
    pub fn submit(&self, entry: Entry, target: Arc<dyn CommitTarget>) -> Result<(), CommitterClosed> {
        let mut state = self.shared.state.lock();
        if state.failed || state.stopping {
            return Err(CommitterClosed);
        }
        state.queued_bytes += entry.len();
        state.submitted += 1;
        state.entries.push(entry);
        state.targets.push(target);
        if state.entries.len() == 1 {
            self.shared.work.notify_one();
        }
        Ok(())
    }

    /// Bytes that wait to be written or are being written.
    pub fn queued_bytes(&self) -> usize {
        self.shared.state.lock().queued_bytes
    }

    /// Ready when the queue has room. Answers ready after a failure too: the next submission then gets its error.
    pub fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.shared.state.lock();
        if state.queued_bytes < self.shared.limits.queued_bytes_max || state.failed || state.stopping {
            return Poll::Ready(());
        }
        if !state.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Everything before this is on stable storage, and its targets have been told.
    pub fn position(&self) -> Position {
        self.shared.state.lock().position
    }

    /// Whether a write has failed: the session must be sealed and a new one begun.
    pub fn has_failed(&self) -> bool {
        self.shared.state.lock().failed
    }

    /// What was written so far.
    pub fn counts(&self) -> CommitterCounts {
        self.shared.state.lock().counts
    }

    /// Waits until what was submitted before is written and reported.
    pub fn flush(&self) -> Result<Position, CommitterClosed> {
        let mut state = self.shared.state.lock();
        let goal = state.submitted;
        while state.finished < goal {
            self.shared.progress.wait(&mut state);
        }
        if state.failed { Err(CommitterClosed) } else { Ok(state.position) }
    }

    /// Writes what was accepted, closes the session and ends the thread. The error is the one that killed the writer; asked a second
    /// time, the answer is the position.
    pub fn shutdown(&self) -> Result<Position, JournalError> {
        self.stop();
        let thread = self.thread.lock().take();
        match thread.map(JoinHandle::join) {
            Some(Ok(result)) => result,
            // The thread has panicked (only in builds that unwind), or was joined before.
            Some(Err(_)) | None => Ok(self.position()),
        }
    }

    fn stop(&self) {
        let mut state = self.shared.state.lock();
        state.stopping = true;
        wake_all(&mut state);
        self.shared.work.notify_one();
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        let on_own_thread = self.thread.lock().as_ref().is_some_and(|t| t.thread().id() == std::thread::current().id());
        // The last partition may be let go of in a callback: a thread cannot wait for itself.
        if on_own_thread {
            self.stop();
        } else if let Err(error) = self.shutdown() {
            tracing::error!(%error, "the journal was not closed in good order");
        }
    }
}

fn wake_all(state: &mut State) {
    for waker in state.wakers.drain(..) {
        waker.wake();
    }
}

/// The commit thread. Its buffers change places with the queue's, so that a steady state allocates nothing.
struct Worker {
    shared: Arc<Shared>,
    writer: Box<dyn JournalWriter>,
    group: Vec<Entry>,
    targets: Vec<Arc<dyn CommitTarget>>,
    /// Per target of the group: the entry that is its last.
    reports: HashMap<usize, usize>,
}

impl Worker {
    fn run(mut self) -> Result<Position, JournalError> {
        while self.gather() {
            let mut start = 0;
            while start < self.group.len() {
                let end = group_end(&self.group, start, &self.shared.limits);
                match self.writer.append(&self.group[start..end]) {
                    Ok(position) => self.report(start..end, position),
                    Err(error) => {
                        self.fail(start, &error);
                        return Err(error);
                    }
                }
                start = end;
            }
            self.group.clear();
            self.targets.clear();
        }
        self.writer.close()
    }

    /// Takes all that is queued; false when there is nothing and there will be nothing.
    fn gather(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state.lock();
        while state.entries.is_empty() {
            if state.stopping {
                return false;
            }
            shared.work.wait(&mut state);
        }
        mem::swap(&mut state.entries, &mut self.group);
        mem::swap(&mut state.targets, &mut self.targets);
        true
    }

    fn report(&mut self, written: std::ops::Range<usize>, position: Position) {
        let mut bytes = 0;
        for index in written.clone() {
            bytes += self.group[index].len();
            self.reports.insert(address(&self.targets[index]), index);
        }
        for index in written.clone() {
            if self.reports.get(&address(&self.targets[index])) == Some(&index) {
                self.targets[index].committed(self.group[index].meta.last_offset, position);
            }
        }
        self.reports.clear();
        let mut state = self.finish(written.len(), bytes);
        state.position = position;
        state.counts.groups += 1;
        state.counts.entries += written.len() as u64;
        state.counts.bytes += bytes as u64;
        if state.queued_bytes < self.shared.limits.queued_bytes_max {
            wake_all(&mut state);
        }
    }

    /// From `start` on nothing of what was accepted is written, nor anything that came while the write was failing.
    fn fail(&mut self, start: usize, error: &JournalError) {
        let (rest, rest_targets) = {
            let mut state = self.shared.state.lock();
            state.failed = true;
            (mem::take(&mut state.entries), mem::take(&mut state.targets))
        };
        self.group.drain(..start);
        self.targets.drain(..start);
        self.group.extend(rest);
        self.targets.extend(rest_targets);
        tracing::error!(%error, entries = self.group.len(), "the journal has failed; what waits for it is refused");
        for target in &self.targets {
            if self.reports.insert(address(target), 0).is_none() {
                target.failed(error);
            }
        }
        let bytes = self.group.iter().map(Entry::len).sum();
        let mut state = self.finish(self.group.len(), bytes);
        wake_all(&mut state);
    }

    fn finish(&self, entries: usize, bytes: usize) -> MutexGuard<'_, State> {
        let mut state = self.shared.state.lock();
        state.finished += entries as u64;
        state.queued_bytes -= bytes;
        self.shared.progress.notify_all();
        state
    }
}

/// Two handles are the same target when they point to the same place; targets of a group stay alive while it is reported.
fn address(target: &Arc<dyn CommitTarget>) -> usize {
    Arc::as_ptr(target).cast::<()>().addr()
}

fn group_end(entries: &[Entry], start: usize, limits: &CommitterLimits) -> usize {
    let mut bytes = 0;
    for (taken, entry) in entries[start..].iter().enumerate() {
        bytes += entry.len();
        if taken > 0 && (bytes > limits.group_bytes_max || taken >= limits.group_entries_max) {
            return start + taken;
        }
    }
    entries.len()
}

#[cfg(test)]
mod tests;
