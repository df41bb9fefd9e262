//! Chronik: a Kafka-compatible broker and its tools in one binary.

fn main() {}
