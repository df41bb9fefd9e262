//! Why a setting of Kafka does nothing here, in one line each.

use crate::metadata::config::setting::Here;

pub(super) const QUORUM: Here = Here::Inert("there is no controller quorum");
pub(super) const REPLICATION: Here = Here::Inert("brokers do not copy partitions from each other");
pub(super) const JVM: Here = Here::Inert("a matter of Kafka's Java implementation");
pub(super) const TIERED: Here = Here::Inert("tiered storage is not built");
pub(super) const SECURITY: Here = Here::Inert("TLS and SASL are not built; a listener that asks for them is refused");
pub(super) const COMPACTION: Here =
    Here::Inert("the log cleaner is not built; compacted topics keep all their records");
pub(super) const FLUSH: Here =
    Here::Inert("only with chronik.durability=os; otherwise a shared journal syncs before the answer");
pub(super) const CONSUMER_PROTOCOL: Here = Here::Inert("the consumer protocol is not built; groups are classic");
pub(super) const SHARE: Here = Here::Inert("share groups and streams groups are not built");
pub(super) const TRANSACTIONS: Here = Here::Inert("transactions are not built");
pub(super) const QUOTAS: Here = Here::Inert("quotas and client telemetry are not built");

pub(super) const COMMITS: Here = Here::Inert("a commit is answered when the journal has it, and stored uncompressed");
pub(super) const CHECKPOINTS: Here = Here::Inert("log start offsets are written whenever they move");

pub(super) const NO_ACLS: &str = "access control lists are not built, and a broker without them must not look guarded";
pub(super) const ONE_DIRECTORY: &str = "there is one data directory";
pub(super) const NO_TIERS: &str = "tiered storage is not built";
pub(super) const NO_TWO_PHASE: &str = "transactions are not built";
