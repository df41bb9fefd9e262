//! The broker: sockets, one file per Kafka API, jobs.
