//! All settings, as data. The facts are Apache Kafka 4.4's (names, types, defaults, ranges, importance, where they may be changed), the
//! words are ours, and each row says what the setting does here.

mod chronik;
mod cluster;
mod groups;
mod log;
mod network;
mod reasons;
mod remote;
mod security;
mod share;
mod topic;
mod transactions;

use super::setting::Setting;

/// The broker's tables, by subject.
pub(super) static BROKER: &[&[Setting]] = &[
    chronik::CHRONIK,
    cluster::CLUSTER,
    network::NETWORK,
    log::LOG,
    groups::GROUPS,
    transactions::TRANSACTIONAL,
    share::SHARE_AND_STREAMS,
    remote::REMOTE,
    security::SECURITY_SETTINGS,
];

pub(super) use topic::TOPIC;
