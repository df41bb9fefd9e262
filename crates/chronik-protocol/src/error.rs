//! Kafka's error codes, with what each means in our words.

use std::fmt;

pub use crate::generated::error_code::ErrorCode;

impl ErrorCode {
    /// The number on the wire.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// Whether this is no error.
    pub const fn is_none(self) -> bool {
        matches!(self, ErrorCode::None)
    }

    /// What the error means, for answers that have room for a text and for people.
    pub const fn message(self) -> &'static str {
        MESSAGES[(self as i16 + 1) as usize]
    }
}

impl From<ErrorCode> for i16 {
    fn from(error: ErrorCode) -> i16 {
        error.code()
    }
}

/// `NOT_COORDINATOR (16): this broker is not the coordinator`.
impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.name(), self.code(), self.message())
    }
}

/// By code, from -1 on; the codes have no gap.
#[rustfmt::skip]
const MESSAGES: [&str; ErrorCode::ALL.len()] = [
    "the broker met an error that it has no code for",
    "no error",
    "the offset is not within what the partition holds",
    "the batch is damaged: its checksum or its form is wrong",
    "the broker has no such topic or partition",
    "the size that was asked for is not valid",
    "the partition has no leader at the moment",
    "this broker does not lead the partition",
    "the request was not done in time",
    "the broker is not available",
    "the replica is not available",
    "the batch is larger than the topic or the broker accepts",
    "the controller's epoch is too old",
    "the text that goes with the offset is too long",
    "the connection broke before the answer came",
    "the coordinator is still loading",
    "the coordinator is not available",
    "this broker is not the coordinator",
    "the topic's name is not valid, or the topic is not for clients to write",
    "the request has a batch that is larger than a segment",
    "fewer replicas are in sync than the topic asks for",
    "the batch was appended to fewer replicas than the topic asks for",
    "acks must be -1, 0 or 1",
    "the group is in another generation",
    "the member shares no protocol with the group",
    "the group id is not valid",
    "the group has no such member",
    "the session timeout is outside the broker's limits",
    "the group is rebalancing: the member must join again",
    "the offsets are too large to be committed at once",
    "not authorized for the topic",
    "not authorized for the group",
    "not authorized for the cluster",
    "the timestamp is outside what the topic accepts",
    "the broker does not offer this SASL mechanism",
    "the request does not fit the state of the SASL handshake",
    "the broker does not have this version of the API",
    "a topic of this name exists already",
    "the number of partitions is not valid",
    "the replication factor is below 1 or above the number of brokers",
    "the assignment of replicas is not valid",
    "a setting is unknown or its value is not valid",
    "this broker is not the controller",
    "the request contradicts itself or the protocol",
    "the record format of the topic does not allow this",
    "a policy of the broker forbids this",
    "the producer's sequence number leaves a gap",
    "the producer's sequence number was there before",
    "the producer's epoch is older than the one that is known",
    "the transaction is not in a state that allows this",
    "the producer id does not belong to the transactional id",
    "the transaction timeout is above the broker's limit",
    "the producer's previous transaction is still being ended",
    "the transaction coordinator was replaced by a newer one",
    "not authorized for the transactional id",
    "no authorizer is set up",
    "the operation was not tried, because another one of the request failed",
    "the disk or the log failed",
    "the broker has no such log directory",
    "authentication failed",
    "the partition no longer knows the producer",
    "a reassignment of the partition is under way",
    "delegation tokens are not enabled",
    "there is no such delegation token",
    "the principal is neither owner nor renewer of the token",
    "delegation tokens cannot be asked for over this connection",
    "not authorized for the delegation token",
    "the delegation token has expired",
    "the type of the principal is not supported",
    "the group still has members",
    "there is no such group",
    "there is no such fetch session",
    "the fetch session is in another epoch",
    "the leader has no listener of the name that the request came in on",
    "the deletion of topics is disabled",
    "the leader epoch of the request is older than the broker's",
    "the leader epoch of the request is newer than the broker's",
    "the codec is unknown, or too new for this version of the API",
    "the broker's epoch has changed",
    "the leader's high watermark has not caught up since its election",
    "the member must join again with the id that it is given",
    "the preferred leader is not available",
    "the group has as many members as it may have",
    "another member has taken over the instance id",
    "no replica can become the leader",
    "the partition needs no election",
    "no reassignment of the partition is under way",
    "the group still reads the topic",
    "the batch breaks a rule of the record format or of the topic",
    "a transaction with offsets of the partition is still open",
    "the quota is used up",
    "a newer producer has the same transactional id",
    "what the request refers to does not exist",
    "the request names the same thing twice",
    "the credential does not meet the rules",
    "the voters of the request and of the quorum differ",
    "the version of the update is not valid",
    "the features could not be updated",
    "the principal in a forwarded request cannot be read",
    "there is no such snapshot",
    "the position lies outside the snapshot",
    "the broker has no topic with this id",
    "the broker id is taken",
    "the broker id is not registered",
    "the topic id is not that of the partition's log",
    "the cluster id of the request is another one",
    "there is no such transactional id",
    "the fetch session mixes topic names and topic ids",
    "the replica cannot join those in sync",
    "the partition has a new leader",
    "the offset lies in tiered storage",
    "the member's epoch was overtaken: it must join again",
    "another member still holds the instance id",
    "the group's assignor is not supported",
    "the member's epoch is old: it must wait for its next heartbeat",
    "the request went to the wrong kind of endpoint",
    "this kind of endpoint is not supported",
    "there is no such controller",
    "the client's subscription for telemetry is out of date",
    "the telemetry is larger than the broker accepts",
    "the registration of the broker is not valid",
    "the transaction cannot go on and must be aborted",
    "the record is not in a state that allows this",
    "there is no such share session",
    "the share session is in another epoch",
    "the state epoch of the share group was overtaken",
    "the voter's key is not the one that is known",
    "the voter is in the set already",
    "the voter is not in the set",
    "the regular expression is not valid",
    "the client must begin again from its bootstrap servers",
    "the topology is not valid",
    "the epoch of the topology is not valid",
    "the topology's epoch was overtaken",
    "there are as many share sessions as there may be",
    "the group could not be deleted",
    "the description of the topology could not be updated",
    "the controller id is not registered",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_no_gap_and_come_back() {
        for (at, error) in ErrorCode::ALL.iter().enumerate() {
            assert_eq!(i64::from(error.code()), at as i64 - 1);
            assert_eq!(ErrorCode::from_code(error.code()), *error);
        }
        assert_eq!(ErrorCode::from_code(9999), ErrorCode::UnknownServerError);
    }

    #[test]
    fn facts_are_kafkas() {
        assert_eq!(ErrorCode::NotCoordinator.to_string(), "NOT_COORDINATOR (16): this broker is not the coordinator");
        assert!(ErrorCode::NotCoordinator.is_retriable());
        assert!(!ErrorCode::InvalidRecord.is_retriable());
        assert_eq!(ErrorCode::UnknownTopicId.message(), "the broker has no topic with this id");
        assert_eq!(ErrorCode::UnknownServerError.code(), -1);
    }
}
