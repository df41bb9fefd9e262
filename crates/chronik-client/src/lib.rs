//! A small Kafka client for the command line, the load generator and tests.
