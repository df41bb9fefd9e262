//! Partition logs made durable by a shared journal.

mod checkpoints;
mod config;
pub mod disk;
mod env;
mod epochs;
mod error;
mod files;
mod index;
pub mod journal;
pub mod lock;
mod partition;
mod producers;
mod ranges;
mod reader;
mod recovery;
mod retention;
mod segment;
mod store;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod timeindex;
mod transactions;
mod wait;

pub use config::{CleanupPolicy, InvalidValue, LogConfig};
pub use env::{Durability, Moment};
pub use error::{AppendError, ReadError, StorageError};
pub use partition::{Appended, Offsets, Partition, ReadLimit, ReadOutcome, TimestampOffset, TopicIdPartition};
pub use producers::{BATCHES_KEPT, KnownBatch, Producer, SequenceError};
pub use reader::FILE_RANGE_MIN;
pub use segment::Access;
pub use store::{Maintained, Recovered, Store, StoreOptions};
pub use wait::{Committed, Watcher};
