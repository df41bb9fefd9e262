//! Kafka's wire protocol: bytes to types and back, pure.
//!
//! Every message is generated from Apache Kafka's own schemas ([`generated`], `cargo xtask codegen`); none is parsed by
//! hand. Decoding borrows from the frame and allocates in proportion to it; encoding splices records in without copying.

pub mod batch;
pub mod compression;
pub mod control;
pub mod error;
pub mod frame;
pub mod generated;
pub mod header;
pub mod ids;
pub mod record;
pub mod uuid;
pub mod validate;
pub mod wire;

pub use error::ErrorCode;
pub use generated::api::ApiKey;
pub use generated::messages;
pub use uuid::Uuid;
