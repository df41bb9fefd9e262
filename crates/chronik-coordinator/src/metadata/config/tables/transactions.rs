//! Broker settings: producers and transactions. A row a setting, in the order of their names.

use super::reasons::*;
use crate::metadata::config::setting::{Here::*, Importance::*, Kind::*, Scope::*, Setting, Valid::*, row};

/// Broker settings: producers and transactions.
#[rustfmt::skip]
pub(in crate::metadata::config) static TRANSACTIONAL: &[Setting] = &[
    row("producer.id.expiration.ms", Int, Some("86400000"), AtLeast(1), Low, ReadOnly, Works,
        "Time after its last write that a producer id is forgotten."),
    row("transaction.abort.timed.out.transaction.cleanup.interval.ms", Int, Some("10000"), AtLeast(1), Low, ReadOnly, TRANSACTIONS,
        "Time between looks for transactions past their timeout."),
    row("transaction.max.timeout.ms", Int, Some("900000"), AtLeast(1), High, ReadOnly, TRANSACTIONS,
        "Longest transaction timeout that a producer may ask for."),
    row("transaction.partition.verification.enable", Boolean, Some("true"), Any, Low, ClusterWide, TRANSACTIONS,
        "Whether writes to a partition are checked against the transaction coordinator."),
    row("transaction.remove.expired.transaction.cleanup.interval.ms", Int, Some("3600000"), AtLeast(1), Low, ReadOnly, TRANSACTIONS,
        "Time between looks for expired transactional ids."),
    row("transaction.state.log.load.buffer.size", Int, Some("5242880"), AtLeast(1), High, ReadOnly, TRANSACTIONS,
        "Batch size for loading transaction state."),
    row("transaction.state.log.min.isr", Int, Some("2"), AtLeast(1), High, ReadOnly, TRANSACTIONS,
        "In-sync replicas that the transaction state topic needs."),
    row("transaction.state.log.num.partitions", Int, Some("50"), AtLeast(1), High, ReadOnly, TRANSACTIONS,
        "Partitions of the transaction state topic."),
    row("transaction.state.log.replication.factor", Short, Some("3"), AtLeast(1), High, ReadOnly, TRANSACTIONS,
        "Replication factor of the transaction state topic."),
    row("transaction.state.log.segment.bytes", Int, Some("104857600"), AtLeast(1), High, ReadOnly, TRANSACTIONS,
        "Segment size of the transaction state topic."),
    row("transaction.two.phase.commit.enable", Boolean, Some("false"), Any, Low, ReadOnly, Only("false", NO_TWO_PHASE),
        "Whether producers may take part in two-phase commits."),
    row("transactional.id.expiration.ms", Int, Some("604800000"), AtLeast(1), High, ReadOnly, TRANSACTIONS,
        "Time without use after which a transactional id is forgotten."),
];
