//! What the metadata stands on: its log, its snapshot, and the partitions that exist because it says so. One trait, so that the keeper can be
//! tried over memory that forgets and fails.

use std::sync::Arc;

use chronik_coordinator::metadata::Topic;
use chronik_protocol::Uuid;

/// Why the ground does not bear; words for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct GroundError(pub(crate) String);

/// Settings in force for a topic's logs: name and value. Topics without settings of their own share one.
pub(crate) type Settings = Arc<Vec<(String, String)>>;

/// Log, snapshot and partitions. Calls may block: they are made from the keeper's own thread, or at start.
pub(crate) trait Ground: Send + 'static {
    /// Appends a batch. It is on stable storage when this returns without error; after an error nobody knows.
    fn append(&mut self, batch: &[u8]) -> Result<(), GroundError>;
    /// Where the log begins and where what is committed ends.
    fn range(&mut self) -> Result<(i64, i64), GroundError>;
    /// Whole batches from this offset on.
    fn read(&mut self, offset: i64) -> Result<Vec<u8>, GroundError>;
    /// The newest snapshot: the offset behind what it covers, and its bytes.
    fn snapshot(&mut self) -> Result<Option<(i64, Vec<u8>)>, GroundError>;
    /// Stores a snapshot of everything below `end`, then forgets older ones and the log that they cover.
    fn save_snapshot(&mut self, end: i64, bytes: &[u8]) -> Result<(), GroundError>;
    /// The partitions that are there, but for the metadata's own.
    fn present(&self) -> Vec<(Uuid, i32)>;
    /// Makes a partition, or opens what is there.
    fn create(&mut self, topic: &Topic, partition: i32, settings: &Settings, epoch: i32) -> Result<(), GroundError>;
    /// Removes partitions and their records.
    fn delete(&mut self, partitions: &[(Uuid, i32)]) -> Result<(), GroundError>;
    /// Gives a partition new settings.
    fn configure(&mut self, topic: Uuid, partition: i32, settings: &Settings);
    /// The leader epoch of the metadata's own log.
    fn lead(&mut self, epoch: i32);
    /// Milliseconds since 1970.
    fn now_ms(&self) -> i64;
}
