//! T: topics that cannot be created, changed or deleted.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use chronik_protocol::generated::create_partitions_request::CreatePartitionsTopic;
use chronik_protocol::generated::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use chronik_protocol::generated::delete_topics_request::DeleteTopicState;
use chronik_protocol::generated::describe_configs_request::DescribeConfigsResource;
use chronik_protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeConfigsRequest, MetadataRequest,
};

use crate::Row;
use crate::batches::Batch;
use crate::world::{PRODUCE, World, produce_request};

pub(crate) const ROWS: &[Row] = &[
    Row { id: "T01", input: "names that are no names", run: names },
    Row { id: "T03", input: "a topic that exists, a topic twice", run: exists },
    Row { id: "T05", input: "a replication factor of 9, of −1", run: replication_factor },
    Row { id: "T07", input: "settings that are unknown, malformed, out of range, null", run: settings },
    Row { id: "T08", input: "fewer partitions than there are", run: fewer_partitions },
    Row { id: "T09", input: "deleting what is not there or not to be deleted", run: delete },
    Row { id: "T13", input: "asking for secrets", run: secrets },
    Row { id: "T20", input: "a topic twice in one request", run: twice },
    Row { id: "T22", input: "a timeout of 0 and −1", run: no_time },
];

fn topic(name: &str) -> CreatableTopic<'static> {
    CreatableTopic { name: name.to_owned().into(), num_partitions: 1, replication_factor: 1, ..Default::default() }
}

/// The code and message for each topic of a CreateTopics request, in the order of the answer.
fn create(world: &mut World, timeout_ms: i32, topics: Vec<CreatableTopic<'static>>) -> Vec<(i16, String)> {
    let answer = world.connection.call(7, &CreateTopicsRequest { topics, timeout_ms, ..Default::default() });
    let body = answer.body();
    body.topics.iter().map(|t| (t.error_code, t.error_message.as_deref().unwrap_or_default().to_owned())).collect()
}

fn created(world: &mut World, topic: CreatableTopic<'static>) -> (i16, String) {
    create(world, 10_000, vec![topic]).remove(0)
}

/// Waits until the broker has the topic, or has it no more: Apache Kafka answers before all of it knows.
fn becomes(world: &mut World, name: &str, there: bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while is_there(world, name) != there {
        assert!(Instant::now() < deadline, "{name} there: {}", !there);
    }
}

/// Whether the broker has the topic.
fn is_there(world: &mut World, name: &str) -> bool {
    let answer = world.connection.call(12, &MetadataRequest { topics: None, ..Default::default() });
    let body = answer.body();
    body.topics.iter().any(|t| t.name.as_deref() == Some(name))
}

fn names(world: &mut World) {
    let listing = |world: &World| -> Option<BTreeSet<_>> {
        let data = world.broker.data()?;
        let folders = [data.parent()?.to_path_buf(), data.parent()?.parent()?.to_path_buf()];
        let read = |folder| fs::read_dir(folder).into_iter().flatten().filter_map(|e| Some(e.ok()?.path()));
        Some(folders.into_iter().flat_map(read).filter(|p| !p.to_string_lossy().contains("tmp/")).collect())
    };
    let before = listing(world);
    let long = "x".repeat(250);
    for name in ["", ".", "..", "../../x", "a/b", "nul\0", "a b", "stra\u{df}e", "\u{1f980}", &long] {
        assert_eq!(created(world, topic(name)).0, 17, "{name:?}");
    }
    assert_eq!(listing(world), before);
    let longest = world.name("longest");
    let longest = format!("{longest}{}", "x".repeat(249 - longest.len()));
    assert_eq!(created(world, topic(&longest)).0, 0);
}

fn exists(world: &mut World) {
    let name = world.topic.clone();
    assert_eq!(created(world, topic(&name)).0, 36);
    let (new, other) = (world.name("new"), world.name("other"));
    let answers = create(world, 10_000, vec![topic(&new), topic(&new), topic(&other)]);
    let mut codes: Vec<i16> = answers.into_iter().map(|a| a.0).collect();
    codes.sort_unstable();
    assert_eq!(codes, [0, 42], "one entry for the name that is there twice");
    assert!(!is_there(world, &new));
    becomes(world, &other, true);
}

fn replication_factor(world: &mut World) {
    let (nine, default, zero) = (world.name("nine"), world.name("default"), world.name("zero"));
    assert_eq!(created(world, CreatableTopic { replication_factor: 9, ..topic(&nine) }).0, 38);
    assert_eq!(created(world, CreatableTopic { replication_factor: 0, ..topic(&zero) }).0, 38);
    assert_eq!(created(world, CreatableTopic { replication_factor: -1, num_partitions: -1, ..topic(&default) }).0, 0);
    let partitions = world.name("partitions");
    assert_eq!(created(world, CreatableTopic { num_partitions: 0, ..topic(&partitions) }).0, 37);
    assert_eq!(created(world, CreatableTopic { num_partitions: -2, ..topic(&partitions) }).0, 37);
}

fn settings(world: &mut World) {
    for (key, value, says) in [
        ("no.such.setting", Some("1"), vec!["no.such.setting"]),
        ("retention.ms", Some("soon"), vec!["retention.ms", "soon"]),
        ("segment.bytes", Some("-7"), vec!["segment.bytes", "-7"]),
        ("cleanup.policy", Some("burn"), vec!["cleanup.policy", "burn"]),
        ("min.insync.replicas", Some("0"), vec!["min.insync.replicas", "0", "1"]),
        ("compression.type", Some("rar"), vec!["compression.type", "rar"]),
        ("retention.ms", None, vec!["retention.ms"]),
    ] {
        let name = world.name("config");
        let configs = vec![CreatableTopicConfig { name: key.into(), value: value.map(Into::into) }];
        let (code, message) = created(world, CreatableTopic { configs, ..topic(&name) });
        assert_eq!(code, 40, "{key}={value:?}: {message}");
        for word in says {
            assert!(message.contains(word), "{key}={value:?}: {message:?} does not name {word}");
        }
        assert!(!is_there(world, &name));
    }
}

fn fewer_partitions(world: &mut World) {
    let name = world.create_topic(3, &[]);
    for count in [2, 3, 0, -1] {
        let topics = vec![CreatePartitionsTopic { name: name.as_str().into(), count, assignments: None }];
        let request = CreatePartitionsRequest { topics, timeout_ms: 10_000, ..Default::default() };
        assert_eq!(world.connection.call(3, &request).body().results[0].error_code, 37, "{count}");
    }
}

fn delete(world: &mut World) {
    let delete = |world: &mut World, state: DeleteTopicState<'static>| -> i16 {
        let request = DeleteTopicsRequest { topics: vec![state], timeout_ms: 10_000, ..Default::default() };
        let answer = world.connection.call(6, &request);
        answer.body().responses[0].error_code
    };
    let named = |name: &str| DeleteTopicState { name: Some(name.to_owned().into()), ..Default::default() };
    assert_eq!(delete(world, named("no-such-topic-anywhere")), 3);
    let stranger = chronik_protocol::Uuid::from_u128(0x7777);
    assert_eq!(delete(world, DeleteTopicState { name: None, topic_id: stranger }), 100);
    assert_eq!(delete(world, DeleteTopicState { name: None, ..Default::default() }), 42);
    let name = world.topic.clone();
    let topic_id = world.topic_id(&name);
    assert_eq!(delete(world, DeleteTopicState { name: Some(name.into()), topic_id }), 42);
    if !world.broker.is_kafka() {
        crate::groups::use_offsets(world); // the topic of offsets is there from the first group on
        assert_eq!(delete(world, named("__consumer_offsets")), 44);
        assert!(is_there(world, "__consumer_offsets"));
    }
}

fn secrets(world: &mut World) {
    let answer = world.connection.call(12, &MetadataRequest { topics: Some(Vec::new()), ..Default::default() });
    let node = answer.body().brokers[0].node_id.to_string();
    let resource = DescribeConfigsResource { resource_type: 4, resource_name: node.into(), configuration_keys: None };
    let request = DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
    let answer = world.connection.call(4, &request);
    let result = &answer.body().results[0];
    assert_eq!(result.error_code, 0);
    let secrets: Vec<_> = result.configs.iter().filter(|c| c.name.contains("password")).collect();
    assert!(!secrets.is_empty());
    for secret in secrets {
        assert_eq!((secret.is_sensitive, secret.value.as_deref()), (true, None), "{}", secret.name);
    }
}

fn twice(world: &mut World) {
    let (double, single) = (world.create_topic(1, &[]), world.create_topic(1, &[]));
    let add = |name: &str| CreatePartitionsTopic { name: name.to_owned().into(), count: 2, assignments: None };
    let topics = vec![add(&double), add(&double), add(&single)];
    let answer =
        world.connection.call(3, &CreatePartitionsRequest { topics, timeout_ms: 10_000, ..Default::default() });
    let mut codes: Vec<_> = answer.body().results.iter().map(|r| (r.name.to_string(), r.error_code)).collect();
    codes.sort();
    let mut expected = vec![(double.clone(), 42), (single.clone(), 0)];
    expected.sort();
    assert_eq!(codes, expected);
    let delete = |name: &str| DeleteTopicState { name: Some(name.to_owned().into()), ..Default::default() };
    let topics = vec![delete(&double), delete(&double), delete(&single)];
    let answer = world.connection.call(6, &DeleteTopicsRequest { topics, timeout_ms: 10_000, ..Default::default() });
    let body = answer.body();
    let mut codes: Vec<_> = body.responses.iter().map(|r| (r.name.clone().unwrap_or_default(), r.error_code)).collect();
    codes.sort();
    assert_eq!(codes, expected.iter().map(|(n, c)| (n.as_str().into(), *c)).collect::<Vec<_>>());
    assert!(is_there(world, &double));
    becomes(world, &single, false);
}

fn no_time(world: &mut World) {
    for timeout_ms in [0, -1] {
        let name = world.name("late");
        assert_eq!(create(world, timeout_ms, vec![topic(&name)])[0].0, 7, "{timeout_ms}");
        assert!(!is_there(world, &name), "{timeout_ms}");
    }
    let mut request = produce_request(-1, &world.topic, 0, Some(Batch::of(&["a"]).bytes()));
    request.timeout_ms = 0;
    let answer = world.connection.call(PRODUCE, &request);
    assert_eq!(answer.body().responses[0].partition_responses[0].error_code, 0);
    world.next += 1;
}
