//! The broker: sockets, one file per Kafka API, jobs.
//!
//! The I/O shell around the coordinators (pure machines) and the storage. `net` turns bytes into requests and keeps
//! their order, `api` has one file per Kafka API, `server` builds the parts and stops them in reverse.

mod api;
pub mod config;
mod fetch_sessions;
mod jobs;
mod metadata;
mod net;
mod offsets_topic;
mod partitions;
mod random;
mod server;
mod shards;
mod time;

pub use chronik_storage::StorageError;
pub use chronik_storage::lock::LockError;
pub use server::{Server, StartError};
