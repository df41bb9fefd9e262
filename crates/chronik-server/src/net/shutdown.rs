//! One signal that everything with a life of its own listens to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// Set once; whoever waits is woken, whoever asks later is told at once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shutdown(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    begun: AtomicBool,
    notify: Arc<Notify>,
}

impl Shutdown {
    /// Tells everyone.
    pub(crate) fn begin(&self) {
        self.0.begun.store(true, Ordering::Release);
        self.0.notify.notify_waiters();
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.0.begun.load(Ordering::Acquire)
    }

    /// A future that may be polled by hand. Look at [`Shutdown::has_begun`] after it was made: it is registered then.
    pub(crate) fn signal(&self) -> OwnedNotified {
        Arc::clone(&self.0.notify).notified_owned()
    }

    /// Waits for it.
    pub(crate) async fn wait(&self) {
        let signal = self.signal();
        if !self.has_begun() {
            signal.await;
        }
    }
}
