//! A small Kafka client for the command line, the load generator and tests.
//!
//! It speaks to any Kafka: every request goes out in the highest version that both sides know.

pub mod admin;
pub mod cluster;
pub mod connection;
pub mod consumer;
pub mod error;
pub mod producer;

pub use cluster::{Client, ClientOptions, Node};
pub use error::Error;
pub use producer::{Producer, ProducerOptions, ProducerRecord};
