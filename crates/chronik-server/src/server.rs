//! The broker: its parts, built in order and stopped in reverse.

use std::sync::Arc;
use std::task::{Context, Poll};

use crate::net::{Notices, Shutdown};
use crate::shards::GroupShards;

/// The parts that requests work on.
#[derive(Debug)]
pub(crate) struct Broker {
    /// Set when the broker stops: connections answer what they owe, long polls end at once.
    pub(crate) shutdown: Shutdown,
    /// What was said lately about peers that misbehave.
    pub(crate) notices: Notices,
    /// The group coordinator.
    pub(crate) groups: Arc<GroupShards>,
}

impl Broker {
    /// Whether a client that names a cluster and a node means us.
    pub(crate) fn is_called(&self, _cluster_id: &str, _node_id: i32) -> bool {
        true
    }

    /// Pending while the journal has more queued than it may: appends wait before they are decoded.
    pub(crate) fn poll_append_room(self: &Arc<Self>, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}
