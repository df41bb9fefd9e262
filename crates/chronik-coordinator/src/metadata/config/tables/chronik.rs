//! Settings of our own. They carry the prefix `chronik.` and a unit.

use crate::metadata::config::setting::{Here::*, Importance::*, Kind::*, Scope::*, Setting, Valid::*, row};

/// Settings of our own.
#[rustfmt::skip]
pub(in crate::metadata::config) static CHRONIK: &[Setting] = &[
    row("chronik.connection.setup.timeout.ms", Long, Some("10000"), AtLeast(1), Medium, ReadOnly, Works,
        "Time within which a new connection must send its first request."),
    row("chronik.disk.reserve.bytes", Long, Some("67108864"), AtLeast(0), Medium, ReadOnly, Works,
        "Free space of the data directory's file system below which producers are answered KAFKA_STORAGE_ERROR; offset commits still work."),
    row("chronik.durability", String, Some("fsync"), OneOf(&["fsync", "os"]), High, ReadOnly, Works,
        "fsync: what is acknowledged to acks=all is on stable storage. os: it is in the page cache, Apache Kafka's contract."),
    row("chronik.max.decompressed.batch.bytes", Int, Some("134217728"), AtLeast(1), Medium, ReadOnly, Works,
        "Bytes that one record batch may inflate to; a bigger one is refused with MESSAGE_TOO_LARGE."),
];
