//! Administration: topics, configurations, offsets and groups, with each entry's own outcome.
//!
//! Every operation on several entries returns one outcome per entry: a refused entry does not hide what was done for the
//! others. Requests go to the node that answers them: the controller, a partition's leader or a group's coordinator.

mod configs;
pub(crate) mod groups;
mod offsets;
mod topics;

pub use configs::{ConfigEntry, ConfigOperation, ConfigResource, ConfigSynonym};
pub use groups::{GroupDescription, GroupListing, GroupMember, GroupOffset};
pub use offsets::{OffsetSpec, PartitionOffset};
pub use topics::NewTopic;

use std::time::Duration;

use crate::cluster::Client;
use crate::error::Error;

/// What happened to one entry of a request.
pub type Outcome<T = ()> = (String, Result<T, Error>);

/// Administration of a cluster. A clone of its [`Client`] underneath.
#[derive(Debug, Clone)]
pub struct Admin {
    client: Client,
}

impl Admin {
    /// Administration through this client.
    pub fn new(client: &Client) -> Self {
        Self { client: client.clone() }
    }

    /// The client underneath.
    pub fn client(&self) -> &Client {
        &self.client
    }

    fn timeout_ms(&self) -> i32 {
        // The broker is asked to give up before this side does, so that its own answer arrives.
        let limit = self.client.options().request_timeout;
        i32::try_from(limit.saturating_sub(Duration::from_millis(500)).as_millis()).unwrap_or(i32::MAX).max(1)
    }
}

/// An answer that leaves out an entry that was asked for.
fn unanswered(what: &str) -> Error {
    Error::Malformed(format!("the answer does not mention {what}"))
}
