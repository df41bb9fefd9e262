//! Partition logs made durable by a shared journal.

pub mod disk;
pub mod journal;
