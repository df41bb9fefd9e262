//! Kafka's wire protocol: bytes to types and back, pure.

pub mod batch;
pub mod compression;
pub mod control;
pub mod record;
pub mod validate;
