//! From the name of a message to its type: reads bytes as that message and writes them again.

use chronik_protocol::generated::any::{RequestBody, ResponseBody};
use chronik_protocol::generated::{group, metadata, request_header, response_header, share, storage, transaction};
use chronik_protocol::wire::{Decode, DecodeError, Encode, Reader, Writer};
use chronik_protocol::{ApiKey, messages};

use crate::schema::Message;

/// Reads all of `bytes` as the message, and writes what was read.
pub(crate) fn again(message: &Message, version: i16, bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut r = Reader::new(bytes);
    let mut w = Writer::default();
    match message.kind.as_str() {
        "request" => {
            let body = RequestBody::decode(ApiKey::from_i16(message.key).unwrap(), version, &mut r)?;
            r.finish()?;
            let owned = body.clone().into_owned();
            assert_eq!(owned, body);
            owned.encode(&mut w, version).unwrap();
        }
        "response" => {
            let body = ResponseBody::decode(ApiKey::from_i16(message.key).unwrap(), version, &mut r)?;
            r.finish()?;
            let owned = body.clone().into_owned();
            assert_eq!(owned, body);
            owned.encode(&mut w, version).unwrap();
        }
        _ => record(message, version, r, &mut w)?,
    }
    Ok(w.finish().to_vec().unwrap())
}

fn one<'a, T: Decode<'a> + Encode>(mut r: Reader<'a>, w: &mut Writer, version: i16) -> Result<(), DecodeError> {
    let message = T::decode(&mut r, version)?;
    r.finish()?;
    message.encode(w, version).unwrap();
    Ok(())
}

macro_rules! records {
    ($($folder:literal: $module:path { $($name:ident)* })*) => {
        fn record(message: &Message, version: i16, r: Reader<'_>, w: &mut Writer) -> Result<(), DecodeError> {
            match (message.folder.as_str(), message.name.as_str()) {
                $($(($folder, stringify!($name)) => { use $module as module; one::<module::$name>(r, w, version) })*)*
                (folder, name) => panic!("{folder}/{name} is not in the list of records"),
            }
        }
    };
}

/// Headers and what is not an API, in one place for the list below.
mod data {
    pub(crate) use super::messages::*;
    pub(crate) use super::request_header::RequestHeader;
    pub(crate) use super::response_header::ResponseHeader;
}

records! {
    "data": data {
        AbortedTxn ConsumerProtocolAssignment ConsumerProtocolSubscription ControlRecordTypeSchema DefaultPrincipalData
        EndTxnMarker KRaftVersionRecord LeaderChangeMessage RequestHeader ResponseHeader SnapshotFooterRecord
        SnapshotHeaderRecord VotersRecord
    }
    "group": group {
        ConsumerGroupCurrentMemberAssignmentKey ConsumerGroupCurrentMemberAssignmentValue
        ConsumerGroupMemberMetadataKey ConsumerGroupMemberMetadataValue ConsumerGroupMetadataKey
        ConsumerGroupMetadataValue ConsumerGroupPartitionMetadataKey ConsumerGroupPartitionMetadataValue
        ConsumerGroupRegularExpressionKey ConsumerGroupRegularExpressionValue
        ConsumerGroupTargetAssignmentMemberKey ConsumerGroupTargetAssignmentMemberValue
        ConsumerGroupTargetAssignmentMetadataKey ConsumerGroupTargetAssignmentMetadataValue GroupMetadataKey
        GroupMetadataValue LegacyOffsetCommitKey LegacyOffsetCommitValue OffsetCommitKey OffsetCommitValue
        ShareGroupCurrentMemberAssignmentKey ShareGroupCurrentMemberAssignmentValue
        ShareGroupMemberMetadataKey ShareGroupMemberMetadataValue ShareGroupMetadataKey
        ShareGroupMetadataValue ShareGroupStatePartitionMetadataKey ShareGroupStatePartitionMetadataValue
        ShareGroupTargetAssignmentMemberKey ShareGroupTargetAssignmentMemberValue
        ShareGroupTargetAssignmentMetadataKey ShareGroupTargetAssignmentMetadataValue
        StreamsGroupCurrentMemberAssignmentKey StreamsGroupCurrentMemberAssignmentValue
        StreamsGroupMemberMetadataKey StreamsGroupMemberMetadataValue StreamsGroupMetadataKey
        StreamsGroupMetadataValue StreamsGroupTargetAssignmentMemberKey
        StreamsGroupTargetAssignmentMemberValue StreamsGroupTargetAssignmentMetadataKey
        StreamsGroupTargetAssignmentMetadataValue StreamsGroupTopologyKey StreamsGroupTopologyValue
    }
    "transaction": transaction { TransactionLogKey TransactionLogValue }
    "share": share { ShareSnapshotKey ShareSnapshotValue ShareUpdateKey ShareUpdateValue }
    "metadata": metadata {
        AbortTransactionRecord AccessControlEntryRecord BeginTransactionRecord BrokerRegistrationChangeRecord
        ClearElrRecord ClientQuotaRecord ConfigRecord DelegationTokenRecord EndTransactionRecord
        FeatureLevelRecord FenceBrokerRecord NoOpRecord PartitionChangeRecord PartitionRecord
        ProducerIdsRecord RegisterBrokerRecord RegisterControllerRecord RemoveAccessControlEntryRecord
        RemoveDelegationTokenRecord RemoveTopicRecord RemoveUserScramCredentialRecord TopicRecord
        UnfenceBrokerRecord UnregisterBrokerRecord UnregisterControllerRecord UserScramCredentialRecord
        ZkMigrationStateRecord
    }
    "storage": storage {
        ProducerSnapshot RemoteLogSegmentMetadataRecord RemoteLogSegmentMetadataSnapshotRecord
        RemoteLogSegmentMetadataUpdateRecord RemotePartitionDeleteMetadataRecord
    }
}
