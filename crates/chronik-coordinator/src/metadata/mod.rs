//! Metadata as a pure machine: topics, settings, broker sessions, producer ids.
//!
//! [`controller`] turns a request into an answer and records; the records are committed to the metadata log; [`image`] applies them. Replaying
//! the log gives the same image.

pub mod config;
pub mod controller;
pub mod image;
pub mod names;
pub mod records;

pub use controller::{Controller, Decision, Refusal, Rules};
pub use image::{MetadataImage, Misfit, ResourceKind, Topic};
pub use records::{MetadataRecord, RecordError};
