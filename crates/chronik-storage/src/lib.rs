//! Partition logs made durable by a shared journal.
