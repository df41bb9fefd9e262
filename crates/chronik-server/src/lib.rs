//! The broker: sockets, one file per Kafka API, jobs.

pub mod config;
