//! Who waits for a partition: producers for durability, long polls for anything new. Neither costs a task.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use crate::error::StorageError;
use crate::partition::Partition;

/// Something that waits for news of one or more partitions: one-shot, shared by all of them.
#[derive(Debug, Default)]
pub struct Watcher {
    fired: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Watcher {
    /// A watcher that has not fired.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Fires it: there is news.
    pub fn fire(&self) {
        if !self.fired.swap(true, Ordering::AcqRel) {
            let waker = self.waker.lock().take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Whether it has fired.
    pub fn has_fired(&self) -> bool {
        self.fired.load(Ordering::Acquire)
    }

    /// Waits until it fires.
    pub fn poll_fired(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.has_fired() {
            return Poll::Ready(());
        }
        self.waker.lock().replace(cx.waker().clone());
        // It may have fired between the first look and the waker's registration.
        if self.has_fired() { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// The watchers of one partition. Those that nobody holds any more are dropped as new ones come.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    list: Vec<Weak<Watcher>>,
    prune_at: usize,
}

const PRUNE_MIN: usize = 16;

impl Watchers {
    pub(crate) fn add(&mut self, watcher: &Arc<Watcher>) {
        if self.list.len() >= self.prune_at.max(PRUNE_MIN) {
            self.list.retain(|watcher| watcher.strong_count() > 0);
            self.prune_at = self.list.len() * 2;
        }
        self.list.push(Arc::downgrade(watcher));
    }

    pub(crate) fn take(&mut self) -> Vec<Weak<Watcher>> {
        self.prune_at = 0;
        std::mem::take(&mut self.list)
    }
}

/// Producers that wait for the high watermark to pass an offset.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    list: Vec<(i64, u64, Waker)>,
    next_id: u64,
}

impl Waiters {
    /// Registers, or renews, the waker of one future.
    pub(crate) fn add(&mut self, last_offset: i64, id: &mut Option<u64>, waker: &Waker) {
        if let Some(held) = id.and_then(|id| self.list.iter_mut().find(|(_, held, _)| *held == id)) {
            held.2.clone_from(waker);
            return;
        }
        self.next_id += 1;
        *id = Some(self.next_id);
        self.list.push((last_offset, self.next_id, waker.clone()));
    }

    /// Forgets a future that is not polled any more.
    pub(crate) fn remove(&mut self, id: u64) {
        self.list.retain(|(_, held, _)| *held != id);
    }

    /// The wakers of those that wait for an offset before the high watermark.
    pub(crate) fn take_reached(&mut self, high_watermark: i64) -> Vec<Waker> {
        self.list.extract_if(.., |(last_offset, ..)| *last_offset < high_watermark).map(|(.., waker)| waker).collect()
    }

    pub(crate) fn take_all(&mut self) -> Vec<Waker> {
        self.list.drain(..).map(|(.., waker)| waker).collect()
    }
}

/// Resolves when the high watermark has passed an offset, or when it will not because the partition is out of service.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Committed {
    partition: Arc<Partition>,
    last_offset: i64,
    id: Option<u64>,
}

impl Committed {
    pub(crate) fn new(partition: Arc<Partition>, last_offset: i64) -> Self {
        Committed { partition, last_offset, id: None }
    }
}

impl Future for Committed {
    type Output = Result<(), StorageError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.partition.poll_committed(this.last_offset, &mut this.id, cx)
    }
}

impl Drop for Committed {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.partition.forget_waiter(id);
        }
    }
}
