//! Metadata as a pure machine: topics, settings, broker sessions, producer ids.

pub mod config;
