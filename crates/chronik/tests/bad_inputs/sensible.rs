//! The opposite of bad input, so that the rows mean something: a sensible request in every version of every API that
//! is advertised gets an answer that decodes, with the error codes that Apache Kafka gives.

use chronik_protocol::ApiKey;
use chronik_protocol::generated::any::ResponseBody;
use chronik_protocol::header::parse_response;
use chronik_protocol::messages::ApiVersionsRequest;
use chronik_protocol::wire::Reader;

use crate::batches::Batch;
use crate::bytes::{self, Fill, Value};
use crate::member::find_coordinator;
use crate::schema::{self, Field, Message};
use crate::world::World;

/// The APIs that are served: what is not built is not advertised.
const SERVED: &[&str] = &[
    "AlterConfigs",
    "ApiVersions",
    "CreatePartitions",
    "CreateTopics",
    "DeleteGroups",
    "DeleteRecords",
    "DeleteTopics",
    "DescribeCluster",
    "DescribeConfigs",
    "DescribeGroups",
    "DescribeLogDirs",
    "DescribeTopicPartitions",
    "Fetch",
    "FindCoordinator",
    "Heartbeat",
    "IncrementalAlterConfigs",
    "InitProducerId",
    "JoinGroup",
    "LeaveGroup",
    "ListConfigResources",
    "ListGroups",
    "ListOffsets",
    "Metadata",
    "OffsetCommit",
    "OffsetDelete",
    "OffsetFetch",
    "OffsetForLeaderEpoch",
    "Produce",
    "SyncGroup",
];

/// The error code that an answer has besides 0: some need a state that one request cannot have.
fn expected(api: &str, version: i16) -> i16 {
    match (api, version) {
        ("SyncGroup" | "Heartbeat" | "LeaveGroup", _) => 25,
        ("DescribeGroups", 6..) | ("DeleteGroups" | "OffsetDelete", _) => 69,
        ("DeleteTopics", ..=1) => 3,
        ("JoinGroup", 4..) => 79,
        _ => 0,
    }
}

/// A value that makes sense for this field.
fn sensible(message: &str, field: &Field, version: i16, topic: &str, topic_id: [u8; 16]) -> Option<Value> {
    let text = |text: &str| Some(Value::Bytes(text.as_bytes().to_vec()));
    let api = message.trim_end_matches("Request");
    let number = match (api, field.name.as_str()) {
        ("CreateTopics" | "DeleteTopics", "Name" | "TopicNames") => {
            return text(&format!("sensible-{topic}-{version}"));
        }
        ("Metadata" | "DeleteTopics", "TopicId") => 0,
        ("CreateTopics", "Assignments" | "Configs")
        | (_, "ForgottenTopicsData" | "StatesFilter" | "TypesFilter" | "ResourceTypes") => {
            return Some(Value::Count(0));
        }
        ("CreatePartitions", "Assignments")
        | (_, "ConfigurationKeys" | "Cursor" | "GroupInstanceId" | "TransactionalId") => {
            return Some(Value::Null);
        }
        ("CreatePartitions", "Count") => i64::from(version) + 2,
        (_, "TopicId") => return Some(Value::Bytes(topic_id.to_vec())),
        (_, "Records") => return Some(Value::Bytes(Batch::of(&["sensible"]).bytes())),
        (_, "ResourceName") => return text(topic),
        ("AlterConfigs" | "IncrementalAlterConfigs", "Name") => return text("retention.ms"),
        ("AlterConfigs" | "IncrementalAlterConfigs", "Value") => return text("3600000"),
        ("JoinGroup", "Name") | ("SyncGroup", "ProtocolName") => return text("range"),
        ("JoinGroup" | "SyncGroup", "ProtocolType") => return text("consumer"),
        (_, "ClientSoftwareName" | "ClientSoftwareVersion") => return text("1.0"),
        (_, "Key" | "CoordinatorKeys") => return text(&format!("group-{topic}")),
        (_, "MemberId") if ["SyncGroup", "Heartbeat", "LeaveGroup"].contains(&api) => return text("nobody"),
        (_, "NumPartitions" | "ReplicationFactor" | "Acks" | "MinBytes") => 1,
        (_, "ResourceType") => 2,
        (_, "ReplicaId" | "Timestamp" | "ProducerId" | "ProducerEpoch" | "LeaderEpoch" | "SessionEpoch") => -1,
        (_, "MaxBytes" | "PartitionMaxBytes") => 1 << 20,
        (_, "TimeoutMs" | "SessionTimeoutMs" | "RebalanceTimeoutMs" | "TransactionTimeoutMs") => 10_000,
        _ if field.entity == "topicName" => return text(topic),
        ("JoinGroup" | "SyncGroup" | "Heartbeat" | "LeaveGroup" | "DescribeGroups", "GroupId" | "Groups") => {
            return text(&format!("members-{topic}-{version}"));
        }
        _ if field.entity == "groupId" => return text(&format!("group-{topic}")),
        _ => return None,
    };
    Some(Value::Number(number))
}

/// The error codes of the answer to a sensible request, in the order in which they stand in it.
fn codes(world: &mut World, message: &Message, version: i16) -> Vec<i16> {
    let (name, topic) = (message.name.clone(), world.topic.clone());
    let id = *world.topic_id(&topic).as_bytes();
    let fill = Fill::Named(Box::new(move |field| sensible(&name, field, version, &topic, id)));
    let key = ApiKey::from_i16(message.key).unwrap();
    let mut frame = [message.key.to_be_bytes(), version.to_be_bytes()].concat();
    frame.extend(b"\0\0\0\x01\xff\xff");
    frame.extend((key.request_header_version(version) == 2).then_some(0));
    frame.extend(bytes::encode(message, version, fill).out);
    let mut connection = world.open();
    connection.frame(&frame);
    let answer = connection.answer().unwrap_or_else(|| panic!("{key} v{version}: closed"));
    let (_, body) = parse_response(&answer, key, version).unwrap();
    let mut r = Reader::new(body);
    let body = ResponseBody::decode(key, version, &mut r).unwrap_or_else(|e| panic!("{key} v{version}: {e}"));
    r.finish().unwrap();
    let text = format!("{body:?}");
    let codes = text.split("error_code: ").skip(1).map(|rest| rest.split([',', ' ']).next().unwrap());
    codes.map(|code| code.parse().unwrap()).collect()
}

#[test]
fn every_version_of_every_api_answers() {
    let mut world = World::start(&[]);
    for kind in ["group", "members"] {
        let group = format!("{kind}-{}", world.topic);
        find_coordinator(&mut world.connection, &group);
    }
    let answer = world.connection.call(0, &ApiVersionsRequest::default());
    let ranges = answer.body().api_keys.clone();
    let schemas = schema::all();
    let range = |message: &Message| ranges.iter().find(|range| range.api_key == message.key);
    let served: Vec<&Message> = schemas.iter().filter(|m| m.kind == "request" && range(m).is_some()).collect();
    let name = |message: &Message| message.name.trim_end_matches("Request").to_owned();
    if !world.broker.is_kafka() {
        assert_eq!(served.iter().map(|m| name(m)).collect::<Vec<_>>(), SERVED);
    }
    let mut wrong = Vec::new();
    // What deletes comes last.
    let (last, first): (Vec<_>, Vec<_>) = served.into_iter().partition(|m| m.name.contains("Delete"));
    for message in first.into_iter().chain(last).filter(|m| SERVED.contains(&name(m).as_str())) {
        // Produce is advertised from v0 for the sake of old clients, and served from v3.
        let (api, lowest) = (name(message), if message.key == 0 { 3 } else { 0 });
        let Some(range) = range(message) else { continue };
        for version in range.min_version.max(lowest)..=range.max_version {
            let codes = codes(&mut world, message, version);
            if codes.iter().any(|code| ![0, expected(&api, version)].contains(code)) {
                wrong.push(format!("{api} v{version}: {codes:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
