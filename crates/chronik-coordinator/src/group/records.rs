//! Records of `__consumer_offsets`, byte for byte as Apache Kafka 4.4 writes them.
//!
//! | key | value written | values read |
//! |---|---|---|
//! | 1 offset (0: before 2.1, read only) | v4 with the topic's id; v1 if the commit said when it expires | v0–4 |
//! | 2 group | v3 | v0–4 |
//! | others: of group types that are not built | – | skipped |
//!
//! A key begins with its type, a value with its version, two bytes each. No value: a tombstone.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use chronik_protocol::generated::group::group_metadata_key::GroupMetadataKey;
use chronik_protocol::generated::group::group_metadata_value::{self, GroupMetadataValue};
use chronik_protocol::generated::group::offset_commit_key::OffsetCommitKey;
use chronik_protocol::generated::group::offset_commit_value::OffsetCommitValue;
use chronik_protocol::wire::{DecodeError, EncodeError, TypedRecord, decode_exact, encode_prefixed};

use super::stored::{GroupMetadata, GroupRecord, MemberMetadata, OffsetAndMetadata};

const LEGACY_OFFSET: i16 = 0;
const OFFSET_VERSION: i16 = 4;
const OFFSET_VERSION_WITH_EXPIRY: i16 = 1;
const GROUP_VERSION: i16 = 3;

/// The key and the value of a record.
pub fn encode(record: &GroupRecord) -> Result<(Bytes, Option<Bytes>), EncodeError> {
    match record {
        GroupRecord::Offset { group_id, topic, partition, value } => {
            let key =
                OffsetCommitKey { group: Cow::Borrowed(group_id), topic: Cow::Borrowed(topic), partition: *partition };
            let key = encode_prefixed(OffsetCommitKey::RECORD_TYPE, &key, 0)?;
            Ok((key.into(), value.as_ref().map(encode_offset).transpose()?))
        }
        GroupRecord::Group { group_id, value } => {
            let key = GroupMetadataKey { group: Cow::Borrowed(group_id) };
            let key = encode_prefixed(GroupMetadataKey::RECORD_TYPE, &key, 0)?;
            Ok((key.into(), value.as_ref().map(encode_group).transpose()?))
        }
    }
}

/// A record from its key and value; `None`: of a type that is not ours.
pub fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Option<GroupRecord>, DecodeError> {
    let (record_type, key) = prefixed(key)?;
    let value = value.map(prefixed).transpose()?;
    if record_type == OffsetCommitKey::RECORD_TYPE || record_type == LEGACY_OFFSET {
        let key: OffsetCommitKey<'_> = decode_exact(key, 0)?;
        Ok(Some(GroupRecord::Offset {
            group_id: shared(&key.group),
            topic: shared(&key.topic),
            partition: key.partition,
            value: value.map(|(version, value)| decode_offset(value, version)).transpose()?,
        }))
    } else if record_type == GroupMetadataKey::RECORD_TYPE {
        let key: GroupMetadataKey<'_> = decode_exact(key, 0)?;
        let value = value.map(|(version, value)| decode_group(value, version)).transpose()?;
        Ok(Some(GroupRecord::Group { group_id: shared(&key.group), value }))
    } else {
        Ok(None)
    }
}

fn prefixed(bytes: &[u8]) -> Result<(i16, &[u8]), DecodeError> {
    let (prefix, rest) = bytes.split_first_chunk::<2>().ok_or(DecodeError::Truncated)?;
    Ok((i16::from_be_bytes(*prefix), rest))
}

fn encode_offset(value: &OffsetAndMetadata) -> Result<Bytes, EncodeError> {
    let version = if value.expire_timestamp_ms.is_some() { OFFSET_VERSION_WITH_EXPIRY } else { OFFSET_VERSION };
    let value = OffsetCommitValue {
        offset: value.offset,
        leader_epoch: value.leader_epoch,
        metadata: Cow::Borrowed(&value.metadata),
        commit_timestamp: value.commit_timestamp_ms,
        expire_timestamp: value.expire_timestamp_ms.unwrap_or(-1),
        topic_id: value.topic_id,
    };
    Ok(encode_prefixed(version, &value, version)?.into())
}

fn decode_offset(value: &[u8], version: i16) -> Result<OffsetAndMetadata, DecodeError> {
    let value: OffsetCommitValue<'_> = decode_exact(value, version)?;
    Ok(OffsetAndMetadata {
        offset: value.offset,
        leader_epoch: value.leader_epoch,
        metadata: shared(&value.metadata),
        commit_timestamp_ms: value.commit_timestamp,
        expire_timestamp_ms: (value.expire_timestamp != -1).then_some(value.expire_timestamp),
        topic_id: value.topic_id,
    })
}

fn encode_group(value: &GroupMetadata) -> Result<Bytes, EncodeError> {
    let member = |member: &'_ MemberMetadata| group_metadata_value::MemberMetadata {
        member_id: Cow::Owned(member.member_id.to_string()),
        group_instance_id: member.instance_id.as_ref().map(|name| Cow::Owned(name.to_string())),
        client_id: Cow::Owned(member.client_id.to_string()),
        client_host: Cow::Owned(member.client_host.to_string()),
        rebalance_timeout: member.rebalance_timeout_ms,
        session_timeout: member.session_timeout_ms,
        subscription: Cow::Owned(member.subscription.to_vec()),
        assignment: Cow::Owned(member.assignment.to_vec()),
    };
    let value = GroupMetadataValue {
        protocol_type: Cow::Borrowed(&value.protocol_type),
        generation: value.generation,
        protocol: value.protocol.as_deref().map(Cow::Borrowed),
        leader: value.leader.as_deref().map(Cow::Borrowed),
        current_state_timestamp: value.state_timestamp_ms.unwrap_or(-1),
        members: value.members.iter().map(member).collect(),
    };
    Ok(encode_prefixed(GROUP_VERSION, &value, GROUP_VERSION)?.into())
}

fn decode_group(value: &[u8], version: i16) -> Result<GroupMetadata, DecodeError> {
    let value: GroupMetadataValue<'_> = decode_exact(value, version)?;
    // Copies: what is kept for long must not keep a whole batch of the log with it.
    let member = |member: &group_metadata_value::MemberMetadata<'_>| MemberMetadata {
        member_id: shared(&member.member_id),
        instance_id: member.group_instance_id.as_deref().map(shared),
        client_id: shared(&member.client_id),
        client_host: shared(&member.client_host),
        rebalance_timeout_ms: member.rebalance_timeout,
        session_timeout_ms: member.session_timeout,
        subscription: Bytes::copy_from_slice(&member.subscription),
        assignment: Bytes::copy_from_slice(&member.assignment),
    };
    Ok(GroupMetadata {
        protocol_type: shared(&value.protocol_type),
        generation: value.generation,
        protocol: value.protocol.as_deref().map(shared),
        leader: value.leader.as_deref().map(shared),
        state_timestamp_ms: (value.current_state_timestamp != -1).then_some(value.current_state_timestamp),
        members: value.members.iter().map(member).collect(),
    })
}

fn shared(text: &str) -> Arc<str> {
    if text.is_empty() { Arc::default() } else { Arc::from(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chronik_protocol::Uuid;

    /// Keys and values as a running Apache Kafka 4.4.0 wrote them.
    #[test]
    fn bytes_are_kafkas() {
        let offset = OffsetAndMetadata {
            offset: 5,
            leader_epoch: 3,
            metadata: "m8".into(),
            commit_timestamp_ms: 0x1a2_0542_32cc,
            expire_timestamp_ms: None,
            topic_id: Uuid::from_bytes([7; 16]),
        };
        let key = b"\x00\x01\x00\x01g\x00\x01t\x00\x00\x00\x00";
        let value = [
            b"\x00\x04\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x03\x03m8\x00\x00\x01\xa2\x05B2\xcc\x01\x00\x10"
                .as_slice(),
            &[7; 16],
        ];
        check(offset_record(offset.clone()), key, &value.concat());

        let expiring = OffsetAndMetadata {
            leader_epoch: -1,
            metadata: "mret".into(),
            expire_timestamp_ms: Some(0x1a2_0a68_8ee3),
            topic_id: Uuid::ZERO,
            ..offset
        };
        let value = b"\x00\x01\x00\x00\x00\x00\x00\x00\x00\x05\x00\x04mret\x00\x00\x01\xa2\x05B2\xcc\x00\x00\x01\xa2\nh\x8e\xe3";
        check(offset_record(expiring), key, value);

        let member = MemberMetadata {
            member_id: "cli-1".into(),
            instance_id: None,
            client_id: "cli".into(),
            client_host: "/127.0.0.1".into(),
            rebalance_timeout_ms: 60_000,
            session_timeout_ms: 10_000,
            subscription: Bytes::from_static(b"sub"),
            assignment: Bytes::from_static(b"AB"),
        };
        let group = GroupMetadata {
            protocol_type: "consumer".into(),
            generation: 1,
            protocol: Some("range".into()),
            leader: Some("cli-1".into()),
            state_timestamp_ms: Some(0x1a2_0542_32eb),
            members: vec![member],
        };
        let value = b"\x00\x03\x00\x08consumer\x00\x00\x00\x01\x00\x05range\x00\x05cli-1\x00\x00\x01\xa2\x05B2\xeb\
            \x00\x00\x00\x01\x00\x05cli-1\xff\xff\x00\x03cli\x00\n/127.0.0.1\x00\x00\xea`\x00\x00'\x10\
            \x00\x00\x00\x03sub\x00\x00\x00\x02AB";
        assert!(group.size_max() >= value.len());
        check(GroupRecord::Group { group_id: "g".into(), value: Some(group) }, b"\x00\x02\x00\x01g", value);
    }

    fn offset_record(value: OffsetAndMetadata) -> GroupRecord {
        GroupRecord::Offset { group_id: "g".into(), topic: "t".into(), partition: 0, value: Some(value) }
    }

    fn check(record: GroupRecord, key: &[u8], value: &[u8]) {
        let (our_key, our_value) = encode(&record).unwrap();
        assert_eq!((&our_key[..], our_value.as_deref()), (key, Some(value)));
        assert_eq!(decode(key, Some(value)).unwrap(), Some(record));
    }

    #[test]
    fn tombstones_older_versions_and_strangers() {
        let gone = GroupRecord::Group { group_id: "g".into(), value: None };
        assert_eq!(encode(&gone).unwrap(), (Bytes::from_static(b"\x00\x02\x00\x01g"), None));
        assert_eq!(decode(b"\x00\x02\x00\x01g", None).unwrap(), Some(gone));
        let old = decode(
            b"\x00\x00\x00\x01g\x00\x01t\x00\x00\x00\x02",
            Some(b"\x00\x00\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\0\0\x01"),
        );
        let Some(GroupRecord::Offset { partition: 2, value: Some(old), .. }) = old.unwrap() else { panic!() };
        assert_eq!((old.offset, old.leader_epoch, old.commit_timestamp_ms), (9, -1, 1));
        assert_eq!(decode(b"\x00\x03\x00\x01g", Some(b"\x00\x00")).unwrap(), None);
        for broken in [b"".as_slice(), b"\x00", b"\x00\x02\x00\x05g", b"\x00\x02\x00\x01gg"] {
            assert!(decode(broken, None).is_err());
        }
        assert!(decode(b"\x00\x02\x00\x01g", Some(b"\x00\x05")).is_err());
    }
}
