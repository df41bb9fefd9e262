//! Kafka's wire protocol: bytes to types and back, pure.
